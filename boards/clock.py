# SPDX-License-Identifier: Apache-2.0
"""The clock: from a board's oscillator to the clock and reset of the ``sync`` domain."""

from amaranth.build import Platform
from amaranth.hdl import ClockDomain, ClockSignal, Module, Signal
from amaranth.lib import io, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

from ttfs_fpga.boards.families import PLL, Family, family_of
from ttfs_sw.common.errors import InputError

__all__ = ["RESET_SECONDS", "ClockGenerator", "PowerOnReset"]

#: How long reset is held. Block RAM of the iCE40 reads as zeros for about 3 µs after configuration,
#: and nobody promises that it is no longer; Amaranth's own reset takes the same margin.
RESET_SECONDS = 15e-6


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
        family = family_of(platform)
        pll = self._find_pll(platform, family)
        m = Module()
        pin = platform.request(platform.default_clk, dir="-")
        lock = Signal()
        if pll is not None and family is not None and family.at_pll_pad(platform):
            m.submodules.pll = pll.instance(self.clk, lock, pad=pin)
        else:
            m.submodules.pin = buffer = io.Buffer("i", pin)
            if pll is None:
                m.d.comb += [self.clk.eq(buffer.i), lock.eq(1)]
            else:
                m.submodules.pll = pll.instance(self.clk, lock, reference=buffer.i)

        m.domains += ClockDomain("power_on", reset_less=True, local=True)
        m.submodules.reset = reset = PowerOnReset(self._clock_hz)
        m.d.comb += [
            ClockSignal("power_on").eq(self.clk),
            reset.stable.eq(lock),
            self.rst.eq(reset.rst),
        ]
        return m

    def _find_pll(self, platform: Platform, family: Family | None) -> PLL | None:
        """Settings of the device's PLL; None if the oscillator has the right frequency."""
        pin_hz = round(platform.default_clk_frequency)
        if pin_hz == self._clock_hz:
            return None
        if family is None or family.pll is None:
            raise InputError(
                f"there is no PLL for {type(platform).__name__}: set clock_hz to the {pin_hz} Hz "
                "of its oscillator"
            )
        return family.pll.find(pin_hz, self._clock_hz)
