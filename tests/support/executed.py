# SPDX-License-Identifier: Apache-2.0
"""What a core makes of its memories, executed in Python: no timing, no streams, no simulator.

It knows of a network what the core knows: the words of its memories. So it shows in a few
milliseconds whether the compiler lays every weight, bias, slope and spike where the core looks for
it, for cores of any size; whether the hardware does what this does is shown by simulation.
"""

from types import SimpleNamespace

import numpy as np

from ttfs_fpga.hdl.compiler.program import Program
from ttfs_fpga.hdl.shapes import Memory
from ttfs_fpga.hdl.table import (
    COLUMN_FIELDS,
    ENTRY_WORDS,
    FIELDS,
    HEADER_FIELDS,
    ROW_FIELDS,
    ROW_WORDS,
    Operation,
    field_widths,
)

__all__ = ["Execution", "execute"]


class Execution:
    """An image that was computed.

    ``spikes`` are (layer that reads, place in the map memory, code) in the order of reading,
    ``logits`` the potentials of the output layer, ``events`` those of each layer.
    """

    def __init__(self):
        self.spikes: list[tuple[int, int, int]] = []
        self.logits: list[int] = []
        self.events: list[int] = []


def execute(program: Program, codes: np.ndarray) -> Execution:
    """Compute one image, given the activation codes of its samples."""
    return _Machine(program).run(codes)


class _Machine:
    """The memories of a core, and what is read from them."""

    def __init__(self, program: Program):
        self.config = config = program.config
        self.table = program.memories[Memory.TABLE]
        self.slopes = program.memories[Memory.SLOPES]
        bits = config.weight_bits
        words = np.array(
            [[word >> (lane * bits) & ((1 << bits) - 1) for lane in range(config.lanes)]
             for word in program.memory_words(Memory.WEIGHTS)], np.int64)
        self.weights = words - (words >> (bits - 1) << bits)
        bits = config.accumulator_bits
        # What was never written is no potential that anything may depend on.
        self.membrane = np.full((config.membrane_words, config.lanes), -(1 << (bits - 2)))
        for address, value in program.memories[Memory.MEMBRANE].items():
            self.membrane[divmod(address, config.lanes)] = value - (value >> (bits - 1) << bits)
        self.touched = np.zeros(config.membrane_words, bool)
        self.input = np.zeros(config.input_words * config.codes_per_word, np.int64)
        self.map = np.zeros(config.map_words * config.codes_per_word, np.int64)

    def run(self, codes: np.ndarray) -> Execution:
        header = _read(self.table, 0, HEADER_FIELDS)
        place = 0
        for number, code in enumerate(codes.tolist()):
            self.input[place] = code
            last = place
            place += 1 + (header.gap if (number + 1) % (header.run_last + 1) == 0 else 0)
        assert last == header.last_input
        result = Execution()
        for layer in range(header.layers):
            self._layer(layer, result)
        # The next image finds everything as this one did.
        assert not self.map.any() and not self.touched.any()
        return result

    def _layer(self, layer: int, result: Execution) -> None:
        config = self.config
        f = _read(self.table, ENTRY_WORDS * (1 + layer), FIELDS)
        widths = field_widths(config)
        for name in ("weight_step", "weight_row_step", "row_step", "wrap_step"):
            setattr(f, name, getattr(f, name) & ((1 << widths[name]) - 1))
        events = completed = opened = 0
        row_address, scanned, last = f.row_table, f.source_base, False
        window = _Sweep(self, f, result)
        while not last:
            row = _read(self.table, row_address, ROW_FIELDS)
            row_address, last = row_address + ROW_WORDS, row.last
            opened += row.opens
            assert opened - window.row <= f.window_rows, "a row is opened whose place is taken"
            which = "second_" if row.second else ""
            layout = SimpleNamespace(**{
                name: getattr(f, which + name) for name in
                ("row_last", "chunk_last", "slot_shift", "clears", "column_table")})
            layout.input = f.second_input if row.second else f.source_input
            base = row.map if f.residual else scanned
            scanned += 0 if row.second else layout.row_last + 1
            for column, channel, place, code in self._scan(layout, base):
                events += 1
                if not layout.input:
                    result.spikes.append((layer, place, code))
                entry = _read(self.table, f.column_table if not row.second
                              else f.second_column_table, COLUMN_FIELDS, column)
                self._update(f, row, entry, channel, code)
            completed += row.completes
            window.sweep(completed)
        assert window.row == f.rows_last + 1 and (f.residual or scanned == f.source_last + 1)
        result.events.append(events)

    def _scan(self, layout, base):
        """Events of one row of a map: (column, channel, place, code)."""
        config, memory = self.config, self.input if layout.input else self.map
        slots, bits = config.codes_per_word, config.slot_bits
        column = chunk = 0
        for word in range(base, base + layout.row_last + 1):
            content = memory[word * slots:(word + 1) * slots].copy()
            if layout.clears:
                memory[word * slots:(word + 1) * slots] = 0
            for slot in np.flatnonzero(content).tolist():
                within = slot & ((1 << layout.slot_shift) - 1)
                yield (column | slot >> layout.slot_shift, within | chunk << bits,
                       word * slots + slot, int(content[slot]))
            if chunk == layout.chunk_last:
                chunk, column = 0, column + (slots >> layout.slot_shift)
            else:
                chunk += 1

    def _update(self, f, row, column, channel, code) -> None:
        single = bool(row.second) or f.operation == Operation.DEPTHWISE
        own = channel // self.config.lanes if single else 0
        weight_row = row.weight + channel + column.weight
        word_row = row.membrane + own + column.membrane
        mask = (1 << self.config.membrane_address_bits) - 1
        wrap = row.wrap
        for _ in range(row.taps if column.taps else 0):
            weight, word = weight_row, word_row & mask
            for _ in range(column.taps):
                for part in range(1 if single else f.last_word + 1):
                    bias = f.bias_base + (own if single else part)
                    before = self.membrane[word if self.touched[word] else bias]
                    self.membrane[word] = before + code * self.weights[weight]
                    self.touched[word] = True
                    weight += f.weight_step
                    word = word if row.second else (word + f.membrane_step) & mask
            weight_row += f.weight_row_step
            if not row.second:
                word_row += f.row_step if wrap else f.wrap_step
            wrap -= 1


class _Sweep:
    """Output rows of a layer, fired one after another."""

    def __init__(self, machine, f, result):
        self.machine, self.f, self.result = machine, f, result
        self.row = 0
        self.word = f.membrane_base
        self.place = f.destination_base * machine.config.codes_per_word

    def sweep(self, completed: int) -> None:
        """Fire the rows before ``completed``."""
        f, machine = self.f, self.machine
        config = machine.config
        while self.row < completed:
            place, across, part = self.place, 0, 0
            for _ in range(f.sweep_last + 1):
                touched = machine.touched[self.word]
                values = machine.membrane[self.word if touched else f.bias_base + part].tolist()
                machine.touched[self.word] = False
                for lane, value in enumerate(values):
                    self._fire(value, lane | part * config.lanes,
                               place + (lane >> f.halves) + part * config.lanes)
                self.word = f.membrane_base if self.word == f.membrane_last else self.word + 1
                part += 1
                if part > f.last_word:
                    part, across = 0, across + 1
                    if across > f.across_last:
                        across, place = 0, place + f.pitch
            self.row += 1
            if self.row % (f.pool_last + 1) == 0:
                self.place += f.destination_row * config.codes_per_word

    def _fire(self, value: int, channel: int, place: int) -> None:
        f, machine = self.f, self.machine
        bits = machine.config.accumulator_bits
        if value < f.fire_threshold - (f.fire_threshold >> 31 << 32):
            return
        assert -(1 << (bits - 1)) <= value < 1 << (bits - 1), "a potential overflows"
        if not f.spiking:
            self.result.logits.append(value)
            return
        word = machine.slopes[f.slope_base + (channel if f.per_channel else 0)]
        m, s = word & 0xFFFF, word >> 16
        code = min(f.ticks, (value * m + (1 << s >> 1)) >> s)
        if code:
            assert f.pool_last or not machine.map[place], "two neurons have the same place"
            machine.map[place] = max(machine.map[place], code)


def _read(table, address, fields, number=0) -> SimpleNamespace:
    return SimpleNamespace(**{
        name: table.get(address + number + field.word, 0) >> field.offset & ((1 << field.width) - 1)
        for name, field in fields.items()
    })
