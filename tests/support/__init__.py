# SPDX-License-Identifier: Apache-2.0
"""What tests share: made-up networks and models, small benches, patience."""
