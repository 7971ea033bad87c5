# SPDX-License-Identifier: Apache-2.0
"""From files on disk to batches: layouts, records, augmentation, pipelines.

NumPy and OpenCV only: data workers never start an accelerator.
"""
