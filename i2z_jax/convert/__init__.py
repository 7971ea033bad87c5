# SPDX-License-Identifier: Apache-2.0
"""Conversion of PyTorch checkpoints, verified numerically."""
