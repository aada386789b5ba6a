# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the co-simulation: records as a right core would give them, and real simulators."""

from collections.abc import Callable, Iterable

import pytest
from amaranth.lib import data

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.shapes import logit_shape, spike_shape, statistics_shape
from ttfs_fpga.sim.expected import Expected
from ttfs_fpga.sim.records import Kind
from ttfs_fpga.sim.simulators import Simulator, find_simulator
from ttfs_sw.common.errors import ToolError

#: A record before it is packed: its kind, the fields of its payload, and the cycle.
Event = tuple[Kind, dict[str, int], int]


@pytest.fixture(scope="session")
def config() -> CoreConfig:
    """A small core with the widest weights, codes and accumulators, that takes pairs."""
    return CoreConfig(
        lanes=4, weight_bits=8, tick_bits=8, accumulator_bits=32, weight_words=1024,
        membrane_words=64, input_words=64, map_words=64, slopes=128, layers=15, samples=2,
    )


@pytest.fixture(scope="session")
def perform() -> Callable[[Expected], list[Event]]:
    """What a right core hands out, one thing a cycle: ``perform(expected)``, without the end."""

    def events(expected: Expected) -> list[Event]:
        made = []

        def give(kind, **fields):
            made.append((kind, fields, len(made)))

        for image in range(expected.images):
            for layer in range(len(expected.layers)):
                # A layer shows what it reads, by the place in the map memory.
                for source, places in (
                        (expected.sources[layer], expected.places[layer]),
                        (expected.seconds[layer], expected.second_places[layer])):
                    for place, neuron in enumerate(places.tolist() if source >= 0 else []):
                        code = int(expected.codes[source][image, neuron]) if neuron >= 0 else 0
                        if code:
                            give(Kind.SPIKE, layer=layer, place=place, code=code)
                count = int(expected.events[image, layer])
                give(Kind.STATISTICS, layer=layer, events=count, clock=sum(range(100, 101 + layer)))
            logits = expected.logits[image].tolist()
            for index, value in enumerate(logits):
                winner, last = int(expected.winners[image]), index + 1 == len(logits)
                give(Kind.LOGIT, index=index, value=value, winner=winner, last=int(last))
            give(Kind.CYCLES, cycles=1000 + image)
        return made

    return events


@pytest.fixture(scope="session")
def pack() -> Callable[[CoreConfig, Iterable[Event]], bytes]:
    """Records of events as the harness packs them: ``pack(config, events)``."""

    def bytes_of(config: CoreConfig, events: Iterable[Event]) -> bytes:
        shapes = {
            Kind.SPIKE: spike_shape(config),
            Kind.STATISTICS: statistics_shape(config),
            Kind.LOGIT: logit_shape(config),
            Kind.CYCLES: data.StructLayout({"cycles": 24}),
            Kind.END: data.StructLayout({"reason": 8, "error": 4, "images": 32}),
        }
        words = (
            shapes[kind].const(fields).as_bits() | cycle << 80 | kind << 120
            for kind, fields, cycle in events
        )
        return b"".join(word.to_bytes(16, "little") for word in words)

    return bytes_of


def installed(name: str) -> Simulator:
    """A simulator, or skip the test."""
    try:
        return find_simulator(name)
    except ToolError as error:
        pytest.skip(str(error))


@pytest.fixture
def verilator() -> Simulator:
    """Verilator, the fast one."""
    return installed("verilator")


@pytest.fixture
def icarus() -> Simulator:
    """Icarus, which builds in no time."""
    return installed("icarus")


@pytest.fixture(params=[
    pytest.param("verilator", marks=pytest.mark.verilator),
    pytest.param("icarus", marks=pytest.mark.icarus),
])
def simulator(request) -> Simulator:
    """Each of the two."""
    return installed(request.param)


@pytest.fixture
def pair(make_network):
    """Two networks of the same shape."""
    return make_network((12, 9, 8, 4), seed=1), make_network((12, 9, 8, 4), seed=2)
