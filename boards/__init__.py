# SPDX-License-Identifier: Apache-2.0
"""Board tops, host link, boot from flash, toolchain, builds, programming."""
