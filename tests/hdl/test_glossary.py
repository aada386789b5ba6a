# amaranth: UnusedElaboratable=no
# SPDX-License-Identifier: Apache-2.0
"""docs/glossary.md: every port of every component is in it, and everything in it is a port."""

import importlib
import inspect
import pkgutil
import re
from collections import defaultdict
from pathlib import Path

from amaranth.lib import stream, wiring

import ttfs_fpga.hdl
from ttfs_fpga.hdl import ports
from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.datapaths.mac import MacLanes
from ttfs_fpga.hdl.table import ACCUMULATE_FIELDS, ACCUMULATE_WORDS

GLOSSARY = Path(__file__).parents[2] / "docs" / "glossary.md"

#: What components are made with besides a CoreConfig, or instead of it.
ARGUMENTS = {
    "Fetcher": (ACCUMULATE_WORDS, ACCUMULATE_FIELDS),
    "FinalRows": (10,),
    "MembraneArbiter": (MacLanes,),
    "SpikeMap": (8,),
}
KEYWORDS = {"SpikeMap": {"pairs": True}}
WITHOUT_CONFIG = {"Watchdog": (20,)}


def components() -> dict[str, type[wiring.Component]]:
    """All components of the hardware, by name."""
    return {
        name: kind
        for module in pkgutil.walk_packages(ttfs_fpga.hdl.__path__, "ttfs_fpga.hdl.")
        for name, kind in inspect.getmembers(importlib.import_module(module.name), inspect.isclass)
        if issubclass(kind, wiring.Component) and kind.__module__ == module.name
    }


def port_names() -> dict[str, set[str]]:
    """Of every port, the components and bundles that have it."""
    found: dict[str, set[str]] = defaultdict(set)

    def walk(signature, owner):
        for name, member in signature.members.items():
            found[name].add(owner)
            if member.is_signature:
                inner = member.signature
                inner = inner.flip() if isinstance(inner, wiring.FlippedSignature) else inner
                walk(inner, "streams" if isinstance(inner, stream.Signature)
                     else type(inner).__name__)

    for name, kind in components().items():
        # Of all datapaths, and of the widest samples.
        for datapath in "mac", "ramp":
            config = CoreConfig(datapath=datapath, samples=2)
            arguments = WITHOUT_CONFIG.get(name) or (config, *ARGUMENTS.get(name, ()))
            walk(kind(*arguments, **KEYWORDS.get(name, {})).signature, name)
    return found


def rows() -> list[tuple[str, str, list[str]]]:
    """Name, meaning and owners, of each row of the page's table."""
    lines = re.findall(r"^\| `(\w+)` \| (.+) \| (.+) \|$", GLOSSARY.read_text(), re.MULTILINE)
    return [(name, meaning, re.findall(r"\w+", owners)) for name, meaning, owners in lines]


def test_every_port_is_explained_where_it_is():
    wanted = port_names()
    found = {name: set(owners) for name, _, owners in rows()}
    assert sorted(found) == sorted(wanted)
    assert found == dict(wanted)


def test_terms_are_in_order_and_once():
    names = [name for name, *_ in rows()]
    assert names == sorted(set(names))


def test_every_bundle_is_used():
    signatures = {name for name, kind in inspect.getmembers(ports, inspect.isclass)
                  if issubclass(kind, wiring.Signature) and kind.__module__ == ports.__name__}
    assert signatures <= set().union(*port_names().values())
