"""Penalties against PyTorch's autograd and its SGD."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from jaxdl.functional.penalties import l1_penalty, l2_penalty
from tests.oracle import assert_agrees, assert_close, random


@pytest.fixture(autouse=True, scope="module")
def x64():
    with jax.enable_x64(True):
        yield


def norm(power, factor):
    return lambda *params: factor * sum((p.abs() ** power).sum() for p in params)


@pytest.mark.parametrize(
    ("penalty", "theirs"), [(l1_penalty, norm(1, 1)), (l2_penalty, norm(2, 0.5))]
)
@pytest.mark.parametrize("shapes", [[()], [(4, 3)], [(4, 3), (3,)], [(0,), (2, 1, 2)]])
def test_penalties_of_trees(penalty, theirs, shapes):
    params = [random(shape, seed) for seed, shape in enumerate(shapes)]
    as_tree = lambda *params: {"inner": list(params[:1]), "rest": tuple(params[1:])}
    assert_agrees(lambda *params: penalty(as_tree(*params)), theirs, *params)


@pytest.mark.parametrize("penalty", [l1_penalty, l2_penalty])
def test_gradient_of_a_weight_that_is_zero(penalty):
    np.testing.assert_array_equal(jax.grad(penalty)(jnp.zeros(2)), np.zeros(2))


@pytest.mark.parametrize("penalty", [l1_penalty, l2_penalty])
def test_nothing_to_penalise(penalty):
    assert_close(penalty({}), 0)


@pytest.mark.parametrize("penalty", [l1_penalty, l2_penalty])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_penalties_keep_dtypes(penalty, dtype):
    params = jnp.asarray(random((20,), 0))
    actual = jax.jit(penalty)([params.astype(dtype)])
    assert actual.dtype == dtype
    np.testing.assert_allclose(actual, penalty([params]), rtol=4 * jnp.finfo(dtype).eps)


@pytest.mark.parametrize("penalty", [l1_penalty, l2_penalty])
def test_penalties_under_vmap(penalty):
    params = jnp.asarray(random((3, 4), 0))
    assert_close(jax.vmap(penalty)(params), jnp.stack([penalty(p) for p in params]))


def squared_errors(kernel, bias, x, y):
    return ((x @ kernel + bias - y) ** 2).mean()


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_l2_penalty_is_sgds_weight_decay(momentum):
    """On the kernel alone, over ten steps written by hand."""
    x, y = random((8, 3), 0), random((8, 2), 1)
    decay, rate = 0.1, 0.05
    kernel, bias = (torch.tensor(random(s, 2), requires_grad=True) for s in [(3, 2), 2])
    groups = [{"params": [kernel], "weight_decay": decay}, {"params": [bias]}]
    sgd = torch.optim.SGD(groups, rate, momentum=momentum)
    params = tuple(jnp.asarray(p.detach().numpy()) for p in (kernel, bias))

    @jax.jit
    @jax.grad
    def gradient(params):
        return squared_errors(*params, x, y) + decay * l2_penalty(params[0])

    velocity = jax.tree.map(jnp.zeros_like, params)
    for _ in range(10):
        sgd.zero_grad()
        squared_errors(kernel, bias, torch.tensor(x), torch.tensor(y)).backward()
        sgd.step()
        velocity = jax.tree.map(
            lambda v, g: momentum * v + g, velocity, gradient(params)
        )
        params = jax.tree.map(lambda p, v: p - rate * v, params, velocity)
    for actual, expected in zip(params, (kernel, bias), strict=True):
        assert_close(actual, expected.detach())


def test_l1_penalty_on_chosen_arrays_in_a_loss():
    x, y = random((8, 3), 0), random((8, 2), 1)
    assert_agrees(
        lambda k, b: squared_errors(k, b, x, y) + 0.1 * l1_penalty({"kernel": k}),
        lambda k, b: (
            squared_errors(k, b, torch.tensor(x), torch.tensor(y)) + 0.1 * k.abs().sum()
        ),
        random((3, 2), 2),
        random((2,), 3),
    )


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_many_narrow_numbers_add_up(dtype):
    small, many = jnp.full(10**5, 1e-4, dtype), [jnp.ones(10, dtype)] * 1000
    exact = np.asarray(small, float)
    near = {"rtol": float(jnp.finfo(dtype).eps)}
    for penalty, total, count in (
        (l1_penalty, exact.sum(), 1e4),
        (l2_penalty, (exact**2).sum() / 2, 5e3),
    ):
        np.testing.assert_allclose(float(penalty(small)), total, **near)
        np.testing.assert_allclose(float(penalty(many)), count, **near)
