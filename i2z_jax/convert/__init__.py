# SPDX-License-Identifier: Apache-2.0
"""PyTorch checkpoints into ours, with proof."""
