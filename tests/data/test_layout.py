import jax.numpy as jnp
import numpy as np
import pytest
import torch

from jaxdl.data.layout import to_nchw, to_nhwc


@pytest.mark.parametrize("module", [np, jnp], ids=["numpy", "jax"])
@pytest.mark.parametrize("batch", [(), (2,), (2, 3)])
def test_channels_move_as_in_torch(rng, module, batch):
    images = rng.normal(size=(*batch, 3, 4, 5))
    expected = torch.tensor(images).movedim(-3, -1)
    moved = to_nhwc(module.asarray(images, dtype=np.float32))
    np.testing.assert_array_equal(moved, expected.numpy().astype(np.float32))
    np.testing.assert_array_equal(to_nchw(moved), images.astype(np.float32))


def test_a_numpy_array_is_not_copied():
    images = np.zeros((2, 3, 4, 5))
    assert np.shares_memory(to_nhwc(images), images)


@pytest.mark.parametrize("move", [to_nhwc, to_nchw])
def test_a_single_channel_without_an_axis_is_refused(unchecked, move):
    with pytest.raises(ValueError, match=r"images have shape \(4, 5\)"):
        move(np.zeros((4, 5)))
