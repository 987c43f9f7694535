"""What docs/gradients.md says in JAX, against PyTorch."""

import jax
import jax.numpy as jnp
import pytest
import torch

from tests.oracle import assert_close, random, to_torch


@pytest.fixture(autouse=True, scope="module")
def x64():
    with jax.enable_x64(True):
        yield


def curve(w, x):
    return (x + w) * (w + 1)


def drawn():
    return jnp.asarray(random((3,), 0)), jnp.asarray(random((3,), 1))


def test_gradients_of_chosen_inputs():
    w, x = drawn()
    tensors = to_torch(w).requires_grad_(), to_torch(x)
    curve(*tensors).sum().backward()
    assert tensors[1].grad is None
    assert_close(jax.grad(lambda w: curve(w, x).sum())(w), tensors[0].grad)


def test_several_losses_add_their_gradients():
    w, x = drawn()
    tensor = to_torch(w).requires_grad_()
    curve(tensor, to_torch(x)).sum().backward()
    (tensor**2).sum().backward()
    both = jax.grad(lambda w: curve(w, x).sum() + (w**2).sum())(w)
    assert_close(both, tensor.grad)


def test_a_root_that_is_no_scalar_takes_weights():
    w, x = drawn()
    tensor = to_torch(w).requires_grad_()
    weights = random((3,), 2)
    curve(tensor, to_torch(x)).backward(to_torch(weights))
    _, pullback = jax.vjp(lambda w: curve(w, x), w)
    assert_close(pullback(jnp.asarray(weights))[0], tensor.grad)


def test_jacobians():
    w, x = drawn()
    full = lambda w, x: curve(w, x).sum() * w
    expected = torch.autograd.functional.jacobian(
        lambda w: full(w, to_torch(x)), to_torch(w)
    )
    for jacobian in (jax.jacrev, jax.jacfwd):
        assert_close(jacobian(lambda w: full(w, x))(w), expected)


def test_a_detached_value_is_a_constant():
    w, _ = drawn()
    tensor = to_torch(w).requires_grad_()
    (tensor * (tensor**2).detach()).sum().backward()
    held = jax.grad(lambda w: jnp.sum(w * jax.lax.stop_gradient(w**2)))(w)
    assert_close(held, tensor.grad)
