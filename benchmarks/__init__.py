# SPDX-License-Identifier: Apache-2.0
"""How fast and how large, against a PyTorch peer in the same run."""
