"""TensorBoard logs, written so that what was logged before a kill is there after it."""

import io
import os
import socket
import time
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Array, Num

from jaxdl.files import saying


class EventLog:
    """The events of one TensorBoard run, which is a directory.

    Each call writes and flushes. Opened again, a log goes on with `first_step`:
    TensorBoard forgets what an earlier part of it says of that step and later ones.
    """

    # TensorBoard's own code writes: tensorboardX would import PyTorch where it is.
    def __init__(self, directory: str | Path, first_step: int = 0):
        from tensorboard.compat.proto.event_pb2 import SessionLog
        from tensorboard.summary.writer.record_writer import RecordWriter

        Path(directory).mkdir(parents=True, exist_ok=True)
        # Two logs opened within a second would have one name.
        parts = f"{time.time():.0f}", socket.gethostname(), time.monotonic_ns()
        name = ".".join(map(str, ("events.out.tfevents", *parts, os.getpid())))
        self._path = Path(directory, name)
        file = self._path.open("xb")
        self._writer = RecordWriter(file)
        self._write(0, file_version="brain.Event:2")
        self._write(first_step, session_log=SessionLog(status=SessionLog.START))

    def scalar(self, tag: str, value: float | Array | np.ndarray, step: int) -> None:
        """Writes a number."""
        self._write_value(tag, step, simple_value=float(value))

    def image(
        self,
        tag: str,
        image: Num[Array | np.ndarray, "height width channels"],
        step: int,
    ) -> None:
        """Writes a picture, grey or RGB: uint8, or within [0, 1].

        Raises ValueError where it is neither.
        """
        from PIL import Image

        image = np.asarray(image)
        if image.ndim != 3 or image.shape[-1] not in (1, 3):
            shape = f"image {tag!r} has shape {image.shape}"
            raise ValueError(f"{shape}; expected (height, width, 1 or 3)")
        if image.dtype != np.uint8:
            if not (image.min() >= 0 and image.max() <= 1):
                limits = f"{image.min()} to {image.max()}, not from 0 to 1"
                raise ValueError(f"image {tag!r} has {image.dtype} from {limits}")
            image = (255 * image).astype(np.uint8)
        png = io.BytesIO()
        grey = image.shape[-1] == 1
        Image.fromarray(image[..., 0] if grey else image).save(png, "PNG")
        self.png(tag, png.getvalue(), step)

    def png(self, tag: str, png: bytes, step: int) -> None:
        """Writes a picture: what a PNG file holds."""
        from PIL import Image

        with Image.open(io.BytesIO(png)) as image:
            (width, height), channels = image.size, len(image.getbands())
        picture = {"height": height, "width": width, "colorspace": channels}
        self._write_value(tag, step, image={**picture, "encoded_image_string": png})

    def histogram(
        self, tag: str, values: Num[Array | np.ndarray, "..."], step: int
    ) -> None:
        """Writes how often numbers have what size, in 64 bins of equal width.

        Where float64 cannot cut their range into so many, they are in one. What is not
        finite is left out; where nothing is left, nothing is written.
        """
        values = np.ravel(values).astype(float)
        values = values[np.isfinite(values)]
        if not values.size:
            return
        low, high, number = values.min(), values.max(), len(values)
        with np.errstate(over="ignore", invalid="ignore"):
            try:
                counts, edges = np.histogram(values, bins=64)
            except ValueError:  # too narrow, or wider than the largest number
                counts, edges = np.array([number]), np.array([low, high])
            histogram = {"sum": values.sum(), "sum_squares": values @ values}
        histogram |= {"min": low, "max": high, "num": number}
        # Each bin has its upper limit, so an empty one gives the lowest.
        histogram |= {"bucket_limit": edges, "bucket": [0, *counts]}
        self._write_value(tag, step, histo=histogram)

    def text(self, tag: str, text: str, step: int = 0) -> None:
        """Writes words, which TensorBoard reads as Markdown."""
        from tensorboard.plugins.text.summary_v2 import text_pb

        self._write(step, summary=text_pb(tag, text))

    def graph(self, graph_def: Any) -> None:
        """Writes a graph for the Graphs tab: a TensorFlow GraphDef message."""
        self._write(0, graph_def=graph_def.SerializeToString())

    def close(self) -> None:
        self._writer.close()

    def __enter__(self) -> "EventLog":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _write_value(self, tag: str, step: int, **content: Any) -> None:
        self._write(step, summary={"value": [{"tag": tag, **content}]})

    def _write(self, step: int, **content: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        event = Event(step=step, wall_time=time.time(), **content)
        with saying(f"cannot write the log {self._path}"):
            self._writer.write(event.SerializeToString())
            self._writer.flush()
