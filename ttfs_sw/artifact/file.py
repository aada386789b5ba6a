# SPDX-License-Identifier: Apache-2.0
"""``network.npz``: a zip of numpy arrays, one of which is a JSON header. numpy alone reads it.

Nothing in a file is trusted: member names, sizes and types are checked before an array is made, and
no array is ever unpickled.
"""

import hashlib
import io
import json
import os
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from ttfs_sw.artifact.rules import ARRAYS, MAX_LAYERS, NetworkError
from ttfs_sw.common import files

__all__ = ["ADVICE", "LAYER_FIELDS", "NETWORK_FIELDS", "load", "save", "sha256"]

FORMAT = "ttfs-network"
VERSION = 1

#: Fields of a layer that stand in the header; the arrays are members of their own.
LAYER_FIELDS = (
    "name", "kind", "source", "second_source", "residual_shift", "in_shape", "out_shape", "kernel",
    "stride", "padding", "pool", "spiking", "ticks", "weight_bits", "weight_scale", "output_scale",
)
NETWORK_FIELDS = ("input_shape", "input_ticks", "input_scale", "dataset", "preset")

#: A network for a device we know is below 2 MiB; this is room for hundreds of times that. It is
#: what keeps a small file from unpacking into all of the memory.
MAX_BYTES = 256 << 20
MAX_HEADER_BYTES = 4 << 20

ADVICE = "write the network again with `ttfs train`"


def _header(fields: dict[str, Any]) -> dict[str, Any]:
    """The header of a network of these fields, without its SHA-256."""
    return {"format": FORMAT, "version": VERSION, **fields}


def _little_endian(array: np.ndarray) -> np.ndarray:
    return array.astype(array.dtype.newbyteorder("<"))


def sha256(fields: dict[str, Any], arrays: dict[str, np.ndarray]) -> str:
    """Return the SHA-256 of the canonical serialisation: the header, then every array by name."""
    digest = hashlib.sha256()
    canonical = json.dumps(_header(fields), sort_keys=True, separators=(",", ":"))
    digest.update(canonical.encode("ascii") + b"\n")
    for name, array in sorted(arrays.items()):
        shape = "x".join(map(str, array.shape))
        digest.update(f"{name} {array.dtype.name} {shape}\n".encode("ascii"))
        digest.update(_little_endian(array).tobytes())
    return digest.hexdigest()


def save(fields: dict[str, Any], arrays: dict[str, np.ndarray], path: str | os.PathLike) -> None:
    """Write a network to ``path``, whole or not at all; equal networks give equal bytes.

    ``fields`` are those of :data:`NETWORK_FIELDS` and ``layers``, of which each has those of
    :data:`LAYER_FIELDS`.
    """
    header = json.dumps({**_header(fields), "sha256": sha256(fields, arrays)}, indent=1)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, array in {"header": np.array(header), **arrays}.items():
            # A fixed date and no compression: the bytes depend on neither the clock nor the
            # version of zlib.
            member = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            member.create_system = 3
            member.external_attr = 0o644 << 16
            content = io.BytesIO()
            np.lib.format.write_array(
                content, _little_endian(array), version=(1, 0), allow_pickle=False
            )
            archive.writestr(member, content.getvalue())
    files.write_bytes(path, packed.getvalue())


def load(path: str | os.PathLike) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the header and the arrays of the file at ``path``, each of the form that it must have.

    What they mean is not looked at here: that their SHA-256 is the header's neither.
    """
    path = Path(path)
    content = _read(path)
    try:
        return _unpack(content)
    except NetworkError as error:
        raise NetworkError(f"{path}: {error}") from error


def _read(path: Path) -> bytes:
    """Return the bytes of a file of reasonable size."""
    try:
        if path.exists() and not path.is_file():
            raise NetworkError(f"{path}: not a file; name a network.npz")
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise NetworkError(f"{path}: {size} bytes are too many for a network ({MAX_BYTES})")
        return path.read_bytes()
    except OSError as error:
        reason = error.strerror or str(error)
        raise NetworkError(f"{path}: cannot read the network: {reason}; name a network.npz "
                           "that `ttfs train` wrote") from error


def _unpack(content: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the header and the arrays of a packed network."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = _members(archive)
            header = _parse_header(archive, members)
            return header, _load_arrays(archive, members, header)
    except NetworkError:
        raise
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, ValueError,
            NotImplementedError) as error:
        # All of these, and no others, came out of zipfile for files with one byte changed. A zip
        # ends with its directory, so a file that was cut short begins like one and is none.
        zipped = content.startswith(b"PK\3\4")
        reason = "it is damaged or cut short" if zipped else "it is not a zip archive"
        raise NetworkError(f"not a network, because {reason}; {ADVICE}") from error


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The members by array name, none of them suspicious, all of them together of bounded size."""
    members = {}
    for member in archive.infolist():
        name = member.filename.removesuffix(".npy")
        if name == member.filename or name in members:
            raise NetworkError(f"unexpected member {member.filename!r} in the archive")
        if member.flag_bits & 1 or member.compress_type not in (
            zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED
        ):
            raise NetworkError(f"array {name!r} is encrypted or packed in a way numpy never does")
        members[name] = member
    if "header" not in members:
        raise NetworkError("an archive of arrays but not a network, because it has no header; "
                           "name a network.npz that `ttfs train` wrote")
    # No more of a member is unpacked than the size declared here, so the sum is a true bound.
    total = sum(member.file_size for member in members.values())
    if total > MAX_BYTES:
        raise NetworkError(f"the arrays would unpack to {total} bytes, more than {MAX_BYTES}")
    if members["header"].file_size > MAX_HEADER_BYTES:
        raise NetworkError(f"header is longer than {MAX_HEADER_BYTES} bytes")
    return members


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo, kind: str) -> np.ndarray:
    """Read one array whose type must be ``kind``, in native byte order."""
    name = member.filename.removesuffix(".npy")
    # With a size, zipfile unpacks no more than that; without one, a member that lies about its size
    # unpacks up to 2 GiB before the excess is dropped.
    with archive.open(member) as file:
        content = io.BytesIO(file.read(member.file_size))
    try:
        version = np.lib.format.read_magic(content)
        reader = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, fortran_order, dtype = reader(content)
    except (ValueError, KeyError) as error:
        raise NetworkError(f"array {name!r} is not in numpy's format") from error
    if dtype.name != kind and not (kind == "str" and dtype.kind == "U"):
        raise NetworkError(f"array {name!r} must be of type {kind}, not {dtype.name}")
    data = content.read()
    # The sizes come from the file: multiply as Python integers, which cannot wrap around.
    count = 1
    for size in shape:
        count *= size
    if min(shape, default=0) < 0 or count * dtype.itemsize != len(data):
        raise NetworkError(f"array {name!r} has {len(data)} bytes, which are not its shape {shape}")
    if not dtype.itemsize:
        return np.zeros(shape, dtype)
    array = np.frombuffer(data, dtype).reshape(shape, order="F" if fortran_order else "C")
    return array.astype(dtype.newbyteorder("="))


def _parse_header(
    archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo]
) -> dict[str, Any]:
    """Read the JSON header, with exactly the fields of this version."""
    array = _array(archive, members["header"], "str")
    if array.shape != ():
        raise NetworkError(f"header must be a single string, not an array of shape {array.shape}")
    try:
        header = json.loads(str(array))
    except (ValueError, RecursionError) as error:
        raise NetworkError(f"header is not JSON: {error}") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise NetworkError(f"header does not say format {FORMAT!r}; name a network.npz that "
                           "`ttfs train` wrote")
    if header.get("version") != VERSION:
        raise NetworkError(f"has format version {header.get('version')!r}, and this ttfs reads "
                           f"version {VERSION}; update ttfs-fpga or {ADVICE}")
    _check_fields(header, "header", ("format", "version", *NETWORK_FIELDS, "layers", "sha256"))
    if not isinstance(header["layers"], list) or len(header["layers"]) > MAX_LAYERS:
        raise NetworkError(f"layers in the header must be a list of at most {MAX_LAYERS}")
    for index, fields in enumerate(header["layers"]):
        _check_fields(fields, f"layer {index} in the header", LAYER_FIELDS)
    return header


def _check_fields(found: Any, what: str, expected: tuple[str, ...]) -> None:
    """Check that ``found`` is an object with exactly the ``expected`` fields."""
    if not isinstance(found, dict):
        raise NetworkError(f"{what} must be an object with fields")
    for name in expected:
        if name not in found:
            raise NetworkError(f"{what} has no field {name!r}")
    for name in found:
        if name not in expected:
            raise NetworkError(f"{what} has a field {name!r}, which this version does not know")


def _load_arrays(
    archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], header: dict[str, Any]
) -> dict[str, np.ndarray]:
    """Read exactly the arrays that the header calls for."""
    kinds: dict[str, str] = {"input_codes": "uint8"}
    for index in range(len(header["layers"])):
        kinds.update({f"layer{index}_{name}": dtype.name for name, dtype in ARRAYS.items()})
    for name in members:
        if name != "header" and name not in kinds:
            raise NetworkError(f"unexpected array {name!r}: the header has "
                               f"{len(header['layers'])} layers")
    for name in kinds:
        if name not in members:
            raise NetworkError(f"array {name!r} is missing")
    return {name: _array(archive, members[name], kind) for name, kind in kinds.items()}
