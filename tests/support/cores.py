# SPDX-License-Identifier: Apache-2.0
"""The cores that random networks are run on, and what networks are drawn for each.

Their sizes are chosen so that the layouts differ: fewer lanes than codes of a map word and more,
pixels of several words that share a membrane word, windows that wrap, and all of the boards.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from tests.support.networks import random_images, random_network
from ttfs_fpga.boards.configurations import CONFIGURATIONS
from ttfs_fpga.hdl.compiler import DoesNotFit, compile_network, minimal_config
from ttfs_fpga.hdl.compiler.program import Program
from ttfs_fpga.hdl.config import CoreConfig
from ttfs_sw.artifact.network import Network

__all__ = ["CORES", "Drawn", "RandomCore", "draw", "shows"]


@dataclasses.dataclass(frozen=True)
class RandomCore:
    """A core, and the options of ``networks.random_network`` for it.

    Parameters
    ----------
    config : :class:`hdl.config.CoreConfig`
        Its sizes.
    options : mapping
        Options of ``random_network`` beside those that follow from the sizes.
    cells : :class:`bool`
        The lanes are DSP blocks of an iCE40 UP5K, as Yosys models them.
    cannot : set of :class:`str`
        Of :attr:`wants`, what hardly any network that fits does.
    first : :class:`ttfs_sw.artifact.network.Network` or None
        The network that the core is the smallest one for; it is drawn first.
    """

    config: CoreConfig
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    cells: bool = False
    cannot: frozenset[str] = frozenset()
    first: Network | None = None

    @property
    def dense(self) -> bool:
        """It runs dense layers only."""
        return self.config.datapath == "ramp"

    @property
    def wants(self) -> tuple[str, ...]:
        """What networks are asked for in turn, as far as this core can run such; else anything."""
        if self.dense:
            return "deep", "anything"
        codes, lanes = self.config.codes_per_word, self.config.lanes
        return ("wraps", "anything", *(("packed",) if lanes >= 4 else ("wraps",)),
                *(("pitch",) if lanes >= 6 * codes else ("deep",)))


@dataclasses.dataclass(frozen=True)
class Drawn:
    """A network, its seed, and what a core needs to run it on some images."""

    key: tuple[int, ...]
    network: Network
    program: Program
    images: np.ndarray


def shows(program: Program) -> set[str]:
    """What a compiled network shows of :attr:`RandomCore.wants`."""
    plans = program.layers
    packed = [plan for plan in plans if plan.packed > 1]
    found = {
        "deep": len(plans) >= 3,
        "wraps": len(plans) >= 3 and any(plan.window_rows < plan.rows for plan in plans),
        "packed": bool(packed),
        "pitch": any(plan.map.pitch & (plan.map.pitch - 1) for plan in packed),
    }
    return {"anything", *(name for name, there in found.items() if there)}


def draw(core: RandomCore, seed: int, images: int) -> Iterator[Drawn]:
    """Draw networks that fit a core, without end, each with so many images.

    Two of the images are: none on, all on. What is wanted in turn is tried for a while; if the core
    is too small for it, anything that fits will do.
    """
    config = core.config
    limits = {
        "weight_bits": None, "max_weight_bits": config.weight_bits, "max_ticks": config.max_ticks,
        "lanes": config.lanes, "max_layers": min(4, config.layers),
        "max_neurons": min(800, config.map_places), "residuals": not core.dense,
        **({"kinds": ("dense",)} if core.dense else {}), **core.options}
    number = tries = 0
    if core.first is not None:
        rng = np.random.default_rng(seed)
        yield Drawn((seed,), core.first, compile_network(core.first, config),
                    random_images(rng, core.first, images - 2))
        number += 1
    while True:
        wanted, fallback, chosen = core.wants[number % len(core.wants)], None, None
        for attempt in range(400):
            key = (seed, tries)
            rng = np.random.default_rng(key)
            tries += 1
            network = random_network(
                rng, blocks=wanted in ("wraps", "deep"),
                codes=config.codes_per_word if wanted in ("packed", "pitch") else None, **limits)
            try:
                program = compile_network(network, config)
            except DoesNotFit:
                continue
            drawn = Drawn(key, network, program, random_images(rng, network, images - 2))
            if wanted in shows(program):
                chosen = drawn
                break
            fallback = fallback or drawn
            if attempt >= 40:
                break
        chosen = chosen or fallback
        if chosen is None:
            raise RuntimeError(f"none of {tries} networks fits {config}")
        yield chosen
        number += 1


def _core(options=None, **sizes) -> RandomCore:
    # Membrane memories too small for all rows of most convolutions, so that windows wrap.
    return RandomCore(CoreConfig(**{
        "accumulator_bits": 24, "weight_words": 16384, "membrane_words": 64, "input_words": 256,
        "map_words": 256, "slopes": 256, "layers": 4, **sizes}), options or {})


def _minimal(
    seed: int, lanes: int, datapath: str = "mac", codes: int | None = None, **options
) -> RandomCore:
    """The smallest core for the largest of some networks, so that others fit it too."""
    drawn = [
        random_network(np.random.default_rng((seed, n)), weight_bits=None, lanes=lanes,
                       codes=codes, max_neurons=600, **options) for n in range(12)]
    drawn = [network for network in drawn if len(network.layers) >= 3]
    largest = max(drawn, key=lambda network: sum(layer.weight.size for layer in network.layers))
    return RandomCore(
        minimal_config(largest, lanes=lanes, datapath=datapath),
        {"max_neurons": 300, "max_size": 8, "max_channels": 12, **options}, first=largest)


_WIDE = {"max_channels": 32, "max_size": 8}
_DENSE = {"kinds": ("dense",), "residuals": False, "max_channels": 60, "max_size": 5}

CORES: dict[str, RandomCore] = {
    # One lane: no lane has a number.
    "1x8": _core(lanes=1, weight_bits=8, tick_bits=8, accumulator_bits=32, membrane_words=384,
                 input_words=512, map_words=512),
    "1x2 serial": _core(lanes=1, weight_bits=2, tick_bits=3, membrane_words=384,
                        datapath="serial"),
    # Fewer lanes than codes of a word.
    "2x4": _core(lanes=2, tick_bits=2, accumulator_bits=18, membrane_words=192, input_words=128,
                 map_words=128),
    "2x7 serial": _core(lanes=2, weight_bits=7, tick_bits=6, membrane_words=192,
                        datapath="serial", samples=2),
    "4x4": _core(lanes=4, tick_bits=8, membrane_words=128, input_words=512, map_words=512),
    "4x6": _core(lanes=4, weight_bits=6, tick_bits=7, membrane_words=128, samples=2),
    "8x8": _core(lanes=8, weight_bits=8, tick_bits=8, accumulator_bits=32, membrane_words=96,
                 input_words=512, map_words=512),
    "8x3": _core(lanes=8, weight_bits=3, tick_bits=5, membrane_words=96),
    "8x4 serial": _core(lanes=8, tick_bits=5, accumulator_bits=20, weight_words=8192,
                        datapath="serial"),
    "16x4": _core(lanes=16, tick_bits=4, accumulator_bits=20, weight_words=8192, samples=2),
    "16x2 serial": _core(lanes=16, weight_bits=2, tick_bits=4, datapath="serial"),
    # More lanes than three words have codes: pixels of three words share a membrane word.
    "32x8": _core(_WIDE, lanes=32, weight_bits=8, tick_bits=8, accumulator_bits=32,
                  membrane_words=48, input_words=512, map_words=512),
    "64x4": _core(_WIDE, lanes=64, tick_bits=4, membrane_words=32),
    "64x8": _core(_WIDE, lanes=64, weight_bits=8, tick_bits=7, accumulator_bits=28,
                  membrane_words=32, input_words=512, map_words=512, samples=2),
    "64x4 serial": _core(_WIDE, lanes=64, tick_bits=6, membrane_words=32, datapath="serial"),
    # In the order of time.
    "1x5 ramp": _core(lanes=1, weight_bits=5, tick_bits=4, membrane_words=256, map_words=64,
                      datapath="ramp"),
    "4x4 ramp": _core(lanes=4, tick_bits=5, accumulator_bits=20, weight_words=8192, map_words=32,
                      datapath="ramp"),
    "8x8 ramp": _core({"max_channels": 90}, lanes=8, weight_bits=8, tick_bits=8,
                      accumulator_bits=32, datapath="ramp"),
    # As the lanes are on an iCEBreaker.
    "16x4 in DSP blocks": dataclasses.replace(
        _core(lanes=16, tick_bits=4, accumulator_bits=16, weight_words=8192), cells=True),
    # As small as can be.
    "minimal, 4 lanes": _minimal(1, 4),
    "minimal, 64 lanes": _minimal(2, 64, codes=4, **_WIDE),
    "minimal, ramp": _minimal(3, 2, "ramp", **_DENSE),
    # The boards'.
    **{
        f"{name} {datapath}": RandomCore(
            dataclasses.replace(board.core, datapath=datapath),
            {"max_channels": 8, "max_size": 6, "max_neurons": 60} if board.core.map_words < 32
            else {"max_channels": min(40, max(20, board.core.lanes // 2)), "max_size": 10},
            # Its table has room for few rows.
            cannot=frozenset({"wraps"} if board.core.table_words == 64 else ()))
        for name, board in CONFIGURATIONS.items() for datapath in board.datapaths
    },
}
