# SPDX-License-Identifier: Apache-2.0
"""Compiled networks, executed in Python, for cores of every size: exact, or refused with a reason.

What is tested is the compiler: where it lays weights, biases, slopes and spikes. No simulation is
needed for that, so there are many more networks and sizes here than there can be on RTL.
"""

import collections

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.corners import corner_network
from tests.support.executed import execute
from tests.support.networks import random_images, random_network
from ttfs_fpga.boards.configurations import CONFIGURATIONS
from ttfs_fpga.hdl.compiler import DoesNotFit, compile_network, minimal_config
from ttfs_fpga.hdl.config import CoreConfig
from ttfs_sw import golden

#: Neurons of a network, input included, of which an image is executed.
EXECUTED = 2000


def draw_config(rng: np.random.Generator) -> CoreConfig:
    """Draw any core, but one in five is a board's; half have room for most networks."""
    if rng.random() < 0.2:
        return CONFIGURATIONS[str(rng.choice(list(CONFIGURATIONS)))].core
    roomy = rng.random() < 0.5

    def words(least, most):
        return int(2 ** (rng.uniform(least, most) if not roomy else rng.uniform(most - 3, most)))

    while True:
        lanes, weight_bits = int(2 ** rng.integers(0, 9)), int(rng.integers(2, 9))
        if not CoreConfig.loadable(lanes * weight_bits):
            continue
        return CoreConfig(
            lanes=lanes, weight_bits=weight_bits, tick_bits=int(rng.integers(1, 9)),
            accumulator_bits=int(rng.integers(20 if roomy else 8, 33)), weight_words=words(1, 18),
            membrane_words=words(1, 13), input_words=words(1, 13), map_words=words(1, 13),
            slopes=words(1, 13), table_words=words(5, 13), layers=int(rng.integers(3, 64)),
            datapath=str(rng.choice(["mac", "mac", "serial", "ramp"])),
            samples=int(rng.integers(1, 3)),
        )


def try_one(seed: int, make, *, anywhere: bool) -> collections.Counter[str]:
    """Compile a network for a core, and execute it if it is small; say what it has shown.

    ``anywhere``: it may be drawn beyond what the core can do. Whatever is raised but
    :exc:`DoesNotFit` is a fault.
    """
    rng = np.random.default_rng(seed)
    config = draw_config(rng)
    limits = {} if anywhere and rng.random() < 0.3 else {
        "max_ticks": config.max_ticks, "max_weight_bits": config.weight_bits,
        "kinds": ("dense",) if config.datapath == "ramp" else ("dense", "conv2d", "depthwise"),
        "residuals": config.datapath != "ramp"}
    network = make(rng, config, **limits)
    shown: collections.Counter[str] = collections.Counter()
    try:
        if rng.random() < 0.5:
            config = minimal_config(
                network, lanes=config.lanes, datapath=config.datapath, samples=config.samples)
        program = compile_network(network, config)
    except DoesNotFit as refusal:
        assert refusal.exit_code == 2
        check_reason(str(refusal), network)
        shown["refused"] += 1
        return shown
    shown["compiled"] += 1
    plans = program.layers
    shown["packed"] += any(plan.packed > 1 for plan in plans)
    shown["pitch"] += any(
        plan.packed > 1 and plan.map.pitch & (plan.map.pitch - 1) for plan in plans)
    shown["residual"] += any(plan.residual is not None for plan in plans)
    shown["wide residual"] += any(
        plan.residual is not None and plan.kind == "dense" and plan.neurons > plan.inputs
        for plan in plans)
    shown["wraps"] += any(plan.window_rows < plan.rows for plan in plans)
    if sum(layer.inputs for layer in network.layers) < EXECUTED:
        images = random_images(rng, network, 1)[:2]
        check(network, program, images, seed)
        shown["executed"] += len(images)
    return shown


def check_reason(sentence: str, network) -> None:
    """Refuse a reason that names no layer, or says of two amounts what is not so."""
    named = sentence.startswith(
        ("the network", *(f"layer {layer.name} " for layer in network.layers)))
    assert named, sentence
    # A memory's: needed, available, the difference.
    if "too many; what would fit is" in sentence and sentence.startswith("the network needs"):
        needed = int(sentence.split()[3])
        available = int(sentence.split(" memory has ")[1].split(":")[0])
        over = int(sentence.split(": ")[1].split()[0])
        assert needed - available == over > 0, sentence


def check(network, program, images, seed) -> None:
    """Compare every spike, event count and logit with the golden model."""
    trace = golden.run(network, images, backend="numpy")
    for n in range(len(images)):
        result = execute(program, trace.input_codes[n])
        where = f"seed {seed}, image {n}"
        for index, plan in enumerate(program.layers):
            read = [(plan.source, plan.source_neurons)]
            if plan.residual is not None:
                read.append((plan.residual.source, plan.residual.neurons))
            wanted = [
                (place, int(trace.codes[source][n][neuron])) for source, neurons in read
                if source >= 0 for place, neuron in enumerate(neurons.tolist())
                if neuron >= 0 and trace.codes[source][n][neuron]]
            seen = [(place, code) for layer, place, code in result.spikes if layer == index]
            assert sorted(seen) == sorted(wanted), f"{where}: what layer {plan.name} reads"
            events = sum(int(trace.events[n, 1 + source]) for source, _ in read)
            assert result.events[index] == events, f"{where}: events of layer {plan.name}"
        assert result.logits == trace.logits[n].tolist(), f"{where}: logits"


def usual(rng, config, max_weight_bits=8, max_ticks=255, **limits):
    return random_network(
        rng, lanes=config.lanes, codes=config.codes_per_word if rng.random() < 0.6 else None,
        weight_bits=int(rng.integers(2, max_weight_bits + 1)), max_ticks=max_ticks,
        max_size=int(rng.choice([4, 8, 12])), max_channels=int(rng.choice([8, 20, 40, 70])),
        max_neurons=int(rng.choice([200, 800])), blocks=bool(rng.random() < 0.5), **limits)


def corner(rng, config, **limits):
    return corner_network(rng, **limits)


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32 - 1))
@pytest.mark.parametrize("make", [usual, corner])
def test_exact_or_refused(make, seed):
    try_one(seed, make, anywhere=True)


# A guard against a hang: it takes less than a minute on an idle machine.
@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("make", "count"), [(usual, 1000), (corner, 1200)])
def test_thousands_are_exact_or_refused(make, count):
    shown: collections.Counter[str] = collections.Counter()
    for seed in range(count):
        shown += try_one(seed, make, anywhere=True)
    # Otherwise this test would not say much.
    assert shown["compiled"] > count // 3 and shown["executed"] > count // 3
    assert shown["refused"] > count // 20
    assert shown["residual"] > count // 20 and shown["wraps"] > count // 40
    if make is usual:
        assert shown["packed"] > count // 10 and shown["pitch"] > count // 100
    else:
        assert shown["wide residual"] > 0
