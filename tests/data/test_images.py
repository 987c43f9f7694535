import functools
import subprocess
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds
import torch
from sklearn.datasets import load_digits

from jaxdl.data import load_images, normalize, standardize_images

# digits


@pytest.fixture(scope="module")
def digits():
    return load_images("digits")


def test_digits_are_those_of_scikit_learn(digits):
    stored = load_digits()
    image = np.concatenate([digits.train["image"], digits.test["image"]])
    label = np.concatenate([digits.train["label"], digits.test["label"]])
    np.testing.assert_array_equal(16 * image[..., 0], stored.images)
    np.testing.assert_array_equal(label, stored.target)


def test_the_last_360_digits_are_the_test_set(digits):
    assert (len(digits.train["label"]), len(digits.test["label"])) == (1437, 360)


def test_digits_are_named(digits):
    assert digits.class_names == tuple("0123456789")


# What every set keeps


load_once = functools.cache(load_images)


@pytest.fixture(params=["digits", "mnist", "fashion_mnist"])
def image_set(request):
    if request.param == "digits":
        return load_images("digits")
    return load_once(request.param, data_dir=request.getfixturevalue("tfds_dir"))


@pytest.mark.parametrize("split", ["train", "test"])
def test_images_are_float32_in_the_unit_interval(image_set, split):
    image = getattr(image_set, split)["image"]
    assert image.dtype == np.float32
    assert (image.min(), image.max()) == (0, 1)
    assert image.ndim == 4


@pytest.mark.parametrize("split", ["train", "test"])
def test_labels_are_int32_and_every_class_occurs(image_set, split):
    label = getattr(image_set, split)["label"]
    assert label.dtype == np.int32
    assert set(label.tolist()) == set(range(len(image_set.class_names)))


# The real sets of tensorflow-datasets

COUNTS = {
    ("mnist", "train"): [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
    ("mnist", "test"): [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
    ("fashion_mnist", "train"): [6000] * 10,
    ("fashion_mnist", "test"): [1000] * 10,
}


@pytest.mark.parametrize(("name", "split"), COUNTS)
def test_known_numbers_of_examples(tfds_dir, name, split):
    data = getattr(load_once(name, data_dir=tfds_dir), split)
    assert data["image"].shape == (sum(COUNTS[name, split]), 28, 28, 1)
    assert np.bincount(data["label"]).tolist() == COUNTS[name, split]


@pytest.mark.parametrize(("name", "split"), COUNTS)
def test_images_and_labels_are_those_tensorflow_datasets_decodes(tfds_dir, name, split):
    data = getattr(load_once(name, data_dir=tfds_dir), split)
    source = tfds.data_source(name, split=split, data_dir=tfds_dir, download=False)
    chosen = np.random.default_rng(0).choice(len(source), 500, replace=False)
    examples = source.__getitems__([*chosen.tolist(), 0, len(source) - 1])
    chosen = [*chosen, 0, -1]
    pixels = torch.tensor(np.stack([example["image"] for example in examples]))
    # What torchvision's ToTensor does to bytes.
    np.testing.assert_array_equal(data["image"][chosen], pixels.float().div(255))
    labels = [example["label"] for example in examples]
    np.testing.assert_array_equal(data["label"][chosen], labels)


def test_fashion_mnist_is_named(tfds_dir):
    names = load_once("fashion_mnist", data_dir=tfds_dir).class_names
    assert names[:2] == ("T-shirt/top", "Trouser")
    assert names[-1] == "Ankle boot"


# Resizing


def test_resizing_leaves_the_labels(digits):
    resized = load_images("digits", size=4)
    assert resized.train["image"].shape == (1437, 4, 4, 1)
    assert resized.test["image"].shape == (360, 4, 4, 1)
    np.testing.assert_array_equal(resized.train["label"], digits.train["label"])


def test_resizing_to_the_native_size_changes_nothing(digits):
    image = load_images("digits", size=8).train["image"]
    np.testing.assert_array_equal(image, digits.train["image"])


# What cannot be loaded


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [("fashion-mnist", "did you mean 'fashion_mnist'"), ("xyz", "There are digits, m")],
)
def test_an_unknown_name_is_refused(name, suggestion):
    with pytest.raises(ValueError, match=f"unknown image set '{name}': {suggestion}"):
        load_images(name)


@pytest.mark.parametrize("size", [0, -3])
def test_a_size_below_one_is_refused_before_anything_is_read(tmp_path, size):
    with pytest.raises(ValueError, match=f"size={size} must be at least 1"):
        load_images("mnist", data_dir=tmp_path / "absent", size=size)


@pytest.mark.parametrize("name", ["FashionMNIST", "Fashion-MNIST", "fashion"])
def test_names_of_other_libraries_are_understood(name):
    with pytest.raises(ValueError, match="did you mean 'fashion_mnist'"):
        load_images(name)


@pytest.mark.parametrize(("mean", "std"), [(0.1307, 0.3081), ((0.1, 0.2), (0.3, 0.4))])
def test_normalize(rng, mean, std):
    image = rng.random((3, 4, 5, 2))
    expected = np.stack(
        [
            (image[..., c] - np.broadcast_to(mean, 2)[c]) / np.broadcast_to(std, 2)[c]
            for c in range(2)
        ],
        axis=-1,
    )
    np.testing.assert_allclose(normalize(image, mean, std), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("mean", "std"), [(0.0, 0.0), ((0.0,) * 3, 1.0), (0.0, (1.0,) * 3)]
)
def test_normalize_with_settings_that_do_not_fit(mean, std):
    with pytest.raises(ValueError, match=r"std=|mean="):
        normalize(np.zeros((4, 4, 2)), mean, std)


def test_standardize_images(digits):
    """By the training images' numbers, the test images too."""
    found = standardize_images(digits)
    scale = [float(f(digits.train["image"])) for f in (np.mean, np.std)]
    for part, given in zip(found[:2], digits[:2], strict=True):
        wanted = normalize(given["image"], *scale)
        np.testing.assert_allclose(part["image"], wanted, rtol=1e-5, atol=1e-6)
        assert part["image"].dtype == np.float32
        np.testing.assert_array_equal(part["label"], given["label"])
    assert found.class_names == digits.class_names


def test_scikit_learn_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(
        ImportError, match=r'sklearn.*pip install -e "\.\[experiments\]"'
    ):
        load_images("digits")


# Quiet and cheap


def run_python(code):
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_importing_loads_no_optional_package():
    code = (
        "import sys, jaxdl.data\n"
        "slow = {'tensorflow_datasets', 'array_record', 'sklearn', 'matplotlib'}\n"
        "assert not slow & set(sys.modules), slow & set(sys.modules)"
    )
    result = run_python(code)
    assert result.returncode == 0, result.stderr


def test_loading_digits_prints_and_warns_of_nothing():
    result = run_python("import jaxdl.data as d; d.load_images('digits')")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, bool])
def test_integers_are_not_normalised(dtype, unchecked):
    with pytest.raises(ValueError, match=f"image has dtype {np.dtype(dtype)}: make it"):
        normalize(np.ones((2, 2, 1), dtype), 0.5, 0.25)
