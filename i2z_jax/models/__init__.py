# SPDX-License-Identifier: Apache-2.0
"""The networks, each reading like its figure."""
