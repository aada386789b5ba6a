"""The clock: from a board's oscillator to the clock and reset of the ``sync`` domain."""

import dataclasses
import math

from amaranth.hdl import ClockDomain, ClockSignal, Const, Instance, Module, Signal
from amaranth.lib import io, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out
from amaranth.vendor import LatticePlatform, SiliconBluePlatform

from ttfs_sw.common.errors import InputError

__all__ = ["ECP5PLL", "ICE40PLL", "RESET_SECONDS", "ClockGenerator", "PowerOnReset"]

#: The pin that feeds the PLL directly, of each device and package. Any other pin's clock comes to
#: the PLL through the fabric.
_PLL_PADS = {("iCE40UP5K", "SG48"): "35"}

#: How long reset is held. Block RAM of the iCE40 reads as zeros for about 3 µs after configuration,
#: and nobody promises that it is no longer; Amaranth's own reset takes the same margin.
RESET_SECONDS = 15e-6


@dataclasses.dataclass(frozen=True)
class ICE40PLL:
    """Settings of an iCE40 PLL with simple feedback: in · (DIVF + 1) / (DIVR + 1) / 2^DIVQ.

    Limits: iCE40 sysCLOCK PLL Design and User Guide, FPGA-TN-02052.
    """

    divr: int
    divf: int
    divq: int
    filter_range: int

    @classmethod
    def find(cls, input_hz: int, output_hz: int) -> "ICE40PLL":
        """Settings that give exactly ``output_hz``, the fastest phase detector first.

        Raises
        ------
        :exc:`ttfs_sw.common.errors.InputError`
            If there are none; the message has the nearest frequencies that there are.
        """
        found = {}
        for divr in range(16):
            detector = input_hz / (divr + 1)
            if not 10e6 <= detector <= 133e6:
                continue
            for divf in range(128):
                if not 533e6 <= detector * (divf + 1) <= 1066e6:
                    continue
                for divq in range(1, 7):
                    output = detector * (divf + 1) / (1 << divq)
                    if 16e6 <= output <= 275e6:
                        limits = (17e6, 26e6, 44e6, 66e6, 101e6)
                        range_ = 1 + sum(detector >= limit for limit in limits)
                        found.setdefault(output, cls(divr, divf, divq, range_))
        return _exactly(found, input_hz, output_hz)

    def instance(
        self, clock: Signal, lock: Signal, *, pad: io.PortLike | None = None,
        reference: Signal | None = None,
    ) -> Instance:
        """The PLL, fed by the ``pad`` of the chip that belongs to it, or else by any clock."""
        return Instance(
            "SB_PLL40_CORE" if pad is None else "SB_PLL40_PAD",
            p_FEEDBACK_PATH="SIMPLE",
            p_PLLOUT_SELECT="GENCLK",
            p_DIVR=Const(self.divr, 4),
            p_DIVF=Const(self.divf, 7),
            p_DIVQ=Const(self.divq, 3),
            p_FILTER_RANGE=Const(self.filter_range, 3),
            **({"i_REFERENCECLK": reference} if pad is None else {"i_PACKAGEPIN": pad.io}),
            i_RESETB=Const(1),
            i_BYPASS=Const(0),
            o_PLLOUTGLOBAL=clock,
            o_LOCK=lock,
        )


@dataclasses.dataclass(frozen=True)
class ECP5PLL:
    """Settings of an ECP5 PLL with feedback from its first output: in · CLKFB_DIV / CLKI_DIV.

    Limits: ECP5 and ECP5-5G Family Data Sheet, FPGA-DS-02012.
    """

    input_hz: int
    clki_div: int
    clkfb_div: int
    clkop_div: int

    @classmethod
    def find(cls, input_hz: int, output_hz: int) -> "ECP5PLL":
        """Settings that give exactly ``output_hz``; raises as :meth:`ICE40PLL.find`."""
        found = {}
        for clki_div in range(1, 129):
            detector = input_hz / clki_div
            if not 3.125e6 <= detector <= 400e6:
                continue
            for clkfb_div in range(1, 81):
                output = detector * clkfb_div
                # The oscillator in the middle of its range, 400 to 800 MHz.
                clkop_div = min(128, max(1, round(600e6 / output)))
                if 3.125e6 <= output <= 400e6 and 400e6 <= output * clkop_div <= 800e6:
                    found.setdefault(output, cls(input_hz, clki_div, clkfb_div, clkop_div))
        return _exactly(found, input_hz, output_hz)

    def instance(self, pin_clock: Signal, clock: Signal, lock: Signal) -> Instance:
        """The PLL, fed by any clock."""
        return Instance(
            "EHXPLLL",
            a_FREQUENCY_PIN_CLKI=f"{self.input_hz / 1e6:.6f}",
            a_FREQUENCY_PIN_CLKOP=f"{self.input_hz / self.clki_div * self.clkfb_div / 1e6:.6f}",
            # What Lattice's own tool writes for every integer PLL.
            a_ICP_CURRENT="12",
            a_LPF_RESISTOR="8",
            a_MFG_ENABLE_FILTEROPAMP="1",
            a_MFG_GMCREF_SEL="2",
            p_PLLRST_ENA="DISABLED",
            p_INTFB_WAKE="DISABLED",
            p_STDBY_ENABLE="DISABLED",
            p_DPHASE_SOURCE="DISABLED",
            p_OUTDIVIDER_MUXA="DIVA",
            p_CLKOP_ENABLE="ENABLED",
            p_CLKOP_DIV=self.clkop_div,
            p_CLKOP_CPHASE=self.clkop_div - 1,
            p_CLKOP_FPHASE=0,
            p_CLKI_DIV=self.clki_div,
            p_CLKFB_DIV=self.clkfb_div,
            p_FEEDBK_PATH="CLKOP",
            i_CLKI=pin_clock,
            i_CLKFB=clock,
            i_RST=Const(0),
            i_STDBY=Const(0),
            i_PHASESEL0=Const(0),
            i_PHASESEL1=Const(0),
            i_PHASEDIR=Const(1),
            i_PHASESTEP=Const(1),
            i_PHASELOADREG=Const(1),
            i_PLLWAKESYNC=Const(0),
            i_ENCLKOP=Const(0),
            o_CLKOP=clock,
            o_LOCK=lock,
        )


def _exactly(found: dict, input_hz: int, output_hz: int):
    """The settings in ``found``, by frequency, that give ``output_hz``."""
    for frequency, settings in found.items():
        if math.isclose(frequency, output_hz, rel_tol=1e-9):
            return settings
    near = sorted(found, key=lambda frequency: abs(frequency - output_hz))[:2]
    raise InputError(
        f"the PLL cannot make {output_hz / 1e6:g} MHz from {input_hz / 1e6:g} MHz: the nearest "
        f"clock_hz are {' and '.join(f'{frequency:.0f}' for frequency in sorted(near))}"
    )


class PowerOnReset(wiring.Component):
    """Holds reset for :data:`RESET_SECONDS` after the clock has become stable.

    It runs in the domain ``power_on``, which has no reset: registers have their initial values when
    the device is configured.

    Parameters
    ----------
    clock_hz : :class:`int`
        Frequency of the clock.

    Members
    -------
    stable : In(1)
        The clock is stable. Asynchronous.
    rst : Out(1)
        Reset of everything else in the clock's domain.
    """

    def __init__(self, clock_hz: int):
        self._cycles = round(clock_hz * RESET_SECONDS)
        super().__init__({"stable": In(1), "rst": Out(1, init=1)})

    def elaborate(self, platform):
        m = Module()
        stable = Signal()
        m.submodules.stable = FFSynchronizer(self.stable, stable, o_domain="power_on")
        timer = Signal(range(self._cycles + 1))
        with m.If(~stable):
            m.d.power_on += [timer.eq(0), self.rst.eq(1)]
        with m.Elif(timer == self._cycles):
            m.d.power_on += self.rst.eq(0)
        with m.Else():
            m.d.power_on += timer.eq(timer + 1)
        return m


class ClockGenerator(wiring.Component):
    """Clock and reset of the board, from the platform's default clock.

    Without a PLL where the oscillator has the right frequency already, as it has in simulation.
    Reset is held for :data:`RESET_SECONDS` after the PLL has locked.

    Parameters
    ----------
    clock_hz : :class:`int`
        Frequency of the clock.

    Members
    -------
    clk, rst : Out(1)
        For the ``sync`` domain.
    """

    def __init__(self, clock_hz: int):
        self._clock_hz = clock_hz
        super().__init__({"clk": Out(1), "rst": Out(1)})

    def elaborate(self, platform):
        pll = self._find_pll(platform)
        m = Module()
        pin = platform.request(platform.default_clk, dir="-")
        lock = Signal()
        if isinstance(pll, ICE40PLL) and self._at_pll_pad(platform):
            m.submodules.pll = pll.instance(self.clk, lock, pad=pin)
        else:
            m.submodules.pin = buffer = io.Buffer("i", pin)
            if pll is None:
                m.d.comb += [self.clk.eq(buffer.i), lock.eq(1)]
            elif isinstance(pll, ICE40PLL):
                m.submodules.pll = pll.instance(self.clk, lock, reference=buffer.i)
            else:
                m.submodules.pll = pll.instance(buffer.i, self.clk, lock)

        m.domains += ClockDomain("power_on", reset_less=True, local=True)
        m.submodules.reset = reset = PowerOnReset(self._clock_hz)
        m.d.comb += [
            ClockSignal("power_on").eq(self.clk),
            reset.stable.eq(lock),
            self.rst.eq(reset.rst),
        ]
        return m

    def _at_pll_pad(self, platform) -> bool:
        """Whether the oscillator is at the pin that belongs to the PLL."""
        (pins,) = platform.lookup(platform.default_clk).ios
        return pins.names == [_PLL_PADS.get((platform.device, platform.package))]

    def _find_pll(self, platform) -> ICE40PLL | ECP5PLL | None:
        """Settings of the device's PLL; None if the oscillator has the right frequency."""
        pin_hz = round(platform.default_clk_frequency)
        if pin_hz == self._clock_hz:
            return None
        if isinstance(platform, SiliconBluePlatform):
            return ICE40PLL.find(pin_hz, self._clock_hz)
        if isinstance(platform, LatticePlatform) and platform.family == "ecp5":
            return ECP5PLL.find(pin_hz, self._clock_hz)
        raise InputError(
            f"there is no PLL for {type(platform).__name__}: set clock_hz to the {pin_hz} Hz of "
            "its oscillator"
        )
