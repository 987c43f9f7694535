"""Clipping against torch.nn.utils in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from hypothesis import given, strategies as st

from jaxdl.optimizers import clip_grad_norm, clip_grad_value, sgd
from tests.oracle import assert_trees_match, random, to_torch

INFINITY = float("inf")


@pytest.fixture(autouse=True, scope="module")
def x64():
    with jax.enable_x64(True):
        yield


def gradients(size, seed=0):
    shapes = [(3, 4), (5,), (), (2, 0)]
    return [
        np.asarray(size * random(shape, seed + i)) for i, shape in enumerate(shapes)
    ]


def clipped(clip, arrays):
    arrays = jax.tree.map(jnp.asarray, arrays)
    return clip.update(arrays, clip.init(arrays))[0]


def torch_clipped(clip_, arrays, *arguments, **named):
    tensors = [to_torch(a).requires_grad_() for a in arrays]
    for tensor, array in zip(tensors, arrays, strict=True):
        tensor.grad = to_torch(array)
    clip_(tensors, *arguments, **named)
    return [tensor.grad for tensor in tensors]


norm_types = st.sampled_from((1.0, 2.0, 3, INFINITY)) | st.floats(0.5, 4)


@given(
    st.integers(0, 100),
    st.sampled_from((0.0, 1e-9, 1e-6, 0.1, 1.0, 1e6)),
    st.sampled_from((0.0, 1e-7, 1e-3, 1.0, 5.0)),
    norm_types,
)
def test_norm_equals_torch(seed, size, max_norm, norm_type):
    # PyTorch refuses the largest of no gradients at all.
    arrays = gradients(size, seed)[: 3 if norm_type == INFINITY else 4]
    actual = clipped(clip_grad_norm(max_norm, norm_type), arrays)
    oracle = torch.nn.utils.clip_grad_norm_
    assert_trees_match(actual, torch_clipped(oracle, arrays, max_norm, norm_type))


def test_a_norm_within_the_limit_changes_no_bit():
    arrays = gradients(1.0)
    for actual, array in zip(
        clipped(clip_grad_norm(100.0), arrays), arrays, strict=True
    ):
        np.testing.assert_array_equal(actual, array)


def test_the_norm_is_euclidean_unless_told():
    actual = clipped(clip_grad_norm(1.0), [np.array(3.0), np.array([4.0])])
    np.testing.assert_allclose([actual[0], actual[1][0]], [0.6, 0.8], rtol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("norm_type", [2.0, INFINITY])
def test_non_finite_gradients_are_scaled_as_in_torch(bad, norm_type):
    arrays = [np.array([1.0, bad]), np.array(2.0)]
    actual = clipped(clip_grad_norm(1.0, norm_type), arrays)
    oracle = torch.nn.utils.clip_grad_norm_
    assert_trees_match(actual, torch_clipped(oracle, arrays, 1.0, norm_type))


@given(st.integers(0, 100), st.sampled_from((0.0, 1e-3, 0.5, 10.0)))
def test_value_equals_torch(seed, clip_value):
    arrays = gradients(1.0, seed)
    arrays[1][0] = np.nan
    arrays[1][1] = -np.inf
    actual = clipped(clip_grad_value(clip_value), arrays)
    oracle = torch.nn.utils.clip_grad_value_
    assert_trees_match(actual, torch_clipped(oracle, arrays, clip_value))


@pytest.mark.parametrize("clip", [clip_grad_norm(0.1), clip_grad_value(0.1)])
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_keeps_the_dtype(clip, dtype):
    arrays = [jnp.asarray(a, dtype) for a in gradients(1.0)]
    arrays[2] = arrays[2].astype(jnp.float64)
    actual = jax.jit(lambda arrays: clipped(clip, arrays))(arrays)
    assert [a.dtype for a in actual] == [a.dtype for a in arrays]
    exact = clipped(clip, [a.astype(jnp.float64) for a in arrays])
    for a, e in zip(actual, exact, strict=True):
        tolerance = 4 * float(jnp.finfo(dtype).eps)
        np.testing.assert_allclose(a.astype(jnp.float64), e, rtol=tolerance)


def test_chained_first_it_comes_before_decay_as_in_torch():
    w, gradient = random((3,), 0), random((3,), 1)
    ours = optax.chain(clip_grad_norm(0.1), sgd(0.1, weight_decay=0.5))
    params = jnp.asarray(w)
    updates, _ = ours.update(jnp.asarray(gradient), ours.init(params), params)
    tensor = to_torch(w).requires_grad_()
    tensor.grad = to_torch(gradient)
    torch.nn.utils.clip_grad_norm_([tensor], 0.1)
    torch.optim.SGD([tensor], 0.1, weight_decay=0.5).step()
    assert_trees_match(params + updates, tensor.detach())


def test_nothing_to_clip():
    assert clipped(clip_grad_norm(1.0, INFINITY), []) == []


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: clip_grad_norm(-1.0), "max_norm=-1.0 is not at least 0"),
        (lambda: clip_grad_norm(1.0, 0.0), "norm_type=0.0 is not above 0"),
        (lambda: clip_grad_norm(1.0, float("nan")), "norm_type=nan"),
        (lambda: clip_grad_value(-1.0), "clip_value=-1.0 is not at least 0"),
    ],
)
def test_impossible_limits(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_norms_of_float16_do_not_overflow():
    gradients = {"a": jnp.array([256.0], jnp.float16), "b": jnp.ones(3, jnp.float16)}
    clipped = clip_grad_norm(1.0).update(gradients, optax.EmptyState())[0]
    assert {leaf.dtype for leaf in jax.tree.leaves(clipped)} == {jnp.dtype(jnp.float16)}
    norm = (256**2 + 3) ** 0.5
    np.testing.assert_allclose(clipped["a"], 256 / norm, rtol=1e-3)
    np.testing.assert_allclose(clipped["b"], 1 / norm, rtol=1e-3)
