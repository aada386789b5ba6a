# SPDX-License-Identifier: Apache-2.0
"""Pictures: what is drawn is what was given, files are whole, and nothing global changes."""

import matplotlib
import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure

from ttfs_sw.common import plot
from ttfs_sw.common.errors import InputError

HISTORY = [
    *({"stage": "float", "epoch": epoch, "loss": 1 / epoch, "loss_heldout": 1.1 / epoch,
       "accuracy_heldout": 1 - 0.3 / epoch} for epoch in range(1, 4)),
    *({"stage": "network", "epoch": epoch, "loss": 0.5 / epoch, "loss_heldout": 0.6 / epoch,
       "accuracy_heldout": 1 - 0.2 / epoch, "spikes_per_neuron": 0.5 / epoch}
      for epoch in range(1, 6)),
]

LAYERS = [
    {"name": "input", "ticks": 15, "golden_times": np.array([0, 15, 3, 14]),
     "rtl_times": np.array([0, 15, 3, 14])},
    # The RTL fires neuron 1 a tick late, leaves neuron 2 out, and neuron 3 is one too many.
    {"name": "hidden1", "ticks": 7, "golden_times": np.array([7, 2, 6, 7, 0]),
     "rtl_times": np.array([7, 3, 7, 5, 0])},
]


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were saved, in order."""
    figures = []
    save = Figure.savefig

    def keep(self, *arguments, **keywords):
        figures.append(self)
        return save(self, *arguments, **keywords)

    monkeypatch.setattr(Figure, "savefig", keep)
    return figures


def points(axes, label):
    """The (time, neuron) pairs of a scatter."""
    found = [item for item in axes.collections if item.get_label() == label]
    return {tuple(map(int, offset)) for item in found for offset in item.get_offsets()}


def is_png(path):
    return path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_raster_draws_every_spike_and_no_silence(tmp_path, drawn):
    path = tmp_path / "raster.png"
    plot.raster(path, LAYERS, image=np.zeros((2, 2)), logits=np.array([-5, 9, 3]), label=1,
                title="image 7")
    assert is_png(path)
    (figure,) = drawn
    picture, first, second, logits = figure.axes
    assert points(first, "golden model") == points(first, "RTL") == {(0, 0), (3, 2), (14, 3)}
    assert points(second, "golden model") == {(2, 1), (6, 2), (0, 4)}
    assert points(second, "RTL") == {(3, 1), (5, 3), (0, 4)}
    assert second.get_title() == "hidden1: 3 of 5 fire"
    assert second.get_xlabel() == "spike time (ticks)"
    assert second.get_ylabel() == "neuron"
    assert picture.get_title() == "image: class 1"
    assert logits.get_title() == "read-out: class 1"
    assert [bar.get_width() for bar in logits.patches] == [-5, 9, 3]
    assert figure.get_suptitle() == "image 7"
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["golden model", "RTL"]
    # The whole window is in view, whatever fired.
    assert first.get_xlim()[0] < 0 < 14 < first.get_xlim()[1]


def test_raster_without_rtl(tmp_path, drawn):
    layers = [{key: value for key, value in layer.items() if key != "rtl_times"}
              for layer in LAYERS]
    plot.raster(tmp_path / "raster.png", layers)
    assert len(drawn[0].axes) == 2
    assert points(drawn[0].axes[1], "RTL") == set()
    assert len(drawn[0].legends[0].get_texts()) == 1


def test_raster_of_silence(tmp_path):
    silent = {"name": "hidden1", "ticks": 1, "golden_times": np.ones(300, int),
              "rtl_times": np.ones(300, int)}
    plot.raster(tmp_path / "raster.png", [silent], logits=np.zeros(2))
    assert is_png(tmp_path / "raster.png")


def test_learning_curve(tmp_path, drawn):
    plot.learning_curve(tmp_path / "curve.png", HISTORY, title="digits")
    assert is_png(tmp_path / "curve.png")
    accuracy, loss, spikes = drawn[0].axes
    lines = {line.get_label(): line for line in accuracy.lines}
    network = lines["integer network"]
    assert list(network.get_xdata()) == [4, 5, 6, 7, 8]
    assert network.get_ydata() == pytest.approx([80, 90, 93.3333, 95, 96])
    assert list(lines["ReLU network, real numbers"].get_xdata()) == [1, 2, 3]
    labels = {line.get_label(): line for line in loss.lines}
    assert labels["held-out images"].get_ydata()[0] == 0.6
    assert labels["training images, distorted, with the cost of spikes"].get_ydata()[0] == 0.5
    assert spikes.lines[0].get_ydata()[-1] == 0.1


def test_learning_curve_of_one_epoch(tmp_path, drawn):
    plot.learning_curve(tmp_path / "curve.png", HISTORY[-1:])
    # A line of one point would be invisible.
    assert drawn[0].axes[0].lines[0].get_marker() == "o"


def test_spike_histogram(tmp_path, drawn):
    times = np.array([[0, 3, 3], [7, 7, 7]])
    plot.spike_histogram(tmp_path / "times.png", [{"name": "hidden1", "ticks": 7, "times": times}])
    (axes,) = drawn[0].axes
    heights = [bar.get_height() for bar in axes.patches]
    assert heights == pytest.approx([100 / 6, 0, 0, 200 / 6, 0, 0, 0])
    assert axes.get_title() == "hidden1: 50.0 % silent"


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_format_follows_the_ending(tmp_path, suffix):
    path = tmp_path / f"raster{suffix}"
    plot.raster(path, LAYERS)
    start = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}[suffix]
    assert path.read_bytes().startswith(start)
    assert [item.name for item in tmp_path.iterdir()] == [path.name]


def test_unwritable(tmp_path):
    with pytest.raises(InputError, match="cannot write"):
        plot.raster(tmp_path / "nowhere" / "raster.png", LAYERS)


def test_interrupted_save_leaves_the_earlier_picture(tmp_path, monkeypatch):
    path = tmp_path / "raster.png"
    path.write_bytes(b"earlier")

    def interrupt(self, target, **keywords):
        target.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(Figure, "savefig", interrupt)
    with pytest.raises(KeyboardInterrupt):
        plot.raster(path, LAYERS)
    assert path.read_bytes() == b"earlier"
    assert [item.name for item in tmp_path.iterdir()] == ["raster.png"]


def test_nothing_global_changes(tmp_path):
    before = dict(matplotlib.rcParams)
    plot.raster(tmp_path / "raster.png", LAYERS, image=np.zeros((2, 2, 3)))
    plot.learning_curve(tmp_path / "curve.png", HISTORY)
    assert dict(matplotlib.rcParams) == before
    assert pyplot.get_fignums() == []
