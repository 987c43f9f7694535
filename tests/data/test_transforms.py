from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

from jaxdl.data.transforms import (
    center_crop,
    compose,
    random_crop,
    random_horizontal_flip,
    split,
    to_float,
)


def numbered(height, width, channels=2):
    """An image in which every value occurs once."""
    size = height * width * channels
    return np.arange(size, dtype=np.int32).reshape(height, width, channels)


def generator(seed=0):
    return np.random.default_rng(seed)


# Crops of the centre


@given(
    sides=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    fractions=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_center_crop_is_where_torchvision_puts_it(sides, fractions):
    image = numbered(*sides)
    size = tuple(max(1, int(f * n)) for f, n in zip(fractions, sides, strict=True))
    # torchvision.transforms.functional.center_crop
    top = int(round((sides[0] - size[0]) / 2.0))  # noqa: RUF046
    left = int(round((sides[1] - size[1]) / 2.0))  # noqa: RUF046
    expected = image[top : top + size[0], left : left + size[1]]
    np.testing.assert_array_equal(center_crop(image, size), expected)
    np.testing.assert_array_equal(center_crop(jnp.asarray(image), size), expected)


def test_center_crop_of_a_batch_and_by_one_number():
    images = np.stack([numbered(5, 8), -numbered(5, 8)])
    np.testing.assert_array_equal(
        center_crop(images, 3), [center_crop(image, (3, 3)) for image in images]
    )


def test_a_crop_by_an_integer_of_numpy(unchecked):
    assert center_crop(numbered(5, 8), np.int64(3)).shape == (3, 3, 2)


@pytest.mark.parametrize("size", [0, -1, 5, (4, 7), (5, 6), (0, 1)])
def test_a_crop_that_does_not_fit_is_refused(size):
    message = r"size=.* does not fit an image of 4×6 pixels: resize it first, or pad it"
    with pytest.raises(ValueError, match=message):
        center_crop(numbered(4, 6), size)
    with pytest.raises(ValueError, match=message):
        random_crop(generator(), numbered(4, 6), size)


# Random crops

CROPS = {"padded": ((3, 4), 3, 1), "inside": ((5, 4), (3, 2), 0)}


def windows(image, size, padding):
    """Every crop that there is, by the offset."""
    height, width = (size, size) if isinstance(size, int) else size
    padded = np.zeros(np.add(image.shape, (2 * padding, 2 * padding, 0)), image.dtype)
    inner = slice(padding, -padding or None)
    padded[inner, inner] = image
    rows, columns = padded.shape[0] - height + 1, padded.shape[1] - width + 1
    return {
        (i, j): padded[i : i + height, j : j + width]
        for i in range(rows)
        for j in range(columns)
    }


def draw_crops(kind, image, size, padding, count):
    if kind == "numpy":
        rng = generator()
        return np.stack(
            [random_crop(rng, image, size, padding=padding) for _ in range(count)]
        )

    @jax.jit
    def crops(keys, images):
        crop = lambda key, image: random_crop(key, image, size, padding=padding)
        return jax.vmap(crop)(keys, images)

    keys = jax.random.split(jax.random.key(0), count)
    return np.asarray(crops(keys, np.broadcast_to(image, (count, *image.shape))))


@pytest.mark.parametrize("kind", ["numpy", "device"])
@pytest.mark.parametrize("crop", CROPS)
def test_every_crop_is_equally_likely(kind, crop):
    sides, size, padding = CROPS[crop]
    image = 1 + numbered(*sides)
    possible = windows(image, size, padding)
    drawn = draw_crops(kind, image, size, padding, 200 * len(possible))
    counts = [
        (drawn == window).all(axis=(1, 2, 3)).sum() for window in possible.values()
    ]
    assert sum(counts) == len(drawn)  # nothing but crops
    # A count is 200 ± 14; five of these at most.
    np.testing.assert_allclose(counts, 200, atol=70)


def test_a_padded_crop_keeps_the_dtype():
    image = np.ones((4, 4, 3), np.uint8)
    for key in (generator(), jax.random.key(0)):
        assert random_crop(key, image, 4, padding=2).dtype == np.uint8


def test_a_negative_padding_is_refused():
    with pytest.raises(ValueError, match="padding=-1 is below 0"):
        random_crop(generator(), numbered(4, 4), 2, padding=-1)


# Flips


@pytest.mark.parametrize("key", [generator(), jax.random.key(0)], ids=str)
@pytest.mark.parametrize("p", [0.0, 1.0])
def test_a_certain_flip(key, p):
    image = numbered(3, 5)
    flipped = random_horizontal_flip(key, image, p)
    np.testing.assert_array_equal(flipped, image[:, ::-1] if p else image)


def test_flips_are_as_frequent_as_asked():
    image, count = numbered(1, 2, 1), 2000
    rng = generator()
    drawn = [random_horizontal_flip(rng, image, 0.3)[0, 0, 0] for _ in range(count)]
    keys = jax.random.split(jax.random.key(0), count)
    flip = lambda key: random_horizontal_flip(key, image, 0.3)[0, 0, 0]
    for first in (drawn, jax.jit(jax.vmap(flip))(keys)):
        assert abs(np.mean(first) - 0.3) < 5 * np.sqrt(0.3 * 0.7 / count)


@pytest.mark.parametrize("p", [-0.1, 1.5])
def test_a_probability_that_is_none(p):
    with pytest.raises(ValueError, match=rf"p={p} is not within \[0, 1\]"):
        random_horizontal_flip(generator(), numbered(2, 2), p)


# Scaling


def test_to_float_is_the_scaling_of_torch(rng):
    image = rng.integers(0, 256, (9, 7, 3), dtype=np.uint8)
    expected = torch.tensor(image).float().div(255)
    np.testing.assert_array_equal(to_float(image), expected)
    # XLA multiplies by the rounded 1/255: one unit in the last place.
    np.testing.assert_allclose(jax.jit(to_float)(image), expected, rtol=1.2e-7)


@pytest.mark.parametrize("key", [jax.random.key(0), generator()])
def test_a_batch_is_no_image(key, unchecked):
    batch = np.ones((5, 8, 9, 3))
    batch = batch if isinstance(key, np.random.Generator) else jnp.asarray(batch)
    for transform in (random_horizontal_flip, partial(random_crop, size=4)):
        with pytest.raises(ValueError, match=r"image has shape \(5, 8, 9, 3\): one"):
            transform(key, batch)


def test_scaling_twice_is_refused(unchecked):
    with pytest.raises(ValueError, match="image has dtype float32, not uint8"):
        to_float(to_float(np.ones((1, 1, 1), np.uint8)))


# Composition


def augment(key, image):
    crop_key, flip_key = split(key, 2)
    image = random_crop(crop_key, image, 3, padding=1)
    return random_horizontal_flip(flip_key, image)


def test_one_function_augments_at_load_time_and_in_a_jitted_step():
    image = 1 + numbered(3, 4, 1)
    possible = {
        crop.tobytes()
        for window in windows(image, 3, 1).values()
        for crop in (window, np.ascontiguousarray(window[:, ::-1]))
    }
    loaded = [augment(generator(seed), image) for seed in range(50)]
    keys = jax.random.split(jax.random.key(0), 50)
    images = np.broadcast_to(image, (50, *image.shape))
    stepped = np.asarray(jax.jit(jax.vmap(augment))(keys, images))
    for drawn in loaded, stepped:
        found = {np.ascontiguousarray(crop).tobytes() for crop in drawn}
        assert found <= possible
        assert len(found) > 10
    assert all(isinstance(image, np.ndarray) for image in loaded)


@pytest.mark.parametrize("make", [generator, jax.random.key], ids=["numpy", "jax"])
def test_keys_are_reproducible_and_their_parts_differ(make):
    draws = [
        [augment(key, numbered(60, 60)) for key in split(make(seed), 3)]
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert len({np.asarray(d).tobytes() for d in (*draws[0], *draws[2])}) == 6


@pytest.mark.parametrize("make", [generator, jax.random.key], ids=["numpy", "jax"])
def test_what_one_key_draws_leaves_the_others(make):
    image = numbered(60, 60)
    unused = split(make(0))
    used = split(make(0))
    augment(used[0], image)
    np.testing.assert_array_equal(augment(used[1], image), augment(unused[1], image))


def test_composition_is_from_left_to_right():
    image = np.zeros((2, 2, 1))
    assert compose(lambda x: x + 1, lambda x: 10 * x)(image)[0, 0, 0] == 10
    assert compose()(image) is image


def test_a_generator_is_refused_where_it_would_draw_once():
    step = jax.jit(lambda image: augment(generator(), image))
    with pytest.raises(ValueError, match="a JAX array needs a JAX key"):
        step(numbered(4, 4))
    with pytest.raises(ValueError, match="a JAX array needs a JAX key"):
        random_horizontal_flip(generator(), jnp.zeros((2, 2, 1)))
