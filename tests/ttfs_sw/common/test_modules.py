# SPDX-License-Identifier: Apache-2.0
"""Lists of modules of one class: torch's list in all but its type."""

import copy

import torch
from torch import nn

from ttfs_sw.common.modules import Modules


def test_it_is_torch_s_list():
    made = [nn.Linear(2, 3), nn.Linear(3, 1)]
    ours, theirs = Modules(made), nn.ModuleList(made)
    assert list(ours) == made
    assert ours[-1] is made[1]
    assert isinstance(ours[:1], Modules)
    assert list(ours[:1]) == made[:1]
    assert len(ours) == 2
    assert list(ours.state_dict()) == list(theirs.state_dict())


def test_a_copy_has_parameters_of_its_own():
    ours = Modules([nn.Linear(2, 3)])
    other = copy.deepcopy(ours)
    assert torch.equal(other[0].weight, ours[0].weight)
    assert other[0].weight is not ours[0].weight
