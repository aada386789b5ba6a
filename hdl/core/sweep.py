# SPDX-License-Identifier: Apache-2.0
"""The sweep: reads complete output rows and passes on, one by one, the potentials that matter."""

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.core.candidates import CandidatePicker
from ttfs_fpga.hdl.core.places import PlaceCounter
from ttfs_fpga.hdl.core.word_requests import WordRequests
from ttfs_fpga.hdl.ports import MembranePort, RunPort, WindowPort, connect_entry, entry_layout
from ttfs_fpga.hdl.shapes import candidate_shape

__all__ = ["Sweep"]


class Sweep(wiring.Component):
    """Sweeps the output rows of a layer, each when its input window has closed.

    One comparison a lane, ``V >= threshold``, tells which neurons may fire; a priority encoder
    emits them in raster order. In the output layer the threshold is so low that all are emitted,
    but lanes beyond the last channel, whose bias is lower still.
    The word is kept here meanwhile, so that the membrane memory goes on with other updates.

    With pooling, the neurons of a window have the same ``place``: with ``halves`` neurons ``2c``
    and ``2c + 1`` of a word, and those of the next words.

    Throughput: a word with n candidates takes ``n + 2`` cycles while nothing else needs the
    membrane memory; else up to ``n + 4``, of which one of the memory's; ``n + 5`` if it takes
    as long as weights in block RAM.

    Parameters
    ----------
    config : :class:`hdl.CoreConfig`
        Sizes.

    Members
    -------
    run : In(RunPort())
        A new layer; busy until the last potential has been taken.
    entry : In(entry_layout(config, FIELDS))
        The layer; must hold while busy. ``fire_threshold`` is the smallest potential that may fire;
        in the output layer the lowest number there is.
    accumulating : In(1)
        Rows of the layer are complete as ``window`` says; otherwise all of them are.
    window : In(WindowPort(config))
        Output rows. While no updates are pending, words are asked for before the one kept has left.
    membrane : Out(MembranePort(config))
        Sweeps words.
    o : Out(stream.Signature(candidate_shape(config)))
        Candidates in raster order; ``last`` marks the last neuron of an output layer.
    pooled : Out(1)
        Neurons of several words have the same place; known from the second cycle of a layer on.
    written : Out(1)
        With the last candidate of a row, a pooled one if there is pooling: that row of the layer's
        map gets no more codes. With every word where there are no rows, which is ``pitch`` 0.
    """

    #: Fields of the layer table that it works by.
    FIELDS = tuple(dict.fromkeys(
        (*WordRequests.FIELDS, *CandidatePicker.FIELDS, *PlaceCounter.FIELDS)))

    def __init__(self, config: CoreConfig):
        self._config = config
        super().__init__({
            "run": In(RunPort()),
            "entry": In(entry_layout(config, self.FIELDS)),
            "accumulating": In(1),
            "window": In(WindowPort(config)),
            "membrane": Out(MembranePort(config)),
            "o": Out(stream.Signature(candidate_shape(config))),
            "pooled": Out(1),
            "written": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.requests = requests = WordRequests(self._config)
        m.submodules.picker = picker = CandidatePicker(self._config)
        m.submodules.places = places = PlaceCounter(self._config)
        connect_entry(m, self.entry, requests.entry, picker.entry, places.entry)
        wiring.connect(m, wiring.flipped(self.window), requests.window)
        wiring.connect(m, requests.membrane, wiring.flipped(self.membrane))
        wiring.connect(m, requests.o, picker.i)
        wiring.connect(m, picker.o, wiring.flipped(self.o))
        m.d.comb += [
            requests.run.start.eq(self.run.start),
            picker.run.start.eq(self.run.start),
            places.start.eq(self.run.start),
            self.run.busy.eq(requests.run.busy | picker.run.busy),
            requests.accumulating.eq(self.accumulating),
            requests.spare.eq(picker.spare),
            picker.pixel.eq(places.pixel),
            places.left.eq(picker.left),
            self.written.eq(places.written),
        ]
        m.d.sync += self.pooled.eq(self.entry.pool_last != 0)
        return m
