# SPDX-License-Identifier: Apache-2.0
"""A program from the layers of a configuration and the weights of a state dict, taken in order."""

import dataclasses
import math
from typing import Any

import torch

from ttfs_sw.common.errors import InputError
from ttfs_sw.convert.program import Computation, Node, Ref
from ttfs_sw.convert.values import size
from ttfs_sw.training.kinds import weight_shape
from ttfs_sw.training.topology import LayerPlan, Topology

__all__ = ["OURS", "program_of"]

#: What the ReLU network of "ttfs train" is called by :func:`ttfs_sw.convert.source.load_tensors`.
OURS = "relu.layers."

#: Names of a batch-norm's numbers in a state dict.
_NORM = ("running_mean", "running_var", "weight", "bias")


def program_of(tensors: dict[str, torch.Tensor], topology: Topology, source: str) -> Computation:
    """Return the program of the layers of ``topology`` with the weights of a state dict.

    The weights belong to the layers in the order in which they come. A batch-norm's numbers are
    taken to stand between the layer before them and its ReLU, with PyTorch's default ε. Weights
    behind a flattened map are taken to be in torch's order, channel by channel, unless they are
    those of ``ttfs train``.

    Parameters
    ----------
    tensors : :class:`dict`
        The state dict.
    topology : :class:`ttfs_sw.training.topology.Topology`
        The layers, the read-out last.
    source : :class:`str`
        What messages call the state dict.

    Raises
    ------
    :exc:`ttfs_sw.common.errors.InputError`
        If the weights do not fit the layers.
    """
    layers = _layers(tensors, source)
    learned = sum(plan.learned for plan in topology.layers)
    if len(layers) != learned:
        raise InputError(
            f"{source} is of another architecture: it has weights for {len(layers)} layers, but "
            f"the configuration has {learned} with the read-out"
        )
    return _Writer(topology, source).write(layers, all(name.startswith(OURS) for name in tensors))


#: The numbers of one module, by their names in it.
Tensors = dict[str, torch.Tensor]


def _layers(tensors: Tensors, source: str) -> list[tuple[str, Tensors, Tensors]]:
    """Name, weights and batch-norm of each layer, in order."""
    groups: dict[str, Tensors] = {}
    for name, tensor in tensors.items():
        module, _, leaf = name.rpartition(".")
        groups.setdefault(module, {})[leaf] = tensor
    layers: list[tuple[str, Tensors, Tensors]] = []
    for module, group in groups.items():
        if "running_mean" in group and layers and not layers[-1][2]:
            layers[-1][2].update({name: group[name] for name in _NORM if name in group})
        elif "weight" in group and group["weight"].ndim > 1 and group.keys() <= {"weight", "bias"}:
            layers.append((module, group, {}))
        else:
            raise InputError(
                f"{source} has {module or 'entries'} with {', '.join(group)}, which is neither a "
                "layer with weights nor a batch-norm after one; give the model itself as "
                "module.py:function and these weights with --weights"
            )
    return layers


class _Writer:
    """Writes the operations of a topology one after another."""

    def __init__(self, topology: Topology, source: str):
        self._topology = topology
        height, width, channels = topology.input_shape
        self._program = Computation(
            source, [], {}, {"images": (None, channels, height, width)}, "images", ""
        )
        # Names of the maps, the image first.
        self._maps = [Ref("images")]

    def write(self, layers: list[tuple[str, Tensors, Tensors]], raster: bool) -> Computation:
        """All operations; ``raster`` weights read a flattened map position by position."""
        filled = iter(layers)
        shape = self._topology.input_shape
        for index, plan in enumerate(self._topology.layers):
            last = index == len(self._topology.layers) - 1
            if plan.learned:
                now = self._layer(index, plan, *next(filled), shape if raster else None)
                if not last:
                    now = self._write("relu", self=now)
                if plan.pool > 1:
                    now = self._write("max_pool2d", self=now, kernel_size=[plan.pool] * 2)
            else:
                now = self._write(
                    "avg_pool2d", f"average{index + 1}", self=self._maps[-1],
                    kernel_size=[plan.kernel] * 2,
                )
            self._maps.append(now)
            shape = plan.map_shape
        return dataclasses.replace(self._program, output=now.name)

    def _layer(
        self, index: int, plan: LayerPlan, module: str, weights: Tensors, norm: Tensors,
        raster: tuple[int, int, int] | None,
    ) -> Ref:
        weight = weights["weight"]
        if tuple(weight.shape) != weight_shape(plan):
            raise InputError(
                f"{self._program.source} is of another architecture: its {module}.weight is "
                f"{size(weight.shape)}, but layer {index + 1} of the configuration needs "
                f"{size(weight_shape(plan))}"
            )
        for name, tensor in ((name, tensor) for part in (weights, norm)
                             for name, tensor in part.items() if tensor is not weight):
            if tensor.shape != (plan.out_shape[2],):
                raise InputError(
                    f"{self._program.source} is of another architecture: {module} has a {name} of "
                    f"{size(tensor.shape)}, but {plan.out_shape[2]} outputs"
                )
        source, arguments = self._maps[-1], dict[str, Any]()
        second = None if plan.second_source is None else self._maps[plan.second_source + 1]
        if plan.form.flat:
            if raster:
                weight = weight.reshape(-1, *raster).permute(0, 3, 1, 2).flatten(1)
            source = self._flat(source, plan.in_shape)
            second = second and self._flat(second, plan.out_shape)
        else:
            arguments = {"stride": [plan.stride] * 2, "padding": [plan.padding] * 2,
                         "groups": plan.form.groups(plan.out_shape[2])}
        now = self._write(
            "linear" if plan.form.flat else "conv2d", module, input=source,
            weight=self._tensor(weight), **arguments,
            bias=self._tensor(weights["bias"]) if "bias" in weights else None,
        )
        if norm:
            values = {name: self._tensor(tensor) for name, tensor in norm.items()}
            now = self._write("batch_norm", module, input=now, eps=1e-5, **values)
        return self._write("add", module, self=now, other=second) if second else now

    def _flat(self, values: Ref, shape: tuple[int, int, int]) -> Ref:
        found = self._write("flatten", self=values, start_dim=1)
        self._program.shapes[found.name] = (None, math.prod(shape))
        return found

    def _tensor(self, value: torch.Tensor) -> Ref:
        name = f"tensor{len(self._program.tensors)}"
        self._program.tensors[name] = value
        return Ref(name)

    def _write(self, operation: str, module: str = "", /, **arguments: Any) -> Ref:
        # Positional only: many operations call their own first argument "self".
        name = f"value{len(self._program.nodes)}"
        self._program.nodes.append(Node(operation, arguments, name, module))
        return Ref(name)
