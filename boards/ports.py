# SPDX-License-Identifier: Apache-2.0
"""What the link is wired with: bundles of ports, each seen from the link."""

from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.shapes import logit_shape, sample_shape, statistics_shape
from ttfs_sw.link.protocol import LoadState, Source

__all__ = ["CorePort", "LoaderPort", "RequestPort"]


class RequestPort(wiring.Signature):
    """Frames that come: bytes of their payload, at least ``BYTE_CYCLES`` apart, and their ends.

    ``end`` is high for one cycle at the end of every frame; ``good`` with it, if it was sound. The
    link has it as ``In``.
    """

    def __init__(self) -> None:
        super().__init__({
            "bytes": Out(stream.Signature(8, always_ready=True)),
            "end": Out(1),
            "good": Out(1),
        })


class LoaderPort(wiring.Signature):
    """Loads network images, and says what became of them.

    ``start`` and ``stop`` are high for one cycle. Bytes of the ``image`` come no faster than the
    line is; one that is not taken at once is lost, and the image with it. While ``booting`` the
    loader is busy with the flash.
    """

    def __init__(self, config: CoreConfig):
        super().__init__({
            "start": Out(1),
            "stop": Out(1),
            "image": Out(stream.Signature(8)),
            "booting": In(1),
            "state": In(LoadState),
            "source": In(Source),
            "last_input": In(config.neuron_bits),
        })


class CorePort(wiring.Signature):
    """The core of a board, as :class:`hdl.core.Core` has its ports.

    ``reset`` brings a core to its senses that does not answer.
    """

    def __init__(self, config: CoreConfig):
        super().__init__({
            "samples": Out(stream.Signature(sample_shape(config))),
            "restart": Out(1),
            "reset": Out(1),
            "logits": In(stream.Signature(logit_shape(config))),
            "statistics": In(stream.Signature(statistics_shape(config), always_ready=True)),
            "cycles": In(24),
            "error": In(4),
        })
