"""Labelled images in files: listed at once, decoded one by one when they are asked for.

    cats_and_dogs = image_folder("pets/train")       # pets/train/cat/*.jpg, ...
    cats_and_dogs[0]["image"].shape, cats_and_dogs.class_names

They are random-access sources: for `jaxdl.data.Stream`, or, where all images have one
size and fit into memory, for a loop that stacks them.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Array, Integer

from jaxdl.data.csv_files import read_rows
from jaxdl.data.decoding import decode_image
from jaxdl.data.resize import new_size

SUFFIXES = (
    ".jpg", ".jpeg", ".png", ".ppm", ".pgm", ".bmp", ".tif", ".tiff", ".webp",
)  # fmt: skip


@dataclass(frozen=True)
class ImageFiles:
    """A source of labelled images: `files[i]` decodes the image at `paths[i]`.

    It is {"image": uint8 of shape (height, width, 3), as `decode_image` makes it,
    "label": an index into `class_names`}. Each image has the size that it has.
    """

    paths: tuple[str, ...]
    labels: tuple[int, ...]
    class_names: tuple[str, ...]
    size: int | tuple[int, int] | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """The image and its label.

        Raises:
            ValueError: the file is damaged or no image; the message names it.
            OSError: it cannot be read.
            IndexError: there is no such image.
        """
        path = self.paths[index]
        data = Path(path).read_bytes()
        try:
            image = decode_image(data, self.size)
        except ValueError as error:
            raise ValueError(f"{path} {error}") from error
        return {"image": image, "label": self.labels[index]}

    def select(
        self, rows: Sequence[int] | Integer[Array | np.ndarray, " rows"]
    ) -> "ImageFiles":
        """The images at `rows`, in that order: one part of a split, for instance.

        `random_split(key, np.arange(len(files)), [0.8, 0.2])` draws the rows of two.

        Raises:
            ValueError: they are no integers: of a mask, np.flatnonzero makes rows.
        """
        rows = np.asarray(rows)
        if rows.dtype.kind not in "iu" and rows.size:
            raise ValueError(
                f"rows have dtype {rows.dtype}; expected integers, such as"
                " np.flatnonzero makes of a mask"
            )
        rows = rows.tolist()
        return replace(
            self,
            paths=tuple(self.paths[row] for row in rows),
            labels=tuple(self.labels[row] for row in rows),
        )

    def resized(self, size: int | tuple[int, int]) -> "ImageFiles":
        """The same images, brought to `size` as they are decoded.

        As `jaxdl.data.resize` does by bilinear interpolation, and faster than it is
        afterwards: fewer pixels leave Pillow.

        Raises:
            ValueError: a side would be below 1.
        """
        new_size((1, 1), size)
        return replace(self, size=size)


def image_folder(root: str | os.PathLike[str]) -> ImageFiles:
    """The images below `root`, where each class has a folder of its name.

    As torchvision's `ImageFolder`: classes in alphabetical order, within a class files
    by folder and name, at any depth, those of other names than `SUFFIXES` left out.
    Unlike it, hidden files and folders are left out too.

    Raises:
        FileNotFoundError: there is no such folder, no class in it, or a class without
            an image; the message names it.
        ValueError: a link leads to a folder of the same class.
        OSError: a folder cannot be read.
    """
    with os.scandir(root) as entries:
        names = sorted(e.name for e in entries if e.is_dir() and not _hidden(e.name))
    if not names:
        raise FileNotFoundError(
            f"{root} holds no folders: one for each class is expected, named after it"
        )
    paths, labels = [], []
    for label, name in enumerate(names):
        found = _find_images(Path(root, name))
        paths += found
        labels += [label] * len(found)
    return ImageFiles(tuple(paths), tuple(labels), tuple(names))


def image_list(
    labels_csv: str | os.PathLike[str],
    root: str | os.PathLike[str] | None = None,
    class_names: Sequence[str] | None = None,
) -> ImageFiles:
    """The images that a CSV file lists under `path`, with the classes under `label`.

    The first line names the columns; others than these two are not read.

    Args:
        root: the folder that paths are relative to; by default that of the CSV file.
        class_names: the classes in the order of their labels, so that several lists
            share it. By default those that occur, sorted, by value if all are integers.

    Raises:
        ValueError: a column is missing, a label is empty or not in `class_names`, there
            are no images, or the file is no CSV; the message names file and line.
        FileNotFoundError: there is no such file, or a path has no image.
    """
    root = Path(labels_csv).parent if root is None else Path(root)
    paths, names = [], []
    for line, entry in _read_entries(labels_csv):
        path, name = root / entry["path"], entry["label"]
        if not path.is_file():
            raise FileNotFoundError(
                f"{labels_csv} line {line} lists {entry['path']!r}: there is no {path}"
            )
        if not name or (class_names and name not in class_names):
            expected = "one of class_names" if class_names else "the name of a class"
            raise ValueError(
                f"{labels_csv} line {line} has the label {name!r}, not {expected}"
            )
        paths.append(str(path))
        names.append(name)
    classes = tuple(class_names or _class_names(names))
    labels = {name: label for label, name in enumerate(classes)}
    return ImageFiles(tuple(paths), tuple(labels[name] for name in names), classes)


def _read_entries(
    labels_csv: str | os.PathLike[str],
) -> list[tuple[int, dict[str, str]]]:
    """The lines below the header, each with its number and its fields by column."""
    header, *rows = read_rows(labels_csv)
    columns = [field.strip() for field in header.fields]
    for column in ("path", "label"):
        if columns.count(column) != 1:
            wrong = "is there more than once" if column in columns else "is missing"
            raise ValueError(
                f"{labels_csv} line {header.line} names the columns {columns}: "
                f"{column!r} {wrong}"
            )
    if not rows:
        raise ValueError(f"{labels_csv} lists no images below its header")
    return [
        (line, dict(zip(columns, map(str.strip, fields), strict=True)))
        for line, fields in rows
    ]


def _hidden(name: str) -> bool:
    return name.startswith(".")


def _find_images(folder: Path) -> list[str]:
    def stop(error: OSError) -> None:  # os.walk would pass over what it cannot read
        raise error

    found, walked = [], set()
    for directory, folders, names in os.walk(folder, onerror=stop, followlinks=True):
        target = os.path.realpath(directory)
        if target in walked:
            raise ValueError(
                f"{directory} is a link to {target}, which is read already"
            )
        walked.add(target)
        folders[:] = [name for name in folders if not _hidden(name)]
        found += [
            (directory, name)
            for name in names
            if name.lower().endswith(SUFFIXES) and not _hidden(name)
        ]
    if not found:
        raise FileNotFoundError(
            f"{folder} holds no images (names that end in {', '.join(SUFFIXES)})"
        )
    return [os.path.join(directory, name) for directory, name in sorted(found)]


def _class_names(names: Sequence[str]) -> list[str]:
    by_value = all(name.removeprefix("-").isdecimal() for name in names)
    return sorted(set(names), key=lambda name: (int(name) if by_value else 0, name))
