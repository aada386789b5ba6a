"""The layers of a topology as a configuration writes them."""

from ttfs_sw.training import topology
from ttfs_sw.training.topology import LayerPlan, Topology

__all__ = ["texts"]


def texts(network: Topology) -> tuple[str, ...]:
    """Return the texts from which :func:`topology.plan` makes the hidden layers."""
    found: list[str] = []
    for plan in network.layers[:-1]:
        found.append(_text(plan))
        if plan.pool > 1:
            found.append(f"p{plan.pool}")
    classes = network.layers[-1].out_shape[2]
    assert topology.plan(found, network.input_shape, classes).layers[:-1] == network.layers[:-1]
    return tuple(found)


def _text(plan: LayerPlan) -> str:
    second = "" if plan.second_source is None else f"+{plan.second_source + 1}"
    if plan.kind == "dense":
        return f"{plan.out_shape[2]}{second}"
    if plan.kind == "average":
        return f"a{plan.kernel}"
    stride = f"s{plan.stride}" if plan.stride > 1 else ""
    padding = f"p{plan.padding}" if plan.padding != (plan.kernel - 1) // 2 else ""
    head = "d" if plan.kind == "depthwise" else f"{plan.out_shape[2]}c"
    return f"{head}{plan.kernel}{stride}{padding}{second}"
