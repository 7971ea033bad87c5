# SPDX-License-Identifier: Apache-2.0
"""TFDS builder of `multiview_capture`; `i2z data build multiview_capture` runs it."""

import tensorflow_datasets as tfds
from etils import epath

from i2z_jax.data import records
from i2z_jax.data.tfds_builder import AdoptingBuilder


class Builder(AdoptingBuilder):
    """A head seen by many calibrated cameras: `views` of each camera, and `frames`."""

    pkg_dir_path = epath.Path(__file__).parent
    VERSION = tfds.core.Version(records.VERSIONS[records.MULTIVIEW])
    RELEASE_NOTES = {  # noqa: RUF012 (TFDS's own shape)
        "1.0.0": "First version.",
        "2.0.0": "A mask of what was seen beside each texture.",
    }
    BUILDER_CONFIGS = [  # noqa: RUF012
        tfds.core.BuilderConfig(
            name="views", description="One record a frame and camera."
        ),
        tfds.core.BuilderConfig(name="frames", description="One record a frame."),
    ]

    def _info(self) -> tfds.core.DatasetInfo:
        name = f"{self.name}/{self.builder_config.name}"
        return self.dataset_info_from_configs(
            features=records.features(name, texture=self._texture),
            disable_shuffling=True,
        )
