# SPDX-License-Identifier: Apache-2.0
"""One HTML page of a run: every report and every picture of a folder, in a file that stands alone.

A report is a JSON file with a key ``verb``, as ``--json`` and ``-o`` write them; other JSON files
are passed over. Pictures are carried inside the page, so that it can be sent as it is.
"""

import base64
import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ttfs_sw.common.errors import InputError
from ttfs_sw.common.files import write_text
from ttfs_sw.common.report import Report

__all__ = ["find_reports", "write_page"]

#: The order of the chain: what a reader wants to know first.
ORDER = ("demo", "train", "convert", "evaluate", "cosim", "verilog", "build", "image", "flash",
         "infer")

_PICTURES = {".png": "image/png", ".svg": "image/svg+xml"}

#: The page. What is inserted is escaped by the template engine.
_TEMPLATE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>
  :root { color-scheme: light dark; --line: #8884; --weak: #888; }
  body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; }
  body { padding: 0 1rem; }
  h1 { font-size: 1.6rem; margin-bottom: 0; }
  h2 { font-size: 1.15rem; margin: 2.2rem 0 .4rem; border-bottom: 1px solid var(--line); }
  h2 small, .weak { color: var(--weak); font-weight: normal; font-size: .85rem; }
  table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
  td { padding: .15rem 1.5rem .15rem 0; vertical-align: top; overflow-wrap: anywhere; }
  td:first-child { color: var(--weak); white-space: nowrap; }
  .failed { color: #c33; font-weight: 600; }
  figure { margin: 1rem 0; }
  figure img { max-width: 100%; background: white; border-radius: 4px; }
  figcaption { color: var(--weak); font-size: .85rem; }
  pre { font-size: .8rem; overflow-x: auto; border: 1px solid var(--line); padding: .6rem; }
</style>
<h1>{{ title }}</h1>
<p class="weak">{{ subtitle }}</p>
{% for section in sections %}
<h2>{{ section.title }} <small>{{ section.file }}</small></h2>
{% if section.failure %}<p class="failed">{{ section.failure }}</p>{% endif %}
<table>
{% for row in section.rows %}
  <tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}
</table>
<details><summary class="weak">the whole report</summary><pre>{{ section.source }}</pre></details>
{% endfor %}
{% for picture in pictures %}
<figure>
  <img src="{{ picture.data }}" alt="{{ picture.name }}">
  <figcaption>{{ picture.name }}</figcaption>
</figure>
{% endfor %}
</html>
"""

class Saved(dict[str, Any]):
    """A report as it was read from its file: its keys are attributes too, as rows want them."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(repr(name)) from None


Describe = Callable[[str, Saved], Sequence[tuple[str, ...]]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Page(Report):
    """Names of the reports and the pictures that a page shows, and its own path."""

    reports: list[str]
    pictures: list[str]
    files: list[str]


def find_reports(folder: Path) -> list[tuple[Path, Saved]]:
    """Every report at or below ``folder``, in the order of the chain, with the file it stands in.

    Raises
    ------
    :exc:`ttfs_sw.common.errors.InputError`
        If the folder is not there or holds no report.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give the folder of a run")
    found = []
    for path in sorted(folder.rglob("*.json")):
        try:
            report = json.loads(path.read_text(encoding="utf-8"), object_hook=Saved)
        except (OSError, ValueError):
            continue
        if isinstance(report, Saved) and report.get("verb") in ORDER:
            found.append((path, report))
    if not found:
        raise InputError(f"{folder} holds no report; a verb writes one with --json or -o")
    return sorted(found, key=lambda item: (ORDER.index(item[1]["verb"]), item[0]))


def write_page(folder: Path, page: Path, describe: Describe) -> Page:
    """Write the page of the run in ``folder`` to the file ``page``.

    Parameters
    ----------
    describe : callable
        ``describe(verb, report)`` gives the rows that a person should see.
    """
    # Imported here: the only use of the template engine.
    import jinja2

    reports = find_reports(folder)
    sections = []
    for path, report in reports:
        try:
            rows = describe(report["verb"], report)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            kind = KeyError if isinstance(error, AttributeError) else type(error)
            raise InputError(
                f"{path} is not a report of this ttfs: {kind.__name__} {error}; make it "
                "anew or move it away"
            ) from error
        sections.append(
            {
                "title": report["verb"],
                "file": path.relative_to(folder).as_posix(),
                "rows": rows,
                "failure": report.get("failure"),
                "source": json.dumps(report, indent=2),
            }
        )
    pictures = [path for path in sorted(folder.rglob("*")) if path.suffix in _PICTURES]
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined
    )
    write_text(
        page,
        environment.from_string(_TEMPLATE).render(
            title=folder.resolve().name,
            subtitle=f"made by ttfs {reports[0][1].get('version', 'of unknown version')}",
            sections=sections,
            pictures=[
                {"name": path.relative_to(folder).as_posix(), "data": _data(path)}
                for path in pictures
            ],
        ),
    )
    return Page(
        reports=[path.relative_to(folder).as_posix() for path, _ in reports],
        pictures=[path.relative_to(folder).as_posix() for path in pictures],
        files=[str(page)],
    )


def _data(path: Path) -> str:
    content = base64.b64encode(path.read_bytes()).decode()
    return f"data:{_PICTURES[path.suffix]};base64,{content}"
