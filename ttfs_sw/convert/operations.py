# SPDX-License-Identifier: Apache-2.0
"""What converts, and what to use instead of what does not."""

from ttfs_sw.common.errors import InputError
from ttfs_sw.convert.program import Node

__all__ = [
    "CONVERTS", "COPIES", "FRESH", "MONOTONE", "NOTHING", "SAME", "SHAPES", "refuse", "unknown",
]

#: Operations that do nothing to a trained network's values; those of COPIES give new memory.
NOTHING = ("dropout", "feature_dropout", "alpha_dropout", "clone", "contiguous", "detach", "alias",
           "to", "_to_copy", "lift_fresh_copy", "detach_copy", "native_dropout")
COPIES = ("clone", "_to_copy", "lift_fresh_copy", "detach_copy", "native_dropout")

#: Operations that give the values another shape.
SHAPES = ("flatten", "view", "reshape", "_unsafe_view", "squeeze", "unsqueeze", "unflatten")

#: Operations after which the largest logit is still the largest.
MONOTONE = ("softmax", "log_softmax", "_softmax", "_log_softmax", "sigmoid")

#: Operations whose result surely lies in the memory of what they read, once a network is trained.
SAME = ("dropout", "feature_dropout", "alpha_dropout", "detach", "alias", "view", "_unsafe_view",
        "squeeze", "unsqueeze", "unflatten")

#: Operations whose result never lies in the memory of what they read. Not by torch's schemas:
#: those of dropout and type_as say so too. All others may share memory, and those that are not in
#: SAME (to, contiguous, reshape, flatten) do or do not as types and strides have it.
FRESH = (
    "linear", "conv2d", "batch_norm", "relu", "max_pool2d", "avg_pool2d", "adaptive_avg_pool2d",
    "mean", "add", "sub", "rsub", "mul", "div", "neg", *COPIES, *MONOTONE,
)

#: The end of the message about an operation that nobody has thought of.
CONVERTS = (
    "what converts is Linear, Conv2d, BatchNorm, ReLU, MaxPool2d, AvgPool2d, Flatten, Dropout and "
    "the addition of an earlier map"
)

_RELU = "use nn.ReLU, whose values a spike's time can tell, and train on for a few epochs"
_NORM = "use nn.BatchNorm2d, whose statistics are constants once it is trained"
_CONV = "use nn.Conv2d (a series is an image of one row)"
_POOL = "use nn.MaxPool2d or nn.AvgPool2d whose windows do not overlap"
_DENSE = "use nn.Linear, a product of a map and constant weights"
_ADD = "add maps of one shape instead, as a residual network does"

#: What to use instead, by the operation's name in ATen.
_INSTEAD = {
    **dict.fromkeys(
        ("sigmoid", "tanh", "gelu", "silu", "elu", "selu", "celu", "leaky_relu", "prelu", "mish",
         "softplus", "hardtanh", "relu6", "hardswish", "hardsigmoid", "clamp", "clamp_min", "abs",
         "threshold", "rrelu", "exp", "square", "pow", "sqrt"), _RELU),
    **dict.fromkeys(("layer_norm", "group_norm", "instance_norm", "rms_norm",
                     "local_response_norm"), _NORM),
    **dict.fromkeys(("conv1d", "conv3d", "conv_transpose1d", "conv_transpose2d",
                     "conv_transpose3d", "unfold"), _CONV),
    **dict.fromkeys(("max_pool1d", "max_pool3d", "avg_pool1d", "avg_pool3d", "adaptive_max_pool2d",
                     "max_pool2d_with_indices", "adaptive_avg_pool1d", "amax", "max", "sum",
                     "upsample_nearest2d", "upsample_bilinear2d"), _POOL),
    **dict.fromkeys(("matmul", "mm", "bmm", "einsum", "scaled_dot_product_attention", "embedding",
                     "lstm", "gru", "rnn_tanh"), _DENSE),
    **dict.fromkeys(("cat", "stack", "concat"), _ADD),
    **dict.fromkeys(("addmm", "convolution", "_native_batch_norm_legit_no_training", "permute"),
                    "export the model with torch.export.export and save it as it is, without "
                    "run_decompositions"),
}


def refuse(node: Node, problem: str) -> InputError:
    """The error that names the operation, with its line, and what is wrong with it."""
    return InputError(f"{node.where} does not convert: {problem}")


def unknown(node: Node) -> InputError:
    """The error for an operation that is none of those that convert."""
    instead = _INSTEAD.get(node.operation.strip("_"), CONVERTS)
    what = "" if node.kind.lower() == node.operation.strip("_").replace("_", "") else (
        f"{node.operation.strip('_')} is no operation of the hardware; ")
    return refuse(node, what + instead)
