# SPDX-License-Identifier: Apache-2.0
"""PyTorch peers of the networks, for `i2z convert --verify` and the tests."""
