# SPDX-License-Identifier: Apache-2.0
"""Data sets: files that are never trusted, downloads, how pixels lie in them."""
