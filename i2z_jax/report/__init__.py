# SPDX-License-Identifier: Apache-2.0
"""Outputs for people and other tools: overlay videos, meshes, HTML pages.

`page` and `plots` know nothing of tracking: sections are data, and the demo's report
is made of the same ones.
"""
