# SPDX-License-Identifier: Apache-2.0
"""What the core's components are wired with: bundles of ports that recur, each with its timing.

Every signature is seen from the side that asks or tells: that side has it as ``Out``, the memory or
component that serves it as ``In``. Streams (``amaranth.lib.stream``) carry what :mod:`hdl.shapes`
names; here is what no stream can say: ports of memories, which answer a fixed number of cycles
later, and what holds for as long as it is true.
"""

from collections.abc import Iterable, Mapping

from amaranth.hdl import Module, ShapeLike, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ttfs_fpga.hdl.config import DATAPATHS, CoreConfig
from ttfs_fpga.hdl.table import ACCUMULATE_FIELDS, FIRE_FIELDS, field_widths

__all__ = ["AccumulatingPort", "AdderPort", "FetchPort", "FinalPort", "FiringPort",
           "ImageLayoutPort", "ImagePort", "LanesPort", "MapReadPort", "MapUpdatePort",
           "MapWritePort", "MembranePort", "OperandPort", "PurgePort", "RunPort",
           "SourceRowPort", "TableReadPort", "WeightReadPort", "WindowPort", "WipePort",
           "WritePort", "connect_entry", "entry_layout", "lanes_layout", "purge_words",
           "weights_layout"]


def lanes_layout(config: CoreConfig, lanes: int | None = None) -> data.ArrayLayout:
    """One word of the membrane memory: a potential a lane; or those of fewer lanes."""
    return data.ArrayLayout(signed(config.accumulator_bits), lanes or config.lanes)


def weights_layout(config: CoreConfig, lanes: int | None = None) -> data.ArrayLayout:
    """One word of the weight memory: a weight a lane; or those of fewer lanes."""
    return data.ArrayLayout(signed(config.weight_bits), lanes or config.lanes)


def entry_layout(config: CoreConfig, names: Iterable[str]) -> data.StructLayout:
    """Fields of an entry of the layer table, as wide as a core of this size keeps them.

    A component has one port ``entry`` of those that it reads; whoever has more of them connects the
    fields that both name.
    """
    widths = field_widths(config)
    return data.StructLayout({name: widths[name] for name in names})


def connect_entry(m: Module, entry: data.View | Mapping, *consumers: data.View) -> None:
    """Give consumers the fields that they read, of an entry that has more of them."""
    for consumer in consumers:
        m.d.comb += [consumer[name].eq(entry[name]) for name in consumer.shape().members]


class RunPort(wiring.Signature):
    """Has something done: ``start`` is one cycle, and only while not ``busy``.

    ``busy`` holds from the cycle after ``start`` until all of it has been done.
    """

    def __init__(self) -> None:
        super().__init__({"start": Out(1), "busy": In(1)})


class WritePort(wiring.Signature):
    """Writes ``data`` to ``address`` of a memory, in each cycle with ``enable``."""

    def __init__(self, address: ShapeLike, data: ShapeLike):
        super().__init__({"enable": Out(1), "address": Out(address), "data": Out(data)})


class TableReadPort(wiring.Signature):
    """Reads a word of the layer table.

    ``data`` is what was at ``address`` in the last cycle with ``request`` and ``grant``. ``grant``
    is withheld in a cycle in which somebody else reads. To the first of all readers it is never
    withheld when it asks: to this one it says, when it does not ask, that ``data`` is what is at
    ``address`` all the same.
    """

    def __init__(self, config: CoreConfig):
        super().__init__({
            "request": Out(1),
            "address": Out(config.table_address_bits),
            "grant": In(1),
            "data": In(32),
        })


class MapReadPort(wiring.Signature):
    """Reads a word of a map.

    ``data`` is what was at ``address`` in the last cycle with ``enable``, which must be low in a
    cycle with ``stall``: somebody else reads then. The address is as wide as that of the largest
    map, unless ``address_bits`` says otherwise.
    """

    def __init__(self, config: CoreConfig, address_bits: int | None = None):
        super().__init__({
            "address": Out(config.map_address_bits if address_bits is None else address_bits),
            "enable": Out(1),
            "stall": In(1),
            "data": In(config.map_width),
        })


class MapUpdatePort(wiring.Signature):
    """Writes codes to a map, some of them only when they were compared with what is there.

    ``enable`` reads the word at ``address``, whose ``data`` comes in the next cycle and holds.
    While it is needed nobody else may read: ``claim``. With ``write``, ``code`` is written to
    ``place``; nothing else may be while it is ``pending`` whether it will be.
    """

    def __init__(self, config: CoreConfig):
        super().__init__({
            "claim": Out(1),
            "enable": Out(1),
            "address": Out(config.map_address_bits),
            "data": In(config.map_width),
            "pending": Out(1),
            "write": Out(1),
            "place": Out(config.neuron_bits),
            "code": Out(config.tick_bits),
        })


class MapWritePort(wiring.Signature):
    """Writes ``code`` to ``place`` of a map, in each cycle with ``enable``.

    With ``alone``, which is for the first slot of a word, its other slots become silent. ``clear``,
    not together with ``enable``, makes the whole word silent that holds ``place``. Where two codes
    may be written at once (``pairs``), with ``pair`` the ``second`` goes behind ``code``, whose
    slot is even then.
    """

    def __init__(self, config: CoreConfig, place_bits: int, *, pairs: bool = False):
        super().__init__({
            "enable": Out(1),
            "alone": Out(1),
            "clear": Out(1),
            "place": Out(place_bits),
            "code": Out(config.tick_bits),
            **({"pair": Out(1), "second": Out(config.tick_bits)} if pairs else {}),
        })


class WipePort(wiring.Signature):
    """Makes a word of the map silent: ``word`` holds until ``ready`` takes it."""

    def __init__(self, config: CoreConfig):
        super().__init__({
            "valid": Out(1), "ready": In(1), "word": Out(config.map_address_bits),
        })


def purge_words(config: CoreConfig) -> int:
    """How many words are counted while memories are purged: as many as the deepest of them has."""
    return max(
        config.map_words, config.membrane_words, config.table_words,
        DATAPATHS[config.datapath].purge_words(config))


class PurgePort(wiring.Signature):
    """Word by word, while ``active``: what each memory has at ``word`` is to be forgotten.

    Words beyond the end of a memory are counted too, if another one is deeper. In the cycle after
    ``start``, word 0 is the first one, whichever was there before.
    """

    def __init__(self, config: CoreConfig):
        super().__init__({
            "start": Out(1), "active": Out(1), "word": Out(range(purge_words(config))),
        })


class ImagePort(wiring.Signature):
    """A whole image is there while ``full``, until ``release`` says that it was used."""

    def __init__(self):
        super().__init__({"full": Out(1), "release": In(1)})


class ImageLayoutPort(wiring.Signature):
    """How an image lies in the input map, as long as there is a network to take it: ``valid``.

    The last sample's place is ``last``. Samples lie in runs of ``run_last + 1``, and ``gap`` places
    stay silent behind each.
    """

    def __init__(self, config: CoreConfig):
        super().__init__({
            "valid": Out(1),
            "last": Out(config.sample_bits),
            "run_last": Out(config.sample_bits),
            "gap": Out(config.slot_bits),
        })


class WeightReadPort(wiring.Signature):
    """Reads a word of weights: ``data`` is that of ``config.weight_latency`` cycles before."""

    def __init__(self, config: CoreConfig):
        super().__init__({
            "address": Out(config.weight_address_bits), "data": In(weights_layout(config)),
        })


class MembranePort(wiring.Signature):
    """Operations on the membrane memory, and its answers ``Membrane.latency`` cycles later.

    ``valid`` updates ``word``; with ``sweep`` it is read for the last time, and untouched then.
    ``bias`` is read in its place if it is untouched. With ``load``, ``word`` becomes what is at
    ``bias``, updated, and stays untouched: that is how biases themselves are made. With ``peek``
    the word is only read and stays as it is; with ``sweep`` as well it counts as swept.

    ``potentials`` hold until the next ones come. ``updating`` or ``sweeping`` say what they were
    read for, of what was not peeked; ``coming`` says one cycle ahead that they will be
    ``sweeping``. With ``stall`` everything stays as it is; only while no updates are under way.
    """

    def __init__(self, config: CoreConfig):
        super().__init__({
            "valid": Out(1),
            "sweep": Out(1),
            "load": Out(1),
            "peek": Out(1),
            "word": Out(config.membrane_address_bits),
            "bias": Out(config.membrane_address_bits),
            "stall": Out(1),
            "potentials": In(lanes_layout(config)),
            "updating": In(1),
            "sweeping": In(1),
            "coming": In(1),
        })


class LanesPort(wiring.Signature):
    """What the membrane memory has, and what it gets in the same cycle: ``potentials``, ``sums``.

    Of all lanes, or of so many.
    """

    def __init__(self, config: CoreConfig, lanes: int | None = None):
        super().__init__({
            "potentials": Out(lanes_layout(config, lanes)),
            "sums": In(lanes_layout(config, lanes)),
        })


class OperandPort(wiring.Signature):
    """What lanes add to potentials.

    Stage 0: ``operand`` says how it is made; what it is of, differs between datapaths. Stage 1:
    the ``weights``. Stage 2 is that of :class:`LanesPort`.
    """

    def __init__(self, config: CoreConfig, operand: data.StructLayout, lanes: int | None = None):
        super().__init__({"operand": Out(operand), "weights": Out(weights_layout(config, lanes))})


class AdderPort(wiring.Signature):
    """The potential of the candidate of the cycle before, valid or not.

    With ``hold`` it stays what it was; not while potentials are requantised.
    """

    def __init__(self, config: CoreConfig):
        super().__init__({"hold": Out(1), "potential": In(signed(config.accumulator_bits))})


class FetchPort(wiring.Signature):
    """Has an entry of the layer table read.

    ``start`` begins with that of ``layer``, which must hold until ``complete``. ``again`` reads the
    words that describe a map once more, or with ``second``, which must hold, those of the second
    map. The fields are not to be looked at before they are ``complete``.
    """

    def __init__(self, config: CoreConfig):
        super().__init__({
            "start": Out(1),
            "layer": Out(config.layer_bits),
            "again": Out(1),
            "second": Out(1),
            "complete": In(1),
        })


class AccumulatingPort(wiring.Signature):
    """The half of a layer that accumulates: its fields, and its number.

    ``start`` is one cycle, ``ended`` is looked at from the next cycle on. ``event`` says that an
    input event was taken, for the statistics.
    """

    def __init__(self, config: CoreConfig):
        super().__init__({
            "entry": Out(entry_layout(config, ACCUMULATE_FIELDS)),
            "layer": Out(config.layer_bits),
            "start": Out(1),
            "event": In(1),
            "ended": In(1),
        })


class SourceRowPort(wiring.Signature):
    """In the cycle with ``begins``, a row of a source map begins: its events are waited for.

    Its first word is ``map``, in a layer with a residual. From the next cycle on ``second`` tells
    whether it is one of the residual's map.
    """

    def __init__(self, config: CoreConfig):
        super().__init__({
            "begins": Out(1), "map": Out(config.map_address_bits), "second": Out(1),
        })


class WindowPort(wiring.Signature):
    """The rolling window of output rows, between who updates it and who sweeps it.

    So many rows of the layer are ``completed``. ``swept`` says that one of them has been read, so
    that its place in the window is free. Updates of an event are ``pending``; none is issued in a
    cycle with ``hold``, in which the membrane memory is swept.
    """

    def __init__(self, config: CoreConfig):
        super().__init__({
            "completed": Out(config.row_bits + 1),
            "swept": In(1),
            "pending": Out(1),
            "hold": In(1),
        })


class FinalPort(wiring.Signature):
    """Which words of the map are final.

    While ``limited``, those of the layer that fires are final before ``word`` only: the others are
    still written. The limit is lifted when the last word is final.
    """

    def __init__(self, config: CoreConfig):
        super().__init__({"limited": Out(1), "word": Out(config.map_address_bits + 1)})


class FiringPort(wiring.Signature):
    """The half of a layer that fires: its fields.

    ``attach`` says one cycle long that the layer that accumulates is attached to firing: its map
    will be written anew. ``start`` is one cycle, when its fields have come, and ``ended`` is looked
    at from the next cycle on.

    ``same`` holds while the layer that accumulates is the one that is attached, ``previous`` while
    the one before it fires. ``settled`` says that the layer that was attached last has accumulated;
    its last rows may reach no output.
    """

    def __init__(self, config: CoreConfig):
        super().__init__({
            "entry": Out(entry_layout(config, FIRE_FIELDS)),
            "attach": Out(1),
            "start": Out(1),
            "same": Out(1),
            "previous": Out(1),
            "settled": Out(1),
            "ended": In(1),
        })
