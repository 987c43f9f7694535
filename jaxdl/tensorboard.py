"""TensorBoard logs, written so that what was logged before a kill is there after it."""

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Num


class EventLog:
    """The events of one TensorBoard run, which is a directory.

    Each call writes and flushes. Opened again, a log goes on with `first_step`:
    TensorBoard forgets what an earlier part of it says of that step and later ones.
    """

    def __init__(self, directory: str | Path, first_step: int = 0):
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import SessionLog

        Path(directory).mkdir(parents=True, exist_ok=True)
        # Two logs opened within a second would have one name.
        suffix = f".{time.monotonic_ns()}.{os.getpid()}"
        self._writer = EventsWriter(str(Path(directory) / "events"), suffix)
        self._write(first_step, session_log=SessionLog(status=SessionLog.START))

    def scalar(self, tag: str, value: float, step: int) -> None:
        """Writes a number."""
        from tensorboardX import summary

        self._write(step, summary=summary.scalar(tag, value))

    def image(self, tag: str, image: Num[np.ndarray, "h w c"], step: int) -> None:
        """Writes a picture: uint8, or within [0, 1]."""
        from tensorboardX import summary

        self._write(step, summary=summary.image(tag, image, dataformats="HWC"))

    def histogram(self, tag: str, values: Num[np.ndarray, "..."], step: int) -> None:
        """Writes how often numbers have what size, in 64 bins of equal width."""
        from tensorboardX import summary

        histogram = summary.histogram(tag, np.ravel(values), bins=64)
        self._write(step, summary=histogram)

    def text(self, tag: str, text: str, step: int = 0) -> None:
        """Writes words, which TensorBoard reads as Markdown."""
        from tensorboardX import summary

        self._write(step, summary=summary.text(tag, text))

    def graph(self, graph_def: Any) -> None:
        """Writes a graph for the Graphs tab: a TensorFlow GraphDef message."""
        self._write(0, graph_def=graph_def.SerializeToString())

    def close(self) -> None:
        self._writer.close()

    def _write(self, step: int, **content: Any) -> None:
        from tensorboardX.proto.event_pb2 import Event

        self._writer.write_event(Event(step=step, wall_time=time.time(), **content))
        self._writer.flush()
