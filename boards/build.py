# SPDX-License-Identifier: Apache-2.0
"""Building a network for a board: a bitstream, a flash image, and a report on both.

The bitstream holds the board's core and nothing of the network, so it is made once a board and
comes from the cache afterwards; the network travels in the flash image.
"""

import time
from collections.abc import Callable, Iterable
from pathlib import Path

from ttfs_fpga.boards import analysis, report
from ttfs_fpga.boards.bitstream import Bitstream, make_bitstream
from ttfs_fpga.boards.image import serialise
from ttfs_fpga.boards.recorder import RecordMap
from ttfs_fpga.boards.registry import Board
from ttfs_fpga.boards.reports import BuildReport, Latency, LatencyParts, Seed, StepReport
from ttfs_fpga.boards.toolchain import Toolchain, find_toolchain
from ttfs_fpga.hdl.compiler import DoesNotFit, compile_network
from ttfs_sw.artifact.network import Network
from ttfs_sw.common.errors import FailureError
from ttfs_sw.common.files import output_folder, write_bytes, write_json, write_text
from ttfs_sw.common.report import Spread
from ttfs_sw.link.framing import FLAG, encode_frame
from ttfs_sw.link.protocol import Result

__all__ = ["MissedTiming", "build", "latency_parts_us", "latency_us", "make_image"]


class MissedTiming(FailureError):
    """No seed that was tried meets the timing; everything but the bitstream was written.

    Parameters
    ----------
    message : :class:`str`
        Which clock is too slow, and where its path is written.
    report : :class:`boards.reports.BuildReport`
        What :func:`build` would have returned.
    """

    def __init__(self, message: str, report: BuildReport):
        super().__init__(message)
        self.report = report


def make_image(network: Network, board: Board) -> bytes:
    """The flash image of a network for a board.

    Raises
    ------
    :exc:`hdl.compiler.DoesNotFit`
        If the network does not fit the board's core or its flash.
    """
    image = serialise(compile_network(network, board.config))
    room = board.flash_bytes - board.flash_offset
    if len(image) > room:
        raise DoesNotFit(
            f"the image of the network has {len(image)} bytes and the flash of {board.name} has "
            f"{room} left behind the bitstream"
        )
    return image


def latency_us(cycles: Spread | None, clock_mhz: float) -> Latency | None:
    """Time from the complete image to the answer, from measured cycles; None where none are."""
    if cycles is None:
        return None
    return Latency(
        median=round(cycles.median / clock_mhz, 2), max=round(cycles.max / clock_mhz, 2))


def latency_parts_us(
    network: Network, board: Board, cycles: Spread | None
) -> LatencyParts:
    """What an image waits for, from the host's first bit to its last, in µs.

    ``core`` is the median of :func:`latency_us`. ``image_load`` is a cycle for each sample: that is
    how fast the core takes single ones. ``link`` is the serial line, ten bits a byte, with a
    request of all pixels and the reply; samples go into the core while the others are still on the
    line, so ``image_load`` is a part of ``link`` there. The next image is received while one is
    computed.
    """
    logit_bytes = RecordMap(board.config).logit_bytes
    request = bytes([FLAG]) + encode_frame(bytes(2 + network.inputs))
    reply = encode_frame(bytes(3 + network.classes * logit_bytes + Result.TRAILER.size))
    core = latency_us(cycles, board.clock_mhz)
    return LatencyParts(
        core=None if core is None else core.median,
        image_load=round(network.inputs / board.clock_mhz, 2),
        link=round(1e6 * 10 * len(request + reply) / board.baud, 2),
    )


def build(
    network: Network,
    board: Board,
    *,
    output_dir: Path,
    seeds: Iterable[int] | None = None,
    exhaustive: bool = False,
    cycles: Spread | None = None,
    toolchain: Toolchain | None = None,
    cache: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> BuildReport:
    """Make everything that a board needs to run a network, in ``output_dir``.

    Parameters
    ----------
    network : :class:`ttfs_sw.artifact.network.Network`
        What the flash image holds.
    board : :class:`boards.registry.Board`
        What the bitstream is for.
    output_dir : :class:`pathlib.Path`
        Gets the bitstream, ``network.img``, ``build.json``, the tools' logs and the critical path.
    seeds, exhaustive, toolchain, cache, progress
        As for :func:`boards.bitstream.make_bitstream`.
    cycles : :class:`ttfs_sw.common.report.Spread`, optional
        Measured cycles an image, from which the latency follows.

    Returns
    -------
    :class:`boards.reports.BuildReport`
        The same is in ``build.json``.

    Raises
    ------
    :exc:`hdl.compiler.DoesNotFit`
        If the network does not fit the board, before any tool runs.
    :exc:`ttfs_sw.common.errors.ToolError`
        If a tool is missing.
    :exc:`MissedTiming`
        If no seed meets the timing. The report, the logs and the critical path are written all the
        same, and the bitstream is not.
    :exc:`ttfs_sw.common.errors.FailureError`
        If a tool fails.
    """
    # Imported here: an image alone needs no gateware.
    from ttfs_fpga.boards.top import BoardTop

    started = time.monotonic()
    image = make_image(network, board)
    output_dir = output_folder(output_dir)
    toolchain = toolchain or find_toolchain(board.family)
    made = make_bitstream(
        board,
        BoardTop(board),
        seeds=seeds,
        exhaustive=exhaustive,
        toolchain=toolchain,
        cache=cache,
        progress=progress,
    )
    files = _write_logs(made, output_dir)
    bitstream = output_dir / f"{board.name}{board.bitstream_suffix}"
    if made.missed is None:
        files = {**_write_flash_files(made, image, board, bitstream), **files}
    else:
        # One of an earlier build must not be taken for this one's.
        bitstream.unlink(missing_ok=True)
    result = BuildReport(
        board=board.name,
        device=board.device,
        utilization=report.utilization(made.nextpnr),
        fmax_mhz=made.fmax_mhz,
        slowest_path={name: path["cells"] for name, path in made.slowest.items()},
        clock_mhz=board.clock_mhz,
        timing_met=made.missed is None,
        cycles=cycles,
        latency_us=latency_us(cycles, board.clock_mhz),
        latency_parts_us=latency_parts_us(network, board, cycles),
        network_sha256=network.sha256,
        image_bytes=len(image),
        core=board.config.as_dict(),
        seed=made.seed,
        seeds=[Seed(seed=trial.seed, fmax_mhz=trial.fmax_mhz) for trial in made.trials],
        toolchain=toolchain.identity,
        steps=[
            StepReport(step=step.name, seconds=step.seconds, cached=step.cached)
            for step in made.steps
        ],
        files=files,
        seconds=round(time.monotonic() - started, 2),
    )
    write_json(output_dir / "build.json", result.as_dict())
    if made.missed is not None:
        tried = ", ".join(str(trial.seed) for trial in made.trials)
        raise MissedTiming(
            f"{board.name} misses its timing with every seed tried ({tried}): {made.missed}; the "
            f"critical path is in {files['critical_path']}", result,
        )
    return result


def _write_logs(made: Bitstream, folder: Path) -> dict[str, str]:
    files = {
        "critical_path": folder / "critical_path.txt",
        "synthesis_log": folder / "synthesis.log",
        "route_log": folder / "place_and_route.log",
    }
    write_text(files["critical_path"], analysis.slowest_paths(made.slowest)
               + "\nof the paths that nextpnr times:\n" + report.critical_path(made.nextpnr))
    write_bytes(files["synthesis_log"], made.synthesis_log.read_bytes())
    write_bytes(files["route_log"], made.route_log.read_bytes())
    return {name: str(path) for name, path in files.items()}


def _write_flash_files(
    made: Bitstream, image: bytes, board: Board, bitstream: Path
) -> dict[str, str]:
    content = made.path.read_bytes()
    if len(content) > board.flash_offset:
        raise FailureError(
            f"the bitstream of {board.name} has {len(content)} bytes and the network image "
            f"starts at {board.flash_offset}: give its flash_offset a higher value"
        )
    files = {"bitstream": bitstream, "image": bitstream.with_name("network.img")}
    write_bytes(files["bitstream"], content)
    write_bytes(files["image"], image)
    return {name: str(path) for name, path in files.items()}
