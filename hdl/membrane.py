"""The membrane memory: ``lanes`` potentials a word, biases beside them."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hdl.config import CoreConfig

__all__ = ["Membrane"]


class Membrane(wiring.Component):
    """Memory of membrane potentials with one read and one write port.

    Latency: ``potentials`` belong to the last ``read`` that came with ``enable`` and hold while
    ``enable`` is low. A word must not be read in the cycle in which it is written: block RAM may
    give anything.

    Parameters
    ----------
    config : :class:`hdl.CoreConfig`
        Sizes.
    init : iterable of :class:`int`
        Initial words, lane 0 in the low bits.

    Members
    -------
    read, enable, potentials
        Read port; ``potentials`` is an array of ``lanes`` signed values.
    write, word, sums
        Write port of the lanes: ``sums`` to ``word``.
    load, load_address, load_data
        Writes one lane's potential: ``load_address`` is ``word * lanes + lane``. Not with
        ``write``.
    """

    def __init__(self, config: CoreConfig, init=()):
        self._config = config
        self._init = list(init)
        lanes = data.ArrayLayout(signed(config.accumulator_bits), config.lanes)
        super().__init__({
            "read": In(config.membrane_address_bits),
            "enable": In(1),
            "potentials": Out(lanes),
            "write": In(1),
            "word": In(config.membrane_address_bits),
            "sums": In(lanes),
            "load": In(1),
            "load_address": In(config.membrane_address_bits + exact_log2(config.lanes)),
            "load_data": In(config.accumulator_bits),
        })

    def elaborate(self, platform):
        m = Module()
        lanes, width = self._config.lanes, self._config.accumulator_bits
        m.submodules.memory = storage = memory.Memory(
            shape=lanes * width, depth=self._config.membrane_words, init=self._init
        )
        read = storage.read_port()
        write = storage.write_port(granularity=width)
        lane_bits = exact_log2(lanes)
        one_lane = Signal(lanes)
        m.d.comb += [
            read.addr.eq(self.read),
            read.en.eq(self.enable),
            self.potentials.as_value().eq(read.data),
            one_lane.eq(self.load << self.load_address[:lane_bits]),
            write.addr.eq(Mux(self.load, self.load_address[lane_bits:], self.word)),
            write.data.eq(Mux(self.load, self.load_data.replicate(lanes), self.sums.as_value())),
            write.en.eq(one_lane | self.write.replicate(lanes)),
        ]
        return m
