# SPDX-License-Identifier: Apache-2.0
"""Datapaths are objects: what each says of itself, and how little a new one needs."""

import dataclasses

import numpy as np
import pytest
from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ttfs_fpga.hdl.compiler import compile_network, minimal_config
from ttfs_fpga.hdl.config import DATAPATHS, CoreConfig
from ttfs_fpga.hdl.core import Core
from ttfs_fpga.hdl.datapaths import Datapath, datapath_named, datapath_of, register
from ttfs_fpga.hdl.datapaths.biases import multiples
from ttfs_fpga.hdl.datapaths.lanes import Lanes
from ttfs_fpga.hdl.datapaths.sequencer import Sequencer
from ttfs_fpga.hdl.ports import RunPort
from ttfs_fpga.hdl.shapes import event_shape


class Repeats(wiring.Component):
    """Makes of each event as many as its code says, of code 1."""

    def __init__(self, config):
        super().__init__({
            "run": In(RunPort()),
            "i": In(stream.Signature(event_shape(config))),
            "o": Out(stream.Signature(event_shape(config))),
        })

    def elaborate(self, platform):
        m = Module()
        event, valid = Signal.like(self.i.p), Signal()
        final = Signal()
        m.d.comb += [
            final.eq(event.end | (event.code <= 1)),
            self.o.valid.eq(valid),
            self.o.p.eq(event),
            self.o.p.code.eq(Mux(event.end, event.code, 1)),
            self.i.ready.eq(~valid | (self.o.ready & final)),
            self.run.busy.eq(valid),
        ]
        with m.If(self.i.ready):
            m.d.sync += [valid.eq(self.i.valid), event.eq(self.i.p)]
        with m.Elif(self.o.ready):
            m.d.sync += event.code.eq(event.code - 1)
        return m


class AddingLanes(Lanes):
    """``V += w``."""

    def elaborate(self, platform):
        m = Module()
        for lane in range(self._config.lanes):
            weight = Signal.like(self.i.weights[lane], name=f"weight{lane}")
            m.d.sync += weight.eq(self.i.weights[lane])
            m.d.comb += self.memory.sums[lane].eq(self.memory.potentials[lane] + weight)
        return m


class Count(Datapath):
    """An event adds its weights as often as its code says."""

    name = "count"
    summary = "adds as often as the code says"
    lanes = AddingLanes
    sequencer = Sequencer

    def queue(self, config):
        """Repeats events."""
        return Repeats(config)

    def bias_writes(self, config, word, biases):
        """Weights, added one after another."""
        return multiples(config, word, biases, lambda code: 1)

    def additions(self, codes):
        """As many as the code."""
        return codes.astype(np.int64)


@pytest.fixture
def count():
    """The datapath, known for the time of a test."""
    register(Count())
    yield
    del DATAPATHS["count"]


LAYERS = {
    "dense": ((1, 1, 20), [{"kind": "dense", "channels": 9}, {"kind": "dense", "channels": 5}]),
    "convolutions": ((8, 8, 2), [
        {"kind": "conv2d", "channels": 6, "kernel": 3, "padding": 1, "pool": 2},
        {"kind": "depthwise", "channels": 6, "kernel": 3}, {"kind": "dense", "channels": 5}]),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_new_datapath_is_an_object(bench, count, name):
    rng = np.random.default_rng(5)
    network = bench.shaped_network(rng, *LAYERS[name])
    config = minimal_config(network, lanes=4, datapath="count")
    assert datapath_of(config).name == "count"
    program = compile_network(network, config)
    multiplied = compile_network(network, dataclasses.replace(config, datapath="mac"))
    codes = rng.integers(0, 1 + network.input_ticks, (3, network.inputs))
    plain, plan = multiplied.layers[0], program.layers[0]
    assert (plan.roofline(codes) == codes @ plan.updates).all()
    assert (plan.roofline(codes) >= plain.roofline(codes)).all()
    images = bench.some_images(rng, network.inputs, count=2)
    # Loaded, so that biases are made by its own updates.
    bench.check(network, program, images, bench.run_core(Core(config), [(program, images)]))


def test_an_unknown_datapath_is_refused():
    with pytest.raises(ValueError, match="datapath must be one of mac, serial, ramp, not 'count'"):
        CoreConfig(datapath="count")
    with pytest.raises(ValueError, match="datapath must be one of mac, serial, ramp, not "):
        CoreConfig(datapath=["mac"])


def test_every_datapath_says_what_it_is():
    for name in DATAPATHS:
        datapath = datapath_named(name)
        assert datapath.name == name
        assert datapath.summary and datapath.multipliers
        config = CoreConfig(datapath=name)
        assert datapath_of(config) is datapath
        assert issubclass(datapath.lanes, Lanes)
        # No event is free, and silence is.
        additions = datapath.additions(np.arange(config.max_ticks + 1))
        assert additions[0] == 0 and (additions[1:] >= 1).all()
        assert datapath.additions(np.array([datapath.worst_code(config)]))[0] == additions.max()


def test_what_differs():
    codes = np.array([[0, 1, 7, 15], [0, 0, 0, 8]])
    mac, serial, ramp = map(datapath_named, DATAPATHS)
    assert mac.additions(codes).tolist() == [[0, 1, 1, 1], [0, 0, 0, 1]]
    assert serial.additions(codes).tolist() == [[0, 1, 3, 4], [0, 0, 0, 1]]
    assert ramp.additions(codes).tolist() == mac.additions(codes).tolist()
    assert [each.tick_updates(15, 3) for each in (mac, serial, ramp)] == [0, 0, 96]
    assert [each.slope_words(3) for each in (mac, serial, ramp)] == [0, 0, 3]
    assert [np.sum(each.queueing(codes)) for each in (mac, serial, ramp)] == [0, 0, 4]
    config = CoreConfig(input_words=32, map_words=64)
    assert [each.sizes(config) for each in (mac, serial, ramp)] == [{}, {}, {"map_words": 32}]
    assert [each.needs("iCE40UP5K-SG48").most_hz for each in (mac, serial, ramp)] == [
        None, 36_000_000, 36_000_000]
    assert [each.needs("LFE5U-25F").most_hz for each in (mac, serial, ramp)] == [None] * 3
