# SPDX-License-Identifier: Apache-2.0
"""The loader: from the bytes of a network image to writes to the core's load port."""

from typing import TYPE_CHECKING

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import crc, data, stream, wiring
from amaranth.lib.crc import catalog
from amaranth.lib.wiring import In, Out

from ttfs_fpga.boards.image import FORMAT_VERSION, MAGIC, length_bits, memory_depths, section_shape
from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.shapes import Memory, load_shape
from ttfs_sw.link.protocol import LoadState, Source

if TYPE_CHECKING:
    # Amaranth has no types; but its enumerations are Python's, with a shape besides.
    import enum
else:
    from amaranth.lib import enum

__all__ = ["ImageLoader"]


class Stage(enum.Enum, shape=4):
    """What the loader is about to do: which word comes next, or none."""

    IDLE = 0
    INVALIDATE = 1
    IDENTITY = 2
    LENGTH = 3
    INPUTS = 4
    SECTION = 5
    DATA = 6
    WRITE = 7
    CHECKSUM = 8


class ImageLoader(wiring.Component):
    """Checks a network image while it streams into the core, and stores none of it.

    First the header of the layer table is made invalid, so that the core waits. Then each word is
    checked and passed on as it comes; the image writes the table's header last. When anything is
    wrong, in the end the checksum, the header is made invalid again and ``state`` says why.

    Bytes that come when no image is being loaded are dropped, so whoever sends them never waits in
    vain. A byte takes 10 cycles, and five more where it completes a word.

    Parameters
    ----------
    config : :class:`hdl.CoreConfig`
        The core that the image must have been made for.
    inputs : :class:`int`, optional
        The core's memories have initial contents, a network with so many inputs.

    Members
    -------
    start : In(1)
        A new image comes from ``source``, whatever happened before; a write that waits is dropped.
    source : In(Source)
        Looked at with ``start``.
    stop : In(1)
        No more bytes come: an image that is not complete is none.
    i : In(stream.Signature(8))
        The image.
    load : Out(stream.Signature(load_shape()))
        Writes to the core's memories.
    active : Out(1)
        Bytes of an image are wanted.
    state : Out(LoadState)
        Whether there is a valid network, or why not.
    loaded_from : Out(Source)
        Where the last image came from.
    last_input : Out(config.neuron_bits)
        Number of the network's last input.
    """

    def __init__(self, config: CoreConfig, inputs: int | None = None):
        self._config = config
        built_in = inputs is not None
        last_input = 0 if inputs is None else inputs - 1
        super().__init__({
            "start": In(1),
            "source": In(Source),
            "stop": In(1),
            "i": In(stream.Signature(8)),
            "load": Out(stream.Signature(load_shape())),
            "active": Out(1),
            "state": Out(LoadState, init=LoadState.READY if built_in else LoadState.EMPTY),
            "loaded_from": Out(Source, init=Source.BUILT_IN if built_in else Source.NONE),
            "last_input": Out(config.neuron_bits, init=last_input),
        })

    def elaborate(self, platform):
        m = Module()
        # Bit by bit: a byte takes longer to come from flash or line than its eight cycles here.
        m.submodules.crc = checker = crc.Parameters(catalog.CRC32_ISO_HDLC, data_width=1).create()

        stage = Signal(Stage)
        byte = Signal(8, reset_less=True)
        word = Signal(32, reset_less=True)
        bit = Signal(5, reset_less=True)  # of the word, the next to come
        shifting = Signal()
        # One after the other, each for one cycle: the word is there, what it is compared with is
        # known, and whether it is good.
        whole, compared, complete = Signal(), Signal(), Signal()
        failed = Signal()  # in the cycle before: what has begun meanwhile is undone
        opening = Signal()  # in the cycle before a write
        ready, active = Signal(), Signal()
        taken = Signal()
        m.d.comb += [
            self.i.ready.eq(ready),
            self.active.eq(active),
            taken.eq(self.i.valid & ready & active),
            checker.data.eq(byte[0]),
            checker.valid.eq(shifting),
        ]
        m.d.sync += [
            failed.eq(0),
            whole.eq(shifting & (bit == 31)), compared.eq(whole), complete.eq(compared),
            ready.eq(~((self.i.valid & ready) | shifting | whole | compared | complete
                       | opening | self.load.valid | failed | self.start)),
        ]
        with m.If(shifting):
            m.d.sync += [
                Cat(word, byte).eq(Cat(word, byte)[1:]),
                bit.eq(bit + 1),
                shifting.eq(bit[:3] != 7),
            ]
        with m.If(taken):
            m.d.sync += [byte.eq(self.i.payload), shifting.eq(1)]

        # The first three words must be these. They are compared as they shift in, a bit late.
        expected = Const(MAGIC | FORMAT_VERSION << 32 | self._config.fingerprint << 64, 96)
        field = Signal(2, reset_less=True)
        wanted, shifted = Signal(reset_less=True), Signal()
        unexpected = Signal(reset_less=True)
        m.d.sync += [wanted.eq(expected.bit_select(Cat(bit, field), 1)), shifted.eq(shifting)]
        with m.If(shifted & (word[-1] != wanted)):
            m.d.sync += unexpected.eq(1)

        # Both count the words that come after this one: of the payload, and of its section.
        left = Signal(length_bits(self._config), reset_less=True)
        section_left = Signal(section_shape()["more"].shape, reset_less=True)
        memory = Signal(section_shape()["memory"].shape, reset_less=True)
        address = Signal(range(max(memory_depths(self._config).values())), reset_less=True)
        section = data.View(section_shape(), word)
        m.d.comb += [
            self.load.p.memory.as_value().eq(memory),
            self.load.p.address.eq(address),
            self.load.p.data.eq(word),
        ]

        # Comparisons are registers, and so is what follows from them: it shortens the paths.
        no_more, no_more_in_section = Signal(reset_less=True), Signal(reset_less=True)
        too_long, nowhere = Signal(reset_less=True), Signal(reset_less=True)
        matches = Signal(reset_less=True)
        # With a complete word: it is bad, or loading ends with it; and what the state is then.
        bad, ends = Signal(reset_less=True), Signal(reset_less=True)
        state = Signal(LoadState, reset_less=True)
        m.d.sync += [
            no_more.eq(left == 0),
            no_more_in_section.eq(section_left == 0),
            too_long.eq(word[len(left):] != 0),
            nowhere.eq((section.memory > max(item.value for item in Memory))
                       | (section.address[len(address):] != 0)),
            matches.eq(checker.match_detected),
        ]

        def good_if(good, reason):
            m.d.sync += [bad.eq(~good), ends.eq(~good), state.eq(reason)]

        def fail(reason):
            m.d.sync += [failed.eq(1), active.eq(0), self.state.eq(reason)]

        # A stage ends with its word, or when its write has been taken. What it is, and which one is
        # next, is known before: a stage is at least two cycles long.
        written, ending = Signal(), Signal()
        next_stage = Signal(Stage, reset_less=True)
        at_length, at_section, writing = Signal(), Signal(), Signal()
        counting = Signal()  # the stage is for one of the words that are counted
        m.d.comb += [
            written.eq(self.load.valid & self.load.ready),
            ending.eq(complete | written),
        ]
        m.d.sync += [
            opening.eq(0),
            at_length.eq(stage == Stage.LENGTH),
            at_section.eq(stage == Stage.SECTION),
            writing.eq(stage == Stage.WRITE),
            counting.eq((stage == Stage.INPUTS) | (stage == Stage.SECTION)
                        | (stage == Stage.WRITE)),
        ]
        with m.If(opening):
            m.d.sync += self.load.valid.eq(1)
        with m.If(written):
            m.d.sync += self.load.valid.eq(0)
        with m.If(ending):
            m.d.sync += stage.eq(next_stage)
        with m.If(at_length):
            m.d.sync += left.eq(word)
        with m.Elif(ending & counting):
            m.d.sync += left.eq(left - 1)
        with m.If(at_section):
            m.d.sync += [
                section_left.eq(section.more),
                memory.eq(section.memory),
                address.eq(section.address),
            ]
        with m.Elif(written & writing):
            m.d.sync += [section_left.eq(section_left - 1), address.eq(address + 1)]

        with m.Switch(stage):
            with m.Case(Stage.INVALIDATE):
                m.d.sync += next_stage.eq(Mux(active, Stage.IDENTITY, Stage.IDLE))
            with m.Case(Stage.IDENTITY):
                good_if(~unexpected, LoadState.BAD_MAGIC + field)
                m.d.sync += next_stage.eq(Mux(field == 2, Stage.LENGTH, Stage.IDENTITY))
                with m.If(complete):
                    m.d.sync += field.eq(field + 1)
            with m.Case(Stage.LENGTH):
                good_if(~too_long, LoadState.BAD_LENGTH)
                m.d.sync += next_stage.eq(Stage.INPUTS)
            with m.Case(Stage.INPUTS):
                good_if(~no_more, LoadState.BAD_LENGTH)
                m.d.sync += [self.last_input.eq(word), next_stage.eq(Stage.SECTION)]
            with m.Case(Stage.SECTION):
                good_if(~nowhere & ~no_more, LoadState.BAD_SECTION)
                m.d.sync += next_stage.eq(Stage.DATA)
            with m.Case(Stage.DATA):
                good_if(~no_more | no_more_in_section, LoadState.BAD_SECTION)
                m.d.sync += [next_stage.eq(Stage.WRITE), opening.eq(complete)]
            with m.Case(Stage.WRITE):
                m.d.sync += next_stage.eq(Mux(
                    no_more, Stage.CHECKSUM, Mux(no_more_in_section, Stage.SECTION, Stage.DATA)))
            with m.Case(Stage.CHECKSUM):
                good_if(matches, Mux(matches, LoadState.READY, LoadState.BAD_CHECKSUM))
                m.d.sync += [ends.eq(1), next_stage.eq(Stage.IDLE)]

        with m.If(complete & ends):
            m.d.sync += [failed.eq(bad), active.eq(0), self.state.eq(state)]
        with m.If(self.stop & active):
            fail(LoadState.INCOMPLETE)
        with m.If(self.start):
            fail(LoadState.LOADING)
            m.d.sync += [active.eq(1), self.loaded_from.eq(self.source)]
        # Whatever happened, the next write is 0 to word 0 of memory 0: the layer table's header.
        with m.If(failed):
            m.d.comb += checker.start.eq(1)
            m.d.sync += [
                stage.eq(Stage.INVALIDATE), opening.eq(1), self.load.valid.eq(0),
                word.eq(0), memory.eq(Memory.TABLE), address.eq(0), bit.eq(0), field.eq(0),
                shifting.eq(0), whole.eq(0), compared.eq(0), complete.eq(0),
                shifted.eq(0), unexpected.eq(0),
            ]
        return m
