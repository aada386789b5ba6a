# SPDX-License-Identifier: Apache-2.0
"""Where channels stand: told by the shape where it is certain, asked for where it is not."""

import contextlib

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ttfs_sw.common.errors import InputError
from ttfs_sw.data import datasets
from ttfs_sw.data.layout import LAYOUTS, channels_last

#: Shapes of an image in a file, and the layout that they tell.
TOLD = {
    "nchw": [(1, 28, 28), (3, 32, 32), (1, 8, 8), (3, 24, 32), (2, 34, 34), (4, 64, 48), (3, 4, 5)],
    "nhwc": [(28, 28, 1), (32, 32, 3), (8, 8, 1), (24, 32, 3), (34, 34, 2), (48, 64, 4),
             (5, 4, 3)],
}

#: Grey pictures that are no squares, series, single vectors, feature maps: both readings make
#: sense, or neither.
ASKED = [(1, 96, 1), (1, 1, 96), (96, 1, 1), (1, 96, 12), (12, 1, 96), (1, 24, 32), (96, 1, 3),
         (3, 3, 3), (3, 3, 8), (8, 3, 3), (16, 16, 16), (8, 8, 16), (4, 5, 4), (1, 1, 1),
         (4, 4, 1), (1, 4, 4), (2, 3, 3)]


def images(shape, count=4):
    size = (count, *shape)
    return np.random.default_rng(0).integers(0, 256, size, np.uint8)


@pytest.mark.parametrize(("layout", "shape"), [(k, shape) for k, v in TOLD.items() for shape in v])
def test_told_by_the_shape(layout, shape):
    given = images(shape)
    found = channels_last(given, "mine.npz")
    assert (found == (given.transpose(0, 2, 3, 1) if layout == "nchw" else given)).all()
    # What the user says goes before.
    other = LAYOUTS[1 - LAYOUTS.index(layout)]
    found = channels_last(given, "mine.npz", layout=other)
    assert found.shape[1:] == (shape if other == "nhwc" else (*shape[1:], shape[0]))


@pytest.mark.parametrize("shape", ASKED)
def test_asked(shape):
    size = " x ".join(map(str, shape))
    with pytest.raises(InputError, match=f"^mine.npz has images of {size}, which may"):
        channels_last(images(shape), "mine.npz")
    assert channels_last(images(shape), "", layout="nhwc").shape[1:] == shape
    assert channels_last(images(shape), "", layout="nchw").shape[1:] == (*shape[1:], shape[0])


def test_unknown_layout():
    with pytest.raises(InputError, match="unknown layout 'hwc'; known: nchw, nhwc"):
        channels_last(images((8, 8, 1)), "mine.npz", layout="hwc")


@given(st.tuples(*[st.integers(1, 40)] * 3))
def test_both_orders_of_one_dataset_are_one_or_asked_for(shape):
    """Pictures of up to four channels, or above 4 x 4, are read rightly in either order."""
    assume(shape[2] <= 4 or min(shape[:2]) > 4)
    last = images(shape)
    first = last.transpose(0, 3, 1, 2)
    found = []
    for given_images in (last, first):
        with contextlib.suppress(InputError):
            found.append(channels_last(given_images, "mine.npz"))
    for read in found:
        assert read.shape == last.shape
        assert (read == last).all()


@given(st.tuples(*[st.integers(1, 40)] * 3))
def test_a_network_tells_what_it_reads(shape):
    last = images(shape)
    first = last.transpose(0, 3, 1, 2)
    # Only where both readings have one shape is there something to ask.
    assert (channels_last(last, "mine.npz", layout=None if shape != (*shape[1:], shape[0]) else
                          "nhwc", expected=shape) == last).all()
    if first.shape[1:] != shape:
        assert (channels_last(first, "mine.npz", expected=shape) == last).all()


def test_datasets_in_either_order(tmp_path):
    labels = np.arange(4) % 2
    x = {"nhwc": images((9, 7, 3))}
    x["nchw"] = x["nhwc"].transpose(0, 3, 1, 2)
    for layout, pixels in x.items():
        np.savez(tmp_path / f"{layout}.npz", x_train=pixels, y_train=labels, x_test=pixels[:2],
                 y_test=labels[:2])
    first, last = (datasets.load(tmp_path / f"{layout}.npz") for layout in LAYOUTS)
    assert first.shape == last.shape == (9, 7, 3)
    assert (first.x_train == last.x_train).all()
    assert (first.x_test == last.x_test).all()
    assert (last.x_train == x["nhwc"].reshape(4, -1)).all()
    forced = datasets.load(tmp_path / "nchw.npz", layout="nhwc")
    assert forced.shape == (3, 9, 7)
    with pytest.raises(InputError, match=r"--layout is for files of your own; .* of digits stand"):
        datasets.load("digits", layout="nchw")


def test_pixels_without_channels_have_one_layout(tmp_path):
    labels = np.arange(4) % 2
    for shape, wanted in (((1, 96), (1, 96, 1)), ((8, 8), (8, 8, 1)), ((64,), (1, 1, 64))):
        np.savez(tmp_path / "x.npz", x_train=images(shape), y_train=labels, x_test=images(shape),
                 y_test=labels)
        for layout in (None, *LAYOUTS):
            assert datasets.load(tmp_path / "x.npz", layout=layout).shape == wanted
