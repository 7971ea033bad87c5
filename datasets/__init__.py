# SPDX-License-Identifier: Apache-2.0
"""TFDS builders (ArrayRecord, no TensorFlow); training never imports this folder."""
