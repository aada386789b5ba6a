# SPDX-License-Identifier: Apache-2.0
"""The integer network that software and hardware agree on: its rules and its file."""
