# SPDX-License-Identifier: Apache-2.0
"""Jobs side by side: the results and errors of one process, in the order of the jobs."""

import os

import numpy as np
import pytest
import torch

from ttfs_sw.common.errors import InputError
from ttfs_sw.data.datasets import Dataset
from ttfs_sw.research.experiments import Options
from ttfs_sw.research.experiments.side_by_side import side_by_side

PIXELS = np.arange(12, dtype=np.uint8).reshape(3, 4)
IMAGES = Dataset("three", (2, 2, 1), 3, PIXELS, np.arange(3), PIXELS, np.arange(3))


def brightest(options: Options, index: int, factor: int) -> tuple[int, int, int]:
    """A job that other processes can name."""
    if index > 2:
        raise InputError(f"there is no image {index}")
    found = torch.from_numpy(options.dataset.x_train[index]).max().item()
    return found * factor, torch.get_num_threads(), os.getpid()


@pytest.mark.parametrize("processes", [1, 2])
def test_results_come_in_order(processes):
    options = Options(IMAGES, progress=print, processes=processes)
    jobs = [(index, factor) for factor in (1, 10) for index in (2, 0, 1)]
    found = list(side_by_side(brightest, options, jobs))
    assert [value for value, _, _ in found] == [11, 3, 7, 110, 30, 70]
    others = {process for _, _, process in found} - {os.getpid()}
    assert bool(others) == (processes > 1)
    if others:
        assert {threads for _, threads, _ in found} == {1}


@pytest.mark.parametrize("processes", [1, 2])
def test_an_error_is_raised_here(processes):
    results = side_by_side(brightest, Options(IMAGES, processes=processes), [(0, 1), (3, 1)])
    assert next(results)[0] == 3
    with pytest.raises(InputError, match="there is no image 3"):
        next(results)


def test_one_job_needs_no_process():
    options = Options(IMAGES, processes=4)
    assert next(side_by_side(brightest, options, [(1, 1)]))[2] == os.getpid()
    assert not list(side_by_side(brightest, options, []))
