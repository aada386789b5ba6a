# SPDX-License-Identifier: Apache-2.0
"""The network image: a compiled network as bytes, in a board's flash or sent over its serial line.

Everything is a 32-bit little-endian word: a header, sections, a checksum. A section is a run of
writes to the core's load port at consecutive addresses of one memory; the sections, in order, are
exactly what :meth:`hdl.compiler.program.Program.writes` gives. ``docs/flash-image.md`` describes
the format for readers in other languages; :mod:`boards.loader` is the gateware that reads it.
"""

import dataclasses
import struct
import zlib
from collections.abc import Iterable, Iterator

from amaranth.lib import data

from ttfs_fpga.hdl.compiler.inspection import BadTable, check_table
from ttfs_fpga.hdl.compiler.program import Program
from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.shapes import Memory
from ttfs_sw.common.errors import InputError

__all__ = ["FORMAT_VERSION", "MAGIC", "Image", "ImageError", "length_bits", "memory_depths",
           "section_shape", "serialise"]

#: The first word of an image: the letters ``TTFS``.
MAGIC = int.from_bytes(b"TTFS", "little")
FORMAT_VERSION = 1

_HEADER = struct.Struct("<IIIII")

Write = tuple[Memory, int, int]


class ImageError(InputError):
    """Bytes that are no image for this core: the message says which word is wrong and why."""


def memory_depths(config: CoreConfig) -> dict[Memory, int]:
    """Addresses that each memory of the load port has."""
    return {
        Memory.TABLE: config.table_words,
        Memory.ENCODER: 256,
        Memory.SLOPES: config.slopes,
        Memory.MEMBRANE: config.membrane_words,
        Memory.WEIGHTS: config.weight_words * config.weight_parts,
    }


def section_shape() -> data.StructLayout:
    """Header of a section: its first address, its memory, and one less than it has words."""
    return data.StructLayout({"address": 20, "memory": 4, "more": 8})


def length_bits(config: CoreConfig) -> int:
    """Bits that count every word of every memory, and as many again for sections' headers."""
    return (2 * sum(memory_depths(config).values())).bit_length()


def serialise(program: Program) -> bytes:
    """The image of a compiled network."""
    words: list[int] = []
    for memory, address, values in _sections(program.writes()):
        section = {"address": address, "memory": memory.value, "more": len(values) - 1}
        words += [section_shape().const(section).as_value().value, *values]
    header = (MAGIC, FORMAT_VERSION, program.config.fingerprint, len(words), program.inputs - 1)
    content = _HEADER.pack(*header) + struct.pack(f"<{len(words)}I", *words)
    return content + struct.pack("<I", zlib.crc32(content))


def _sections(writes: Iterable[Write]) -> Iterator[tuple[Memory, int, list[int]]]:
    """Join writes to consecutive addresses of one memory, keeping their order."""
    longest = 1 << section_shape()["more"].width
    section: tuple[Memory, int, list[int]] | None = None
    for memory, address, value in writes:
        if section is not None:
            last, first, values = section
            if (memory, address) == (last, first + len(values)) and len(values) < longest:
                values.append(value)
                continue
            yield section
        section = memory, address, [value]
    if section is not None:
        yield section


@dataclasses.dataclass(frozen=True)
class Image:
    """A network image that was read back.

    Parameters
    ----------
    fingerprint : :class:`int`
        Of the core configuration that it was made for.
    inputs : :class:`int`
        Samples of one image of the network's input.
    writes : tuple
        What the load port receives, in order: (memory, address, 32-bit data).
    """

    fingerprint: int
    inputs: int
    writes: tuple[Write, ...]

    @classmethod
    def parse(cls, content: bytes, config: CoreConfig, *, table: bool = True) -> "Image":
        """Read an image; check all that the board checks, every write's address, and the table.

        What follows the image, as in a flash chip, is ignored. Without ``table`` the layer table
        need not make sense, as for the loader, which writes it and does not run it.

        Raises
        ------
        :exc:`ImageError`
            If it is no image, is damaged, was made for another core, or has a layer table that no
            core should run.
        """
        if len(content) < _HEADER.size or content[:4] != MAGIC.to_bytes(4, "little"):
            raise ImageError("this is not a network image: make one with `ttfs image`")
        _, version, fingerprint, length, last_input = _HEADER.unpack_from(content)
        if version != FORMAT_VERSION:
            raise ImageError(
                f"the image has format version {version} and this program reads version "
                f"{FORMAT_VERSION}: make it again with `ttfs image`"
            )
        if fingerprint != config.fingerprint:
            raise ImageError(
                f"the image was made for another core, {fingerprint:#010x}, not for this one, "
                f"{config.fingerprint:#010x}: make it again with `ttfs image` for this board"
            )
        end = _HEADER.size + 4 * length
        if not 1 <= length < 1 << length_bits(config) or len(content) < end + 4:
            raise ImageError(f"the image has {len(content)} bytes and its length field says "
                             f"{end + 4}: it was cut or damaged, make it again with `ttfs image`")
        if last_input >= config.input_words * config.codes_per_word:
            raise ImageError(f"the image is for {last_input + 1} inputs, more than the core's "
                             "input map holds: make it again with `ttfs image`")
        words = struct.unpack_from(f"<{length}I", content, _HEADER.size)
        writes = tuple(_parse_sections(words, config))
        if struct.unpack_from("<I", content, end)[0] != zlib.crc32(content[:end]):
            raise ImageError("the image's checksum is wrong: make it again with `ttfs image`")
        if table:
            rows = {address: value for memory, address, value in writes if memory == Memory.TABLE}
            try:
                check_table(rows, config)
            except BadTable as error:
                raise ImageError(f"the image is whole but makes no sense: {error}; make it again "
                                 "with `ttfs image`") from error
        return cls(fingerprint, last_input + 1, writes)


def _parse_sections(words: tuple[int, ...], config: CoreConfig) -> Iterator[Write]:
    depths = {memory.value: depth for memory, depth in memory_depths(config).items()}
    position = 0
    while position < len(words):
        header = section_shape().from_bits(words[position])
        position += 1
        count = header.more + 1
        if header.address + count > depths.get(header.memory, 0) or position + count > len(words):
            raise ImageError(
                f"a section of the image writes {count} words at {header.address} of memory "
                f"{header.memory}, which this core or the image does not have: make it again "
                "with `ttfs image`"
            )
        for offset in range(count):
            yield Memory(header.memory), header.address + offset, words[position + offset]
        position += count
