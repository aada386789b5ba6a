# SPDX-License-Identifier: Apache-2.0
"""Training configurations: every key is checked, and what is written is what was read."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttfs_sw.common.errors import InputError
from ttfs_sw.data import datasets
from ttfs_sw.training import config
from ttfs_sw.training.config import Augmentation, Config, NetworkShape, Training


def refused(message, name, overrides=None):
    with pytest.raises(InputError, match=message) as caught:
        config.load(name, overrides)
    assert "\n" not in str(caught.value)


def write(tmp_path, text):
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_presets_are_there():
    assert set(config.presets()) == {
        "cifar10-resnet", "cifar10-vgg", "cifar10-vgg-small", "digits-mlp", "fashion-lenet",
        "fashion-mlp", "mnist-lenet", "mnist-mlp", "mnist-mlp-256", "mnist-mlp-3bit",
        "mnist-mlp-sparse", "mnist-mlp-tiny",
    }


@pytest.mark.parametrize("name", config.presets())
def test_preset(name):
    preset = config.load(name)
    assert preset.name == name
    assert preset.dataset in datasets.NAMES
    # A preset is read by people who want to change it: it says what its numbers mean.
    assert (config.PRESETS / f"{name}.toml").read_text().count("#") >= 10


def test_shapes_of_the_presets():
    mnist = config.load("mnist-mlp")
    assert mnist.network.hidden == (128,)
    assert mnist.network.layer_bits == (4, 4)
    assert mnist.network.layer_ticks == (15,)
    assert mnist.network.input_ticks == 15
    assert config.load("mnist-mlp-256").network.hidden == (256,)
    assert config.load("mnist-mlp-tiny").network.texts == ("24",)
    coarse = config.load("mnist-mlp-3bit").network
    assert (coarse.texts, coarse.layer_bits, coarse.layer_ticks) == (("128",), (3, 3), (7,))
    sparse = config.load("mnist-mlp-sparse")
    assert sparse.network == mnist.network
    assert sparse.training.activity_penalty > mnist.training.activity_penalty
    lenet = config.load("mnist-lenet")
    assert lenet.network.texts == ("8c5", "p2", "16c5", "p2", "64")
    assert lenet.network.layer_bits == (4, 4, 4, 4)
    # A spike of the first convolution has the largest fan-out.
    assert lenet.training.activity_penalty[0] == max(lenet.training.activity_penalty)
    assert config.load("cifar10-vgg-small").network.layer_bits == (4, 4, 4, 4, 4)


def test_defaults(tmp_path):
    assert config.load(write(tmp_path, "")) == Config(name="mine")


def test_file(tmp_path):
    path = write(
        tmp_path,
        """
        name = "named"
        dataset = "mnist"
        [network]
        hidden = [64, 32]
        weight_bits = [4, 3, 8]
        ticks = 7
        [training]
        learning_rate = 1
        """,
    )
    loaded = config.load(path)
    assert loaded.name == "named"
    assert loaded.network.layer_bits == (4, 3, 8)
    assert loaded.network.layer_ticks == (7, 7)
    # A whole number is a number.
    assert type(loaded.training.learning_rate) is float


def test_overrides():
    preset = config.load("digits-mlp")
    changed = config.load(
        "digits-mlp", {"seed": 7, "epochs": 3, "network.ticks": 31, "dataset": None}
    )
    assert changed == dataclasses.replace(
        preset, seed=7,
        training=dataclasses.replace(preset.training, epochs=3),
        network=dataclasses.replace(preset.network, ticks=31),
    )


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"epoch": 3}, r"unknown key epoch; did you mean training\.epochs\?"),
        ({"training.epoch": 3}, r"unknown key training\.epoch; did you mean training\.epochs\?"),
        ({"network.sed": 3}, r"unknown key network\.sed; did you mean seed\?"),
        ({"network.rotation": 3}, r"did you mean augmentation\.rotation\?"),
        ({"qqq": 3}, "the keys here are name, dataset, seed, network, training, augmentation"),
        ({"training": 3}, r"training must be a table, written \[training\], not 3"),
        ({"epochs": "3"}, r"training\.epochs must be an integer from 1 to 1000000, not '3'"),
        ({"epochs": 3.0}, "must be an integer from 1 to 1000000, not 3.0"),
        ({"epochs": True}, "must be an integer from 1 to 1000000, not True"),
        ({"epochs": 0}, "must be an integer from 1 to 1000000, not 0"),
        ({"learning_rate": "fast"}, "must be a number from 1e-09 to 10.0, not 'fast'"),
        ({"learning_rate": float("nan")}, "must be a number from 1e-09 to 10.0, not nan"),
        ({"learning_rate": [0.1]}, "must be a number"),
        ({"dataset": 3}, "dataset must be a string"),
        ({"dataset": "two\nlines"}, "dataset must be a string of at most 200 printable"),
        ({"name": "x" * 201}, "name must be a string of at most 200 printable"),
        ({"hidden": 128}, "hidden must be a list of integers from 1 to 65535, not 128"),
        ({"hidden": []}, "hidden must be a list of integers from 1 to 65535, not "),
        ({"hidden": [128, "64"]}, "hidden must be a list of integers"),
        ({"weight_bits": 9}, "must be an integer, or a list of them, from 2 to 8, not 9"),
        ({"weight_bits": [4, 1]}, "from 2 to 8, not "),
        ({"weight_bits": [4, 4, 4]}, "weight_bits has 3 entries, but the network has 2 layers"),
        ({"ticks": [15, 15]}, "ticks has 2 entries, but the network has 1 layers"),
        ({"ticks": 256}, "from 1 to 255, not 256"),
        ({"dead_zone": -1}, "from 0 to 255, not -1"),
        ({"per_channel": 1}, "network.per_channel must be true or false, not 1"),
        ({"perchannel": True}, r"did you mean network\.per_channel\?"),
        ({"window": 0}, "window must be a number from 0.01 to 1.0, not 0"),
        ({"jitter": -0.5}, "training.jitter must be a number from 0.0 to 255.0, not -0.5"),
        ({"layers": "8c5"}, "layers must be a list of strings of at most 200 printable"),
        ({"layers": [64]}, "layers must be a list of strings"),
        ({"layers": []}, "layers must be a list of strings"),
        ({"layers": ["8k5"]}, "network.layers: '8k5' is no layer; write 64 .dense., 16c5 .conv"),
        ({"layers": ["8c5"], "network.ticks": [15, 7]}, "ticks has 2 entries, but the network"),
        ({"layers": ["a2", "8"], "weight_bits": [4, 4, 4]}, "weight_bits has 3 entries"),
        ({"activity_penalty": [0.1, 0.2]}, "training.activity_penalty has 2 entries"),
        ({"activity_penalty": -1}, "must be a number, or a list of them, from 0.0 to"),
        ({"seed": -1}, "seed must be an integer from 0 to 4294967295, not -1"),
    ],
)
def test_bad_keys(overrides, message):
    refused(message, "digits-mlp", overrides)


def test_bad_names(tmp_path):
    refused("no preset or file 'mnist-mpl'; did you mean mnist-mlp", "mnist-mpl")
    refused("presets: .*digits-mlp.*mnist-mlp", "something-else.toml")
    refused(r"mine.toml is not valid TOML: .*line 2", write(tmp_path, "seed = 1\nseed 2"))
    (tmp_path / "mine.toml").write_bytes(b"name = '\xff'")
    refused("mine.toml is not a text file in UTF-8", tmp_path / "mine.toml")


def test_unreadable_file(tmp_path, monkeypatch):
    path = write(tmp_path, "")

    def forbidden(self, encoding):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(path), "read_text", forbidden)
    refused("cannot read .*mine.toml: Permission denied", path)


def test_hidden_and_layers_are_two_ways_to_say_the_same(tmp_path):
    path = write(tmp_path, '[network]\nhidden = [64]\nlayers = ["64"]')
    refused("network.hidden and network.layers are two ways to say the same; give one", path)
    # An override takes the place of what the file says.
    path = write(tmp_path, "[network]\nhidden = [64]")
    assert config.load(path, {"layers": ["8c5", "p2"]}).network.texts == ("8c5", "p2")
    path = write(tmp_path, '[network]\nlayers = ["8c5"]')
    assert config.load(path).network.texts == ("8c5",)
    assert config.load(path, {"network.hidden": [7]}).network.texts == ("7",)


def test_lists_have_one_entry_a_layer(tmp_path):
    path = write(
        tmp_path,
        """
        [network]
        layers = ["8c5", "p2", "a2", "16c3+0", "p3", "64"]
        weight_bits = [4, 3, 8, 4]
        ticks = [15, 7, 3, 1]
        [training]
        activity_penalty = [1, 0.5, 0, 0.25]
        """,
    )
    loaded = config.load(path)
    # The average pool fires, but has no weights; max-pools are part of the convolutions.
    assert loaded.network.layer_bits == (4, 3, 8, 4)
    assert loaded.network.layer_ticks == (15, 7, 3, 1)
    assert loaded.training.penalties(4) == (1.0, 0.5, 0.0, 0.25)
    assert "hidden" not in loaded.toml()
    assert "layers" not in config.load("mnist-mlp").toml()


def values(field):
    """A strategy for legal values of a key."""
    if field.metadata.get("items") is str:
        return st.lists(st.sampled_from(["9", "8c5", "d3s2", "a2"]), max_size=1).map(tuple)
    if isinstance(field.default, bool):
        return st.booleans()
    low, high = field.metadata["low"], field.metadata["high"]
    default = field.default[0] if isinstance(field.default, tuple) else field.default
    numbers = st.floats(low, high) if isinstance(default, float) else st.integers(low, high)
    listed = isinstance(field.default, tuple)
    return st.lists(numbers, min_size=1, max_size=1).map(tuple) if listed else numbers


def tables(kind):
    built = st.builds(kind, **{field.name: values(field) for field in dataclasses.fields(kind)})
    if kind is not NetworkShape:
        return built
    # A file that has layers has nothing to say of hidden.
    return built.map(
        lambda shape: dataclasses.replace(shape, hidden=(128,)) if shape.layers else shape
    )


@given(
    st.builds(
        Config, name=st.text(st.characters(codec="utf-8")).filter(str.isprintable),
        dataset=st.sampled_from(["digits", 'a "quoted" \\ path', "größe 😀"]),
        seed=st.integers(0, 2**32 - 1), network=tables(NetworkShape), training=tables(Training),
        augmentation=tables(Augmentation),
    )
)
def test_round_trip(tmp_path_factory, written):
    path = tmp_path_factory.getbasetemp() / "round.toml"
    path.write_text(written.toml(), encoding="utf-8")
    assert config.load(path) == written


def test_lists_round_trip(tmp_path):
    shape = NetworkShape(hidden=(3, 4), weight_bits=(2, 8, 4), ticks=(1, 255))
    path = write(tmp_path, Config(name="mine", network=shape).toml())
    assert config.load(path).network == shape
