# SPDX-License-Identifier: Apache-2.0
"""Curves and pictures for TensorBoard."""

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from i2z_jax.types import NDArray, UInt8

# tensorboardX would import PyTorch wherever it is installed: some seconds, for nothing
# that is used here.
_torch = sys.modules.setdefault("torch", None)  # pyrefly: ignore
from tensorboardX import summary  # noqa: E402
from tensorboardX.event_file_writer import EventsWriter  # noqa: E402
from tensorboardX.proto.event_pb2 import (  # noqa: E402
    Event,  # pyrefly: ignore
    SessionLog,  # pyrefly: ignore
)

if _torch is None:
    del sys.modules["torch"]

# Seconds until what was written is on the disk, so that it can be looked at.
FLUSH = 10.0


class Board:
    """An event file, written by the thread that calls.

    Not tensorboardX's `SummaryWriter`: on a full disk its thread dies, and once its
    queue is full the run waits for ever.

    Args:
        folder: `WORKDIR/tensorboard`.
        start: the step a run goes on from: TensorBoard does not show what an earlier
            process, killed since, wrote of later ones.
    """

    def __init__(self, folder: Path, start: int):
        folder.mkdir(parents=True, exist_ok=True)
        # Two processes of one second must not share a file.
        self._file = EventsWriter(str(folder / "events"), f".{os.getpid()}")
        self._flushed = time.monotonic()
        begin = SessionLog(status=SessionLog.START)
        self._write(Event(step=start + 1, session_log=begin))

    def curves(self, step: int, values: Mapping[str, float]) -> None:
        """A point of each curve."""
        for name, value in values.items():
            self._write(Event(step=step, summary=summary.scalar(name, value)))

    def pictures(
        self, step: int, pictures: Mapping[str, UInt8[NDArray, "h w 3"]]
    ) -> None:
        """Pictures by name."""
        for name, picture in pictures.items():
            shown = summary.image(name, picture, dataformats="HWC")
            self._write(Event(step=step, summary=shown))

    def close(self) -> None:
        """Write out what is left."""
        self._file.close()

    def _write(self, event: Event) -> None:
        event.wall_time = time.time()
        self._file.write_event(event)
        if time.monotonic() - self._flushed > FLUSH:
            self._file.flush()
            self._flushed = time.monotonic()
