# SPDX-License-Identifier: Apache-2.0
"""What a command found, as a dataclass inside the program and as plain data in a JSON file."""

import dataclasses
from typing import Any

__all__ = ["FLAT", "Report", "Spread", "absent"]

#: Metadata of a field of a :class:`Report` that is a report itself: its keys stand in its place.
FLAT = {"flat": True}


def absent() -> Any:
    """Declare a field of a :class:`Report` that is left out of its plain data while it is ``None``.
    """
    return dataclasses.field(default=None, metadata={"absent": True})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """Base of all reports: the fields of the dataclass are the keys of its JSON, in their order."""

    def as_dict(self) -> dict[str, Any]:
        """The report as plain data, reports within it too; lists and mappings are copies."""
        found: dict[str, Any] = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.metadata.get("flat"):
                found |= value.as_dict()
            elif value is not None or not field.metadata.get("absent"):
                found[field.name] = _plain(value)
        return found


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spread(Report):
    """Least, median, mean and most of some numbers."""

    min: float
    median: float
    mean: float
    max: float


def _plain(value: Any) -> Any:
    """``value`` without the reports in it; a tuple becomes the list that JSON would make of it."""
    if isinstance(value, Report):
        return value.as_dict()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
