# SPDX-License-Identifier: Apache-2.0
"""Programs of ``torch.export``, read without running anything that is in them.

``torch.export.load`` falls back to unpickling whatever the archive holds, and evaluates text as
Python. But an archive of today is a zip of JSON and raw bytes: the operations with the lines that
they come from, and the weights. That is all that is read here; a weight that is a pickle is
refused.
"""

import io
import json
import os
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ttfs_sw.common.errors import InputError
from ttfs_sw.convert import flow, outputs
from ttfs_sw.convert.payload import DTYPES, Payload
from ttfs_sw.convert.program import Computation, Node, Opaque, Ref, reads

__all__ = ["read"]

#: The version of the format that is known here (``schema_version`` of the JSON).
SCHEMA = 8

#: Where the values of a tensor lie that a program takes in, and the key of its name.
_KEPT = {
    "parameter": ("weights", "parameter_name"),
    "buffer": ("weights", "buffer_name"),
    "tensor_constant": ("constants", "tensor_constant_name"),
}

#: Kinds of arguments that stand for themselves.
_PLAIN = {
    "as_int", "as_ints", "as_float", "as_floats", "as_bool", "as_bools", "as_string", "as_strings",
    "as_memory_format", "as_layout", "as_device",
}

#: A line of a stack trace, as torch writes it.
_FRAME = re.compile(r'File "(?P<file>[^"]*)", line (?P<line>\d+), in \S+\n\s*(?P<code>[^\n]*)')


def read(content: str | os.PathLike | bytes, source: str) -> Computation:
    """Read the archive ``content``, a path or the bytes of one.

    Raises
    ------
    :exc:`ttfs_sw.common.errors.InputError`
        If it is no archive of ``torch.export.save``, or of another version, or holds a pickle.
    """
    file = io.BytesIO(content) if isinstance(content, bytes) else Path(content)
    try:
        with zipfile.ZipFile(file) as archive:
            return _Archive(archive, source).program()
    except OSError as error:
        raise InputError(f"cannot read {source}: {error.strerror or error}") from error
    except (zipfile.BadZipFile, KeyError, IndexError, TypeError, ValueError, RuntimeError,
            AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{source} is not a program that torch.export.save of PyTorch 2.9 or newer wrote"
        ) from error


class _Archive:
    """One archive, opened."""

    def __init__(self, archive: zipfile.ZipFile, source: str):
        self._archive = archive
        self._source = source
        names = [name for name in archive.namelist() if name.endswith("/models/model.json")]
        self._root = names[0].removesuffix("models/model.json")

    def program(self) -> Computation:
        """Everything in it that is of interest."""
        model = self._json("models/model.json")
        version = model["schema_version"]["major"]
        if version != SCHEMA:
            raise InputError(
                f"{self._source} has version {version} of the format of torch.export, but {SCHEMA} "
                "is known here; save it anew with PyTorch 2.9 or newer, or give module.py:function"
            )
        module = model["graph_module"]
        graph, signature = module["graph"], module["signature"]
        images, stored = [], {}
        for item in signature["input_specs"]:
            ((kind, spec),) = item.items()
            if kind == "user_input":
                images.append(spec["arg"].get("as_tensor", {}).get("name"))
            elif kind in _KEPT:
                folder, key = _KEPT[kind]
                if kind == "buffer" and not spec["persistent"]:
                    folder = "constants"
                stored[spec["arg"]["name"]] = folder, spec[key]
            elif kind != "constant_input":  # whose value is in the operations
                raise InputError(f"{self._source} takes in {kind}, which is not known here")
        if len(images) != 1 or images[0] is None:
            raise InputError(
                f"{self._source} has {len(images)} inputs; a network that converts reads images "
                "alone"
            )
        place, output, notes = self._output(module)
        nodes = flow.live([node for item in graph["nodes"] if (node := _node(item)) is not None],
                          output, set(stored))
        if any(node.arguments.get(key) is True for node in nodes for key in ("training", "train")):
            notes = [*notes, f"{self._source} was exported in training mode; batch-norm and "
                     "dropout are taken as they are after model.eval()"]
        shapes = {
            name: tuple(size.get("as_int") for size in meta["sizes"])
            for name, meta in graph["tensor_values"].items()
        }
        payload = Payload(self._archive, self._root, self._source)
        read = {name for node in nodes for name in reads(node.arguments)}
        tensors = {name: payload.tensor(*at) for name, at in stored.items() if name in read}
        return Computation(
            self._source, nodes, tensors, shapes, images[0], output, place, list(notes)
        )

    def _output(self, module: dict[str, Any]) -> tuple[int, str, Sequence[str]]:
        """Place and name of the logits among what the model returns, and what to say of them."""
        returned = []
        for item in module["signature"]["output_specs"]:
            ((kind, spec),) = item.items()
            if kind == "user_output":
                returned.append(spec["arg"].get("as_tensor", {}).get("name"))
            elif kind not in ("buffer_mutation", "user_input_mutation"):
                raise InputError(f"{self._source} gives {kind}, which is not known here")
        calls = {call["fqn"]: call["signature"] or {} for call in module["module_call_graph"]}
        called = outputs.names(calls.get("", {}).get("out_spec", ""), len(returned))
        place, notes = outputs.choose(list(zip(called, returned, strict=True)), self._source)
        return place, returned[place], notes

    def _json(self, name: str) -> Any:
        return json.loads(self._archive.read(self._root + name))


def _node(item: dict[str, Any]) -> Node | None:
    """An operation of the graph; ``None`` if it neither makes nor changes a tensor: assertions."""
    names = list(reads([_argument(output) for output in item["outputs"]]))
    operation, aten = item["target"], "torch.ops.aten."
    if operation.startswith(aten):
        operation = operation.removeprefix(aten).partition(".")[0]
    arguments: dict[str, Any] = {}
    for index, entry in enumerate(item["inputs"]):
        # Those of an operation that is none of ATen may have no names.
        name = entry["name"] if entry["name"] not in ("", *arguments) else f"#{index}"
        arguments[name] = _argument(entry["arg"])
    metadata = item["metadata"]
    module, kind = "", ""
    if metadata.get("nn_module_stack"):
        _, module, kind = metadata["nn_module_stack"].rpartition(";")[2].split(",")
    # What gives nothing has no name of its own, but may change what it reads.
    node = Node(
        operation, arguments, names[0] if names else "", module, kind.rpartition(".")[2],
        _line(metadata.get("stack_trace", "")), tuple(names[1:]),
    )
    return node if names or node.in_place else None


def _argument(value: dict[str, Any]) -> Any:
    ((kind, content),) = value.items()
    if kind in ("as_tensor", "as_tensors"):
        return Ref(content["name"]) if kind == "as_tensor" else [
            Ref(item["name"]) for item in content]
    if kind == "as_none":
        return None
    if kind == "as_float":
        # "NaN" and "Infinity" are words in JSON.
        return float(content)
    if kind == "as_sym_int":
        return content.get("as_int")
    if kind == "as_sym_ints":
        return [item.get("as_int") for item in content]
    if kind == "as_optional_tensor":
        return _argument(content)
    if kind == "as_optional_tensors":
        return [_argument(item) for item in content]
    if kind == "as_scalar_type":
        return DTYPES.get(content, Opaque(f"{kind} {content}"))
    if kind == "as_graph" and "graph" in content:
        nodes = map(_node, content["graph"]["nodes"])
        return Opaque(kind, any(node is not None and node.in_place for node in nodes))
    return content if kind in _PLAIN else Opaque(kind)


def _line(trace: str) -> str:
    """The innermost line of a stack trace that is not torch's own, nor ours."""
    frames = [frame for frame in _FRAME.finditer(trace)
              if "/torch/" not in frame["file"].replace("\\", "/")
              and Path(frame["file"]).parent != Path(__file__).parent]
    if not frames:
        return ""
    frame = frames[-1]
    return f"{Path(frame['file']).name}, line {frame['line']} (`{frame['code'].strip()}`)"
