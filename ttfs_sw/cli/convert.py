# SPDX-License-Identifier: Apache-2.0
"""The verb ``convert``: from a trained PyTorch network to ``network.npz``."""

import argparse
import json
import os
import re
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ttfs_sw.cli.fits import refusals
from ttfs_sw.cli.inputs import asked_board, check_accuracy, config_file, open_dataset
from ttfs_sw.cli.options import add_accuracy, add_dataset, common, positive, setting
from ttfs_sw.cli.tables import Outcome, Rows, count, percent, seconds
from ttfs_sw.common.errors import InputError
from ttfs_sw.common.files import output_folder
from ttfs_sw.common.progress import bar

if TYPE_CHECKING:
    from ttfs_fpga.boards.registry import Board
    from ttfs_sw.cli.options import Verbs
    from ttfs_sw.convert.report import Conversion, Figures, Finetuning

__all__ = ["register", "rows"]

#: Where the folders of runs go unless ``-o`` says otherwise.
RUNS = Path("runs")

#: The report beside a network that this verb has made.
REPORT = "convert.json"

#: What holds without ``--config``: what the core of every board takes, and gentle fine-tuning.
DEFAULTS: dict[str, dict[str, Any]] = {
    "network": {"weight_bits": 4, "ticks": 15, "input_ticks": 15, "per_channel": False,
                "accumulator_bits": 32},
    "training": {"learning_rate": 0.001, "average": 0.9},
}


def register(verbs: "Verbs") -> None:
    """Add the verb to the command line."""
    parser = verbs.add_parser(
        "convert",
        help="make network.npz of a trained PyTorch ReLU network",
        description="Make integers of a trained PyTorch ReLU network, without training or "
        "with a little of it. MODEL is "
        "FILE.py:FUNCTION, where the function (or class) gives the module: that file is run, as it "
        "is yours; or a program of torch.export.save (.pt2); or a file of weights, whose layers "
        "--config names. Neither of the last two is ever unpickled.",
        parents=[common(output="folder of the result (default: runs/FILE-FUNCTION, or runs/FILE; "
                               "one that holds another model is not written over unless given)")],
    )
    parser.add_argument(
        "model", metavar="MODEL", help="FILE.py:FUNCTION, a program (.pt2), or weights"
    )
    parser.add_argument(
        "--weights", metavar="FILE", type=Path,
        help="state dict for the module that FILE.py:FUNCTION gives",
    )
    parser.add_argument(
        "--config", metavar="PRESET|FILE.toml",
        help="bits, ticks and fine-tuning, and the layers of a file of weights (default: 4 bits "
        "and T = 15, which the core of every board has)",
    )
    parser.add_argument(
        "--board", metavar="NAME",
        help="take bits of weights and potentials, and ticks, from this board's core, and fail if "
        "it does not take the result",
    )
    parser.add_argument(
        "--set", metavar="KEY=VALUE", type=setting, action="append", default=[],
        help="replace a value of the configuration, as in weight_bits=4 (may be repeated)",
    )
    parser.add_argument(
        "--finetune", metavar="N", type=positive, default=0,
        help="train the integers for N epochs (default: none)",
    )
    parser.add_argument(
        "--max-loss", metavar="POINTS", type=_points,
        help="exit with 1 and keep only the report if the integers recognise so many points less "
        "of the training or test images than the float network (default: 0.5, of test images plus "
        "the standard error of the difference); 100 takes any network",
    )
    group = parser.add_argument_group(
        "normalisation", "the model was trained on (x - mean) / std of pixels x = byte / scale"
    )
    group.add_argument(
        "--scale", metavar="X", type=_scale,
        help="what bytes were divided by (default: what the dataset or the weights say, else 255)",
    )
    for name in ("mean", "std"):
        group.add_argument(
            f"--{name}", metavar="X[,X...]", type=_numbers, help="one for all channels, or one each"
        )
    add_dataset(parser, "configuration")
    add_accuracy(parser)
    parser.set_defaults(run=run)


def _scale(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number above 0, not {text!r}")
    return value


def _numbers(text: str) -> list[float]:
    try:
        return [float(item) for item in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"must be numbers with commas in between, not {text!r}"
        ) from None


def _points(text: str) -> float:
    try:
        value = float(text.removesuffix("%"))
    except ValueError:
        value = -1.0
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError(f"must be a number of points from 0 to 100, not {text!r}")
    return value


def run(options: Namespace) -> Outcome:
    """``ttfs convert``."""
    import dataclasses

    from ttfs_sw.training import config as configuration

    board = asked_board(options) if options.board else None
    overrides = {"dataset": options.dataset, "seed": options.seed, **_sizes(board),
                 **dict(options.set)}
    if options.config:
        config = configuration.load(options.config, overrides)
    elif options.dataset:
        tables = {name: dict(values) for name, values in DEFAULTS.items()}
        config = configuration.make(tables, overrides)
    else:
        raise InputError(
            "name the images that the model was trained on with --dataset: those for training "
            "calibrate it"
        )
    if not _is_function(options.model):
        _check_file(Path(options.model), options)
    config = dataclasses.replace(config, name=_name(options.model))
    folder = output_folder(options.output or _free_folder(config.name, options))
    dataset = open_dataset(options, config.dataset, config_file(options.config))

    # Only now: torch takes seconds to import, and a wrong name should be refused at once.
    from ttfs_sw.artifact.network import Network
    from ttfs_sw.convert import convert, keep
    from ttfs_sw.convert.verdict import RejectedError

    keep(folder, options.config)
    title = f"{options.model}: {folder}"
    try:
        with bar("fine-tune", quiet=options.quiet) as progress:
            report = convert(
                options.model, dataset, folder, config, weights=options.weights, mean=options.mean,
                std=options.std, scale=options.scale, epochs=options.finetune,
                max_loss=options.max_loss, progress=progress,
            )
    except RejectedError as error:
        return Outcome(error.report, rows(error.report), title=title, failure=str(error),
                       folder=folder)
    reasons = refusals(Network.load(folder / "network.npz"))
    refused = {name: reason for name, reason in reasons.items() if reason}
    report = dataclasses.replace(
        report, boards=[name for name in reasons if name not in refused], refusals=refused)
    failure = check_accuracy(options, report.accuracy_network)
    if board is not None and board.name in refused:
        failure = failure or f"{board.name} does not take it: {refused[board.name]}"
    return Outcome(report, rows(report), title=title, failure=failure, folder=folder)


def rows(report: "Conversion") -> Rows:
    """The table."""
    table: Rows = [
        ("accuracy, float network", percent(report.accuracy_float)),
        ("accuracy, network.npz", percent(report.accuracy_network)),
        *_on_training(getattr(report, "training", None)),
        ("same winner", f"{percent(report.agreement)} of {count(report.images)} images"),
        ("spikes per hidden neuron", f"{report.spikes_per_neuron:.3f}"),
        ("accumulator", f"{report.accumulator_bits} bits"),
        ("pixels", _pixels(report)),
        *_taken(report),
        *_finetuned(getattr(report, "finetune", None)),
        ("time", seconds(report.seconds)),
        ("", ),
        ("layer", "kind", "bits", "T", "clipped", "error", "spikes", "module"),
    ]
    for layer in report.layers:
        # Of a layer that does not fire nothing is said.
        clipped, spikes = (getattr(layer, name, None) for name in ("clipped", "spikes_per_neuron"))
        table.append((
            layer.name, layer.kind, str(layer.weight_bits),
            str(layer.ticks) if layer.ticks else "",
            "" if clipped is None else percent(clipped), percent(layer.error),
            "" if spikes is None else f"{spikes:.3f}", layer.module,
        ))
    return table


def _pixels(report: "Conversion") -> str:
    """What pixels were divided by, and who says so."""
    text = f"divided by {report.pixel_scale:g}"
    said = {"option": "--scale", "dataset": "the dataset says so", "weights": "as in training",
            "assumed": "assumed; if not, give --scale"}[report.pixel_scale_from]
    return f"{text} ({said}); brightest in training: {report.brightest_pixel}"


def _on_training(report: "Figures | None") -> Rows:
    if report is None:
        return []
    return [(
        "training images", f"{percent(report.accuracy_float)} as floats, "
        f"{percent(report.accuracy_network)} as integers",
    )]


def _taken(report: "Conversion") -> Rows:
    # A conversion that was rejected was offered to none.
    boards, refused = (getattr(report, name, None) for name in ("boards", "refusals"))
    if boards is None or refused is None:
        return []
    if boards:
        return [("boards that take it", ", ".join(boards))]
    # One reason is enough to know what to change.
    name, reason = next(iter(refused.items()))
    return [("boards that take it", f"none; {name}: {reason}")]


def _finetuned(report: "Finetuning | None") -> Rows:
    if report is None:
        return []
    return [(
        "held-out accuracy", f"{percent(report.accuracy_heldout_before)} before fine-tuning, "
        f"{percent(report.accuracy_heldout)} after epoch {report.epoch}",
    )]


def _sizes(board: "Board | None") -> dict[str, int]:
    """What a board's core asks of a network."""
    if board is None:
        return {}
    core = board.config
    return {
        "weight_bits": core.weight_bits, "ticks": core.max_ticks, "input_ticks": core.max_ticks,
        "accumulator_bits": core.accumulator_bits,
    }


def _is_function(model: str) -> bool:
    return re.search(r"\.py:\w+$", model) is not None


def _check_file(path: Path, options: Namespace) -> None:
    """Refuse at once what torch need not be imported for."""
    if not path.is_file():
        raise InputError(f"there is no file {path}; give FILE.py:FUNCTION, a .pt2 file or weights")
    if path.suffix not in (".pt2", ".py") and not options.config:
        raise InputError(
            f"{path} has weights, but does not say what is done with them: name the layers with "
            "--config, or give the module as FILE.py:FUNCTION and this file with --weights"
        )


def _name(model: str) -> str:
    """What the result is called: the file's name and, if there is one, the function's."""
    path, function = model.rpartition(":")[::2] if _is_function(model) else (model, "")
    name = "-".join(filter(None, (Path(path).stem, function)))
    return re.sub(r"[^A-Za-z0-9_.-]", "_", name)[:100]


def _free_folder(name: str, options: Namespace) -> Path:
    """The default folder, unless it holds a network of another model.

    Raises
    ------
    :exc:`ttfs_sw.common.errors.InputError`
        If it does, or of nobody knows what.
    """
    folder = RUNS / name
    if not (folder / "network.npz").exists():
        return folder
    try:
        before = json.loads((folder / REPORT).read_text(encoding="utf-8"))
        before = [before["model"], before["weights"]]
    except (OSError, ValueError, KeyError, TypeError):
        before = None
    # The same file may be written in several ways: "./net.py:make" is "net.py:make".
    now, then = ([item and os.path.normpath(str(item)) for item in pair or ()]
                 for pair in ([options.model, options.weights], before))
    if now != then:
        owner = " with ".join(filter(None, then)) or "something else"
        raise InputError(
            f"{folder} holds the network of {owner}, which would be lost; say where this one goes "
            f"with -o (-o {folder} to write over it)"
        )
    return folder
