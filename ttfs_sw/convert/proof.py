# SPDX-License-Identifier: Apache-2.0
"""The proof that the layers compute what the model does, before anything is rounded.

Three computations in float64 are held against each other: the user's module itself, torch's own
operations on the program that was read from it, and the layers. On random images and on real ones,
padding and borders, batch-norms, pools and residuals all have their say. :func:`steps` does so
after every operation, so that a fault has a name.
"""

import copy
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from ttfs_sw.common.errors import FailureError, InputError
from ttfs_sw.convert import outputs, reference, source
from ttfs_sw.convert.calibrate import relu_network
from ttfs_sw.convert.graph import Folder, fold
from ttfs_sw.convert.layers import Folded, Layers, Map, Sums
from ttfs_sw.convert.operations import MONOTONE
from ttfs_sw.convert.program import Computation, Node
from ttfs_sw.training.topology import Topology

__all__ = ["TOLERANCE", "difference", "prove", "random_images", "steps"]

#: How far apart two computations in float64 may be, as a share of the largest result. Float64
#: rounds to 1.1e-16, of which sums of thousands of terms and batch-norms leave 1e-14 or so.
TOLERANCE = 1e-9

#: What counts as a share of the largest number on the way to a result: where large numbers cancel,
#: roundings of theirs, TOLERANCE * CANCELLED, are all that may be left.
CANCELLED = 1e-3

#: Random images of each kind, and real images, on which a conversion is checked.
RANDOM, REAL = 16, 32


def prove(
    folded: Folded, module: nn.Module | None, images: torch.Tensor,
    mean: np.ndarray | None = None, std: np.ndarray | None = None,
) -> None:
    """Refuse to go on with layers that do not compute what the model does.

    Parameters
    ----------
    folded : :class:`ttfs_sw.convert.layers.Folded`
        The layers, and the program that they were read from.
    module : :class:`torch.nn.Module` or ``None``
        The user's module, if there is one that runs.
    images : :class:`torch.Tensor`
        Real images worth 0 to 1, ``[images, inputs]`` in raster order; the first ones are taken.
    mean, std : :class:`numpy.ndarray` or ``None``
        As :func:`ttfs_sw.convert.graph.fold` takes them.

    Raises
    ------
    :exc:`ttfs_sw.common.errors.FailureError`
        If they do not; the message has the first operation from which on they differ.
    """
    program, shape = folded.program, folded.topology.input_shape
    assert program is not None, "only layers made for a test stand for no program"
    images = torch.cat([images[:REAL].double(), random_images(shape)])
    maps = _maps(images, shape, mean, std)
    wanted, largest = reference.logits(program, maps)
    if module is not None:
        found, tolerance = _run(module, program, maps)
        apart = difference(found, wanted, largest)
        if not apart <= tolerance:
            raise FailureError(
                f"the operations read from {program.source} do not give its logits "
                f"({_off(found, wanted, apart)}); does its forward pass depend on the image's "
                "values, or on how many images there are?"
            )
    last = next(node for node in program.nodes if node.name == program.output)
    with torch.no_grad():
        found = relu_network(folded, torch.float64)(images)
    if last.operation in MONOTONE:
        found = found.sigmoid() if last.operation == "sigmoid" else getattr(
            functional, last.operation.strip("_"))(found, dim=1)
    apart = difference(found, wanted, largest)
    if not apart <= TOLERANCE:
        last = next((node for node, apart in steps(program, shape, images, mean, std)
                     if not apart <= TOLERANCE), last)
        raise FailureError(
            f"the layers made of {program.source} do not give its logits "
            f"({_off(found, wanted, apart)}), from {last.where} on: this is a fault of ttfs "
            "convert, please report it with your model"
        )


def steps(
    program: Computation, shape: tuple[int, int, int], images: torch.Tensor,
    mean: np.ndarray | None = None, std: np.ndarray | None = None,
) -> Iterator[tuple[Node, float]]:
    """Fold a program step by step; give how far apart layers and torch are after each operation.

    Parameters are those of :func:`prove` and :func:`ttfs_sw.convert.graph.fold`.
    """
    # What does not convert is refused before any of it is run.
    fold(program, shape, mean, std)
    folder = Folder(program, shape, mean, std)
    wanted = reference.values(program, _maps(images.double(), shape, mean, std))
    largest = 0.0
    for node, value in folder.steps():
        if node.operation not in MONOTONE:
            largest = max(largest, wanted[node.name].abs().max().item())
            found = evaluate(folder.layers, value, images.double())
            yield node, difference(found, wanted[node.name], largest)


@torch.no_grad()
def evaluate(layers: Layers, value: Map | Sums, images: torch.Tensor) -> torch.Tensor:
    """What a value stands for, by the layers up to it, as torch has it: channels first."""
    source = value if isinstance(value, Map) else value.source
    plans, weights = layers.plans[: source.layer + 1], layers.weights[: source.layer + 1]
    if isinstance(value, Sums):
        plans.append(value.plan)
        weights.append((value.weight, value.bias))
    if plans:
        topology = Topology(layers.input_shape, tuple(plans))
        found = relu_network(Folded(topology, weights, []), torch.float64)(images)
        found = found.reshape(len(images), plans[-1].out_shape[2], *plans[-1].out_shape[:2])
        if plans[-1].pool > 1:
            found = functional.max_pool2d(found, plans[-1].pool)
    else:
        found = _maps(images, layers.input_shape)
    if isinstance(value, Sums):
        return found.flatten(1) if value.flat else found
    found = functional.relu(found)
    scale, offset = torch.from_numpy(value.scale), torch.from_numpy(value.offset)
    if value.flat:
        return found.flatten(1) * scale + offset
    return found * scale.view(-1, 1, 1) + offset.view(-1, 1, 1)


def difference(found: torch.Tensor, wanted: torch.Tensor, largest: float) -> float:
    """How far apart two results are, as a share of their largest number.

    Where they are small beside ``largest``, the largest number on the way to them, as a share of
    that; infinite where shapes differ.
    """
    if found.shape != wanted.shape:
        return float("inf")
    size = wanted.double().abs().max().item() + CANCELLED * largest
    return (found.double() - wanted.double()).abs().max().item() / (size or 1.0)


def _off(found: torch.Tensor, wanted: torch.Tensor, apart: float) -> str:
    if found.shape != wanted.shape:
        return f"they are {list(found.shape)}, not {list(wanted.shape)}"
    return f"they are off by {apart:.3g} of the largest"


def random_images(shape: tuple[int, int, int], seed: int = 0) -> torch.Tensor:
    """Images ``[images, inputs]`` worth 0 to 1: dark, lit, of noise, and of a few lit pixels."""
    generator = torch.Generator().manual_seed(seed)
    size = RANDOM, int(np.prod(shape))
    noise = torch.rand(2, *size, generator=generator, dtype=torch.float64)
    few = noise[1] * (torch.rand(size, generator=generator) < 0.1)
    return torch.cat([noise[0, :1], few[:1], noise[0, 1:], few[1:], torch.zeros_like(noise[0, :1]),
                      torch.ones_like(noise[0, :1])])


def _maps(
    images: torch.Tensor, shape: tuple[int, int, int],
    mean: np.ndarray | None = None, std: np.ndarray | None = None,
) -> torch.Tensor:
    """Images in raster order as the model reads them."""
    height, width, channels = shape
    maps = images.view(-1, height, width, channels).permute(0, 3, 1, 2)
    shift, scale = (
        torch.as_tensor(default if values is None else values, dtype=torch.float64).view(-1, 1, 1)
        for values, default in ((mean, 0.0), (std, 1.0))
    )
    maps = (maps - shift) / scale
    # Not contiguous(): maps of one channel are so already, with strides of which torch may conclude
    # that channels come last, and then the view() of a module fails.
    return torch.empty(maps.shape, dtype=maps.dtype).copy_(maps)


@torch.no_grad()
def _run(module: nn.Module, program: Computation, maps: torch.Tensor) -> tuple[torch.Tensor, float]:
    """The module's own logits, in float64 if it can, and how exact they are."""
    maps = maps.reshape(len(maps), *program.image_shape)
    types = [item for node in program.nodes
             if isinstance(item := node.arguments.get("dtype"), torch.dtype)
             and item.is_floating_point]
    if not types or set(types) == {torch.float64}:
        try:
            returned = copy.deepcopy(module).double().eval()(maps)
            return outputs.leaves(returned)[program.place][1], TOLERANCE
        except Exception:
            # It makes tensors of another type of its own, or cannot be copied.
            pass
    least = min([torch.float32, *types], key=lambda dtype: -torch.finfo(dtype).eps)
    # A thousand roundings: 1e-4 in float32.
    try:
        return source.run(module, maps, program.place), 1000 * torch.finfo(least).eps
    except InputError as error:
        raise FailureError(
            f"{program.source} takes 2 images at once, but {error}; its forward pass must not "
            "depend on how many images there are"
        ) from error
