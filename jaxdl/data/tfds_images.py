"""Reads image sets that tensorflow-datasets has prepared, without TensorFlow.

Metadata come through tensorflow-datasets, records through array_record, and pixels
through `jaxdl.data.png`. What is missing or damaged is an error: a set is read whole or
not at all.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int32, UInt8

from jaxdl.data.png import decode_greyscale_pngs
from jaxdl.optional import import_optional

PREPARABLE = ("mnist", "fashion_mnist", "kmnist")
"""sets that `jaxdl.data.prepare` prepares"""


def load_prepared(
    name: str, data_dir: Path
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], tuple[str, ...]]:
    """Train set, test set (uint8 "image", int32 "label") and class names.

    Raises:
        FileNotFoundError: the set or one of its files is not in `data_dir`.
        ValueError: it is damaged, or stored in a format that needs TensorFlow.
    """
    directory = find_prepared(name, data_dir)
    info = _read_info(name, directory)
    class_names = tuple(info.features["label"].names)
    image_shape = info.features["image"].shape
    train, test = (
        _read_split(name, info.splits[split], image_shape, len(class_names))
        for split in ("train", "test")
    )
    return train, test, class_names


def tfds_directory(data_dir: str | os.PathLike[str] | None) -> Path:
    """`data_dir`, or else the directory that tensorflow-datasets would use."""
    # Read here, not by tensorflow-datasets, which reads it only when it is imported.
    data_dir = data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    return Path(data_dir).expanduser()


def remedy(name: str) -> str:
    """What to do about a set that is missing or damaged, as the end of a message."""
    return (
        f"run `python -m jaxdl.data prepare {name}` with the same --data-dir, or point "
        "that or TFDS_DATA_DIR at a directory that holds it; 'digits' needs no download"
    )


def find_prepared(name: str, data_dir: Path) -> Path:
    """The folder of the newest prepared version of a set.

    Raises FileNotFoundError where there is none; the message says what is, and how to
    prepare the set.
    """
    if not data_dir.is_dir():
        raise FileNotFoundError(
            f"{name!r} is looked for in {data_dir}, which is no directory: "
            f"{remedy(name)}"
        )
    if versions := _versions(data_dir / name):
        return versions[-1]
    if half_written := half_written_parts(name, data_dir):
        raise FileNotFoundError(
            f"{name!r} is only half written in {data_dir / name} "
            f"({', '.join(half_written)}): delete that and {remedy(name)}"
        )
    raise FileNotFoundError(
        f"{name!r} is not prepared in {data_dir} "
        f"(prepared there: {', '.join(prepared_sets(data_dir)) or 'nothing'}): "
        f"{remedy(name)}"
    )


def prepared_sets(data_dir: Path) -> dict[str, Path]:
    """The newest prepared version of every set in `data_dir`, by the set's name."""
    folders = sorted(data_dir.iterdir()) if data_dir.is_dir() else []
    return {path.name: found[-1] for path in folders if (found := _versions(path))}


def half_written_parts(name: str, data_dir: Path) -> list[str]:
    """What there is of a set of which `data_dir` has no finished version."""
    return sorted(path.name for path in data_dir.glob(f"{name}/*"))


def _versions(directory: Path) -> list[Path]:
    """Finished versions of one set, oldest first."""
    finished = (path.parent for path in directory.glob("*/dataset_info.json"))
    # While it writes, tensorflow-datasets keeps a version in a folder `incomplete.*`.
    numbered = (path for path in finished if re.fullmatch(r"\d+\.\d+\.\d+", path.name))
    return sorted(numbered, key=lambda path: [int(i) for i in path.name.split(".")])


def _read_info(name: str, directory: Path) -> Any:
    """The set's `tfds.core.DatasetInfo`, once it describes what is read here."""
    tfds = import_optional("tensorflow_datasets", f"reading {name!r}")
    try:
        info = tfds.builder_from_directory(directory).info
        channels = info.features["image"].shape[-1]
        splits = {key for key, split in info.splits.items() if split.num_examples}
        file_format = info.file_format.value
    except ImportError:
        raise
    # Damaged metadata surface in it as many unrelated exception types.
    except Exception as error:
        raise ValueError(
            f"the description of {name!r} in {directory} is damaged "
            f"({' '.join(str(error).split())}): delete that folder and {remedy(name)}"
        ) from error
    if info.name != name or channels != 1 or not {"train", "test"} <= splits:
        raise ValueError(
            f"{directory} holds {info.name!r} with {channels} channels and splits "
            f"{sorted(splits)}, not {name!r} with 1 channel and train and test"
        )
    if file_format != "array_record":
        raise ValueError(
            f"{name!r} in {directory} is stored as {file_format}, which is not read "
            f"without TensorFlow: delete that folder and {remedy(name)}"
        )
    return info


def _read_split(
    name: str, split: Any, image_shape: tuple[int, ...], num_classes: int
) -> dict[str, np.ndarray]:
    shards = []
    for file, length in zip(split.filepaths, split.shard_lengths, strict=True):
        path = Path(file)
        if not path.is_file():
            raise FileNotFoundError(
                f"{name!r} is incomplete: {path} is missing; delete its folder and "
                f"{remedy(name)}"
            )
        try:
            shards.append(_read_shard(path, length, image_shape, num_classes))
        except ValueError as error:
            raise ValueError(
                f"{name!r} is damaged in {path}: {error}; delete its folder and "
                f"{remedy(name)}"
            ) from error
    image, label = (np.concatenate(arrays) for arrays in zip(*shards, strict=True))
    return {"image": image, "label": label}


def _read_shard(
    path: Path, length: int, image_shape: tuple[int, ...], num_classes: int
) -> tuple[UInt8[np.ndarray, "n h w 1"], Int32[np.ndarray, " n"]]:
    """Images and labels of the `length` examples in one file."""
    encoded, labels = _parse(_read_records(path, length))
    image = decode_greyscale_pngs(encoded)[..., None]
    if image.shape[1:] != image_shape:
        raise ValueError(f"its images are {image.shape[1:]}, not {image_shape}")
    for index, label in enumerate(labels):
        if not 0 <= label < num_classes:
            raise ValueError(
                f"label {label} of record {index}, not in 0..{num_classes - 1}"
            )
    return image, np.array(labels, np.int32)


def _read_records(path: Path, length: int) -> Sequence[bytes]:
    array_record = import_optional(
        "array_record.python.array_record_module", f"reading {path}"
    )
    try:
        reader = array_record.ArrayRecordReader(str(path))
        records = reader.read_all()
        reader.close()
    except RuntimeError as error:  # the one type array_record has for damaged files
        raise ValueError(f"its records cannot be read ({error})") from error
    if len(records) != length:
        raise ValueError(
            f"it holds {len(records)} records, not the {length} that "
            "dataset_info.json counts"
        )
    return records


def _parse(records: Sequence[bytes]) -> tuple[list[bytes], list[int]]:
    """PNG images and labels out of serialised `tf.train.Example` records."""
    proto = import_optional("tensorflow_datasets.proto", "reading records")
    message = import_optional("google.protobuf.message", "reading records")
    images, labels = [], []
    for index, record in enumerate(records):
        try:
            feature = proto.tf_example_pb2.Example.FromString(record).features.feature
            images.append(feature["image"].bytes_list.value[0])
            labels.append(feature["label"].int64_list.value[0])
        except (message.DecodeError, IndexError) as error:
            raise ValueError(f"record {index} is no image with a label") from error
    return images, labels
