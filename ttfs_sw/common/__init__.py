# SPDX-License-Identifier: Apache-2.0
"""What every room may use: errors, files, reports, progress, plots. Imports none of the others."""
