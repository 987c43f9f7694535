import jax
import numpy as np
import pytest
import torch

from jaxdl.data import resize
from jaxdl.data.resize import resize_images


def draw(*shape, dtype=np.float32):
    return np.random.default_rng(0).uniform(size=shape).astype(dtype)


@pytest.mark.parametrize("size", [1, 3, 8, 11, 32])
@pytest.mark.parametrize("shape", [(8, 8), (5, 13)], ids=str)
def test_it_is_the_interpolation_of_torch(shape, size):
    with jax.enable_x64(True):
        images = draw(3, *shape, 2, dtype=np.float64)
        resized = resize_images(images, size)
    expected = torch.nn.functional.interpolate(
        torch.tensor(images).permute(0, 3, 1, 2),
        (size, size),
        mode="bilinear",
        antialias=True,
    )
    np.testing.assert_allclose(
        resized, expected.permute(0, 2, 3, 1), rtol=1e-10, atol=1e-12
    )


@pytest.mark.parametrize("n", [1, 4, 5, 11])
def test_blocks_are_joined_in_order(monkeypatch, n):
    images = draw(n, 6, 6, 1)
    whole = resize_images(images, 4)
    monkeypatch.setattr(resize, "BLOCK", 4)
    # The order of summation, so the rounding, may depend on the size of a block.
    np.testing.assert_allclose(resize_images(images, 4), whole, atol=1e-7)


@pytest.mark.parametrize("size", [1, 2, 4, 5, 6, 7, 9, 68])
def test_white_images_stay_white(size):
    resized = resize_images(np.ones((1, 28, 28, 1), np.float32), size)
    assert resized.max() <= 1
    # Rounding of the weights, a few units in the last place.
    np.testing.assert_allclose(resized, 1, atol=5e-7)


def test_the_native_size_changes_nothing():
    images = draw(3, 7, 7, 1)
    np.testing.assert_array_equal(resize_images(images, 7), images)


def test_no_image_gives_none():
    assert resize_images(draw(0, 7, 7, 1), 3).shape == (0, 3, 3, 1)


@pytest.mark.parametrize("size", [0, -3])
def test_a_size_below_one_is_refused(size):
    with pytest.raises(ValueError, match=f"size={size} must be at least 1"):
        resize_images(draw(1, 4, 4, 1), size)
