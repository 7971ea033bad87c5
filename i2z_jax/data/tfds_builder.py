# SPDX-License-Identifier: Apache-2.0
"""The TFDS side of a build: builders that adopt shards our workers wrote.

TFDS's own generator writes in one process and, beyond 1 GB, through TensorFlow's file
layer. Here the shards are finished when TFDS comes in (`shards.py`); the builder gives
them their names and writes `features.json` and `dataset_info.json`, so that
`tfds.builder_from_directory` reads the result like any other dataset.
"""

import contextlib
import importlib
import importlib.util
import io
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

import i2z_jax
from i2z_jax.data.shards import Shard

_PACKAGE = "i2z_jax._datasets"


class AdoptingBuilder(tfds.core.ShardBasedBuilder):
    """A dataset whose shards are files already.

    Args:
        shards: the finished shards of each split, in order. Empty ones are left out.
    """

    def __init__(self, *, shards: Mapping[str, Sequence[Shard]], **options: Any):
        self._shards = shards
        super().__init__(file_format="array_record", **options)

    def dataset_info_from_configs(self, **options: Any) -> tfds.core.DatasetInfo:
        """TFDS looks for published statistics, and leaves a folder behind each time."""
        info = super().dataset_info_from_configs(**options)
        info.initialize_from_bucket = lambda: None
        return info

    def _shard_iterators_per_split(self, dl_manager: Any) -> Any:
        raise NotImplementedError("the shards are written by i2z_jax.data.shards")

    def _download_and_prepare(
        self, dl_manager: Any, download_config: Any = None
    ) -> None:
        splits, config = [], self.builder_config.name if self.builder_config else ""
        for split, shards in self._shards.items():
            filled = [shard for shard in shards if sum(shard.records)]
            files = [shard.files[config] for shard in filled]
            template = self._get_filename_template(split_name=split)
            for index, file in enumerate(files):
                path = template.sharded_filepath(
                    shard_index=index, num_shards=len(files)
                )
                _link(file, Path(path))
            splits.append(
                tfds.core.SplitInfo(
                    name=split,
                    shard_lengths=[sum(shard.records) for shard in filled],
                    num_bytes=sum(file.stat().st_size for file in files),
                    filename_template=template,
                )
            )
        self.info.set_splits(tfds.core.SplitDict(splits))


def _link(source: Path, target: Path) -> None:
    """No second copy where the file system can; the first one is the resume point."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def builder_class(name: str) -> type[AdoptingBuilder]:
    """The builder of a dataset, from a checkout's `datasets/` or from the wheel.

    Either way it is imported as `i2z_jax._datasets`: a top-level `datasets` may be
    somebody else's.
    """
    if _PACKAGE not in sys.modules and importlib.util.find_spec(_PACKAGE) is None:
        folder = Path(i2z_jax.__file__).parent.parent / "datasets"
        spec = importlib.util.spec_from_file_location(
            _PACKAGE, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
        assert spec is not None
        assert spec.loader is not None
        package = importlib.util.module_from_spec(spec)
        sys.modules[_PACKAGE] = package
        spec.loader.exec_module(package)
    module = importlib.import_module(f"{_PACKAGE}.{name}.{name}_dataset_builder")
    return module.Builder


def adopt(
    name: str,
    shards: Sequence[Shard],
    out: Path,
    *,
    splits: Sequence[str],
    config: str | None = None,
) -> dict[str, int]:
    """Turn finished shards into the dataset `out/name[/config]/VERSION`.

    It must not be there yet.

    Returns:
        Records of each split that has any, in the order of `splits`.
    """
    by_split = {
        split: [shard for shard in shards if shard.split == split] for split in splits
    }
    counts = {
        split: sum(sum(shard.records) for shard in found)
        for split, found in by_split.items()
    }
    counts = {split: count for split, count in counts.items() if count}
    builder = builder_class(name)(
        data_dir=out,
        config=config,
        shards={split: by_split[split] for split in counts},
    )
    # TFDS prints to stdout, which is for our results, and makes a folder for
    # downloads, of which there are none.
    with (
        contextlib.redirect_stdout(io.StringIO()),
        tempfile.TemporaryDirectory() as downloads,
    ):
        builder.download_and_prepare(download_dir=downloads)
    return counts
