# SPDX-License-Identifier: Apache-2.0
"""How good a network is, on any device count (DESIGN section 10)."""
