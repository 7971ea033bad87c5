# SPDX-License-Identifier: Apache-2.0
"""A procedural head, rendered into the layouts that real captures use."""
