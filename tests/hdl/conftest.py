# SPDX-License-Identifier: Apache-2.0
"""What the tests share: checked memories, ends of streams, simulations, random networks."""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from types import SimpleNamespace

import numpy as np
import pytest
from amaranth.hdl import Assert, Module
from amaranth.lib import memory
from amaranth.sim import Simulator

from tests.support.integer_networks import make_network, shaped_network
from ttfs_fpga.hdl.compiler.cycles import cycle_terms, most_cycles
from ttfs_fpga.hdl.shapes import Memory
from ttfs_fpga.hdl.table import ENTRY_WORDS, FIELDS, HEADER_FIELDS, checksum
from ttfs_fpga.hdl.testing import watchdog
from ttfs_sw import golden


class CheckedMemory(memory.Memory):
    """A memory that ends the simulation when a word is read in the cycle in which it is written.

    Amaranth's simulator gives the old word then. Boards are built without the logic that would make
    block RAM do the same, so what a chip gives is undefined.
    """

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = super().elaborate(platform)
        for read in self.read_ports:
            for write in self.write_ports:
                collision = read.en & write.en.any() & (read.addr == write.addr)
                m.d.sync += Assert(~collision, "a memory word is read while it is written")
        return m


@pytest.fixture(scope="module", autouse=True)
def checked_memories() -> Iterator[None]:
    """Every memory of every simulation under this folder is a :class:`CheckedMemory`.

    And only under this folder: what is built elsewhere is what is shipped.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "Memory", CheckedMemory)
        yield


class Source:
    """Offers values to an input stream, with idle cycles between them at random.

    ``run`` is the testbench; ``cycles`` says when each value was taken, counted from the start of
    the simulation.
    """

    def __init__(self, stream, values, *, pause: float = 0.0, seed: int = 0):
        self.stream, self.values, self.pause = stream, list(values), pause
        self.rng = np.random.default_rng(seed)
        self.cycles: list[int] = []

    async def run(self, ctx) -> None:
        cycle = 0
        for value in self.values:
            while self.pause and self.rng.random() < self.pause:
                await ctx.tick()
                cycle += 1
            ctx.set(self.stream.payload, value)
            ctx.set(self.stream.valid, 1)
            ready = 0
            while not ready:
                _, _, ready = await ctx.tick().sample(self.stream.ready)
                cycle += 1
            ctx.set(self.stream.valid, 0)
            self.cycles.append(cycle - 1)


class Sink:
    """Takes transfers from an output stream, with back-pressure at random, and checks its rules.

    Once valid, neither valid nor payload may change until the transfer. ``run`` is the testbench
    and ends after ``count`` transfers, or never; ``values`` are what was taken, ``cycles`` when.
    """

    def __init__(self, stream, count: int | None = None, *, pause: float = 0.0, seed: int = 0):
        self.stream, self.count, self.pause = stream, count, pause
        self.rng = np.random.default_rng(seed)
        self.values: list = []
        self.cycles: list[int] = []

    async def run(self, ctx) -> None:
        cycle, offered, settable = 0, None, self.stream.signature.always_ready is False
        while self.count is None or len(self.values) < self.count:
            ready = not self.pause or self.rng.random() >= self.pause
            if settable:
                ctx.set(self.stream.ready, int(ready))
            _, _, valid, payload = await ctx.tick().sample(self.stream.valid, self.stream.payload)
            if offered is not None:
                assert valid and payload == offered, f"changed before its transfer: {offered}"
            offered = payload if valid and not ready else None
            if valid and ready:
                self.values.append(payload)
                self.cycles.append(cycle)
            cycle += 1


def run(dut, *testbenches, background=(), cycles: int = 20_000) -> None:
    """Simulate until every one of ``testbenches`` has ended; fail after so many cycles."""
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    for testbench in testbenches:
        simulator.add_testbench(testbench)
    for testbench in (*background, watchdog(cycles)):
        simulator.add_testbench(testbench, background=True)
    simulator.run()


@dataclasses.dataclass
class Answer:
    """What the core said of one image.

    ``spikes`` are (layer that reads, place in the map memory, code), as they came. ``complete`` is
    the cycle of the last sample that was taken before the answer, ``finished`` the one in which the
    last logit became valid.
    """

    spikes: list
    logits: list
    winner: int
    statistics: list
    cycles: int
    complete: int
    finished: int


class CoreBench:
    """A core, and the testbenches that load networks, send images and take answers."""

    def __init__(self, core, *, i_pause: float = 0.0, o_pause: float = 0.0, seed: int = 0):
        self.core = core
        self.i_pause, self.o_pause = i_pause, o_pause
        self.rng = np.random.default_rng(seed)
        self.answers: list[Answer] = []
        #: What the image that is computed has said so far.
        self.spikes: list = []
        self.statistics: list = []
        self.logits: list = []
        #: Samples that were taken while an image was computed.
        self.overlapped = 0

    async def load(self, ctx, program, count=None, *, skip=()):
        """Write a program's memories, or some not, or only the first ``count`` words of them."""
        port = self.core.load
        ctx.set(port.valid, 1)
        writes = (write for write in program.writes() if write[0] not in skip)
        for which, address, value in itertools.islice(writes, count):
            ctx.set(port.payload, {"memory": which, "address": address, "data": value})
            await ctx.tick().until(port.ready)
        ctx.set(port.valid, 0)

    async def send(self, ctx, values, *, raw=False):
        """Send samples; the last one of an image starts it."""
        port = self.core.i
        for value in values:
            while self.i_pause and self.rng.random() < self.i_pause:
                await ctx.tick()
            ctx.set(port.payload, {"value": int(value), "raw": int(raw)})
            ctx.set(port.valid, 1)
            busy, = await ctx.tick().sample(self.core.busy).until(port.ready)
            self.overlapped += busy
            ctx.set(port.valid, 0)

    async def answered(self, ctx, count):
        """Wait until so many images have been answered since the beginning."""
        while len(self.answers) < count:
            await ctx.tick()

    async def monitor(self, ctx):
        """Take answers for ever."""
        core = self.core
        cycle = complete = appeared = counted = 0
        ports = (core.spikes.valid, core.spikes.payload, core.statistics.valid,
                 core.statistics.payload, core.o.valid, core.o.payload, core.cycles,
                 core.i.valid & core.i.ready)
        offered = None
        done: tuple[list, list] = [], []
        while True:
            ready = not self.o_pause or self.rng.random() >= self.o_pause
            ctx.set(core.o.ready, int(ready))
            _, _, s_valid, spike, t_valid, stats, valid, logit, cycles, taken = (
                await ctx.tick().sample(*ports))
            if taken:
                complete = cycle
            if s_valid:
                self.spikes.append((spike.layer, spike.place, spike.code))
            if t_valid:
                self.statistics.append((stats.layer, stats.events, stats.clock))
            if offered is not None:
                assert valid and logit == offered
            elif valid:
                appeared, counted = cycle, cycles
                if logit.last:
                    # While this logit waits the next image may be computed already.
                    done = self.spikes, self.statistics
                    self.spikes, self.statistics = [], []
            offered = logit if valid and not ready else None
            if valid and ready:
                assert logit.index == len(self.logits)
                self.logits.append(logit.value)
                if logit.last:
                    self.answers.append(Answer(done[0], self.logits, logit.winner, done[1],
                                               counted, complete, appeared))
                    self.logits = []
            cycle += 1

    def forget(self):
        """An image has been answered, or will never be."""
        self.spikes, self.statistics, self.logits = [], [], []

    def run(self, testbench, *, dut=None, cycles=100_000):
        """Simulate the core, or what was made of it, and give the answers."""
        run(dut or self.core, testbench, background=(self.monitor,), cycles=cycles)
        return self.answers


def run_core(core, jobs, **options) -> list[Answer]:
    """Answers to jobs, (program or None to leave what is there, images), one after another."""
    core_bench = CoreBench(core, **options)

    async def testbench(ctx):
        done = 0
        for program, images in jobs:
            if program is not None:
                await core_bench.load(ctx, program)
            done += len(images)
            for pixels in images:
                await core_bench.send(ctx, pixels)
            await core_bench.answered(ctx, done)

    return core_bench.run(testbench)


def check(network, program, images, answers, *, on_time=True, encoded=False) -> None:
    """Compare answers with the golden model, and the cycles of each layer with their limit."""
    trace = golden.run(network, np.asarray(images, np.uint8), backend="numpy", encoded=encoded)
    assert len(answers) == len(images)
    for n, answer in enumerate(answers):
        for index, plan in enumerate(program.layers):
            seen = sorted((place, code) for layer, place, code in answer.spikes if layer == index)
            # What a layer reads of the input map is not shown.
            wanted = [
                (place, code) for source, neurons in maps_read(plan) if source >= 0
                for place, neuron in enumerate(neurons)
                if neuron >= 0 and (code := int(trace.codes[source][n][neuron]))]
            assert seen == sorted(wanted)
        assert answer.logits == trace.logits[n].tolist()
        assert answer.winner == trace.winners[n]
        events = [sum(int(trace.events[n, 1 + source]) for source, _ in maps_read(plan))
                  for plan in program.layers]
        assert [count for _, count, _ in answer.statistics] == events
        assert [layer for layer, _, _ in answer.statistics] == list(range(len(events)))
        # The image ends with its last layer.
        clocks = [clock for _, _, clock in answer.statistics]
        assert clocks == sorted(clocks) and clocks[-1] == answer.cycles
        taken = np.diff(clocks, prepend=0)
        judged = len(taken) if on_time else -1
        assert (taken[:judged] <= limits(network, program, trace, n)[:judged]).all()


def limits(network, program, trace, n: int) -> list[int]:
    """Most cycles of each layer for image ``n`` by docs/core.md."""
    def codes(source):
        return None if source is None else (
            trace.input_codes if source < 0 else trace.codes[source])[n:n + 1]

    maps = {index: codes(index) for index in range(-1, len(trace.codes))}
    found = []
    for plan, layer in zip(program.layers, network.layers, strict=True):
        size = plan.rows, layer.out_shape[1] - layer.out_shape[1] % layer.pool
        potentials = golden.potentials(network, layer, maps)[:, :size[0], :size[1]]
        firing = np.array([np.count_nonzero(potentials >= plan.fire_threshold)])
        found.append(int(cycle_terms(
            plan, program.config, codes(plan.source), firing, codes(layer.second_source)).sum()))
        assert found[-1] <= most_cycles(plan, program.config)
    return found


def maps_read(plan) -> list[tuple[int, np.ndarray]]:
    """The maps that a layer reads, and the neuron at each place of their memory."""
    read = [(plan.source, plan.source_neurons)]
    if plan.residual is not None:
        read.append((plan.residual.source, plan.residual.neurons))
    return read


def some_images(rng, inputs: int, count: int = 2) -> np.ndarray:
    """Random images dense and sparse, a silent one, and one with everything on."""
    dense = rng.integers(0, 256, (count, inputs))
    sparse = dense[::-1] * (rng.random((count, inputs)) < 0.15)
    return np.concatenate([dense, np.zeros((1, inputs), int), np.full((1, inputs), 255), sparse])


def transfers(rng, samples: Sequence, run: int, share: float = 0.7) -> Iterator[dict]:
    """Payloads that bring an image in runs of so many samples, some of them in pairs.

    ``samples`` are (value, raw). ``share`` is of those that may be the first of a pair: they have
    an even number within their run, the next one is in it too, and both are raw or neither.
    """
    left = list(enumerate(samples))
    while left:
        number, (value, raw) = left.pop(0)
        payload = {"value": int(value), "raw": int(raw)}
        number %= run
        if (left and number % 2 == 0 and number + 1 < run and left[0][1][1] == raw
                and rng.random() < share):
            payload |= {"pair": 1, "second": int(left.pop(0)[1][0])}
        else:
            # What is not looked at.
            payload |= {"second": int(rng.integers(256))}
        yield payload


def with_words(program, words: dict[int, int], *, sealed: bool = True):
    """The program with other words in its layer table, and with a checksum that agrees."""
    table = program.memories[Memory.TABLE] | words
    if sealed:
        table[HEADER_FIELDS["checksum"].word] = checksum(table, program.config.table_words)
    return dataclasses.replace(program, memories=program.memories | {Memory.TABLE: table})


def with_fields(program, layer: int | None, *, sealed: bool = True, **values: int):
    """The program with other fields in a layer's entry, or in the header if it is None."""
    table, words = program.memories[Memory.TABLE], {}
    for name, value in values.items():
        field = HEADER_FIELDS[name] if layer is None else FIELDS[name]
        word = field.word + (0 if layer is None else ENTRY_WORDS * (1 + layer))
        kept = words.get(word, table.get(word, 0)) & ~(((1 << field.width) - 1) << field.offset)
        words[word] = kept | value << field.offset
    return with_words(program, words, sealed=sealed)


@pytest.fixture(scope="session")
def bench() -> SimpleNamespace:
    """What test modules cannot import from here: testbenches, and runs of a whole core."""
    return SimpleNamespace(
        run=run, Source=Source, Sink=Sink, CoreBench=CoreBench, run_core=run_core, check=check,
        some_images=some_images, shaped_network=shaped_network, transfers=transfers,
        with_fields=with_fields, with_words=with_words)


@pytest.fixture(scope="session")
def random_network():
    """Gives :func:`make_network`, which test modules cannot import."""
    return make_network
