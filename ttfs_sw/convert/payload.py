# SPDX-License-Identifier: Apache-2.0
"""The weights in an archive of ``torch.export``: raw bytes, and what says how they are laid out.

Several tensors may lie in one member: rows of a larger matrix, slices of one vector, tied weights.
Each says where it starts and how far apart its elements are. What is said and not known here is
refused: a field that changes what the bytes mean must not be passed over.
"""

import json
import math
import zipfile
from collections.abc import Mapping
from typing import Any

import torch

from ttfs_sw.common.errors import InputError

__all__ = ["DTYPES", "Payload"]

#: Torch's numbers of the types of elements (``ScalarType`` of the format's schema).
DTYPES = {
    1: torch.uint8, 2: torch.int8, 3: torch.int16, 4: torch.int32, 5: torch.int64,
    6: torch.float16, 7: torch.float32, 8: torch.float64, 12: torch.bool, 13: torch.bfloat16,
}

#: Torch's number of the only layout that has strides.
_STRIDED = 7

#: The fields that are known, of a tensor's entry and of its description. Whether it is a parameter,
#: wants a gradient, or was on a GPU changes none of its values.
_ENTRY = {"path_name", "is_param", "use_pickle", "tensor_meta"}
_META = {"dtype", "sizes", "requires_grad", "device", "strides", "storage_offset", "layout"}


class Payload:
    """The tensors of an archive, read when they are asked for.

    Parameters
    ----------
    archive : :class:`zipfile.ZipFile`
        The archive.
    root : :class:`str`
        What its members' names start with.
    source : :class:`str`
        What messages call it.
    """

    def __init__(self, archive: zipfile.ZipFile, root: str, source: str):
        self._archive, self._root, self._source = archive, root, source
        self._configs: dict[str, Mapping[str, Any]] = {}
        order = f"{root}byteorder"
        if order in archive.namelist() and archive.read(order).strip() != b"little":
            raise InputError(
                f"{source} was written on a machine with another byte order; save it anew on a "
                "little-endian one"
            )

    def tensor(self, folder: str, name: str) -> torch.Tensor:
        """The tensor ``name`` of ``folder``, ``"weights"`` or ``"constants"``, bit for bit.

        Raises
        ------
        :exc:`ttfs_sw.common.errors.InputError`
            If it is a pickle, has no values, or is laid out in a way that is not known here.
        """
        entry = self._config(folder)[name]
        if entry["use_pickle"]:
            raise InputError(
                f"{self._source} holds {name} as a pickle, which would run code when opened; only "
                "plain tensors are read"
            )
        meta = entry["tensor_meta"]
        self._check(name, entry, meta)
        sizes, strides = (tuple(size["as_int"] for size in meta[key])
                          for key in ("sizes", "strides"))
        dtype = DTYPES[meta["dtype"]]
        if not math.prod(sizes):
            return torch.empty(sizes, dtype=dtype)
        content = self._archive.read(f"{self._root}data/{folder}/{entry['path_name']}")
        if not content:
            raise InputError(
                f"{self._source} has no values for {name}: it was saved on the device "
                f"{meta['device']['type']!r} without any; load the weights, then export"
            )
        # Seen as another type, a tensor may lie in bytes that are no whole number of its elements.
        whole = len(content) - len(content) % dtype.itemsize
        flat = torch.frombuffer(bytearray(content[:whole]), dtype=dtype)
        # torch refuses what reaches beyond the bytes.
        return flat.as_strided(sizes, strides, meta["storage_offset"]["as_int"])

    def _config(self, folder: str) -> Mapping[str, Any]:
        if folder not in self._configs:
            name = f"{self._root}data/{folder}/model_{folder}_config.json"
            self._configs[folder] = json.loads(self._archive.read(name))["config"]
        return self._configs[folder]

    def _check(self, name: str, entry: Mapping[str, Any], meta: Mapping[str, Any]) -> None:
        """Refuse what would be read wrongly."""
        unknown = sorted((entry.keys() - _ENTRY) | (meta.keys() - _META))
        problem = ""
        if unknown:
            problem = f"has a field {unknown[0]!r}, which is not known here"
        elif meta["layout"] != _STRIDED:
            problem = "is sparse or packed, and only dense tensors are read"
        elif meta["dtype"] not in DTYPES:
            problem = f"has elements of torch's type {meta['dtype']}, which do not convert"
        if problem:
            raise InputError(
                f"{self._source}: the tensor {name} {problem}; make it an ordinary tensor of real "
                "numbers, or give module.py:function"
            )
