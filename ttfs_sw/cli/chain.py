# SPDX-License-Identifier: Apache-2.0
"""The whole chain on handwritten digits: train, evaluate, co-simulate, build, boot, and show.

Every step is the function that the verb of the same name calls; this module only ties them together
and draws one image's spikes as the golden model and as the RTL gave them.
"""

import contextlib
import dataclasses
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ttfs_sw import golden
from ttfs_sw.artifact.network import Network
from ttfs_sw.common.errors import FailureError
from ttfs_sw.common.files import output_folder, write_json
from ttfs_sw.common.progress import Progress, bar
from ttfs_sw.common.report import Report
from ttfs_sw.data import datasets
from ttfs_sw.golden import evaluation
from ttfs_sw.link import inference
from ttfs_sw.training import config as configuration

if TYPE_CHECKING:
    from ttfs_fpga.boards.registry import Board
    from ttfs_fpga.boards.reports import Clock, Latency, Utilization
    from ttfs_fpga.sim.reports import LayerCycles
    from ttfs_sw.common.report import Spread

__all__ = ["BOARD", "PRESET", "Demonstration", "run"]

log = logging.getLogger(__name__)

PRESET = "digits-mlp"
BOARD = "icebreaker"

#: Names of the steps, in order.
STEPS = ("train", "evaluate", "cosim", "build", "board", "pictures")

#: Test images that the whole board classifies, simulated at its pins.
BOARD_IMAGES = 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Demonstration(Report):
    """What the whole chain found.

    Parameters
    ----------
    preset, dataset, board : :class:`str`
        What was trained, on what, and what it was built for.
    accuracy : :class:`dict`
        Share of the test images that the ``float`` network, the ``network`` of integers and the
        ``rtl`` recognise.
    sizes : list of :class:`int`
        Inputs, and neurons of each layer.
    spikes_per_neuron, events_input, events_hidden
        As in :class:`ttfs_sw.golden.evaluation.Summary`.
    images, mismatched_images, mismatched_events, cycles, roofline_cycles, over_target, over_limit,
    layers, simulator
        As in :class:`sim.reports.Cosimulation`.
    board_images, board_mismatched_images : :class:`int`
        Images that the whole board classified, simulated at its pins, after it booted the flash
        image; and how many of them differ.
    utilization, fmax_mhz, clock_mhz, latency_us, toolchain
        As in :class:`boards.reports.BuildReport`.
    network_sha256 : :class:`str`
        Of the network.
    pictures : list of :class:`str`
        Paths of the pictures.
    files, steps : :class:`dict`
        Paths by what they are, and seconds by step.
    seconds : :class:`float`
        Of all steps.
    """

    preset: str
    dataset: str
    board: str
    accuracy: dict[str, float]
    sizes: list[int]
    spikes_per_neuron: float
    events_input: float
    events_hidden: list[float]
    images: int
    mismatched_images: int
    mismatched_events: int
    cycles: "Spread"
    roofline_cycles: "Spread"
    over_target: int
    over_limit: int
    layers: "list[LayerCycles]"
    simulator: str
    board_images: int
    board_mismatched_images: int
    utilization: "dict[str, Utilization]"
    fmax_mhz: "dict[str, Clock]"
    clock_mhz: float
    latency_us: "Latency | None"
    toolchain: str
    network_sha256: str
    pictures: list[str]
    files: dict[str, str]
    steps: dict[str, float]
    seconds: float


def run(
    output_dir: Path,
    *,
    board: "Board",
    preset: str = PRESET,
    simulator: str = "verilator",
    jobs: int = 2,
    overrides: dict[str, Any] | None = None,
    quiet: bool = False,
) -> Demonstration:
    """Take a preset from its images to a bitstream and put everything into a folder.

    Parameters
    ----------
    output_dir : :class:`pathlib.Path`
        Gets the run: ``network.npz``, the reports, the board's files and the pictures.
    board : :class:`boards.registry.Board`
        What to build for; the RTL is simulated in the sizes of its core.
    preset : :class:`str`
        What to train.
    simulator : :class:`str`
        ``"verilator"`` or ``"icarus"``.
    jobs : :class:`int`
        Simulators side by side.
    overrides : :class:`dict`, optional
        Values of the preset to replace, as for :func:`ttfs_sw.training.config.load`.
    quiet : :class:`bool`
        Draw no progress bars.

    Raises
    ------
    :exc:`ttfs_sw.common.errors.ToolError`
        If the simulator or a tool of the board's toolchain is missing, before anything is trained.
    :exc:`ttfs_sw.common.errors.FailureError`
        If the board's clock is missed, or a tool fails.
    """
    from ttfs_fpga.boards.build import build
    from ttfs_fpga.boards.toolchain import find_toolchain
    from ttfs_fpga.sim import cosim
    from ttfs_fpga.sim.device import SimulatedBoard
    from ttfs_fpga.sim.simulators import find_simulator

    toolchain = find_toolchain(board.family)
    find_simulator(simulator)
    folder = output_folder(output_dir)
    config = configuration.load(preset, overrides)
    data = datasets.load(config.dataset)
    steps = _Steps(quiet)

    with steps.step("train") as progress:
        # Takes seconds to import, so not before anything else could fail.
        from ttfs_sw.training.train import train

        trained = train(config, data, folder, progress)
    network = Network.load(folder / "network.npz")
    with steps.step("evaluate") as progress:
        evaluated = evaluation.evaluate(network, data.x_test, data.y_test, progress=progress)
    with steps.step("cosim") as progress:
        compared = cosim.run(
            network, data.x_test, data.y_test, config=board.config, simulator=simulator,
            jobs=jobs, waves_dir=folder / "cosim", progress=progress,
        )
    if compared.first_mismatch is not None:
        write_json(output_folder(folder / "cosim") / "cosim.json", compared.as_dict())
        raise FailureError(
            f"{compared.mismatched_images} of {compared.images} images differ from the "
            f"golden model; first: {compared.first_mismatch.message}"
        )
    assert compared.accuracy is not None, "there are images, and they have labels"
    assert compared.cycles is not None and compared.roofline_cycles is not None
    with steps.step("build") as progress:
        built = build(
            network, board, output_dir=folder / board.name, cycles=compared.cycles,
            toolchain=toolchain, progress=progress,
        )
    with steps.step("board") as progress:
        flash = Path(built.files["image"]).read_bytes()
        with inference.switched_on(SimulatedBoard(board, flash, simulator=simulator)) as client:
            inferred = inference.infer(
                client, network, data.x_test[:BOARD_IMAGES], data.y_test[:BOARD_IMAGES],
                progress=progress,
            )
    if inferred.mismatched_images:
        raise FailureError(f"the board differs from the golden model: {inferred.first_mismatch}")
    with steps.step("pictures"):
        pictures = [
            draw_raster(folder / "raster.png", network, data, board, simulator),
            folder / "learning_curve.png",
        ]
    return Demonstration(
        preset=config.name,
        dataset=data.name,
        board=board.name,
        accuracy={
            "float": trained.accuracy_float,
            "network": evaluated.accuracy,
            "rtl": compared.accuracy,
        },
        sizes=[network.inputs, *(layer.outputs for layer in network.layers)],
        spikes_per_neuron=evaluated.spikes_per_neuron,
        events_input=evaluated.events_input,
        events_hidden=evaluated.events_hidden,
        images=compared.images,
        mismatched_images=compared.mismatched_images,
        mismatched_events=compared.mismatched_events,
        cycles=compared.cycles,
        roofline_cycles=compared.roofline_cycles,
        over_target=compared.over_target,
        over_limit=compared.over_limit,
        layers=compared.layers,
        simulator=compared.simulator,
        board_images=inferred.images,
        board_mismatched_images=inferred.mismatched_images,
        utilization=built.utilization,
        fmax_mhz=built.fmax_mhz,
        clock_mhz=built.clock_mhz,
        latency_us=built.latency_us,
        toolchain=built.toolchain,
        network_sha256=network.sha256,
        pictures=[str(picture) for picture in pictures],
        files={"network": str(folder / "network.npz"), **built.files},
        steps=steps.seconds,
        seconds=sum(steps.seconds.values()),
    )


def draw_raster(
    path: Path, network: Network, data: datasets.Dataset, board: "Board", simulator: str
) -> Path:
    """Draw the first test image's spikes, those of the golden model and those of the RTL overlaid.

    The RTL's come from a simulation of that image, and not from the golden model in any way.
    """
    from ttfs_fpga.sim.spikes import rtl_spike_times
    from ttfs_sw.common import plot

    pixels, label = data.x_test[0], int(data.y_test[0])
    trace = golden.run(network, pixels[np.newaxis])
    seen = rtl_spike_times(network, pixels, config=board.config, simulator=simulator)
    times = np.int64(network.input_ticks) - trace.input_codes[0]
    # The input is encoded inside the core and has no monitor.
    layers = [{"name": "input", "ticks": network.input_ticks, "golden_times": times}]
    for index, layer in enumerate(network.layers[:-1]):
        layers.append({
            "name": layer.name, "ticks": layer.ticks,
            "golden_times": trace.spike_times(index)[0], "rtl_times": seen[index],
        })
    plot.raster(
        path, layers, image=pixels.reshape(data.shape), logits=trace.logits[0], label=label,
        title=f"{network.preset}: every spike of test image 0",
    )
    return path


class _Steps:
    """Announces the steps, draws their bars and times them.

    Attributes
    ----------
    seconds : :class:`dict`
        How long each step took, by name.
    """

    def __init__(self, quiet: bool):
        self.seconds: dict[str, float] = {}
        self._quiet = quiet

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[Progress | None]:
        """Run the block as the step ``name``."""
        log.info("[%d/%d] %s", 1 + STEPS.index(name), len(STEPS), name)
        started = time.monotonic()
        with bar(name, quiet=self._quiet) as progress:
            yield progress
        self.seconds[name] = round(time.monotonic() - started, 2)
