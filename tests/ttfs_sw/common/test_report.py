# SPDX-License-Identifier: Apache-2.0
"""Reports: attributes inside, plain data outside, keys in the order of the fields."""

import dataclasses
import json

import pytest

from ttfs_sw.common.report import FLAT, Report, absent


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part(Report):
    name: str
    spikes: float | None = absent()
    loss: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Whole(Part):
    parts: list[Part]
    by_name: dict[str, Part]
    shape: tuple[int, ...] = (1, 2)


def test_keys_are_the_fields_in_their_order():
    part = Part(name="a", spikes=0.5, loss=1.0)
    assert list(part.as_dict().items()) == [("name", "a"), ("spikes", 0.5), ("loss", 1.0)]


def test_only_what_is_declared_absent_is_left_out():
    assert Part(name="a", loss=None).as_dict() == {"name": "a", "loss": None}


def test_reports_within_reports():
    part = Part(name="a", loss=0.0)
    whole = Whole(name="b", loss=2.0, parts=[part], by_name={"c": part})
    found = whole.as_dict()
    assert found == json.loads(json.dumps(found))
    assert found == {
        "name": "b", "loss": 2.0, "parts": [{"name": "a", "loss": 0.0}],
        "by_name": {"c": {"name": "a", "loss": 0.0}}, "shape": [1, 2],
    }
    assert list(found) == ["name", "loss", "parts", "by_name", "shape"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Around(Report):
    before: int
    part: Part = dataclasses.field(metadata=FLAT)
    after: int


def test_a_flat_report_has_its_keys_in_its_place():
    found = Around(before=1, part=Part(name="a", loss=0.5), after=2).as_dict()
    assert list(found.items()) == [("before", 1), ("name", "a"), ("loss", 0.5), ("after", 2)]


def test_plain_data_is_a_copy():
    whole = Whole(name="b", loss=2.0, parts=[], by_name={})
    whole.as_dict()["parts"].append(1)
    assert whole.parts == []


def test_a_report_does_not_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Part(name="a", loss=0.0).name = "b"
