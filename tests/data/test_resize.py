import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from PIL import Image

from jaxdl.data.resize import new_size, resize, resize_images


def draw(*shape, dtype=np.float32):
    return np.random.default_rng(0).uniform(size=shape).astype(dtype)


# Whole sets


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
    monkeypatch.setattr(sys.modules["jaxdl.data.resize"], "BLOCK", 4)
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


def test_standardised_images_keep_their_range():
    images = 8 * draw(2, 6, 6, 1) - 4
    scaled = 8 * resize_images((images + 4) / 8, 3) - 4
    np.testing.assert_allclose(resize_images(images, 3), scaled, atol=1e-5)


def test_bytes_are_refused(unchecked):
    with pytest.raises(ValueError, match="images have dtype uint8, not a floating one"):
        resize_images(np.ones((1, 4, 4, 1), np.uint8), 3)


def test_no_image_gives_none():
    assert resize_images(draw(0, 7, 7, 1), 3).shape == (0, 3, 3, 1)


@pytest.mark.parametrize("size", [0, -3])
def test_a_size_below_one_is_refused(size):
    with pytest.raises(ValueError, match=f"size={size} must be at least 1"):
        resize_images(draw(1, 4, 4, 1), size)


# One image, by Pillow or on the device

METHODS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
SIZES = [((8, 11), (5, 13)), ((37, 20), (11, 7)), ((6, 5), (17, 16))]


def bytes_of(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def smooth(height, width, channels):
    """An image without noise, as photographs are to some degree."""
    y, x, c = np.ogrid[:height, :width, :channels]
    return (127.5 + 127 * np.sin((y / 5 + x / 7) * (1 + c / 3))).astype(np.uint8)


def by_torch(image, size, method):
    batch = torch.tensor(np.asarray(image, np.float64)).permute(2, 0, 1)[None]
    resized = torch.nn.functional.interpolate(
        batch, size, mode=method, antialias=True, align_corners=False
    )
    return resized[0].permute(1, 2, 0).numpy()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("sides", "size"), SIZES)
def test_on_the_device_it_is_the_interpolation_of_torch(x64, sides, size, method):
    image = draw(*sides, 2, dtype=np.float64)
    resized = resize(jnp.asarray(image), size, method)
    expected = by_torch(image, size, method)
    np.testing.assert_allclose(resized, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("sides", "size"), SIZES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_floats_in_numpy_are_resized_in_float32(sides, size, method, dtype):
    image = draw(*sides, 3, dtype=dtype)
    resized = resize(image, size, method)
    assert resized.dtype == dtype
    tolerance = max(2e-7, np.finfo(dtype).eps)  # what is stored, also between passes
    np.testing.assert_allclose(resized, by_torch(image, size, method), atol=tolerance)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("sides", "size"), SIZES)
def test_floats_on_the_device_are_those_of_pillow(sides, size, method):
    image = draw(*sides, 1)
    expected = Image.fromarray(image[..., 0]).resize(size[::-1], METHODS[method])
    resized = resize(jnp.asarray(image), size, method)
    # JAX rounds the weights to float32; on larger images they differ by up to 2e-5.
    np.testing.assert_allclose(resized[..., 0], expected, atol=2e-6)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("sides", "size"), SIZES)
def test_bytes_in_numpy_are_resized_by_pillow(sides, size, method):
    image = bytes_of(*sides, 3)
    expected = Image.fromarray(image).resize(size[::-1], METHODS[method])
    np.testing.assert_array_equal(resize(image, size, method), expected)


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_no_channel_counts_as_opacity(channels):
    image = bytes_of(9, 8, channels)
    expected = [
        Image.fromarray(image[..., c]).resize((5, 6), Image.Resampling.BILINEAR)
        for c in range(channels)
    ]
    resized = resize(image, (6, 5))
    np.testing.assert_array_equal(resized, np.stack(expected, axis=-1))


# Pillow works in fixed point and rounds to bytes between the passes, so by 1; where
# a bicubic first pass overshoots, it cuts off what the second would make up for.
@pytest.mark.parametrize(
    ("make", "method", "limit"),
    [(bytes_of, "bilinear", 1), (smooth, "bicubic", 1), (bytes_of, "bicubic", 20)],
)
@pytest.mark.parametrize(("sides", "size"), SIZES)
def test_bytes_on_the_device_differ_little_from_pillow(
    make, sides, size, method, limit
):
    image = make(*sides, 3)
    resized = resize(jnp.asarray(image), size, method)
    assert resized.dtype == jnp.uint8
    expected = resize(image, size, method).astype(int)
    assert np.abs(np.asarray(resized) - expected).max() <= limit
    assert np.mean(np.asarray(resized) != expected) < 0.35


@pytest.mark.parametrize("method", METHODS)
def test_a_batch_inside_jit(method):
    images = draw(4, 6, 7, 2)
    each = [resize(jnp.asarray(image), (5, 9), method) for image in images]
    batched = jax.jit(lambda x: resize(x, (5, 9), method))(images)
    mapped = jax.jit(jax.vmap(lambda x: resize(x, (5, 9), method)))(images)
    # XLA may sum in another order.
    np.testing.assert_allclose(batched, each, atol=1e-6)
    np.testing.assert_allclose(mapped, each, atol=1e-6)


@given(
    sides=st.tuples(st.integers(1, 5000), st.integers(1, 5000)),
    size=st.integers(1, 2000),
)
def test_the_shorter_side_is_that_of_torchvision(sides, size):
    # torchvision.transforms.functional._compute_resized_output_size
    h, w = sides
    short, long = (w, h) if w <= h else (h, w)
    new_short, new_long = size, int(size * long / short)
    expected = (new_long, new_short) if w <= h else (new_short, new_long)
    assert new_size(sides, size) == expected


@pytest.mark.parametrize("image", [draw(6, 9, 1), jnp.asarray(draw(6, 9, 1))])
def test_the_shorter_side_by_one_number(image):
    assert resize(image, 4).shape == (4, 6, 1)
    np.testing.assert_array_equal(resize(image, 4), resize(image, (4, 6)))


@pytest.mark.parametrize(
    ("image", "size", "method", "message"),
    [
        (draw(4, 4, 1), 0, "bilinear", "size=0 makes an image of 0×0 pixels"),
        (draw(4, 4, 1), (3, -1), "bilinear", r"size=\(3, -1\) makes an image of 3×-1"),
        (draw(0, 5, 1), 3, "bilinear", "image has 0×5 pixels"),
        (draw(4, 4, 1), 3, "nearest", "method='nearest' is not 'bilinear' or"),
        (draw(2, 4, 4, 1), 3, "bilinear", r"shape \(2, 4, 4, 1\): a NumPy array is re"),
        (np.zeros((4, 4, 1), int), 3, "bilinear", "dtype int64, neither uint8 nor fl"),
        (jnp.zeros((4, 4, 1), int), 3, "bilinear", "dtype int32, neither uint8 nor fl"),
    ],
)
def test_what_cannot_be_resized_is_refused(unchecked, image, size, method, message):
    with pytest.raises(ValueError, match=message):
        resize(image, size, method)


@pytest.mark.parametrize("size", [np.int64(2), np.uint8(255)])
def test_a_size_may_be_an_integer_of_numpy(unchecked, size):
    assert resize(draw(2, 3, 1), size).shape == resize(draw(2, 3, 1), int(size)).shape


def test_no_channels_stay_none():
    assert resize(draw(4, 5, 0), 3).shape == (3, 3, 0)


def test_pillow_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(ImportError, match=r"resizing a NumPy image needs PIL\.Image"):
        resize(draw(4, 4, 1), 3)


def test_few_images_are_not_filled_up(monkeypatch):
    met = []
    resize_module = sys.modules["jaxdl.data.resize"]
    block = resize_module._resize_block
    monkeypatch.setattr(
        resize_module,
        "_resize_block",
        lambda images, size: met.append(len(images)) or block(images, size),
    )
    for n in (3, 512, 515):
        assert resize_images(np.ones((n, 2, 2, 1), np.float32), 3).shape[0] == n
    assert met == [3, 512, 512, 512]
