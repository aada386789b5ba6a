# SPDX-License-Identifier: Apache-2.0
"""What is trained and how: read from TOML, checked key by key, written back beside the result.

The file has a few keys of its own and three tables, one for each class below::

    dataset = "mnist"

    [network]
    hidden = [128]

    [training]
    epochs = 40

Every key may be left out; the defaults are those of the classes.
"""

import dataclasses
import difflib
import importlib.resources
import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ttfs_sw.common.errors import InputError
from ttfs_sw.training import topology

__all__ = ["Augmentation", "Config", "NetworkShape", "Training", "load", "make", "presets"]

#: Where the presets lie, inside the package.
PRESETS = importlib.resources.files("ttfs_sw.training") / "presets"


#: Characters of a name that the network's file has room for.
MAX_TEXT = 200

#: How messages call the type of a value.
KINDS = {str: "a string", int: "an integer", float: "a number", bool: "true or false"}


def _limited(default: Any, low: float, high: float, *, many: bool = False) -> Any:
    """Declare a key for a number from ``low`` to ``high``; ``many``: or for a list of such."""
    return dataclasses.field(default=default, metadata={"low": low, "high": high, "many": many})


@dataclasses.dataclass(frozen=True)
class NetworkShape:
    """The network to make: table ``[network]``.

    Parameters
    ----------
    hidden : tuple of :class:`int`
        Neurons of each hidden layer, from the input on, when all of them are dense.
    layers : tuple of :class:`str`
        Hidden layers of any kind, as :mod:`ttfs_sw.training.topology` writes them; instead of
        ``hidden``.
    weight_bits : :class:`int` or tuple of :class:`int`
        Bits of a weight, 2 to 8: one for all layers, or one a layer, the read-out's last. Average
        pools have no weights.
    ticks : :class:`int` or tuple of :class:`int`
        T, the ticks in which a hidden neuron may fire, 1 to 255: one for all, or one a layer.
        Max-pools are no layers.
    input_ticks : :class:`int`
        T of the pixels.
    per_channel : :class:`bool`
        Whether each channel of a hidden layer has its own weight scale, and so its own slope.
    window : :class:`float`
        The part of each layer's window that is kept: at 1 it covers 99.9 % of the positive
        membranes of the ReLU network. What is beyond fires at tick 0. Fewer ticks are a shorter
        wait for the next layer; a smaller part keeps them fine.
    dead_zone : :class:`int`
        Pixels with a byte below this are silent, however the code table would round them. Faint
        pixels cost the hardware as much as bright ones and say little.
    accumulator_bits : :class:`int`
        Width of the membrane potentials that the hardware will have. A network that could leave
        it, for any image whatever, is not taken.
    """

    hidden: tuple[int, ...] = _limited((128,), 1, 65535)
    layers: tuple[str, ...] = dataclasses.field(default=(), metadata={"items": str})
    weight_bits: int | tuple[int, ...] = _limited(4, 2, 8, many=True)
    ticks: int | tuple[int, ...] = _limited(15, 1, 255, many=True)
    input_ticks: int = _limited(15, 1, 255)
    per_channel: bool = False
    window: float = _limited(1.0, 0.01, 1.0)
    dead_zone: int = _limited(0, 0, 255)
    accumulator_bits: int = _limited(16, 8, 32)

    @property
    def texts(self) -> tuple[str, ...]:
        """The hidden layers as :mod:`ttfs_sw.training.topology` writes them."""
        return self.layers or tuple(map(str, self.hidden))

    @property
    def layer_bits(self) -> tuple[int, ...]:
        """Bits of a weight in each layer that has any, the read-out's last."""
        return _each(self.weight_bits, self.lengths["weight_bits"])

    @property
    def layer_ticks(self) -> tuple[int, ...]:
        """T of each hidden layer."""
        return _each(self.ticks, self.lengths["ticks"])

    @property
    def lengths(self) -> dict[str, int]:
        """How many values a key that takes a list needs."""
        entries = topology.parse(self.texts)
        return {
            "weight_bits": sum(entry.learned for entry in entries) + 1, "ticks": len(entries),
        }


@dataclasses.dataclass(frozen=True)
class Training:
    """How weights are found: table ``[training]``.

    Parameters
    ----------
    heldout : :class:`int`
        Training images on which every choice is made and that nothing is trained on. They come
        out of the training images; test images are never looked at before the end.
    float_epochs : :class:`int`
        Passes over the training images of the ReLU network that training starts from.
    epochs : :class:`int`
        Passes of the quantised network.
    batch : :class:`int`
        Images a step.
    learning_rate, float_learning_rate : :class:`float`
        Largest step of Adam for the quantised and the ReLU network. It rises linearly during
        the first ``warmup`` of the steps and falls to zero along a cosine.
    warmup : :class:`float`
        Share of the steps with a rising learning rate.
    weight_decay : :class:`float`
        Of the weights, not of biases and scales; decoupled, as in AdamW.
    label_smoothing : :class:`float`
        Probability given to the wrong classes together.
    activity_penalty : :class:`float` or tuple of :class:`float`
        Cost of a spike: the more, the fewer neurons fire. One for all hidden layers, or one a
        layer: the hardware pays for a spike as much as it has fan-out.
    jitter : :class:`float`
        Standard deviation, in ticks, by which spikes come too early or too late in training.
    average : :class:`float`
        Decay of the running mean of all parameters that becomes the network; 0 takes the last.
    """

    heldout: int = _limited(5000, 1, 10**9)
    float_epochs: int = _limited(10, 1, 10**6)
    epochs: int = _limited(40, 1, 10**6)
    batch: int = _limited(256, 1, 10**6)
    learning_rate: float = _limited(0.01, 1e-9, 10.0)
    float_learning_rate: float = _limited(0.004, 1e-9, 10.0)
    warmup: float = _limited(0.05, 0.0, 1.0)
    weight_decay: float = _limited(0.0, 0.0, 100.0)
    label_smoothing: float = _limited(0.0, 0.0, 0.99)
    activity_penalty: float | tuple[float, ...] = _limited(0.0, 0.0, 1e6, many=True)
    jitter: float = _limited(0.0, 0.0, 255.0)
    average: float = _limited(0.0, 0.0, 0.999999)

    def penalties(self, layers: int) -> tuple[float, ...]:
        """Cost of a spike in each of so many hidden layers."""
        return _each(self.activity_penalty, layers)


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """How far a training image is bent, drawn anew each time: table ``[augmentation]``.

    All of it is for images; zero everywhere leaves them as they are.

    Parameters
    ----------
    shift : :class:`float`
        Largest shift along each axis, in pixels.
    rotation : :class:`float`
        Largest rotation, in degrees.
    scale : :class:`float`
        Largest change of size, as a share.
    shear : :class:`float`
        Largest shear, as a share.
    elastic : :class:`float`
        Standard deviation of the shifts of the knots of an elastic grid, in pixels.
    elastic_grid : :class:`int`
        Knots of that grid along each axis.
    """

    shift: float = _limited(0.0, 0.0, 1000.0)
    rotation: float = _limited(0.0, 0.0, 180.0)
    scale: float = _limited(0.0, 0.0, 0.9)
    shear: float = _limited(0.0, 0.0, 10.0)
    elastic: float = _limited(0.0, 0.0, 1000.0)
    elastic_grid: int = _limited(5, 2, 100)

    @property
    def active(self) -> bool:
        """Whether any image is changed at all."""
        return bool(self.shift or self.rotation or self.scale or self.shear or self.elastic)


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that decides a training run.

    Parameters
    ----------
    name : :class:`str`
        Of the preset, or of the file it was read from.
    dataset : :class:`str`
        As in :func:`ttfs_sw.data.datasets.load`.
    seed : :class:`int`
        Start of every random choice: held-out images, weights, order, augmentation.
    network : :class:`NetworkShape`
    training : :class:`Training`
    augmentation : :class:`Augmentation`
    """

    name: str = "custom"
    dataset: str = "digits"
    seed: int = _limited(0, 0, 2**32 - 1)
    network: NetworkShape = NetworkShape()
    training: Training = Training()
    augmentation: Augmentation = Augmentation()

    def toml(self) -> str:
        """The configuration as TOML that :func:`load` reads back, with every key spelt out."""
        lines, tables = [], []
        for key, value in vars(self).items():
            if _table(value):
                tables += ["", f"[{key}]"]
                # An empty list is a key that another one takes the place of.
                tables += [
                    f"{name} = {_toml(item)}" for name, item in _written(value) if item != ()
                ]
            else:
                lines.append(f"{key} = {_toml(value)}")
        return "\n".join(lines + tables) + "\n"


def presets() -> list[str]:
    """Names of the presets that come with the package."""
    return sorted(
        file.name.removesuffix(".toml") for file in PRESETS.iterdir() if file.name.endswith(".toml")
    )


def load(
    name_or_path: str | os.PathLike, overrides: Mapping[str, Any] | None = None
) -> Config:
    """Read a configuration and check every key.

    Parameters
    ----------
    name_or_path : :class:`str` or path
        A name of :func:`presets`, or a TOML file.
    overrides : mapping or ``None``
        Values that replace the file's, by key: ``"seed"``, ``"training.epochs"``, or just
        ``"epochs"``, since no key is in two tables. ``None`` values are passed over.

    Raises
    ------
    :exc:`ttfs_sw.common.errors.InputError`
        If there is no such preset or file, or a key is unknown, of the wrong type or out of range.
    """
    name = os.fspath(name_or_path)
    if name in presets():
        where, text = f"preset {name}", (PRESETS / f"{name}.toml").read_text(encoding="utf-8")
    else:
        where, text = name, _read(Path(name))
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{where} is not valid TOML: {str(error).splitlines()[0]}") from error
    values.setdefault("name", Path(name).stem)
    config = make(values, overrides, where)
    _check_layers(config, values, where)
    return config


def make(
    values: dict[str, Any], overrides: Mapping[str, Any] | None = None, where: str = "options"
) -> Config:
    """Return the configuration of ``values``, those of a file, each checked by itself.

    Whether lists have as many entries as there are layers is left to whoever knows the layers.
    ``overrides`` and exceptions are those of :func:`load`.
    """
    for key, value in (overrides or {}).items():
        if value is not None:
            _override(values, key, value)
    return _build(Config, values, where, "")


def _written(table: Any) -> list[tuple[str, Any]]:
    """Keys and values of a table to write; ``layers`` take the place of ``hidden``."""
    values = dict(vars(table))
    if values.get("layers"):
        del values["hidden"]
    return list(values.items())


def _read(path: Path) -> str:
    if not path.is_file():
        close = difflib.get_close_matches(path.name, presets(), n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise InputError(
            f"there is no preset or file {str(path)!r}; {hint}presets: {', '.join(presets())}"
        )
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not a text file in UTF-8") from error


def _override(values: dict[str, Any], key: str, value: Any) -> None:
    """Put ``value`` where ``key``, with or without the name of its table, belongs."""
    table, _, leaf = key.rpartition(".")
    if not table:
        owners = [
            name for name, field in _fields(Config).items()
            if _table(field.default) and key in _fields(type(field.default))
        ]
        table = owners[0] if owners else ""
    if table and isinstance(values.setdefault(table, {}), dict):
        values[table][leaf] = value
        # Each of these two takes the place of the other.
        if (table, leaf) == ("network", "layers"):
            values[table].pop("hidden", None)
        elif (table, leaf) == ("network", "hidden"):
            values[table].pop("layers", None)
    else:
        values[leaf] = value


def _build(kind: type, values: Mapping[str, Any], where: str, prefix: str) -> Any:
    """Make a ``kind`` of the ``values`` of a table; ``prefix`` is the table's name and a dot."""
    fields = _fields(kind)
    arguments = {}
    for key, value in values.items():
        if key not in fields:
            raise InputError(f"{where}: unknown key {prefix}{key}; {_nearest(key, prefix, fields)}")
        field = fields[key]
        if not _table(field.default):
            arguments[key] = _check(field, value, f"{where}: {prefix}{key}")
        elif isinstance(value, dict):
            arguments[key] = _build(type(field.default), value, where, f"{key}.")
        else:
            raise InputError(f"{where}: {key} must be a table, written [{key}], not {value!r}")
    return kind(**arguments)


def _nearest(key: str, prefix: str, fields: Mapping[str, Any]) -> str:
    """Say which key was probably meant: one of this table, or of another, or all of this one."""
    others = {
        name: f"{table}.{name}" for table, field in _fields(Config).items()
        if _table(field.default) for name in _fields(type(field.default))
    }
    here = {name: prefix + name for name in fields}
    for known in (here, {name: name for name in _fields(Config)} | others):
        close = difflib.get_close_matches(key, known, n=1)
        if close:
            return f"did you mean {known[close[0]]}?"
    return f"the keys here are {', '.join(here.values())}"


def _check(field: dataclasses.Field, value: Any, what: str) -> Any:
    """Return ``value`` as the type of ``field``, or refuse it in the name of ``what``."""
    default = field.default
    listed = isinstance(default, tuple)
    kind = field.metadata.get("items") or type(
        default[0] if isinstance(default, tuple) else default)
    expected = f"a list of {KINDS[kind].split()[-1]}s" if listed else KINDS[kind]
    if field.metadata.get("many"):
        expected += ", or a list of them,"
    takes_list = listed or field.metadata.get("many")
    good = takes_list if isinstance(value, list | tuple) else not listed
    items = list(value) if isinstance(value, list | tuple) else [value]
    if kind is float:
        # A whole number is a number too; Python counts True among those, TOML does not.
        items = [float(item) if type(item) is int else item for item in items]
    good = good and bool(items) and all(type(item) is kind for item in items)
    if kind is str:
        expected += f" of at most {MAX_TEXT} printable characters"
        good = good and all(len(item) <= MAX_TEXT and item.isprintable() for item in items)
    if "low" in field.metadata:
        low, high = field.metadata["low"], field.metadata["high"]
        expected += f" from {low} to {high}"
        # Written so that NaN is out of range.
        good = good and all(low <= item <= high for item in items)
    if not good:
        raise InputError(f"{what} must be {expected}, not {value!r}")
    return tuple(items) if isinstance(value, list | tuple) else items[0]


def _check_layers(config: Config, values: Mapping[str, Any], where: str) -> None:
    """Check the layers, and that what is listed for each layer is listed for all."""
    if config.network.layers and "hidden" in values["network"]:
        raise InputError(
            f"{where}: network.hidden and network.layers are two ways to say the same; give one"
        )
    try:
        lengths = config.network.lengths
    except InputError as error:
        raise InputError(f"{where}: network.layers: {error}") from error
    for key, table, need in (
        ("network.weight_bits", config.network, lengths["weight_bits"]),
        ("network.ticks", config.network, lengths["ticks"]),
        ("training.activity_penalty", config.training, lengths["ticks"]),
    ):
        value = getattr(table, key.partition(".")[2])
        if isinstance(value, tuple) and len(value) != need:
            raise InputError(
                f"{where}: {key} has {len(value)} entries, but the network has {need} "
                f"layers that need one; give {need}, or one number for all"
            )


def _each(value: Any, count: int) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,) * count


def _fields(kind: type) -> dict[str, dataclasses.Field]:
    return {field.name: field for field in dataclasses.fields(kind)}


def _table(value: Any) -> bool:
    return dataclasses.is_dataclass(value)


def _toml(value: Any) -> str:
    """Write a text, number or tuple of numbers as TOML, whose syntax for these is JSON's."""
    text = json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)
    # The one character that JSON takes as it is and TOML does not.
    return text.replace("\x7f", "\\u007f")
