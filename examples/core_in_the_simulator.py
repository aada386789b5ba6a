# SPDX-License-Identifier: Apache-2.0
"""Simulates the core itself in Amaranth's own simulator, and prints the spikes of one image.

    python examples/core_in_the_simulator.py

It shows the core as a component with streams, for whoever wants it in a design of their own:
samples go in at ``i``, spikes and logits come out at ``spikes`` and ``o``. Nothing is compiled;
seconds.
"""

import numpy as np
from amaranth.sim import Simulator

from ttfs_fpga.hdl import Core
from ttfs_fpga.hdl.compiler import compile_network, minimal_config
from ttfs_fpga.hdl.testing import stream_get, stream_put, watchdog
from ttfs_sw import golden
from ttfs_sw.artifact.network import dense_network


def main() -> None:
    rng = np.random.default_rng(3)
    network = dense_network(
        [rng.integers(-8, 8, (16, 12)), rng.integers(-8, 8, (12, 4))], None,
        multipliers=[25], shifts=[10], ticks=15, weight_bits=4, input_shape=(4, 4, 1))
    image = rng.integers(0, 256, 16).astype(np.uint8)

    # The smallest core for it, with the network in its memories from the start.
    config = minimal_config(network, lanes=4)
    program = compile_network(network, config)
    core = Core(config, program)
    logits: list[int] = []
    spikes: dict[int, int] = {}

    async def send(ctx):
        for pixel in image:
            await stream_put(ctx, core.i, {"value": int(pixel), "raw": 0})

    async def receive(ctx):
        last = False
        while not last:
            logit = await stream_get(ctx, core.o)
            logits.append(logit.value)
            last = logit.last
        print(f"class {logit.winner}, {ctx.get(core.cycles)} cycles")

    async def watch(ctx):
        # Places of the map memory, in which spikes are shown, as neurons of the hidden layer.
        neurons = program.layers[1].source_neurons
        async for _, _, valid, spike in ctx.tick().sample(core.spikes.valid, core.spikes.payload):
            if valid:
                spikes[int(neurons[spike.place])] = spike.code

    simulator = Simulator(core)
    simulator.add_clock(1e-6)
    simulator.add_testbench(send)
    simulator.add_testbench(receive)
    simulator.add_testbench(watch, background=True)
    simulator.add_testbench(watchdog(10_000), background=True)
    simulator.run()

    hidden = network.layers[0]
    for neuron, code in spikes.items():
        print(f"neuron {neuron:2} fires at tick {hidden.ticks - code:2}")
    print(f"{hidden.neurons - len(spikes)} neurons stay silent; logits {logits}")

    trace = golden.run(network, image[np.newaxis])
    assert logits == trace.logits[0].tolist()
    assert spikes == {
        neuron: code for neuron, code in enumerate(trace.codes[0][0].tolist()) if code}
    print("the integer model says the same")


if __name__ == "__main__":
    main()
