# SPDX-License-Identifier: Apache-2.0
"""What a person looks at: overlay videos, meshes for other tools, pages.

`page` and `plots` know nothing of tracking: sections are data, and the demo's report
is made of the same ones.
"""
