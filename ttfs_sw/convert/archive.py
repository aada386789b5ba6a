"""Programs of ``torch.export``, read without running anything that is in them.

``torch.export.load`` falls back to unpickling whatever the archive holds, and evaluates text as
Python. But an archive of today is a zip of JSON and raw bytes: the operations with the lines that
they come from, and the weights. That is all that is read here; a weight that is a pickle is
refused.
"""

import dataclasses
import io
import json
import math
import os
import re
import zipfile
from pathlib import Path
from typing import Any

import torch

from ttfs_sw.errors import InputError

__all__ = ["Node", "Program", "Ref", "read"]

#: The version of the format that is known here (``schema_version`` of the JSON).
SCHEMA = 8

#: Torch's numbers of the types of elements that weights may have.
_DTYPES = {
    5: torch.int64, 4: torch.int32, 6: torch.float16, 7: torch.float32, 8: torch.float64,
    13: torch.bfloat16,
}

#: A line of a stack trace, as torch writes it.
_FRAME = re.compile(r'File "(?P<file>[^"]*)", line (?P<line>\d+), in \S+\n\s*(?P<code>[^\n]*)')


@dataclasses.dataclass(frozen=True)
class Ref:
    """An argument that is a tensor of the program, by its name."""

    name: str


@dataclasses.dataclass(frozen=True)
class Node:
    """One operation.

    Parameters
    ----------
    operation : :class:`str`
        Its name in ATen, torch's library of operations: ``"conv2d"``.
    arguments : :class:`dict`
        By name; those with their default value may be missing. A size that depends on the number
        of images is ``None``.
    name : :class:`str`
        Of the tensor that it makes.
    module, kind : :class:`str`
        Path and class of the module that computes it, ``"features.0"`` and ``"Conv2d"``.
    line : :class:`str`
        Where the user's code asks for it; empty where only torch's own code does.
    """

    operation: str
    arguments: dict[str, Any]
    name: str
    module: str = ""
    kind: str = ""
    line: str = ""

    @property
    def where(self) -> str:
        """How messages name the operation."""
        what = f"module {self.module} ({self.kind})" if self.module else self.operation
        return f"{self.line}: {what}" if self.line else what


@dataclasses.dataclass(frozen=True)
class Program:
    """What a model computes, operation by operation.

    Parameters
    ----------
    source : :class:`str`
        What messages call the model.
    nodes : list of :class:`Node`
        In the order of computation.
    tensors : :class:`dict`
        Weights, statistics and constants by their names in ``nodes``.
    shapes : :class:`dict`
        Of every tensor of the program; ``None`` for a size that depends on the number of images.
    input, output : :class:`str`
        Names of the images and of the logits.
    """

    source: str
    nodes: list[Node]
    tensors: dict[str, torch.Tensor]
    shapes: dict[str, tuple[int | None, ...]]
    input: str
    output: str


def read(content: str | os.PathLike | bytes, source: str) -> Program:
    """Read the archive ``content``, a path or the bytes of one.

    Raises
    ------
    :exc:`ttfs_sw.errors.InputError`
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

    def program(self) -> Program:
        """Everything in it that is of interest."""
        model = self._json("models/model.json")
        version = model["schema_version"]["major"]
        if version != SCHEMA:
            raise InputError(
                f"{self._source} has version {version} of the format of torch.export, but {SCHEMA} "
                "is known here; save it anew with PyTorch 2.9 or newer, or give module.py:function"
            )
        graph, signature = model["graph_module"]["graph"], model["graph_module"]["signature"]
        inputs, tensors = [], {}
        for item in signature["input_specs"]:
            ((kind, spec),) = item.items()
            if kind == "user_input":
                inputs.append(spec["arg"]["as_tensor"]["name"])
            else:
                folder = "weights" if kind in ("parameter", "buffer") else "constants"
                name = spec.get("parameter_name") or spec.get("buffer_name") or spec.get(
                    "tensor_constant_name")
                if kind == "buffer" and not spec.get("persistent", True):
                    folder = "constants"
                tensors[spec["arg"]["name"]] = self._tensor(folder, name)
        outputs = [
            spec["user_output"]["arg"] for spec in signature["output_specs"]
            if "user_output" in spec
        ]
        if len(inputs) != 1 or len(outputs) != 1 or "as_tensor" not in outputs[0]:
            raise InputError(
                f"{self._source} has {len(inputs)} inputs and {len(outputs)} outputs; a network "
                "that converts reads images alone and gives logits alone"
            )
        shapes = {
            name: tuple(size.get("as_int") for size in meta["sizes"])
            for name, meta in graph["tensor_values"].items()
        }
        nodes = [node for item in graph["nodes"] if (node := _node(item)) is not None]
        return Program(
            self._source, nodes, tensors, shapes, inputs[0], outputs[0]["as_tensor"]["name"]
        )

    def _json(self, name: str) -> Any:
        return json.loads(self._archive.read(self._root + name))

    def _tensor(self, folder: str, name: str) -> torch.Tensor:
        """A weight or a constant from its raw bytes."""
        config = self._json(f"data/{folder}/model_{folder}_config.json")["config"][name]
        if config["use_pickle"]:
            raise InputError(
                f"{self._source} holds {name} as a pickle, which would run code when opened; only "
                "plain tensors are read"
            )
        meta = config["tensor_meta"]
        sizes, strides = ([size["as_int"] for size in meta[key]] for key in ("sizes", "strides"))
        if 0 in sizes:
            return torch.zeros(sizes)
        content = self._archive.read(f"{self._root}data/{folder}/{config['path_name']}")
        flat = torch.frombuffer(bytearray(content), dtype=_DTYPES[meta["dtype"]])
        # torch refuses strides that reach beyond the bytes.
        return flat.as_strided(sizes, strides) if math.prod(sizes) else flat


def _node(item: dict[str, Any]) -> Node | None:
    """An operation of the graph; ``None`` if it makes no tensor: sizes and assertions."""
    names = [
        output["as_tensor"]["name"] if "as_tensor" in output else output["as_tensors"][0]["name"]
        for output in item["outputs"] if "as_tensor" in output or output.get("as_tensors")
    ]
    if not names:
        return None
    operation = item["target"].removeprefix("torch.ops.aten.").partition(".")[0]
    arguments = {entry["name"]: _argument(entry["arg"]) for entry in item["inputs"]}
    metadata = item["metadata"]
    module, kind = "", ""
    if metadata.get("nn_module_stack"):
        _, module, kind = metadata["nn_module_stack"].rpartition(";")[2].split(",")
    return Node(
        operation, arguments, names[0], module, kind.rpartition(".")[2],
        _line(metadata.get("stack_trace", "")),
    )


def _argument(value: dict[str, Any]) -> Any:
    ((kind, content),) = value.items()
    if kind == "as_tensor":
        return Ref(content["name"])
    if kind == "as_tensors":
        return [Ref(item["name"]) for item in content]
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
    return content


def _line(trace: str) -> str:
    """The innermost line of a stack trace that is not torch's own."""
    frames = [frame for frame in _FRAME.finditer(trace)
              if "/torch/" not in frame["file"].replace("\\", "/")]
    if not frames:
        return ""
    frame = frames[-1]
    return f"{Path(frame['file']).name}, line {frame['line']} (`{frame['code'].strip()}`)"
