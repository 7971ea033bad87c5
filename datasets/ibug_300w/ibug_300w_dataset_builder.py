# SPDX-License-Identifier: Apache-2.0
"""TFDS builder of `ibug_300w`; `i2z data build ibug_300w` runs it."""

import tensorflow_datasets as tfds
from etils import epath

from i2z_jax.data import records
from i2z_jax.data.tfds_builder import AdoptingBuilder


class Builder(AdoptingBuilder):
    """68 landmarks on pictures from the web (300-W)."""

    pkg_dir_path = epath.Path(__file__).parent
    VERSION = tfds.core.Version(records.VERSIONS[records.IBUG])
    RELEASE_NOTES = {"1.0.0": "First version."}  # noqa: RUF012 (TFDS's own shape)

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            features=records.features(self.name),
            supervised_keys=("image", "landmarks"),
            disable_shuffling=True,
        )
