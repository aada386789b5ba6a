# SPDX-License-Identifier: Apache-2.0
"""Training, quantisation, the golden model, the artifact, the host client and the CLI."""
