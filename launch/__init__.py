# SPDX-License-Identifier: Apache-2.0
"""Entry points of a checkout: `python -m launch.<command>` is `i2z <command>`."""
