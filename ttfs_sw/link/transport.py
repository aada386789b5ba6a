# SPDX-License-Identifier: Apache-2.0
"""Lines to a board: what a client needs of one, and a serial port."""

from typing import Protocol

from ttfs_sw.common.errors import FailureError, InputError, ToolError

__all__ = ["SerialTransport", "Transport"]


class Transport(Protocol):
    """What a client talks through: a serial line with the board at its other end."""

    def write(self, data: bytes) -> int:
        """Send bytes to the board."""

    def read(self, count: int, timeout: float) -> bytes:
        """Give the next ``count`` bytes, or fewer if they do not come within ``timeout`` s."""


class SerialTransport:
    """A serial port, opened by pyserial.

    Parameters
    ----------
    port : :class:`str`
        Name of the port, or any URL that pyserial knows, like ``socket://localhost:4000``.
    baud : :class:`int`
        The board's baud rate.

    Raises
    ------
    :exc:`ttfs_sw.common.errors.ToolError`
        If pyserial is missing.
    :exc:`ttfs_sw.common.errors.InputError`
        If the port cannot be opened.
    """

    def __init__(self, port: str, baud: int):
        try:
            import serial
        except ImportError:
            raise ToolError(
                "pyserial is missing, which serial ports need: pip install 'pyserial>=3.5'"
            ) from None
        self._port = port
        self._error = serial.SerialException
        try:
            self._serial = serial.serial_for_url(port, baudrate=baud, timeout=0)
        except (serial.SerialException, ValueError, OSError) as error:
            raise InputError(
                f"cannot open serial port {port}: {error}; plug the board in or name another port "
                "with --port"
            ) from error

    def write(self, data: bytes) -> int:
        """Send bytes to the board."""
        try:
            return self._serial.write(data)
        except (self._error, OSError) as error:
            raise self._gone(error) from error

    def read(self, count: int, timeout: float) -> bytes:
        """Give the next ``count`` bytes, or fewer if they do not come within ``timeout`` s."""
        try:
            self._serial.timeout = timeout
            return self._serial.read(count)
        except (self._error, OSError) as error:
            raise self._gone(error) from error

    def close(self) -> None:
        """Close the port."""
        self._serial.close()

    def _gone(self, error: Exception) -> FailureError:
        return FailureError(f"serial port {self._port} failed: {error}; plug the board in again")
