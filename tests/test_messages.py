# SPDX-License-Identifier: Apache-2.0
"""A message that tells the user to take an option names one that the verb that says it has."""

import argparse
import ast
import dataclasses
import re
from pathlib import Path

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_sw.cli import make_parser
from ttfs_sw.training.config import Augmentation, NetworkShape, Training

ROOT = Path(__file__).parents[1]

#: Modules whose messages are one verb's; all others may name an option of any verb.
OF_VERBS = {"ttfs_sw/convert/": {"convert"}, "ttfs_sw/cli/convert.py": {"convert"},
            "sim/cosim.py": {"cosim"}, "hdl/": set(), "ttfs_sw/training/train.py": {"train"}}

#: How an option's name looks whose letters are put in.
BUILT = {"--x"}


def options() -> dict[str, set[str]]:
    """The options of every verb."""
    (verbs,) = (action for action in make_parser()._actions
                if isinstance(action, argparse._SubParsersAction))
    return {name: {option for action in parser._actions for option in action.option_strings}
            for name, parser in verbs.choices.items()}


def texts(source: str) -> list[str]:
    """The texts in ``source`` that a user may see: all but docstrings."""
    tree = ast.parse(source)
    documents = {
        id(node.body[0].value) for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body and isinstance(node.body[0], ast.Expr)
    }
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            # What is put in stands as one letter.
            found.append("".join(
                part.value if isinstance(part, ast.Constant) else "x" for part in node.values))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and (
                id(node) not in documents):
            found.append(node.value)
    return found


MESSAGES = sorted(
    (path.relative_to(ROOT).as_posix(), text)
    for package in ("hdl", "ttfs_sw", "sim", "boards") for path in (ROOT / package).rglob("*.py")
    # A sentence has a blank; the options themselves, and those for other programs, have none.
    for text in texts(path.read_text()) if " " in text.strip()
)


def test_options_in_messages_exist():
    known = options()
    wrong, seen = [], 0
    for path, text in MESSAGES:
        if text.startswith("<"):
            continue  # a comment of HTML
        verbs = next((names for start, names in OF_VERBS.items() if path.startswith(start)), known)
        here = set().union(*(known[name] for name in verbs)) | BUILT
        for option in re.findall(r"(?<![\w-])--[a-z][a-z-]*", text):
            seen += 1
            # A command that the message writes out has the options of its own verb.
            command = re.search(rf"ttfs (\w+) [^;]*{option}", text)
            if option not in here | known.get(command and command[1], set()):
                wrong.append((path, option, text))
    assert wrong == []
    assert seen > 30


def test_settings_in_messages_exist():
    keys = {field.name for kind in (NetworkShape, Training, Augmentation)
            for field in dataclasses.fields(kind)}
    for path, text in MESSAGES:
        for key in re.findall(r"--set (\w+)=", text):
            assert key in keys | {"x"}, (path, text)


def test_settings_of_what_does_not_fit_exist():
    # What the compiler asks for is a key of a configuration, never a size of a core: those are
    # fixed by the board.
    keys = {field.name for field in dataclasses.fields(NetworkShape)}
    sizes = {field.name for field in dataclasses.fields(CoreConfig)} - keys
    asked = [text for path, text in MESSAGES if path.startswith(("hdl/compiler/", "hdl/datapaths/"))
             and re.search(r"; \w+ ", text)]
    assert len(asked) > 10
    for text in asked:
        advice = text.partition("; ")[2]
        assert not any(re.search(rf"\b{size} =", advice) for size in sizes), text
