# SPDX-License-Identifier: Apache-2.0
"""The HTML page of a run: everything a run folder holds, in one file that stands alone."""

import base64
import html.parser
import json
import zlib

import pytest

from ttfs_sw.cli import main
from ttfs_sw.cli.report_page import find_reports, write_page
from ttfs_sw.cli.verbs import describe
from ttfs_sw.common.errors import InputError

EVALUATE = {
    "verb": "evaluate", "version": "0.1.0", "network": "<runs>/x & y/network.npz", "images": 450,
    "accuracy": 0.9733, "spikes_per_neuron": 0.31, "events_input": 30.2, "events_hidden": [9.9],
    "ties": 2, "images_per_second": 61234.5,
}


def png():
    """The smallest PNG there is: one black pixel."""
    def chunk(kind, data):
        body = kind + data
        return len(data).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")

    header = (1).to_bytes(4, "big") * 2 + bytes([8, 0, 0, 0, 0])
    parts = (b"IHDR", header), (b"IDAT", zlib.compress(b"\0\0")), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


@pytest.fixture
def folder(tmp_path):
    run = tmp_path / "digits-mlp"
    (run / "cosim").mkdir(parents=True)
    (run / "evaluate.json").write_text(json.dumps(EVALUATE))
    (run / "raster.png").write_bytes(png())
    (run / "config.json").write_text('{"seed": 1}')
    (run / "cosim" / "ports.json").write_text("[1, 2]")
    (run / "broken.json").write_text("{")
    return run


class Page(html.parser.HTMLParser):
    """Cells, pictures and outside links of a page."""

    def __init__(self, text):
        super().__init__()
        self.cells, self.pictures, self.links, self._stack = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self._stack.append(tag)
        if tag == "td":
            self.cells.append("")
        if tag == "img":
            self.pictures.append((attributes["alt"], attributes["src"]))
        self.links += [attributes[key] for key in ("href", "src") if key in attributes]

    def handle_data(self, data):
        if self._stack and self._stack[-1] == "td":
            self.cells[-1] += data.strip()


def test_page_shows_every_report_and_picture(folder, capsys):
    assert main(["report", str(folder)]) == 0
    assert str(folder / "report.html") in capsys.readouterr().out
    page = Page((folder / "report.html").read_text())
    assert {"97.33 %", "450", "61 234", "30.2 + 9.9"} <= set(page.cells)
    ((name, data),) = page.pictures
    assert name == "raster.png"
    assert base64.b64decode(data.partition(",")[2]) == png()
    # Nothing is fetched from anywhere.
    assert all(link.startswith("data:") for link in page.links)
    assert "&lt;runs&gt;/x &amp; y" in (folder / "report.html").read_text()


def test_page_into_another_folder(folder, tmp_path):
    assert main(["report", str(folder), "-o", str(tmp_path / "out"), "-q"]) == 0
    assert (tmp_path / "out" / "report.html").is_file()


def test_reports_come_in_the_order_of_the_chain(folder):
    for verb in ("build", "train", "cosim"):
        (folder / f"{verb}.json").write_text(json.dumps({"verb": verb}))
    found = [report["verb"] for _, report in find_reports(folder)]
    assert found == ["train", "evaluate", "cosim", "build"]


def test_failure_is_shown(folder):
    report = {**EVALUATE, "failure": "the accuracy is too low"}
    (folder / "evaluate.json").write_text(json.dumps(report))
    write_page(folder, folder / "page.html", lambda verb, report: [("a", "b")])
    assert "the accuracy is too low" in (folder / "page.html").read_text()


@pytest.mark.parametrize("name", ["nothing-here", "empty"])
def test_folder_without_reports(name, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=name):
        write_page(tmp_path / name, tmp_path / "page.html", lambda verb, report: [])
    assert not (tmp_path / "page.html").exists()


def test_report_that_lacks_what_it_should_have(folder):
    (folder / "evaluate.json").write_text('{"verb": "evaluate", "images": 450}')
    assert main(["report", str(folder)]) == 2
    assert not (folder / "report.html").exists()


@pytest.mark.parametrize(("figures", "row"), [
    ({"achieved": 39.64, "constraint": 40.5, "nextpnr": 41.48, "all_paths": 39.64},
     "39.6 MHz reached, 40.5 MHz demanded; 39.6 MHz with all paths, 41.5 MHz by those that nextpnr "
     "times"),
    # A clock that nextpnr finds no path of.
    ({"achieved": 30, "constraint": 40.5, "nextpnr": None, "all_paths": 30},
     "30.0 MHz reached, 40.5 MHz demanded; 30.0 MHz with all paths, none by those that nextpnr "
     "times"),
    # A report of a release that knew nextpnr's alone.
    ({"achieved": 41.48, "constraint": 40.5},
     "41.5 MHz reached, 40.5 MHz demanded; of all paths nothing is known"),
])
def test_a_build_shows_both_figures_of_a_clock(tmp_path, figures, row):
    (tmp_path / "build.json").write_text(json.dumps({
        "verb": "build", "utilization": {}, "fmax_mhz": {"sync": figures}, "latency_us": None,
        "clock_mhz": 40.5, "seconds": 90,
    }))
    write_page(tmp_path, tmp_path / "page.html", describe)
    cells = Page((tmp_path / "page.html").read_text()).cells
    assert cells[cells.index("clock sync") + 1] == row
