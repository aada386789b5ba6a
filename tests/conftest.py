# SPDX-License-Identifier: Apache-2.0
"""Fixtures that every package's tests share: small random networks and images for them.

Hypothesis looks at no clock, and what a failed test has started is ended with it.
"""

import contextlib
import itertools
import os
import signal
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from tests.support.patience import MARK, processes_with
from ttfs_sw.artifact.network import Network, dense_network

settings.register_profile(
    "ttfs", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("ttfs")

#: Whether a test has failed.
FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the tests of a module run in one worker, which makes the module's fixtures once.

    But those that are slow go to whoever is free, and those that share a slow fixture say so.
    """
    for item in items:
        if not any(item.iter_markers("xdist_group")) and not item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.xdist_group(f"{item.path.parent.name}/{item.path.stem}"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Remember of a test that it failed."""
    report = yield
    item.stash[FAILED] = item.stash.get(FAILED, False) or report.failed
    return report


@pytest.fixture(autouse=True)
def descendants(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], list[str]]]:
    """Command lines of the processes that the test has started and that still run.

    Those of a test that failed are killed, so that they do not fail the next one. What fixtures of
    a module or of the session start does not count.
    """
    mark = f"{MARK}={os.getpid()}:{request.node.nodeid}"
    monkeypatch.setenv(*mark.split("=", 1))
    yield lambda: list(processes_with(mark).values())
    if request.node.stash.get(FAILED, False):
        for process in processes_with(mark):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)


@pytest.fixture(scope="session")
def make_network() -> Callable[..., Network]:
    """Make a random dense network; the same arguments make the same one.

    ``make_network(sizes=(12, 9, 5), *, ticks=7, weight_bits=4, seed=0, per_channel=False,
    **more)``: ``sizes`` are the inputs and the neurons of each layer, ``per_channel`` gives every
    channel m and s of its own, and ``more`` goes to :func:`ttfs_sw.artifact.network.dense_network`.
    Biases and slopes fit the weights, so that codes come out silent, in between and saturated.
    """

    def make(sizes=(12, 9, 5), *, ticks=7, weight_bits=4, seed=0, per_channel=False, **more):
        generator = np.random.default_rng(seed)
        hidden = len(sizes) - 2
        ticks = [ticks] * hidden if isinstance(ticks, int) else list(ticks)
        source_ticks = [more.get("input_ticks") or (ticks[0] if ticks else 15), *ticks]
        limit = 1 << (weight_bits - 1)
        weights, biases, multipliers, shifts = [], [], [], []
        for index, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
            weights.append(generator.integers(-limit, limit, (inputs, outputs)))
            # The usual spread of a membrane potential, and the bias that makes up for weights that
            # are -1/2 on average, as two's complement is.
            size = limit * source_ticks[index] * np.sqrt(inputs) / 3
            centre = inputs * source_ticks[index] / 8
            bias = centre + size * generator.uniform(-0.5, 0.5, outputs)
            biases.append(np.rint(bias).astype(int))
            if index < hidden:
                # A code step of 2^s / m, with two sizes filling the window; m has 15 bits where s
                # allows it, so that its low bits matter.
                step = np.full(outputs, 2 * size / ticks[index])
                if per_channel:
                    step = step * generator.uniform(0.3, 3.0, outputs)
                shift = np.clip(np.floor(15 + np.log2(step)), 0, 31).astype(int)
                multiplier = np.clip(np.round(2.0**shift / step), 1, 65535).astype(int)
                multipliers.append(multiplier)
                shifts.append(shift)
        return dense_network(
            weights, biases, multipliers, shifts, ticks, **{"weight_bits": weight_bits, **more}
        )

    return make


@pytest.fixture(scope="session")
def make_images() -> Callable[..., np.ndarray]:
    """Make random pixels for a network: ``make_images(network, count=8, *, density=0.5, seed=0)``.

    Pixels are uint8 ``[count, inputs]``; about ``density`` of them are not 0.
    """

    def make(network, count=8, *, density=0.5, seed=0):
        generator = np.random.default_rng(seed)
        pixels = generator.integers(1, 256, (count, network.inputs))
        pixels *= generator.random(pixels.shape) < density
        return pixels.astype(np.uint8)

    return make
