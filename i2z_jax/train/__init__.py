# SPDX-License-Identifier: Apache-2.0
"""One loop, four objectives: state -> step -> loop (DESIGN sections 6 and 11)."""
