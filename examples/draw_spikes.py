# SPDX-License-Identifier: Apache-2.0
"""Draws what time to first spike looks like: every spike of an image, and membranes that ramp.

    python examples/draw_spikes.py

It shows a network from the inside: ``spikes.png`` has all spikes of one image, layer by layer, and
``membranes.png`` the potentials of six hidden neurons while the spikes come in. A spike turns the
slope of a membrane by its weight; the membrane's height when all have come is what the integers of
the artifact compute at once. A quarter of a minute, most of it training.
"""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ttfs_sw import golden
from ttfs_sw.artifact.network import Network
from ttfs_sw.common import plot
from ttfs_sw.data import datasets
from ttfs_sw.training import config
from ttfs_sw.training.train import train

FOLDER = Path("runs") / "examples" / "drawn"


def membranes(network: Network, input_codes: np.ndarray) -> np.ndarray:
    """Potentials of the first layer at the end of each tick, ``[ticks + 1, neurons]``."""
    layer, ticks = network.layers[0], network.input_ticks
    weight = layer.weight.astype(int)
    # An input of code a fires at tick T - a, and never if a is 0.
    times = np.where(input_codes > 0, ticks - input_codes.astype(int), ticks)
    found = [layer.bias.astype(int)]
    slope = np.zeros(layer.outputs, int)
    for tick in range(ticks):
        slope = slope + weight[times == tick].sum(axis=0)
        found.append(found[-1] + slope)
    return np.array(found)


def main() -> None:
    digits = datasets.load("digits")
    train(config.load("digits-mlp", {"float_epochs": 20, "epochs": 20}), digits, FOLDER)
    network = Network.load(FOLDER / "network.npz")
    image = digits.x_test[0]
    trace = golden.run(network, image[np.newaxis])

    plot.raster(
        FOLDER / "spikes.png",
        [{"name": "input", "ticks": network.input_ticks,
          "golden_times": network.input_ticks - trace.input_codes[0].astype(int)},
         {"name": network.layers[0].name, "ticks": network.layers[0].ticks,
          "golden_times": trace.spike_times(0)[0]}],
        image=image.reshape(digits.shape), logits=trace.logits[0], label=int(digits.y_test[0]))

    ramps = membranes(network, trace.input_codes[0])
    # The integer model multiplies each weight by its spike's worth, and has no ticks at all.
    potentials = golden.potentials(network, network.layers[0], {-1: trace.input_codes})
    assert ramps[-1].tolist() == potentials.ravel().tolist()
    axes = (figure := Figure(figsize=(7, 4), layout="constrained")).subplots()
    for neuron in np.argsort(-ramps[-1])[[0, 1, 2, -3, -2, -1]]:
        code = trace.codes[0][0, neuron]
        axes.plot(ramps[:, neuron], label=f"neuron {neuron}: "
                  + (f"fires at tick {network.layers[0].ticks - code}" if code else "silent"))
    axes.axhline(0, color=plot.GREY, linewidth=0.8)
    axes.set(xlabel="tick of the input's window", ylabel="membrane potential")
    axes.legend(frameon=False, fontsize="small")
    plot.tidy(axes)
    plot.save(figure, FOLDER / "membranes.png")
    print(f"{FOLDER / 'spikes.png'}, {FOLDER / 'membranes.png'}: {trace.events[0, 0]} spikes in, "
          f"{trace.events[0, 1]} of {network.layers[0].neurons} hidden neurons fire")


if __name__ == "__main__":
    main()
