# SPDX-License-Identifier: Apache-2.0
"""The top of every board: clock, boot from flash, serial link and the core."""

from amaranth.hdl import (
    ClockDomain,
    Const,
    DomainRenamer,
    Elaboratable,
    Module,
    Mux,
    Signal,
)
from amaranth.lib import io, wiring

from ttfs_fpga.boards.clock import ClockGenerator
from ttfs_fpga.boards.flash_boot import FlashBoot, check_flash_region
from ttfs_fpga.boards.frames import FrameReceiver, FrameSender
from ttfs_fpga.boards.link import Link
from ttfs_fpga.boards.loader import ImageLoader
from ttfs_fpga.boards.recorder import RecordMap
from ttfs_fpga.boards.registry import Board
from ttfs_fpga.boards.uart import UARTReceiver, UARTTransmitter, baud_divisor
from ttfs_fpga.hdl.compiler.program import Program
from ttfs_fpga.hdl.core import Core
from ttfs_sw.link.protocol import PROTOCOL_VERSION, Identity, LoadState, Source, event_gap

__all__ = ["BoardTop", "board_identity"]


def board_identity(board: Board) -> Identity:
    """What a board's link says of the board."""
    config, places = board.config, RecordMap(board.config)
    return Identity(
        protocol_version=PROTOCOL_VERSION,
        logit_bytes=places.logit_bytes,
        max_logits=places.max_logits,
        event_gap=event_gap(baud_divisor(board.clock_hz, board.baud)),
        fingerprint=config.fingerprint,
        clock_hz=board.clock_hz,
        baud=board.baud,
        lanes=config.lanes,
        weight_bits=config.weight_bits,
        tick_bits=config.tick_bits,
        accumulator_bits=config.accumulator_bits,
        layers=config.layers,
        weight_memory=config.weight_memory,
        weight_words=config.weight_words,
        membrane_words=config.membrane_words,
        input_words=config.input_words,
        map_words=config.map_words,
        slopes=config.slopes,
        board=board.name,
    )


class BoardTop(Elaboratable):
    """Everything on the board's FPGA.

    ::

        flash ── FlashBoot ──┬── ImageLoader ──> load ┐
        rx ── UARTReceiver ── FrameReceiver ── Link ──┼── Core
        tx ── UARTTransmitter ── FrameSender ──┘      ┘

    After reset the network image is read from the board's flash; one that the host loads replaces
    it. The first LED (green, where there are colours) is lit while there is a valid network, the
    second one (red) while an image is computed or loaded, or when either has failed.

    Parameters
    ----------
    board : :class:`boards.registry.Board`
        The board: its core's sizes, clock, serial line and flash.
    program : :class:`hdl.compiler.program.Program`, optional
        A network that becomes part of the bitstream; the flash is left alone then.

    Raises
    ------
    :exc:`ttfs_sw.common.errors.InputError`
        If the board's clock cannot give its baud rate, or its flash has no room for an image.
    """

    def __init__(self, board: Board, program: Program | None = None):
        self._board = board
        self._program = program
        self._identity = board_identity(board)
        check_flash_region(board.flash_offset, board.flash_bytes, board.config)
        #: The core, so that a simulation can watch its ports.
        self.core = Core(board.config, program)

    def elaborate(self, platform):
        m = Module()
        board, program, core = self._board, self._program, self.core
        m.submodules.clock = clock = ClockGenerator(board.clock_hz)
        m.domains.sync = sync = ClockDomain()
        m.domains.core = core_domain = ClockDomain()
        # The same clock, the very signal; a reset of its own, for a core that does not answer.
        core_domain.clk = sync.clk
        core_reset = Signal(init=1)
        m.d.comb += [
            sync.clk.eq(clock.clk),
            sync.rst.eq(clock.rst),
            core_domain.rst.eq(core_reset),
        ]

        m.submodules.loader = loader = ImageLoader(
            board.config, None if program is None else program.inputs)
        m.submodules.link = link = Link(board.config, self._identity)
        m.submodules.core = DomainRenamer("core")(core)
        m.d.sync += core_reset.eq(link.core.reset)
        wiring.connect(m, loader.load, core.load)
        wiring.connect(m, link.core.samples, core.i)
        wiring.connect(m, core.o, link.core.logits)
        wiring.connect(m, core.statistics, link.core.statistics)
        # A register, because the reasons are far away; the next sample is a byte of the line later.
        m.d.sync += core.restart.eq(link.core.restart)
        m.d.comb += [
            link.core.cycles.eq(core.cycles),
            link.core.error.eq(core.error),
            link.loader.state.eq(loader.state),
            link.loader.source.eq(loader.loaded_from),
            link.loader.last_input.eq(loader.last_input),
        ]
        self._elaborate_serial_line(m, platform, link)
        self._elaborate_loading(m, platform, link, loader)
        self._elaborate_leds(m, platform, loader)
        return m

    def _elaborate_serial_line(self, m, platform, link):
        divisor = baud_divisor(self._board.clock_hz, self._board.baud)
        pins = platform.request("uart", 0, dir="-")
        m.submodules.rx_pin = rx_pin = io.Buffer("i", pins.rx)
        m.submodules.tx_pin = tx_pin = io.Buffer("o", pins.tx)
        m.submodules.receiver = receiver = UARTReceiver(divisor)
        m.submodules.transmitter = transmitter = UARTTransmitter(divisor)
        m.submodules.requests = requests = FrameReceiver()
        m.submodules.replies = replies = FrameSender()
        wiring.connect(m, receiver.o, requests.i)
        wiring.connect(m, requests.o, link.rx)
        wiring.connect(m, link.tx, replies.i)
        wiring.connect(m, replies.o, transmitter.i)
        m.d.comb += [
            receiver.rx.eq(rx_pin.i),
            requests.error.eq(receiver.error),
            tx_pin.o.eq(transmitter.tx),
        ]

    def _elaborate_loading(self, m, platform, link, loader):
        if self._program is not None:
            wiring.connect(m, link.loader.image, loader.i)
            m.d.comb += [
                loader.start.eq(link.loader.start),
                loader.stop.eq(link.loader.stop),
                loader.source.eq(Source.LINK),
            ]
            return
        m.submodules.boot = boot = FlashBoot(self._board.flash_offset, self._board.clock_hz)
        self._elaborate_flash_pins(m, platform, boot)
        # Until the boot is over the link is not allowed to load.
        m.d.comb += [
            boot.wanted.eq(loader.active),
            link.loader.booting.eq(boot.busy),
            loader.start.eq(boot.start | link.loader.start),
            loader.stop.eq(link.loader.stop),
            loader.source.eq(Mux(boot.busy, Source.FLASH, Source.LINK)),
            loader.i.valid.eq(Mux(boot.busy, boot.o.valid, link.loader.image.valid)),
            loader.i.payload.eq(Mux(boot.busy, boot.o.payload, link.loader.image.payload)),
            boot.o.ready.eq(loader.i.ready),
            link.loader.image.ready.eq(~boot.busy & loader.i.ready),
        ]

    def _elaborate_flash_pins(self, m, platform, boot):
        names = [name for name, _ in platform.resources]
        pins = platform.request(
            "spi_flash" if "spi_flash" in names else "spi_flash_1x", 0, dir="-")
        outputs = {"cs": boot.cs, "copi": boot.copi, "clk": boot.sck,
                   # Not used, so never asserted.
                   "wp": Const(0), "hold": Const(0)}
        for name, value in outputs.items():
            if hasattr(pins, name):
                m.submodules[f"flash_{name}_pin"] = buffer = io.Buffer("o", getattr(pins, name))
                m.d.comb += buffer.o.eq(value)
        if not hasattr(pins, "clk"):
            flash_clock = self._board.family.flash_clock
            assert flash_clock is not None, "the pin-out has no clock of the flash"
            m.submodules.flash_clk_pin = flash_clock(boot.sck)
        m.submodules.flash_cipo_pin = cipo = io.Buffer("i", pins.cipo)
        m.d.comb += boot.cipo.eq(cipo.i)

    def _elaborate_leds(self, m, platform, loader):
        good, at_work = Signal(), Signal()
        m.d.comb += [
            good.eq(loader.state == LoadState.READY),
            at_work.eq(self.core.busy | ((loader.state != LoadState.READY)
                                         & (loader.state != LoadState.EMPTY))
                       | (self.core.error.as_value() != 0)),
        ]
        for value, choices in ((good, (("led_g", 0), ("led", 0))),
                               (at_work, (("led_r", 0), ("led", 1)))):
            name = next((name for name in choices if name in platform.resources), None)
            if name is not None:
                led = platform.request(*name, dir="-")
                m.submodules[f"{name[0]}_{name[1]}_pin"] = buffer = io.Buffer("o", led)
                m.d.comb += buffer.o.eq(value)
