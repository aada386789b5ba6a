# SPDX-License-Identifier: Apache-2.0
"""The host's end of a board: frames, requests, the serial port, and whole data sets through it."""
