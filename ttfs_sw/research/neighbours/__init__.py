# SPDX-License-Identifier: Apache-2.0
"""Other spiking networks beside ours, under one interface: like is compared with like.

Each method is a :class:`ttfs_sw.research.neighbours.method.Method`, in a file of its own that has
its equation and its source. What it needs of this project is little: the layers of a configuration,
and the weights of a ReLU network.

    task = Task(config.load("digits-mlp"), datasets.load("digits"))
    method = build("few-spike", task.layers, task.dataset.shape, task.dataset.classes, steps=6)
    method.fit(task, task.reference())
    result = method.predict(task.dataset.x_test)
"""

import inspect
from collections.abc import Sequence
from typing import Any

from ttfs_sw.common.errors import InputError
from ttfs_sw.research.neighbours.falling import FallingNetwork
from ttfs_sw.research.neighbours.few_spike_network import FewSpikeNetwork
from ttfs_sw.research.neighbours.lif_network import LastStepNetwork, LifNetwork, SmoothTetNetwork
from ttfs_sw.research.neighbours.method import Method, Task, nearest
from ttfs_sw.research.neighbours.pascal import PascalNetwork
from ttfs_sw.research.neighbours.qcfs import QcfsNetwork
from ttfs_sw.research.neighbours.rel_psp import RelPspNetwork
from ttfs_sw.research.neighbours.ttfs import TtfsNetwork

__all__ = ["METHODS", "Method", "Task", "build"]

#: Every method by its name, in the order of a table.
METHODS: dict[str, type[Method]] = {
    method.name: method for method in (
        TtfsNetwork, FewSpikeNetwork, QcfsNetwork, PascalNetwork, FallingNetwork, RelPspNetwork,
        LifNetwork, LastStepNetwork, SmoothTetNetwork,
    )
}


def build(
    name: str, layers: Sequence[str], shape: tuple[int, int, int], classes: int, **options: Any
) -> Method:
    """Make a method, which is fitted then.

    Parameters
    ----------
    name : :class:`str`
        One of :data:`METHODS`.
    layers, shape, classes
        As :class:`ttfs_sw.research.neighbours.method.Method` has them.
    options
        What the method takes besides.

    Raises
    ------
    :exc:`ttfs_sw.common.errors.InputError`
        If there is no such method or option, or the method cannot have these layers.
    """
    if name not in METHODS:
        raise InputError(f"there is no method {name!r}; {nearest(name, [*METHODS])}")
    method = METHODS[name]
    known = [
        parameter.name for parameter in inspect.signature(method).parameters.values()
        if parameter.kind is parameter.KEYWORD_ONLY
    ]
    for option in options:
        if option not in known:
            raise InputError(f"{name} has no option {option!r}; {nearest(option, known)}")
    return method(layers, shape, classes, **options)
