# SPDX-License-Identifier: Apache-2.0
"""Progress bars and log lines that share one terminal.

Library functions know nothing of terminals: they take ``progress(done, total)`` and call it as work
is done. :func:`bar` turns those calls into a bar on stderr, and only when stderr is a terminal and
the work has already taken a second, so that neither a log file nor a quick command shows one.
"""

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator

__all__ = ["Handler", "Progress", "bar"]

Progress = Callable[[int, int], None]

#: Work that ends sooner than this shows no bar.
DELAY_SECONDS = 1.0


@contextlib.contextmanager
def bar(label: str, unit: str = "image", *, quiet: bool = False) -> Iterator[Progress | None]:
    """Give a ``progress(done, total)`` that draws a bar on stderr, erased when the block ends.

    Parameters
    ----------
    label : :class:`str`
        What is being done, before the bar.
    unit : :class:`str`
        What is counted.
    quiet : :class:`bool`
        Draw nothing. What the block gets then is ``None``, as when stderr is not a terminal: work
        that nobody watches is not asked to report itself.
    """
    if quiet or not sys.stderr.isatty():
        yield None
        return

    # Imported here: most commands end before a bar would be drawn.
    from tqdm import tqdm

    with contextlib.closing(
        tqdm(
            desc=label, unit=f" {unit}", total=0, delay=DELAY_SECONDS, leave=False,
            dynamic_ncols=True, file=sys.stderr,
        )
    ) as drawn:

        def progress(done: int, total: int) -> None:
            if done < drawn.n:
                # The same callback counts the next stage of the work.
                drawn.reset(total)
            drawn.total = total
            drawn.update(done - drawn.n)

        yield progress


class Handler(logging.Handler):
    """Log lines to the current stderr, above a bar if one is drawn."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line; a failure to do so is logging's own business."""
        try:
            line = self.format(record)
            # Without tqdm there is no bar to keep intact.
            tqdm = getattr(sys.modules.get("tqdm"), "tqdm", None)
            guard = tqdm.external_write_mode(file=sys.stderr) if tqdm else contextlib.nullcontext()
            with guard:
                sys.stderr.write(line + "\n")
                sys.stderr.flush()
        except Exception:
            self.handleError(record)
