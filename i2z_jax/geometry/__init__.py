# SPDX-License-Identifier: Apache-2.0
"""Camera, mesh, rasteriser and unwrap: pure functions on arrays."""
