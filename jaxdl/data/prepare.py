"""Prepares MNIST and its relatives as tensorflow-datasets does, without TensorFlow.

A set is four idx files, which come from a directory of the user's, from a package of
Debian's or from the network. They are checked against what is known of their content,
and then written by tensorflow-datasets itself.
"""

import io
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from jaxdl.data.idx_sources import (
    FILES,
    download_idx_files,
    find_idx_files,
    known_digests,
    read_idx_file,
)
from jaxdl.data.tfds_images import PREPARABLE, load_prepared, tfds_directory
from jaxdl.optional import import_optional

STAGING = "incomplete.jaxdl"


def prepare_images(
    name: str,
    data_dir: str | os.PathLike[str] | None = None,
    manual_dir: str | os.PathLike[str] | None = None,
) -> Path:
    """Writes "mnist", "fashion_mnist" or "kmnist" to `data_dir` and returns its folder.

    The set has the name, version, features, splits and order of the official one and is
    stored as array_record: `load_images` and `tfds.data_source` read it. Its folder
    appears once all is written, and two processes may prepare the same set. One that is
    there already is left as it is. Either is then read through. Progress is shown on
    standard error; the progress bars of tensorflow-datasets are off from then on.

    Args:
        data_dir: as for `load_images`.
        manual_dir: a directory of the set's four idx files, compressed by gzip or not
            (kmnist's only as published), such as torchvision's `raw`. By default they
            are read from Debian's package dataset-fashion-mnist where it is installed,
            or else downloaded.

    Raises:
        ValueError: no such set, a file is damaged or another set's, or what is there
            already is damaged.
        FileNotFoundError: a file is not in `manual_dir`, or not in what is there.
        OSError: it cannot be downloaded, read or written.
        ImportError: tensorflow-datasets, array_record, Pillow or rich is not installed.
    """
    if name not in PREPARABLE:
        raise ValueError(
            f"{name!r} cannot be prepared; those that can are {', '.join(PREPARABLE)}"
        )
    data_dir = tfds_directory(data_dir)
    builder_class = _make_builder_class(name, manual_dir)
    prepared = data_dir / name / str(builder_class.VERSION)
    if not prepared.exists():
        prepared.parent.mkdir(parents=True, exist_ok=True)
        with _alone(data_dir / f".{name}.lock"):
            if not prepared.exists():  # another process may have been first
                _write(builder_class, prepared)
    load_prepared(name, data_dir)
    return prepared


def _write(builder_class: Any, prepared: Path) -> None:
    """Writes the set beside `prepared`, and puts it in place once it is whole."""
    staging = prepared.parent / STAGING
    shutil.rmtree(staging, ignore_errors=True)  # of a process that was killed
    try:
        builder = builder_class(data_dir=staging)
        with redirect_stdout(io.StringIO()):  # it would speak of the staging folder
            builder.download_and_prepare(file_format="array_record")
        written = Path(builder.data_dir)
        for path in (*written.iterdir(), written):
            _flush(path)
        written.rename(prepared)
        _flush(prepared.parent)
    except RuntimeError as error:  # the one type array_record has for a full disk
        raise OSError(
            f"{prepared} cannot be written ({' '.join(str(error).split())})"
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _flush(path: Path) -> None:
    """Waits until a file or folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Waits for other processes; the lock of one that was killed is free."""
    import fcntl  # not on every system

    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for the process that holds {lock}", file=sys.stderr)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _make_builder_class(name: str, manual_dir: str | os.PathLike[str] | None) -> Any:
    """The official builder, but for where its files come from and how they are read."""
    tfds = import_optional("tensorflow_datasets", f"preparing {name!r}")
    official = tfds.builder_cls(name)

    class IdxBuilder(official, skip_registration=True):  # type: ignore[misc, valid-type, call-arg]
        name = official.name  # or it would be made of this class's name

        def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
            paths = find_idx_files(self.name, manual_dir) or download_idx_files(
                self.name, dl_manager, official.url_infos
            )
            tfds.disable_progress_bar()
            known = known_digests()
            train_images, train_labels, test_images, test_labels = (
                read_idx_file(paths[file], self.name, file, known) for file in FILES
            )
            return {
                "train": _examples(f"{self.name} train", train_images, train_labels),
                "test": _examples(f"{self.name} test", test_images, test_labels),
            }

    return IdxBuilder


def _examples(
    description: str,
    images: UInt8[np.ndarray, "n height width"],
    labels: UInt8[np.ndarray, " n"],
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Examples by their index, which decides where tensorflow-datasets puts them."""
    pil_image = import_optional("PIL.Image", "encoding images")
    progress = import_optional("rich.progress", "showing progress")
    console = import_optional("rich.console", "showing progress").Console(stderr=True)
    pairs = zip(images, labels, strict=True)
    for index, (image, label) in enumerate(
        progress.track(pairs, description, total=len(images), console=console)
    ):
        yield index, {"image": pil_image.fromarray(image), "label": int(label)}
