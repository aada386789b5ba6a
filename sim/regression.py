# SPDX-License-Identifier: Apache-2.0
"""Images through simulated cores, several side by side, each compared as soon as it is complete."""

import contextlib
import dataclasses
import itertools
import selectors
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ttfs_fpga.hdl.compiler.cycles import most_cycles
from ttfs_fpga.hdl.compiler.program import Program
from ttfs_fpga.hdl.core.guard import CoreError
from ttfs_fpga.sim.compare import Comparison
from ttfs_fpga.sim.expected import Expected
from ttfs_fpga.sim.records import Ending
from ttfs_fpga.sim.runner import Build
from ttfs_fpga.sim.simulation import Simulation, simulate
from ttfs_fpga.sim.stimulus import Stimulus
from ttfs_sw.common.errors import FailureError

__all__ = ["Regression", "Stuck"]

#: Cycles without a transfer, beyond the longest that a layer may take, before a core is given up.
_PATIENCE = 20_000


class Stuck(FailureError):
    """The core gave an error or nothing at all before an image was complete.

    Parameters
    ----------
    message : :class:`str`
        What happened.
    image, since : :class:`int`
        Number of the image, and of the first one that the same simulator had.
    """

    def __init__(self, message: str, image: int, since: int):
        super().__init__(message)
        self.image = image
        self.since = since


@dataclasses.dataclass(frozen=True)
class Regression:
    """A network, images, and what they must give.

    Parameters
    ----------
    program : :class:`hdl.compiler.program.Program`
        The network, compiled for the core that is simulated.
    samples : :class:`numpy.ndarray`
        uint8 ``[images, inputs]``.
    expected : :class:`sim.expected.Expected`
        What the golden model says.
    raw : :class:`bool`
        Samples are activation codes, not pixels.
    stall : :class:`int`
        Seed of random pauses on every stream, or 0 for none.
    """

    program: Program
    samples: np.ndarray
    expected: Expected
    raw: bool = False
    stall: int = 0

    @property
    def watchdog(self) -> int:
        """Cycles without a transfer after which the core hangs."""
        program = self.program
        return _PATIENCE + 2 * max(most_cycles(layer, program.config) for layer in program.layers)

    def run(
        self, build: Build, *, jobs: int = 1, fail_fast: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> list[Comparison]:
        """Simulate and compare all images, a share in each of ``jobs`` simulators.

        Parameters
        ----------
        build : :class:`sim.runner.Build`
            The simulator.
        jobs : :class:`int`
            Simulators side by side.
        fail_fast : :class:`bool`
            Stop at the first mismatch.
        progress : callable or ``None``
            Called as ``progress(done, total)`` with numbers of images.

        Raises
        ------
        :exc:`Stuck`
            If a core gives an error or nothing at all before its images are complete.
        :exc:`ttfs_sw.common.errors.FailureError`
            If a simulator fails.
        """
        images = len(self.samples)
        starts = np.linspace(0, images, min(jobs, images) + 1).astype(int).tolist()
        comparisons = []
        with contextlib.ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ttfs-cosim-")))
            waiting = stack.enter_context(selectors.DefaultSelector())
            for job, (start, stop) in enumerate(itertools.pairwise(starts)):
                stimulus = folder / f"job{job}.bin"
                self.stimulus(start, stop).write(stimulus)
                simulation = stack.enter_context(simulate(
                    build, stimulus, watchdog=self.watchdog,
                    stall=self.stall + job if self.stall else 0,
                ))
                comparison = self._comparison(start, stop)
                comparisons.append(comparison)
                waiting.register(simulation, selectors.EVENT_READ, (simulation, comparison))
            while waiting.get_map():
                for key, _ in waiting.select():
                    simulation, comparison = key.data
                    content = simulation.read()
                    comparison.feed(content)
                    if not content:
                        waiting.unregister(simulation)
                        self._check(comparison, simulation)
                    if fail_fast and comparison.first is not None:
                        return comparisons
                if progress is not None:
                    progress(sum(comparison.done for comparison in comparisons), images)
        return comparisons

    def trace(self, build: Build, image: int, since: int, waves: Path) -> Comparison:
        """Simulate one image again, after the images from ``since`` on, and write its waveform."""
        with tempfile.TemporaryDirectory(prefix="ttfs-cosim-") as folder:
            stimulus = Path(folder) / "trace.bin"
            made = Stimulus().writes(self.program.writes())
            if since < image:
                self._images(made, since, image)
            self._images(made.waves(), image, image + 1).finish().write(stimulus)
            comparison = self._comparison(since, image + 1)
            with simulate(
                build, stimulus, watchdog=self.watchdog, stall=self.stall, waves=waves
            ) as simulation:
                while content := simulation.read():
                    comparison.feed(content)
                if comparison.end is None:
                    raise simulation.failure()
        return comparison

    def stimulus(self, start: int, stop: int) -> Stimulus:
        """What the harness needs for the images from ``start`` up to ``stop``."""
        made = Stimulus().writes(self.program.writes())
        return self._images(made, start, stop).finish()

    def _images(self, made: Stimulus, start: int, stop: int) -> Stimulus:
        return made.images(self.samples[start:stop], raw=self.raw, pairs=self.program.pairs)

    def _comparison(self, start: int, stop: int) -> Comparison:
        return Comparison(self.expected.slice(start, stop), self.program.config, start)

    def _check(self, comparison: Comparison, simulation: Simulation) -> None:
        """Refuse a simulation that ended without all its images."""
        end = comparison.end
        if end is None:
            raise simulation.failure()
        if end.reason == Ending.DONE and comparison.complete:
            return
        reason = {
            Ending.DONE: "answered",
            Ending.HANG: f"gave nothing for {self.watchdog} cycles",
            Ending.CORE_ERROR: f"gave error {end.error} ({_error_name(end.error)})",
            Ending.BAD_STIMULUS: "got a damaged stimulus",
        }[end.reason]
        image = comparison.first_image + comparison.done
        raise Stuck(
            f"image {image}: the core {reason}, and {comparison.waits_for()}",
            image, comparison.first_image,
        )


def _error_name(error: int) -> str:
    """What the core's documentation calls an error."""
    try:
        return CoreError(error).name
    except ValueError:
        return "unknown"
