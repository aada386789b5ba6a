# SPDX-License-Identifier: Apache-2.0
"""Co-simulation: the RTL beside the golden model, on as many images as there are."""

import dataclasses
import logging
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ttfs_fpga.hdl.compiler import compile_network
from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.sim.emit import emit
from ttfs_fpga.sim.expected import Expected
from ttfs_fpga.sim.netlist import emit_netlist
from ttfs_fpga.sim.regression import Regression, Stuck
from ttfs_fpga.sim.reports import Cosimulation
from ttfs_fpga.sim.runner import Build, build
from ttfs_fpga.sim.simulators import find_simulator
from ttfs_fpga.sim.summary import summary
from ttfs_sw import golden
from ttfs_sw.artifact.network import Network
from ttfs_sw.common.errors import InputError
from ttfs_sw.common.files import atomic_write, output_folder

__all__ = ["run"]

log = logging.getLogger(__name__)

#: The clock of the harness, for places in a waveform.
_NS_PER_CYCLE = 10


def run(
    network: Network,
    pixels: np.ndarray,
    labels: np.ndarray | None = None,
    *,
    config: CoreConfig,
    simulator: str = "verilator",
    against: Network | None = None,
    jobs: int = 2,
    limit: int | None = None,
    fail_fast: bool = False,
    waves_dir: Path | None = None,
    stall: int = 0,
    netlist: bool = False,
    cache: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Cosimulation:
    """Simulate the core on images and compare every event and every logit with the golden model.

    The core is simulated in exactly the sizes of ``config``, and the network is loaded through its
    load port: one compiled simulator, kept in the user's cache, runs every network that fits.

    Parameters
    ----------
    network : :class:`ttfs_sw.artifact.network.Network`
        What the core runs.
    pixels : :class:`numpy.ndarray`
        uint8 ``[images, inputs]``, in raster order.
    labels : :class:`numpy.ndarray`, optional
        The class of every image, for the accuracy.
    config : :class:`hdl.config.CoreConfig`
        Sizes of the core; those of a board.
    simulator : :class:`str`
        ``"verilator"``, or ``"icarus"``, which is some 50 times slower but needs no compiler.
    against : :class:`ttfs_sw.artifact.network.Network`, optional
        Compare with this network's golden model instead, to prove that the comparison can fail.
    jobs : :class:`int`
        Simulators side by side.
    limit : :class:`int`, optional
        Only so many images.
    fail_fast : :class:`bool`
        Stop at the first mismatch.
    waves_dir : :class:`pathlib.Path`, optional
        Where the waveform of the first image that differs goes; without it none is written.
    stall : :class:`int`
        Seed of random pauses on every stream, or 0 for none. Pauses lengthen the last layer.
    netlist : :class:`bool`
        Simulate the core after synthesis for an iCE40 UP5K, not its RTL: some 200 times slower.
    cache : :class:`pathlib.Path`, optional
        Where compiled simulators are kept; by default the user's cache.
    progress : callable, optional
        Called as ``progress(done, total)`` with numbers of images.

    Returns
    -------
    :class:`sim.reports.Cosimulation`
        The report; ``docs/cosim.md`` explains it. Mismatches, and layers that took longer than
        they ever may, are not an error here: the caller looks at ``mismatched_images`` and at
        ``over_limit``.

    Raises
    ------
    :exc:`ttfs_sw.common.errors.InputError`
        If the images, the networks and the options do not go together.
    :exc:`hdl.compiler.DoesNotFit`
        If the network does not fit the core.
    :exc:`ttfs_sw.common.errors.ToolError`
        If the simulator is missing.
    :exc:`ttfs_sw.common.errors.FailureError`
        If the simulator fails, or the core gives an error or hangs; the message names the image.
    """
    for name, value in (("limit", limit), ("jobs", jobs)):
        if value is not None and value < 1:
            raise InputError(f"--{name} must be at least 1, not {value}")
    pixels = pixels[:limit]
    if not len(pixels):
        raise InputError("there are no images to simulate: choose another dataset")
    if against is not None:
        _check_alike(network, against)
    if waves_dir is not None:
        waves_dir = output_folder(waves_dir).absolute()
    found = find_simulator(simulator)
    program = compile_network(network, config)
    started = time.monotonic()
    trace = golden.run(against or network, pixels)
    golden_seconds = time.monotonic() - started
    regression = Regression(
        program, pixels, Expected.from_trace(against or network, trace, program), stall=stall
    )
    sources = emit_netlist(config) if netlist else emit(config)
    built = build(sources, found, cache=cache)

    started = time.monotonic()
    try:
        comparisons = regression.run(built, jobs=jobs, fail_fast=fail_fast, progress=progress)
    except Stuck as stuck:
        if waves_dir is None:
            raise
        traced = build(sources, found, traced=True, cache=cache)
        wave = _waveform(regression, traced, stuck.image, stuck.since, waves_dir)
        raise Stuck(f"{stuck} (wave: {wave.path})", stuck.image, stuck.since) from stuck
    seconds = time.monotonic() - started

    summed = summary(
        program, comparisons, None if labels is None else labels[:limit], held=bool(stall))
    report = Cosimulation(
        **vars(summed),
        simulated_cycles_per_second=round(sum(each.now for each in comparisons) / seconds),
        images_per_second=round(sum(each.done for each in comparisons) / seconds, 1),
        seconds=round(seconds, 2),
        compile_seconds=0.0 if built.cached else built.seconds,
        golden_seconds=round(golden_seconds, 2),
        jobs=len(comparisons),
        simulator=found.title,
        stall=stall,
        netlist=netlist,
        network_sha256=network.sha256,
        against_sha256=None if against is None else against.sha256,
        config=config.as_dict(),
    )
    first = report.first_mismatch
    if first is None or waves_dir is None:
        return report
    traced = build(sources, found, traced=True, cache=cache)
    wave = _waveform(regression, traced, first.image, first.since, waves_dir)
    return dataclasses.replace(report, first_mismatch=dataclasses.replace(
        first, message=f"{first.message} (wave: {wave.path}{wave.place})",
        wave=str(wave.path), wave_place=wave.place, wave_alone=wave.alone))


def _check_alike(network: Network, against: Network) -> None:
    """Refuse to compare networks whose events cannot correspond."""
    if network.input_shape != against.input_shape:
        raise InputError(
            f"--against needs a network of the same shape: it reads images of "
            f"{against.input_shape}, and the network {network.input_shape}"
        )
    if len(network.layers) != len(against.layers):
        raise InputError(
            f"--against needs a network of the same shape: it has {len(against.layers)} layers, "
            f"and the network {len(network.layers)}"
        )
    for ours, theirs in zip(network.layers, against.layers, strict=True):
        if (ours.map_shape, ours.ticks) != (theirs.map_shape, theirs.ticks):
            raise InputError(
                f"--against needs a network of the same shape: its layer {theirs.name} is "
                f"{theirs.map_shape} with T = {theirs.ticks}, and the network's {ours.name} is "
                f"{ours.map_shape} with T = {ours.ticks}"
            )


@dataclasses.dataclass(frozen=True)
class _Waveform:
    """A waveform that was written: where the mismatch is in it, and whether it is of one image."""

    path: Path
    place: str
    alone: bool


def _waveform(
    regression: Regression, traced: Build, image: int, since: int, folder: Path
) -> _Waveform:
    """Simulate one image again and write its waveform.

    Alone if that shows the same trouble: the file is easier to read, and it is soon done. If not,
    what went before matters, and the images of the same simulator since ``since`` go first.
    """
    path = folder / f"image{image}.vcd"
    with atomic_write(path) as temporary:
        log.info("writing the waveform of image %d", image)
        seen = regression.trace(traced, image, image, temporary)
        alone = seen.first is not None or not seen.complete
        if not alone:
            log.info("image %d alone is right: simulating those before it too", image)
            seen = regression.trace(traced, image, since, temporary)
    place = ""
    if seen.first is not None and seen.first.cycle is not None:
        # The clock rises in the middle of a cycle.
        place = f" at {seen.first.cycle * _NS_PER_CYCLE - _NS_PER_CYCLE // 2} ns"
    return _Waveform(path, place, alone)
