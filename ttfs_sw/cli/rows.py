"""Reports as a person reads them: for each verb, the rows of its table from its report.

The terminal, the screen of ``ttfs demo`` and the HTML page all show these rows.
"""

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ttfs_sw.cli.tables import count, percent, seconds, spread

__all__ = ["HEADERS", "describe", "resources", "timing"]

Report = Mapping[str, Any]
Rows = list[tuple[str, ...]]

#: nextpnr's names of what a device has, as people call them.
CELLS = {
    "ICESTORM_LC": "logic cells",
    "ICESTORM_RAM": "block RAMs",
    "ICESTORM_SPRAM": "SPRAMs",
    "ICESTORM_DSP": "multipliers",
    "TRELLIS_COMB": "LUTs",
    "TRELLIS_FF": "flip-flops",
    "DP16KD": "block RAMs",
    "MULT18X18D": "multipliers",
}


def describe(verb: str, report: Report) -> Rows:
    """The rows of ``verb``'s ``report``: a label, then one or more cells."""
    return _ROWS[verb](report)


def _train(report: Report) -> Rows:
    return [
        ("accuracy, float network", percent(report["accuracy_float"])),
        ("accuracy, network.npz", percent(report["accuracy_network"])),
        ("spikes per hidden neuron", f"{report['spikes_per_neuron']:.3f}"),
        ("spikes an image", _events(report)),
        *_files(report),
        ("time", seconds(report["seconds"])),
    ]


def _pixels(report: Report) -> str:
    """What pixels were divided by, and who says so."""
    text = f"divided by {report['pixel_scale']:g}"
    said = {"option": "--scale", "dataset": "the dataset says so", "weights": "as in training",
            "assumed": "assumed; if not, give --scale"}[report["pixel_scale_from"]]
    return f"{text} ({said}); brightest in training: {report['brightest_pixel']}"


def _convert(report: Report) -> Rows:
    rows = [
        ("accuracy, float network", percent(report["accuracy_float"])),
        ("accuracy, network.npz", percent(report["accuracy_network"])),
        *_on_training(report.get("training")),
        ("same winner", f"{percent(report['agreement'])} of {count(report['images'])} images"),
        ("spikes per hidden neuron", f"{report['spikes_per_neuron']:.3f}"),
        ("accumulator", f"{report['accumulator_bits']} bits"),
        ("pixels", _pixels(report)),
        *_taken(report),
        *_finetuned(report.get("finetune")),
        ("time", seconds(report["seconds"])),
        ("", ),
        ("layer", "kind", "bits", "T", "clipped", "error", "spikes", "module"),
    ]
    for layer in report["layers"]:
        fires = layer["ticks"] > 0
        rows.append((
            layer["name"], layer["kind"], str(layer["weight_bits"]),
            str(layer["ticks"]) if fires else "",
            percent(layer["clipped"]) if fires else "", percent(layer["error"]),
            f"{layer['spikes_per_neuron']:.3f}" if fires else "", layer["module"],
        ))
    return rows


def _on_training(report: Report | None) -> Rows:
    if report is None:
        return []
    return [(
        "training images", f"{percent(report['accuracy_float'])} as floats, "
        f"{percent(report['accuracy_network'])} as integers",
    )]


def _taken(report: Report) -> Rows:
    if "boards" not in report:
        return []
    boards = ", ".join(report["boards"])
    if boards:
        return [("boards that take it", boards)]
    # One reason is enough to know what to change.
    name, reason = next(iter(report["refusals"].items()))
    return [("boards that take it", f"none; {name}: {reason}")]


def _finetuned(report: Report | None) -> Rows:
    if report is None:
        return []
    return [(
        "held-out accuracy", f"{percent(report['accuracy_heldout_before'])} before fine-tuning, "
        f"{percent(report['accuracy_heldout'])} after epoch {report['epoch']}",
    )]


def _evaluate(report: Report) -> Rows:
    return [
        ("images", count(report["images"])),
        ("accuracy", percent(report["accuracy"])),
        ("spikes per hidden neuron", f"{report['spikes_per_neuron']:.3f}"),
        ("spikes an image", _events(report)),
        ("images with two winners", count(report["ties"])),
        ("images a second", count(round(report["images_per_second"]))),
    ]


def _cosim(report: Report) -> Rows:
    return [
        # Reports of older versions are shown too.
        *([("core", report["core"])] if "core" in report else []),
        ("images compared", count(report["images"])),
        ("images that differ", count(report["mismatched_images"])),
        ("events that differ", count(report["mismatched_events"])),
        # Nothing is known of an image that --fail-fast left half-done.
        *([("accuracy of the RTL", percent(report["accuracy"]))] if report["images"] else []),
        *([("cycles an image", spread(report["cycles"]))] if report["images"] else []),
        *([("roofline", spread(report["roofline_cycles"]))] if report["images"] else []),
        *_spent(report),
        *_over_target(report),
        ("simulated cycles a second", count(round(report["simulated_cycles_per_second"]))),
        *_files(report),
        ("time", seconds(report["seconds"])),
    ]


def _over_target(report: Report) -> Rows:
    """Layers that took more than what layers of many events are held to, and why."""
    return [
        (f"above target, {layer['name']}",
         f"{count(layer['over_target'])} of {count(report['images'])} images, at most "
         f"{layer['worst_over_target']:.2f} times: {layer['over_target_because']} "
         f"({layer['over_target_why']})")
        for layer in report["layers"] if layer["over_target"]
    ]


def _spent(report: Report) -> Rows:
    """Where the cycles of the mean image go in each layer: what is summed up, and what overlaps."""
    def terms(layer: Report) -> str:
        return ", ".join(
            f"{name} {count(round(cycles))}"
            for name, cycles in layer["spent_cycles"].items() if round(cycles))

    if not report["images"]:
        return []
    return [
        (f"mean cycles, {layer['name']}",
         f"{count(round(layer['cycles']['mean']))}: {terms(layer)}")
        for layer in report["layers"]
    ]


def _demo(report: Report) -> Rows:
    accuracy = report["accuracy"]
    steps = ", ".join(f"{name} {taken:.0f} s" for name, taken in report["steps"].items())
    return [
        ("accuracy, float network", percent(accuracy["float"])),
        ("accuracy, integers", percent(accuracy["network"])),
        ("accuracy, RTL", percent(accuracy["rtl"])),
        ("images compared", f"{count(report['images'])}, every spike and every logit"),
        ("mismatches", f"{count(report['mismatched_events'])} events in "
         f"{count(report['mismatched_images'])} images"),
        ("board at its pins", f"booted from flash, {count(report['board_images'])} images, "
         f"{count(report['board_mismatched_images'])} mismatches"),
        ("spikes per hidden neuron", f"{report['spikes_per_neuron']:.3f}"),
        ("spikes an image", _events(report)),
        ("cycles an image", spread(report["cycles"])),
        ("roofline", spread(report["roofline_cycles"])),
        *resources(report),
        *timing(report),
        *_listed("pictures", report["pictures"]),
        *_listed("files", [report["files"][key] for key in ("network", "bitstream", "image")]),
        ("time", f"{seconds(report['seconds'])}: {steps}"),
    ]


def _verilog(report: Report) -> Rows:
    widths = ", ".join(f"{name} {width}" for name, width in report["widths"].items())
    return [
        ("lanes", count(report["lanes"])),
        ("bits", widths),
        *_files(report),
        *_memory_map(report),
    ]


def _build(report: Report) -> Rows:
    return [*resources(report), *timing(report), *_files(report),
            ("time", seconds(report["seconds"]))]


def _image(report: Report) -> Rows:
    return [
        ("bytes", count(report["bytes"])),
        ("goes to", f"{report['flash_offset']:#x} of the flash of {report['board']}"),
        ("sha256", report["sha256"]),
        *_files(report),
        *_memory_map(report),
    ]


def _memory_map(report: Report) -> Rows:
    """What ``--map`` asks for: how full the memories are, and where each layer lies in them."""
    if "layers" not in report:
        return []

    def words(base: int | None, length: int) -> str:
        return "-" if base is None or not length else f"{base} to {base + length - 1}"

    rows: Rows = [("",), ("memory", "used", "of")]
    for name, memory in report["memories"].items():
        rows.append((name, count(memory["used"]), count(memory["available"])))
    rows += [("",), ("layer", "weights", "potentials", "rows", "map", "least V", "greatest V")]
    for layer in report["layers"]:
        rows.append((
            layer["name"], words(layer["weight_base"], layer["weight_words"]),
            words(layer["membrane_base"], layer["window_rows"] * layer["row_words"]),
            f"{layer['window_rows']} of {layer['rows']}",
            words(layer["destination_base"], layer["destination_words"]),
            *(count(bound) for bound in layer["bounds"]),
        ))
    return rows


def _flash(report: Report) -> Rows:
    label = "would run" if report["dry_run"] else "done"
    return [(label, shlex.join(command)) for command in report["commands"]]


def _infer(report: Report) -> Rows:
    return [
        ("images", count(report["images"])),
        ("images that differ", count(report["mismatched_images"])),
        ("accuracy of the board", percent(report["accuracy"])),
        ("cycles an image", spread(report["cycles"])),
        ("images a second", f"{report['images_per_second']:.1f}, with the serial line"),
        ("time", seconds(report["seconds"])),
    ]


def resources(report: Report) -> Rows:
    """What a build uses of its device, cells of a kind that it does not use left out."""
    return [
        (CELLS.get(kind, kind), f"{count(cells['used'])} of {count(cells['available'])}"
         f" ({100 * cells['used'] / cells['available']:.0f} %)")
        for kind, cells in report["utilization"].items()
        if cells["used"] and kind in CELLS
    ]


def timing(report: Report) -> Rows:
    """Clocks and latency of a build."""
    rows = [
        (f"clock {name}", f"{clock['achieved']:.1f} MHz reached, {clock['constraint']:.1f} MHz "
         f"demanded{_both(clock)}")
        for name, clock in report["fmax_mhz"].items()
    ]
    latency = report["latency_us"]
    if latency:
        rows.append((
            "latency", f"median {latency['median']:.1f} µs, at most {latency['max']:.1f} µs at "
            f"{report['clock_mhz']:g} MHz",
        ))
    parts = report.get("latency_parts_us")
    if parts:
        rows.append((
            "beside it", f"{parts['image_load']:.1f} µs to take an image, {parts['link']:.0f} µs "
            "on the serial line",
        ))
    return rows


def _both(clock: Mapping[str, float | None]) -> str:
    """The two figures of a clock; reports of releases that knew nextpnr's alone have one."""
    if "all_paths" not in clock:
        return "; of all paths nothing is known"
    alone = clock["nextpnr"]
    return (f"; {clock['all_paths']:.1f} MHz with all paths, "
            f"{'none' if alone is None else f'{alone:.1f} MHz'} by those that nextpnr times")


def _boards(report: Report) -> Rows:
    return [
        (
            board["name"],
            board["device"],
            f"{board['clock_mhz']:g} MHz",
            f"{board['core']['lanes']} x {board['core']['weight_bits']} bits",
            count(board["inputs"]),
            count(board["weights"]),
            board["title"],
        )
        for board in report["boards"]
    ]


def _doctor(report: Report) -> Rows:
    return [
        (
            tool["tool"],
            (tool["version"] or "found") if tool["found"] else "missing",
            tool["needed_for"],
            "" if tool["found"] else tool["install"],
        )
        for tool in report["tools"]
    ]


def _page(report: Report) -> Rows:
    return [
        ("reports", ", ".join(report["reports"])),
        ("pictures", ", ".join(report["pictures"]) or "none"),
        *_files(report),
    ]


def _events(report: Report) -> str:
    """Mean spikes in one image, map by map: input, then hidden layers."""
    hidden = report["events_hidden"]
    if not isinstance(hidden, Sequence):
        hidden = [hidden]
    return " + ".join(f"{mean:.1f}" for mean in (report["events_input"], *hidden))


def _files(report: Report) -> Rows:
    files = report.get("files", ())
    return _listed("files", files.values() if isinstance(files, Mapping) else files)


def _listed(label: str, items: Iterable[object]) -> Rows:
    """One row an item, the first of them with the label."""
    return [("" if index else label, str(item)) for index, item in enumerate(items)]


_ROWS: dict[str, Callable[[Report], Rows]] = {
    "demo": _demo,
    "train": _train,
    "convert": _convert,
    "evaluate": _evaluate,
    "cosim": _cosim,
    "verilog": _verilog,
    "build": _build,
    "image": _image,
    "flash": _flash,
    "infer": _infer,
    "boards": _boards,
    "doctor": _doctor,
    "report": _page,
}

#: Column titles of the verbs whose rows are not labels and values.
HEADERS = {
    "doctor": ("tool", "version", "needed for", "install it with"),
    "boards": ("board", "device", "clock", "lanes", "inputs", "weights", "name"),
}
