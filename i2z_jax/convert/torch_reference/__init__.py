# SPDX-License-Identifier: Apache-2.0
"""PyTorch reference implementations, for `i2z convert --verify` and the tests."""
