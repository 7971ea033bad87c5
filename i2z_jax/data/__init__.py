# SPDX-License-Identifier: Apache-2.0
"""From files on disk to batches: layouts, records, augmentation, pipelines.

Arrays are NumPy's: nothing here computes with JAX, so that data workers never start an
accelerator.
"""
