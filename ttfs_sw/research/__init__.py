# SPDX-License-Identifier: Apache-2.0
"""Published methods beside ours: theory, neighbours, experiments. Nothing else imports it."""
