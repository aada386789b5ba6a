# SPDX-License-Identifier: Apache-2.0
"""The spikes that the RTL gave, as they came: for pictures and for looking closely."""

import tempfile
from pathlib import Path

import numpy as np

from ttfs_fpga.hdl.compiler import compile_network
from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.sim.emit import emit
from ttfs_fpga.sim.expected import Expected
from ttfs_fpga.sim.records import Kind, RecordLayout, Records
from ttfs_fpga.sim.regression import Regression
from ttfs_fpga.sim.runner import build
from ttfs_fpga.sim.simulation import simulate
from ttfs_fpga.sim.simulators import find_simulator
from ttfs_sw import golden
from ttfs_sw.artifact.network import Network
from ttfs_sw.common.errors import FailureError

__all__ = ["rtl_spike_times"]


def rtl_spike_times(
    network: Network, pixels: np.ndarray, *, config: CoreConfig, simulator: str = "verilator"
) -> list[np.ndarray]:
    """Simulate one image and give the spike ticks that the RTL showed at its monitor.

    Nothing here is compared, so what is drawn from it is what the core did.

    Parameters
    ----------
    network : :class:`ttfs_sw.artifact.network.Network`
        What the core runs.
    pixels : :class:`numpy.ndarray`
        uint8 ``[inputs]``: the image.
    config : :class:`hdl.config.CoreConfig`
        Sizes of the core.
    simulator : :class:`str`
        ``"verilator"`` or ``"icarus"``.

    Returns
    -------
    :class:`list` of :class:`numpy.ndarray`
        For every spiking layer, the tick of each neuron's spike; T for a silent one.

    Raises
    ------
    :exc:`ttfs_sw.common.errors.FailureError`
        If the simulation ends before the image is complete.
    """
    images = pixels[np.newaxis]
    program = compile_network(network, config)
    expected = Expected.from_trace(network, golden.run(network, images), program)
    regression = Regression(program, images, expected)
    built = build(emit(config), find_simulator(simulator))
    with tempfile.TemporaryDirectory(prefix="ttfs-spikes-") as folder:
        stimulus = Path(folder) / "image.bin"
        regression.stimulus(0, 1).write(stimulus)
        with simulate(built, stimulus, watchdog=regression.watchdog) as simulation:
            content = b"".join(iter(simulation.read, b""))
            records = Records.from_bytes(content)
            end = records.end()
            if end is None:
                raise simulation.failure()
    if end.images != 1:
        raise FailureError(f"the core did not finish the image: {end.reason.name}, {end.error}")
    _, spike = RecordLayout(config).unpack(records, Kind.SPIKE)
    times = []
    for index, layer in enumerate(network.layers[:-1]):
        codes = np.zeros(layer.neurons, np.int64)
        # A map is shown whenever a layer reads it, always the same.
        for sources, maps in ((expected.sources, expected.places),
                              (expected.seconds, expected.second_places)):
            for reader, source in enumerate(sources):
                if source == index:
                    mine = (spike["layer"] == reader) & (spike["place"] < len(maps[reader]))
                    neuron = maps[reader][spike["place"][mine]]
                    codes[neuron[neuron >= 0]] = spike["code"][mine][neuron >= 0]
        times.append(layer.ticks - codes)
    return times
