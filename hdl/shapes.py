# SPDX-License-Identifier: Apache-2.0
"""What travels on the core's streams, with widths taken from a :class:`hdl.CoreConfig`."""

from typing import TYPE_CHECKING

from amaranth.hdl import signed
from amaranth.lib import data

from ttfs_fpga.hdl.config import CoreConfig

if TYPE_CHECKING:
    # Amaranth has no types; but its enumerations are Python's, with a shape besides.
    import enum
else:
    from amaranth.lib import enum

__all__ = ["Memory", "bias_shape", "candidate_shape", "code_operand_shape", "code_shape",
           "event_shape", "load_shape", "logit_shape", "membrane_write_shape", "ordered_shape",
           "potential_shape", "ramp_operand_shape", "ramp_update_shape", "sample_shape",
           "spike_shape", "statistics_shape", "time_shape", "update_shape"]


class Memory(enum.Enum, shape=3):
    """The memories that the core's load port writes, 32 bits at a time."""

    #: The layer table. Address: 32-bit word.
    TABLE = 0
    #: Pixel byte to activation code. Address: pixel; data: code.
    ENCODER = 1
    #: Slopes of the requantiser. Address: slope; data: ``m | s << 16``.
    SLOPES = 2
    #: Biases, made by updates: there is no other way into this memory. Address: word; data: see
    #: :func:`membrane_write_shape`. The word becomes 0, or with ``add`` what it is, plus the code
    #: times the weights in the word of the weight memory that the same address would write.
    MEMBRANE = 3
    #: Weights. Address: ``word * weight_parts + part``; data: 32 bits of the word, low part first.
    WEIGHTS = 4


def membrane_write_shape() -> data.StructLayout:
    """What a write to :attr:`Memory.MEMBRANE` says: the code to multiply, and what to add to.

    Where nothing is multiplied (``ramp``), code 1 adds the weights and code 0 adds what the last
    write with ``keep`` has read; that one changes nothing.
    """
    return data.StructLayout({"code": 8, "add": 1, "keep": 1})


def bias_shape(config: CoreConfig) -> data.StructLayout:
    """One write to :attr:`Memory.MEMBRANE`, with the addresses of its word and of its weights."""
    return data.StructLayout({
        "word": config.membrane_address_bits,
        "weight": config.weight_address_bits,
        "write": membrane_write_shape(),
    })


def load_shape() -> data.StructLayout:
    """One write to one of the core's memories."""
    return data.StructLayout({"memory": Memory, "address": 24, "data": 32})


def sample_shape(config: CoreConfig) -> data.StructLayout:
    """One input value: a pixel to be encoded, or, when ``raw``, an activation code as it is.

    Where a transfer may bring two samples, with ``pair`` the next one's value is in ``second``,
    and ``raw`` is said of both. A pair begins at an even place of the input map, and is of one run.
    """
    pair = {"pair": 1, "second": 8} if config.samples == 2 else {}
    return data.StructLayout({"value": 8, "raw": 1, **pair})


def event_shape(config: CoreConfig) -> data.StructLayout:
    """One event of a source map, or the end of one of its rows.

    ``column`` and ``channel`` are the place within the row, ``place`` the one within the map,
    ``code`` the activation code ``T - k``, never 0. With ``end`` there is no event: the row ends.
    """
    return data.StructLayout({
        "column": config.column_bits,
        "channel": config.neuron_bits,
        "code": config.tick_bits,
        "end": 1,
        "place": config.neuron_bits,
    })


def ordered_shape(config: CoreConfig) -> data.StructLayout:
    """An ``event`` in the order of time, the ``end`` of a tick, maybe the ``last``, or both.

    ``tick`` is valid with ``end``.
    """
    return data.StructLayout({
        "channel": config.neuron_bits, "event": 1, "end": 1, "tick": config.tick_bits, "last": 1,
    })


def code_shape(config: CoreConfig) -> data.StructLayout:
    """One activation code and its place in the map that it is written to."""
    return data.StructLayout({"place": config.neuron_bits, "code": config.tick_bits})


def spike_shape(config: CoreConfig) -> data.StructLayout:
    """One spike, as the monitor port shows it when a layer reads it; its tick is ``T - code``.

    ``layer`` is the layer that reads; ``place`` is counted in the layout of the map, which
    :class:`hdl.compiler.layout.MapPlan` turns into a neuron's number.
    """
    return data.StructLayout({
        "layer": config.layer_bits,
        "place": config.neuron_bits,
        "code": config.tick_bits,
    })


def logit_shape(config: CoreConfig) -> data.StructLayout:
    """One logit of the output layer; ``winner`` is the argmax so far, the answer when ``last``."""
    return data.StructLayout({
        "index": config.neuron_bits,
        "value": signed(config.accumulator_bits),
        "winner": config.neuron_bits,
        "last": 1,
    })


def statistics_shape(config: CoreConfig) -> data.StructLayout:
    """What one layer did: input events seen, and cycles from the image's start to its end.

    What the layer itself took is the difference from the layer before.
    """
    return data.StructLayout({
        "layer": config.layer_bits,
        "events": config.neuron_bits + 1,
        "clock": 24,
    })


def candidate_shape(config: CoreConfig) -> data.StructLayout:
    """A neuron that may fire, on its way to the requantiser, or to the read-out.

    ``channel`` chooses its slope, ``place`` is where its code goes in the layer's map, ``above`` is
    by how much its potential exceeds the layer's ``fire_threshold``.
    """
    return data.StructLayout({
        "place": config.neuron_bits,
        "channel": config.neuron_bits,
        "above": config.accumulator_bits,
        "last": 1,
    })


def potential_shape(config: CoreConfig) -> data.StructLayout:
    """The membrane potential of an output neuron on its way to the read-out."""
    return data.StructLayout({"potential": signed(config.accumulator_bits), "last": 1})


def code_operand_shape(config: CoreConfig) -> data.StructLayout:
    """How the lanes of ``mac`` and ``serial`` make what they add: weights times ``code``."""
    return data.StructLayout({"code": config.tick_bits})


def ramp_operand_shape() -> data.StructLayout:
    """How the lanes of ``ramp`` make what they add; see :class:`hdl.datapaths.ramp.RampLanes`."""
    return data.StructLayout({"event": 1, "zero": 1, "keep": 1})


def update_shape(config: CoreConfig) -> data.StructLayout:
    """One update of a membrane word, ``V[word] += weights * code``, lane by lane.

    A word that has had no update since it was last swept holds ``V[bias]``.
    """
    return data.StructLayout({
        "weight": config.weight_address_bits,
        "word": config.membrane_address_bits,
        "bias": config.membrane_address_bits,
        "code": config.tick_bits,
    })


def ramp_update_shape(config: CoreConfig) -> data.StructLayout:
    """One operation on a membrane word in the ``ramp`` datapath: ``V[word] += operand``.

    The operand is what was kept, or the weights of an ``event``, or with ``zero`` nothing. With
    ``keep`` the sum becomes the operand of the next operation. With ``peek`` the sum is not
    written, and with ``sweep`` besides the word is untouched then. A word that has had no update
    since it was last swept holds ``V[bias]``.
    """
    return data.StructLayout({
        "weight": config.weight_address_bits,
        "word": config.membrane_address_bits,
        "bias": config.membrane_address_bits,
        "event": 1,
        "zero": 1,
        "keep": 1,
        "peek": 1,
        "sweep": 1,
    })


def time_shape(config: CoreConfig) -> data.StructLayout:
    """The time of the ``ramp`` datapath: the layer's potentials are those after ``tick``."""
    return data.StructLayout({"layer": config.layer_bits, "tick": config.tick_bits})
