"""linear against PyTorch in float64."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

from jaxdl.functional.linear import linear
from tests.oracle import assert_agrees, assert_close, random


@pytest.fixture(autouse=True, scope="module")
def x64():
    with jax.enable_x64(True):
        yield


@given(
    st.lists(st.integers(0, 3), max_size=3),
    st.integers(0, 5),
    st.integers(1, 4),
    st.booleans(),
)
def test_linear_equals_torch(leading, fan_in, features, has_bias):
    bias = [random(features, 2)] if has_bias else []
    assert_agrees(
        linear,
        lambda x, w, *b: torch.nn.functional.linear(x, w.T, *b),
        random((*leading, fan_in), 0), random((fan_in, features), 1), *bias,
    )  # fmt: skip


def test_vmap_over_everything_equals_a_loop():
    arrays = [
        jnp.asarray(random((2, *s), i)) for i, s in enumerate([(4, 3), (3, 5), (5,)])
    ]
    looped = [linear(*a) for a in zip(*arrays, strict=True)]
    assert_close(jax.vmap(linear)(*arrays), jnp.stack(looped))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_lower_precision_is_kept_and_near(dtype):
    arrays = random((4, 3), 0), random((3, 2), 1), random(2, 2)
    output = linear(*(jnp.asarray(a, dtype) for a in arrays))
    assert output.dtype == dtype
    expected = arrays[0] @ arrays[1] + arrays[2]
    tolerance = 8 * float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(output.astype(float), expected, tolerance, tolerance)


def test_nan_stays_in_its_example():
    x = jnp.asarray(random((2, 3), 0)).at[1, 0].set(jnp.nan)
    assert jnp.isnan(linear(x, jnp.ones((3, 2)))).any(-1).tolist() == [False, True]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input": jnp.ones((4, 2))}, r"input has shape \(4, 2\);.* needs \(..., 3\)"),
        ({"input": jnp.ones(())}, r"input has shape \(\)"),
        ({"input": jnp.ones((4, 3), int)}, "input has dtype int.*floating"),
        ({"input": jnp.ones((4, 3), jnp.bfloat16)}, "weight has dtype float64, but"),
        ({"weight": jnp.ones(3)}, r"weight has shape \(3,\); expected \(in, out\)"),
        ({"bias": jnp.ones(())}, r"bias has shape \(\); expected \(5,\)"),
        ({"bias": jnp.ones(3)}, r"bias has shape \(3,\)"),
        ({"bias": jnp.ones(5, jnp.float32)}, "bias has dtype float32, but input"),
    ],
)
def test_invalid_arguments_raise(changes, message):
    arguments = {"input": jnp.ones((4, 3)), "weight": jnp.ones((3, 5))} | changes
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(lambda: inspect.unwrap(linear)(**arguments))
