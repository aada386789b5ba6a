# SPDX-License-Identifier: Apache-2.0
"""Where a model comes from: a function in a file of the user's, and a file of weights.

The function's file is the user's own code, and running it is what they ask for by naming it. Files
of weights may come from anywhere: they are never unpickled beyond plain tensors.
"""

import contextlib
import dataclasses
import difflib
import importlib.util
import io
import os
import pickle
import re
import sys
import traceback
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ttfs_sw.common.errors import InputError
from ttfs_sw.convert import archive, outputs
from ttfs_sw.convert.program import Computation, Node

__all__ = ["PIXEL_SCALE", "build", "load_tensors", "load_weights", "program_of", "run"]

#: Keys below which training scripts keep the weights among other things.
_NESTED = ("state_dict", "model_state_dict", "model", "net")

#: What a checkpoint of ours calls the number that its pixels were divided by.
PIXEL_SCALE = "pixel_scale"

#: What DataParallel and torch.compile put before each name.
_WRAPPERS = ("module.", "_orig_mod.")

#: What a user's code may raise; one that asks Python to exit is at fault too.
_FAILED = (Exception, SystemExit)


def build(path: str | os.PathLike, name: str) -> nn.Module:
    """Run the Python file ``path`` and return the module that its function ``name`` gives.

    Raises
    ------
    :exc:`ttfs_sw.common.errors.InputError`
        If there is no such file or function, it raises, or it gives no :class:`torch.nn.Module`.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no file {path}; give module.py:function")
    with _neighbours(path.parent), _named(path, "running it"):
        spec = importlib.util.spec_from_file_location(f"_ttfs_user_{path.stem}", path)
        if spec is None or spec.loader is None:
            raise ImportError("it is no Python file; its name must end in .py")
        module = importlib.util.module_from_spec(spec)
        # Dataclasses and pickles of the file's own look themselves up there.
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        found = getattr(module, name, None)
        if callable(found):
            made = found if isinstance(found, nn.Module) else found()
    if not callable(found):
        public = [key for key, value in vars(module).items() if callable(value) and key[0] != "_"]
        close = difflib.get_close_matches(name, public, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise InputError(f"{path} has no function or class {name}{hint}")
    if not isinstance(made, nn.Module):
        raise InputError(
            f"{path}:{name} gave {type(made).__name__}, but must give a torch.nn.Module"
        )
    return made


def load_tensors(path: str | os.PathLike) -> dict[str, torch.Tensor]:
    """Read a state dict: an ``.npz`` of arrays, or what ``torch.save`` made of plain tensors.

    Nothing in the file is run: a pickle of anything but tensors is refused.

    Raises
    ------
    :exc:`ttfs_sw.common.errors.InputError`
        If the file cannot be read, or holds anything else.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no file of weights {path}")
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                # Of either byte order.
                found = {name: torch.from_numpy(array.astype(array.dtype.newbyteorder("=")))
                         for name, array in ((name, arrays[name]) for name in arrays.files)}
        else:
            with warnings.catch_warnings(action="ignore"):
                found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path} is a pickle of more than tensors, which would run code when opened; save only "
            "the weights: torch.save(model.state_dict(), FILE)"
        ) from error
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, TypeError,
            zipfile.BadZipFile) as error:
        raise InputError(
            f"{path} is no file of weights, or damaged; make one with "
            "torch.save(model.state_dict(), FILE)"
        ) from error
    return _tensors(found, path)


def _tensors(found: object, path: Path) -> dict[str, torch.Tensor]:
    """The state dict in what was read, which may hold it among other things."""
    if isinstance(found, Mapping):
        nested = [found[key] for key in _NESTED if isinstance(found.get(key), Mapping)]
        # A checkpoint of "ttfs train" has both of its networks.
        if isinstance(found.get("relu"), Mapping):
            ours = {f"relu.{key}": value for key, value in found["relu"].items()}
            if isinstance(found.get(PIXEL_SCALE), int | float) and found[PIXEL_SCALE] > 0:
                ours[PIXEL_SCALE] = torch.tensor(float(found[PIXEL_SCALE]))
            nested.append(ours)
        if nested:
            return _tensors(nested[0], path)
        if found and all(isinstance(value, torch.Tensor) and isinstance(key, str)
                         for key, value in found.items()):
            for key, value in found.items():
                _check_plain(key, value, path)
            for prefix in _WRAPPERS:
                if all(key.startswith(prefix) for key in found):
                    found = {key.removeprefix(prefix): value for key, value in found.items()}
            return dict(found)
    raise InputError(
        f"{path} holds no state dict; make one with torch.save(model.state_dict(), FILE)"
    )


def _check_plain(name: str, tensor: torch.Tensor, path: Path) -> None:
    """Refuse a tensor whose numbers cannot be taken as they are."""
    problem = (
        "has no values, only a size (torch's device 'meta')" if tensor.is_meta
        else "is quantised" if tensor.is_quantized
        else "is nested" if tensor.is_nested
        else "is sparse" if tensor.layout != torch.strided
        else "is complex" if tensor.is_complex() else ""
    )
    if problem:
        raise InputError(f"{path}: {name} {problem}; save it as an ordinary tensor of real numbers")


def load_weights(model: nn.Module, path: str | os.PathLike) -> None:
    """Put the weights of a file into ``model``.

    Raises
    ------
    :exc:`ttfs_sw.common.errors.InputError`
        If they are those of another architecture.
    """
    found, wanted = load_tensors(path), model.state_dict()
    if any(is_lazy(value) for value in wanted.values()):
        raise InputError(
            f"the model has layers whose size is not known before it has seen an image, such as "
            f"nn.LazyLinear, so {path} cannot be put into it; run it on one image where it is made"
        )
    problems = [f"it has no {name}" for name in wanted if name not in found]
    problems += [f"it has {name}, which the model has not" for name in found if name not in wanted]
    problems = [
        f"its {name} is {_size(found[name])}, but the model's {_size(wanted[name])}"
        for name in wanted if name in found and found[name].shape != wanted[name].shape
    ] or problems
    if problems:
        more = f", and {len(problems) - 1} more such" if len(problems) > 1 else ""
        raise InputError(f"{path} is of another architecture: {problems[0]}{more}")
    model.load_state_dict(found)


def program_of(
    model: nn.Module, shape: tuple[int, int, int], source: str,
    file: str | os.PathLike | None = None,
) -> Computation:
    """Return what ``model`` computes for images of ``shape`` (height, width, channels).

    It is exported into memory and read like any other archive. Modules that torch's own code
    calls, those of an ``nn.Sequential`` above all, get the line of ``file`` that makes them, if
    that is clear.

    Raises
    ------
    :exc:`ttfs_sw.common.errors.InputError`
        If torch cannot follow it.
    """
    # A compiled module is followed like the one that it was made of.
    model = getattr(model, "_orig_mod", model).eval()
    if any(value.is_meta for value in (*model.parameters(), *model.buffers())):
        raise InputError(
            f"{source} has no weights, only their sizes (torch's device 'meta'); load them into it "
            "where it is made"
        )
    height, width, channels = shape
    with warnings.catch_warnings(action="ignore"):
        errors = []
        # Images as maps; a network of dense layers may want them flat.
        for size in ((2, channels, height, width), (2, channels * height * width)):
            example = torch.zeros(size, **_kind(model))
            try:
                with torch.no_grad():
                    returned = outputs.leaves(model(example))
            except _FAILED as error:
                errors.append(error)
                continue
            place, notes = outputs.choose(
                [(name, id(value) if isinstance(value, torch.Tensor) else None)
                 for name, value in returned], source)
            try:
                exported = torch.export.export(_Logits(model, place), (example,))
                content = io.BytesIO()
                torch.export.save(exported, content)
            except _FAILED as error:
                raise InputError(
                    f"torch.export cannot follow {source}: {_first_line(error)}; the forward pass "
                    "must not depend on the values of the image"
                ) from error
            program = archive.read(content.getvalue(), source)
            program = dataclasses.replace(program, place=place, notes=program.notes + notes, nodes=[
                dataclasses.replace(node, module=node.module.removeprefix("model").lstrip("."))
                for node in program.nodes])
            return _with_lines(program, model, Path(file)) if file else program
    raise InputError(
        f"{source} takes no images of {channels} x {height} x {width} (channels, rows, columns), "
        f"as the dataset has them{_place(errors[0], source)}: {_first_line(errors[0])}"
    )


def run(model: nn.Module, images: torch.Tensor, place: int) -> torch.Tensor:
    """Return the logits of ``model`` for ``images``, as finely as in float32 if it can.

    Parameters
    ----------
    model : :class:`torch.nn.Module`
        Whose weights may be of half precision: what they are worth is what counts, not how coarsely
        the model would add them up.
    images : :class:`torch.Tensor`
        As the model takes them, flat or as maps.
    place : :class:`int`
        Which of the things that it returns the logits are.

    Raises
    ------
    :exc:`ttfs_sw.common.errors.InputError`
        If the model fails on these images.
    """
    dtype, device = _kind(model).values()
    wide = torch.promote_types(dtype, torch.float32)
    tensors = {
        name: value.to(wide) if value.is_floating_point() else value
        for name, value in (*model.named_parameters(), *model.named_buffers())
    }
    errors = []
    # A model that makes tensors of its own type in its forward pass takes no other weights.
    for kind, given in ((wide, tensors), (dtype, {})):
        try:
            returned = torch.func.functional_call(model, given, (images.to(device, kind),))
            return outputs.leaves(returned)[place][1].cpu()
        except _FAILED as error:
            errors.append(error)
    raise InputError(f"it fails on {len(images)}: {_first_line(errors[-1])}") from errors[-1]


def is_lazy(value: torch.Tensor) -> bool:
    """Whether a parameter or buffer has no size yet."""
    return nn.parameter.is_lazy(value)


def _kind(model: nn.Module) -> dict[str, Any]:
    """The type of number that a model reads, and where."""
    first = next((value for value in model.parameters() if value.is_floating_point()),
                 torch.zeros(0))
    return {"dtype": first.dtype, "device": first.device}


class _Logits(nn.Module):
    """A model that returns its logits alone."""

    def __init__(self, model: nn.Module, place: int):
        super().__init__()
        self.model, self._place = model, place

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return outputs.leaves(self.model(images))[self._place][1]


def _with_lines(program: Computation, model: nn.Module, file: Path) -> Computation:
    """The program with a line for each operation whose module is made in one of ``file``."""
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()

    def made(node: Node) -> str:
        places = [index for index, line in enumerate(lines)
                  if re.search(rf"\b{node.kind}\(", line.partition("#")[0])]
        same = [name for name, module in model.named_modules()
                if type(module).__name__ == node.kind]
        # As many calls as modules: they come in the same order.
        if node.module not in same or len(places) not in (1, len(same)):
            return ""
        index = places[same.index(node.module) if len(places) > 1 else 0]
        return f"{file.name}, line {index + 1} (`{lines[index].strip()}`)"

    nodes = [
        node if node.line or not node.kind else dataclasses.replace(node, line=made(node))
        for node in program.nodes
    ]
    return dataclasses.replace(program, nodes=nodes)


@contextlib.contextmanager
def _neighbours(folder: Path) -> Iterator[None]:
    """Let the file import what lies beside it."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


@contextlib.contextmanager
def _named(path: Path, what: str) -> Iterator[None]:
    """Turn whatever the user's code raises into one sentence with its line."""
    try:
        yield
    except _FAILED as error:
        raise InputError(
            f"{what} failed{_place(error, str(path)) or f' in {path}'}: {_first_line(error)}"
        ) from error


def _place(error: BaseException, source: str) -> str:
    """Where in the user's file an error came from."""
    name = Path(re.sub(r":\w+$", "", source)).name
    if isinstance(error, SyntaxError):
        return f" in {Path(error.filename or name).name}, line {error.lineno}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__)
              if Path(frame.filename).name == name]
    return f" in {name}, line {frames[-1].lineno} (`{frames[-1].line}`)" if frames else ""


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__


def _size(tensor: torch.Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "one number"
