# SPDX-License-Identifier: Apache-2.0
"""What is added and multiplied: batch-norms, constants, and earlier maps.

With ``κ = γ / √(σ² + ε)`` a batch-norm is ``κ x + β - κ μ``. Before a ReLU it goes into the weights
before it, ``W' = κ W`` and ``b' = κ b + β - κ μ``, after one into the weights that follow.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from ttfs_sw.convert.layers import Map, Sums
from ttfs_sw.convert.operations import refuse
from ttfs_sw.convert.program import Node
from ttfs_sw.convert.values import Values, size

__all__ = ["Arithmetic"]


class Arithmetic(Values):
    """The operations that scale, shift and add, each under its name in ATen."""

    def _on_batch_norm(self, node: Node) -> Map | Sums:
        given = {
            name: self._array(value)
            for name in ("running_mean", "running_var", "weight", "bias")
            if (value := node.arguments.get(name)) is not None
        }
        if not {"running_mean", "running_var"} <= given.keys():
            raise refuse(node, "it has no running statistics; use track_running_stats=True")
        variance = given["running_var"] + node.arguments["eps"]
        if not (variance > 0).all():
            raise refuse(node, "its running variance and eps are not above 0 together, so that it "
                         "divides by zero")
        scale = given.get("weight", 1) / np.sqrt(variance)
        offset = given.get("bias", 0) - given["running_mean"] * scale
        return self._affine(self._value(node.arguments["input"], node), scale, offset, node)

    def _on_add(self, node: Node) -> Map | Sums:
        return self._sum(node, 1.0)

    def _on_sub(self, node: Node) -> Map | Sums:
        return self._sum(node, -1.0)

    def _on_rsub(self, node: Node) -> Map | Sums:
        # As torch writes "constant - x".
        arguments = node.arguments
        turned = arguments | {"self": arguments["other"], "other": arguments["self"]}
        return self._sum(dataclasses.replace(node, arguments=turned), -1.0)

    def _on_mul(self, node: Node) -> Map | Sums:
        return self._product(node, lambda factor: factor)

    def _on_div(self, node: Node) -> Map | Sums:
        if not self._is_constant(node.arguments["other"]):
            raise refuse(node, "it divides by what is computed from the image")
        if node.arguments.get("rounding_mode"):
            raise refuse(node, "it rounds what it has divided; leave rounding_mode out")
        if not self._array(node.arguments["other"]).all():
            raise refuse(node, "it divides by zero")
        return self._product(node, lambda factor: 1 / factor)

    def _on_neg(self, node: Node) -> Map | Sums:
        return self._affine(self._value(node.arguments["self"], node), -1.0, 0.0, node)

    def _product(self, node: Node, factor_of: Callable[[np.ndarray], np.ndarray]) -> Map | Sums:
        value, other = node.arguments["self"], node.arguments["other"]
        if self._is_constant(value):
            value, other = other, value
        if not self._is_constant(other):
            raise refuse(node, "it multiplies two maps; only maps and constants can be multiplied")
        value = self._value(value, node)
        return self._affine(value, factor_of(self._by_channel(other, value, node)), 0.0, node)

    def _sum(self, node: Node, sign: float) -> Map | Sums:
        left, right = node.arguments["self"], node.arguments["other"]
        factor = sign * node.arguments.get("alpha", 1)
        if self._is_constant(right):
            value = self._value(left, node)
            constant = factor * self._by_channel(right, value, node)
            return self._affine(value, 1.0, constant, node)
        if self._is_constant(left):
            value = self._value(right, node)
            return self._affine(value, factor, self._by_channel(left, value, node), node)
        if factor != 1:
            raise refuse(node, "it subtracts maps; only addition converts")
        return self._residual(self._value(left, node), self._value(right, node), node)

    def _residual(self, left: Map | Sums, right: Map | Sums, node: Node) -> Sums:
        """``left + right``, of which one is a map that the other's neurons add."""
        if isinstance(left, Map) and (
            isinstance(right, Sums) or right.layer > left.layer
            # Of two forms of one map the plain one can be added.
            or (right.layer == left.layer and (left.scale == 1).all())
        ):
            left, right = right, left
        if isinstance(left, Sums) and isinstance(right, Sums):
            which = (f"both {left.name} and {right.name} have" if left.name != right.name
                     else f"it adds two sums of {left.name}, which has")
            raise refuse(
                node, f"{which} weights, and a layer has one source with weights; use an identity "
                "shortcut, of a map of the same shape"
            )
        assert isinstance(right, Map), "of a map and sums the map is on the right now"
        self.layers.check(right, node)
        main = self._identity(left, node) if isinstance(left, Map) else left
        self.layers.check_chain(main.source, node)
        if main.plan.second_source is not None:
            raise refuse(node, "it is the second addition to one layer; put a ReLU in between")
        if main.plan.pool > 1:
            raise refuse(node, "it adds to sums that are pooled already; put the max-pool after "
                         "the ReLU that follows")
        if main.plan.out_shape != right.shape or main.flat != right.flat:
            raise refuse(node, f"it adds maps of {size(main.plan.out_shape)} and "
                         f"{size(right.shape)}; they must be of one shape")
        if (right.scale != 1).any():
            raise refuse(node, "it adds a map that a batch-norm has scaled, whose worth is fixed; "
                         "put the batch-norm before that map's ReLU")
        self.layers.read(right)
        plan = dataclasses.replace(main.plan, second_source=right.layer)
        offset = (self._of_channels(right.offset, right.shape, node) if right.flat
                  else right.offset)
        return dataclasses.replace(
            main, plan=plan, bias=main.bias + offset,
            positive=main.positive and right.positive,
        )
