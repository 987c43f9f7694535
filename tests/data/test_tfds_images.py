"""Small sets, whole and damaged, in the layout of tensorflow-datasets."""

import io
import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter
from PIL import Image
from tensorflow_datasets.proto import tf_example_pb2

from jaxdl.data import load_images

SHARD_LENGTHS = {"train": [4, 3], "test": [3]}
CLASS_NAMES = ("circle", "square", "star")


def encode_png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def example(png, label):
    message = tf_example_pb2.Example()
    message.features.feature["image"].bytes_list.value.append(png)
    message.features.feature["label"].int64_list.value.append(label)
    return message.SerializeToString()


def write_shard(path, records):
    writer = ArrayRecordWriter(str(path), "group_size:1")
    for record in records:
        writer.write(record)
    writer.close()


def write_metadata(directory):
    """The description that tensorflow-datasets keeps beside its records."""
    splits = [
        {
            "name": split,
            "shardLengths": [str(length) for length in lengths],
            "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
        }
        for split, lengths in SHARD_LENGTHS.items()
    ]
    info = {"name": "mnist", "version": directory.name, "splits": splits}
    package = "tensorflow_datasets.core.features"
    features = {
        "image": {
            "pythonClassName": f"{package}.image_feature.Image",
            "image": {"shape": {"dimensions": ["5", "7", "1"]}, "dtype": "uint8"},
        },
        "label": {
            "pythonClassName": f"{package}.class_label_feature.ClassLabel",
            "classLabel": {"numClasses": "3"},
        },
    }
    root = {
        "pythonClassName": f"{package}.features_dict.FeaturesDict",
        "featuresDict": {"features": features},
    }
    write_json(directory / "dataset_info.json", info | {"fileFormat": "array_record"})
    write_json(directory / "features.json", root)
    (directory / "label.labels.txt").write_text("\n".join(CLASS_NAMES))


def write_json(path, value):
    path.write_text(json.dumps(value))


def write_set(directory, seed=0):
    """Writes 10 images of 5×7 as a set called mnist and returns what is in it."""
    directory.mkdir(parents=True)
    write_metadata(directory)
    rng = np.random.default_rng(seed)
    written = {}
    for split, lengths in SHARD_LENGTHS.items():
        image = rng.integers(0, 256, (sum(lengths), 5, 7), dtype=np.uint8)
        label = rng.integers(0, 3, sum(lengths))
        pairs = zip(image, label, strict=True)
        records = [example(encode_png(pixels), k) for pixels, k in pairs]
        for shard, length in enumerate(lengths):
            name = f"mnist-{split}.array_record-{shard:05}-of-{len(lengths):05}"
            write_shard(directory / name, records[:length])
            records = records[length:]
        written[split] = {"image": image[..., None], "label": label}
    return written


def shard(directory, split="train", number=1):
    return directory / (
        f"mnist-{split}.array_record-{number:05}-of-{len(SHARD_LENGTHS[split]):05}"
    )


@pytest.fixture
def small_mnist(tmp_path):
    """The folder of a small set called mnist; its shards can be changed."""
    directory = tmp_path / "mnist" / "3.0.1"
    write_set(directory)
    return directory


# Where sets are looked for


def test_shards_are_read_in_order(tmp_path):
    written = write_set(tmp_path / "mnist" / "3.0.1")
    data = load_images("mnist", data_dir=tmp_path)
    for split, expected in written.items():
        part = getattr(data, split)
        np.testing.assert_array_equal(
            part["image"], np.float32(expected["image"]) / 255
        )
        np.testing.assert_array_equal(part["label"], expected["label"])
    assert data.class_names == CLASS_NAMES


def test_the_environment_names_the_directory(tmp_path, monkeypatch):
    write_set(tmp_path / "mnist" / "3.0.1")
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    assert load_images("mnist").class_names == CLASS_NAMES


def test_the_argument_overrides_the_environment(tmp_path, monkeypatch):
    write_set(tmp_path / "mnist" / "3.0.1")
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "absent"))
    assert load_images("mnist", data_dir=tmp_path).class_names == CLASS_NAMES


@pytest.mark.parametrize("environment", [None, ""])
def test_the_home_directory_is_the_default(tmp_path, monkeypatch, environment):
    write_set(tmp_path / "tensorflow_datasets" / "mnist" / "3.0.1")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    if environment is not None:
        monkeypatch.setenv("TFDS_DATA_DIR", environment)
    assert load_images("mnist").class_names == CLASS_NAMES


def test_the_newest_version_is_read(tmp_path):
    for seed, version in enumerate(["3.0.9", "3.0.10", "2.9.9"]):
        write_set(tmp_path / "mnist" / version, seed)
    newest = write_set(tmp_path / "again" / "3.0.10", seed=1)
    data = load_images("mnist", data_dir=tmp_path)
    np.testing.assert_array_equal(data.train["label"], newest["train"]["label"])


def test_an_unfinished_version_beside_a_finished_one_is_ignored(small_mnist):
    write_set(small_mnist.parent / "incomplete.ABC_3.0.2", seed=1)
    data = load_images("mnist", data_dir=small_mnist.parents[1])
    assert len(data.train["label"]) == 7


# What cannot be loaded


def expect_error(error, data_dir, *parts):
    """Loading "mnist" fails in one line that has every one of `parts`."""
    with pytest.raises(error) as caught:
        load_images("mnist", data_dir=data_dir)
    message = str(caught.value)
    assert type(caught.value) is error
    assert "\n" not in message
    for part in ("mnist", *parts):
        assert str(part) in message


def test_an_absent_directory(tmp_path):
    directory = tmp_path / "absent"
    expect_error(FileNotFoundError, directory, directory, "TFDS_DATA_DIR", "'digits'")


def test_a_file_in_place_of_the_directory(tmp_path):
    file = tmp_path / "file"
    file.touch()
    expect_error(FileNotFoundError, file, file, "no directory")


def test_a_directory_without_the_set(tmp_path):
    write_set(tmp_path / "cifar10" / "3.0.2")
    write_set(tmp_path / "svhn" / "incomplete.ABC_3.0.2")
    here = "prepared there: cifar10)"
    command = "python -m jaxdl.data prepare mnist"
    expect_error(FileNotFoundError, tmp_path, here, command, "'digits'", "--data-dir")


def test_an_empty_directory(tmp_path):
    expect_error(FileNotFoundError, tmp_path, tmp_path, "prepared there: nothing")


@pytest.mark.parametrize("version", ["incomplete.ABC_3.0.1", "3.0.1"])
def test_a_set_whose_preparation_was_killed(tmp_path, version):
    directory = tmp_path / "mnist" / version
    write_set(directory)
    if version == "3.0.1":
        (directory / "dataset_info.json").unlink()
    expect_error(FileNotFoundError, tmp_path, directory.parent, version, "half written")


@pytest.mark.parametrize(("split", "number"), [("train", 0), ("train", 1), ("test", 0)])
def test_a_missing_shard(small_mnist, split, number):
    path = shard(small_mnist, split, number)
    path.unlink()
    expect_error(FileNotFoundError, small_mnist.parents[1], path, "missing")


@pytest.mark.parametrize("length", [0, 1000, 1 << 16, -1], ids=str)
def test_a_shard_that_was_cut_off(small_mnist, length):
    path = shard(small_mnist)
    path.write_bytes(path.read_bytes()[:length])
    expect_error(ValueError, small_mnist.parents[1], path, "cannot be read")


def test_a_shard_with_a_changed_byte(small_mnist):
    path = shard(small_mnist)
    content = bytearray(path.read_bytes())
    content[content.index(b"IDAT") + 8] ^= 1
    path.write_bytes(content)
    expect_error(ValueError, small_mnist.parents[1], path, "hash mismatch")


PNG = encode_png(np.arange(35, dtype=np.uint8).reshape(5, 7))
GOOD = example(PNG, 0)


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([GOOD] * 2, "holds 2 records, not the 3"),
        ([GOOD] * 4, "holds 4 records, not the 3"),
        ([], "holds 0 records, not the 3"),
        ([GOOD, example(PNG[:-20], 0), GOOD], "image 1: it is cut off"),
        ([GOOD, GOOD, example(PNG, 3)], "label 3 of record 2, not in 0..2"),
        ([example(PNG, -1), GOOD, GOOD], "label -1 of record 0, not in 0..2"),
        ([GOOD, b"\xff", GOOD], "record 1 is no image with a label"),
        ([GOOD, b"", GOOD], "record 1 is no image with a label"),
        (
            [example(encode_png(np.zeros((7, 5), np.uint8)), 0)] * 3,
            "(7, 5, 1), not (5,",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_shard_with_wrong_records(small_mnist, records, message):
    path = shard(small_mnist)
    write_shard(path, records)
    expect_error(ValueError, small_mnist.parents[1], path, message)


@pytest.mark.parametrize("file", ["dataset_info.json", "features.json"])
@pytest.mark.parametrize("content", ["", "{", "{}", "[]", '{"splits": 3}'])
def test_damaged_metadata(small_mnist, file, content):
    (small_mnist / file).write_text(content)
    expect_error(ValueError, small_mnist.parents[1], small_mnist)


def test_missing_metadata(small_mnist):
    (small_mnist / "features.json").unlink()
    expect_error(ValueError, small_mnist.parents[1], small_mnist, "damaged")


def test_a_set_in_colour(small_mnist):
    path = small_mnist / "features.json"
    path.write_text(path.read_text().replace('["5", "7", "1"]', '["5", "7", "3"]'))
    expect_error(ValueError, small_mnist.parents[1], small_mnist, "3 channels")


def test_too_few_class_names(small_mnist):
    (small_mnist / "label.labels.txt").write_text("circle\nsquare")
    expect_error(ValueError, small_mnist.parents[1], small_mnist, "damaged")


def change_info(directory, **changes):
    path = directory / "dataset_info.json"
    write_json(path, json.loads(path.read_text()) | changes)


@pytest.mark.parametrize("missing", ["train", "test"])
@pytest.mark.parametrize("how", ["absent", "empty"])
def test_a_missing_split(small_mnist, missing, how):
    info = json.loads((small_mnist / "dataset_info.json").read_text())
    splits = {split["name"]: split for split in info["splits"]}
    if how == "absent":
        del splits[missing]
    else:
        splits[missing]["shardLengths"] = []
    change_info(small_mnist, splits=list(splits.values()))
    expect_error(ValueError, small_mnist.parents[1], small_mnist, "train and test")


def test_another_set_under_the_name(small_mnist):
    change_info(small_mnist, name="fashion_mnist")
    expect_error(ValueError, small_mnist.parents[1], small_mnist, "'fashion_mnist'")


def test_a_format_that_needs_tensorflow(small_mnist):
    change_info(small_mnist, fileFormat="tfrecord")
    expect_error(ValueError, small_mnist.parents[1], small_mnist, "tfrecord")


# Dependencies


@pytest.mark.parametrize(
    "module", ["tensorflow_datasets", "array_record.python.array_record_module"]
)
def test_a_package_that_is_not_installed(small_mnist, monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"{module}.*pip install -e .*experiments"):
        load_images("mnist", data_dir=small_mnist.parents[1])


def test_a_package_that_tensorflow_datasets_lacks(small_mnist, monkeypatch):
    def raise_import_error(directory):
        raise ImportError("No module named 'importlib_resources'")

    monkeypatch.setattr(tfds, "builder_from_directory", raise_import_error)
    with pytest.raises(ImportError, match="importlib_resources"):
        load_images("mnist", data_dir=small_mnist.parents[1])


def test_loading_prints_and_warns_of_nothing(small_mnist):
    data_dir = str(small_mnist.parents[1])
    code = f"import jaxdl.data as d; d.load_images('mnist', data_dir={data_dir!r})"
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
