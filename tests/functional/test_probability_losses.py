"""Losses of probabilities against PyTorch in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from jax.experimental import checkify

from jaxdl.functional.probability_losses import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    kl_div,
)
from tests.oracle import assert_agrees, assert_close, random

F = torch.nn.functional
REDUCTIONS = ["none", "mean", "sum"]
LOSSES = [binary_cross_entropy, binary_cross_entropy_with_logits, kl_div]
each_loss = pytest.mark.parametrize("loss", LOSSES)
# PyTorch advises "batchmean".
pytestmark = pytest.mark.filterwarnings("ignore:reduction. 'mean' divides:UserWarning")


@pytest.fixture(autouse=True, scope="module")
def x64():
    with jax.enable_x64(True):
        yield


def uniform(shape, seed=0):
    return np.random.default_rng(seed).uniform(size=shape)


def operands(loss, shape):
    """Predictions as `loss` wants them, and probabilities."""
    x = random(shape, 0) if "logits" in loss.__name__ else uniform(shape)
    return np.log(x) if loss is kl_div else x, uniform(shape, 1)


def assert_like_torch(loss, *arrays, **arguments):
    theirs = getattr(F, loss.__name__)
    ours = {k: jnp.asarray(v) if is_array(v) else v for k, v in arguments.items()}
    given = {k: torch.tensor(v) if is_array(v) else v for k, v in arguments.items()}
    assert_agrees(lambda *a: loss(*a, **ours), lambda *a: theirs(*a, **given), *arrays)


def is_array(value):
    return isinstance(value, np.ndarray)


shapes = st.sampled_from([(), (1,), (7,), (5, 3), (2, 1, 3)])


@given(shape=shapes, reduction=st.sampled_from(REDUCTIONS), weighted=st.booleans())
def test_binary_cross_entropy(shape, reduction, weighted):
    weight = uniform(shape[1:], 2) if weighted else None
    inputs = operands(binary_cross_entropy, shape)
    arguments = {"weight": weight, "reduction": reduction}
    assert_like_torch(binary_cross_entropy, *inputs, **arguments)


@given(
    shape=shapes,
    reduction=st.sampled_from(REDUCTIONS),
    weighted=st.booleans(),
    pos_weighted=st.booleans(),
)
def test_binary_cross_entropy_with_logits(shape, reduction, weighted, pos_weighted):
    loss = binary_cross_entropy_with_logits
    arguments = {
        "weight": uniform(shape[1:], 2) if weighted else None,
        "pos_weight": 3 * uniform(shape[-1:], 3) if pos_weighted else None,
        "reduction": reduction,
    }
    assert_like_torch(loss, *operands(loss, shape), **arguments)


@given(
    shape=shapes,
    reduction=st.sampled_from([*REDUCTIONS, "batchmean"]),
    log_target=st.booleans(),
)
def test_kl_div(shape, reduction, log_target):
    x, y = operands(kl_div, shape)
    arguments = {"reduction": reduction, "log_target": log_target}
    assert_like_torch(kl_div, x, np.log(y) if log_target else y, **arguments)


@each_loss
def test_defaults_are_torchs(loss):
    assert_like_torch(loss, *operands(loss, (4, 3)))


@each_loss
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_no_numbers(loss, reduction):
    assert_like_torch(loss, np.zeros((0, 2)), np.zeros((0, 2)), reduction=reduction)


def test_kl_div_per_example_of_none():
    x = np.zeros((0, 2))
    assert_like_torch(kl_div, x, x, reduction="batchmean")


@pytest.mark.parametrize(
    ("loss", "name"),
    [
        (binary_cross_entropy, "weight"),
        (binary_cross_entropy_with_logits, "weight"),
        (binary_cross_entropy_with_logits, "pos_weight"),
    ],
)
@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 1), (2, 3)])
def test_weights_broadcast_to_the_input(loss, name, shape):
    arguments = {name: uniform(shape, 2), "reduction": "none"}
    assert_like_torch(loss, *operands(loss, (2, 3)), **arguments)


@pytest.mark.parametrize(
    ("loss", "name"),
    [
        (binary_cross_entropy, "weight"),
        (binary_cross_entropy_with_logits, "weight"),
        (binary_cross_entropy_with_logits, "pos_weight"),
    ],
)
@pytest.mark.parametrize("shape", [(2,), (4, 3), (1, 1, 3)])
def test_inputs_do_not_broadcast_to_the_weights(loss, name, shape):
    weight = jnp.ones(shape)
    with pytest.raises(ValueError, match=rf"^{name} .* not broadcast to \(1, 3\)"):
        loss(jnp.full((1, 3), 0.5), jnp.zeros((1, 3)), **{name: weight})


PROBABILITIES = np.array([0, 0, 1, 1, 0, 1, 1e-50, 1e-300, 1 - 1e-16, 1e-5, 1e-13, 0.5])
TARGETS = np.array([0, 1, 0, 1, 0.5, 0.5, 1, 1, 0, 0.5, 1, 0.5])


def test_certain_predictions():
    """By the target their gradients are infinite."""
    assert_like_torch(binary_cross_entropy, PROBABILITIES, TARGETS, reduction="none")


def test_small_losses_keep_their_digits():
    """In float32, where 1 - p has lost most of p's."""
    p, y = np.array([1e-6, 0], np.float32)
    expected = F.binary_cross_entropy(*torch.tensor([p, y], dtype=torch.float64))
    actual = binary_cross_entropy(jnp.asarray(p), jnp.asarray(y))
    np.testing.assert_allclose(actual, expected, rtol=1e-6)


def test_targets_that_are_not_differentiated_leave_the_tangent_finite():
    """In a loop too, though the derivative by the target is infinite."""

    @jax.jit
    def loss(p, targets):
        step = lambda total, y: (total + binary_cross_entropy(p, y), None)
        return jax.lax.scan(step, 0.0, targets)[0]

    p, targets = jnp.asarray(PROBABILITIES), jnp.asarray(TARGETS)[None]
    direction = jnp.ones_like(p)
    _, tangent = jax.jvp(lambda p: loss(p, targets), [p], [direction])
    assert np.isfinite(tangent)
    assert_close(tangent, jax.grad(loss)(p, targets) @ direction)


def test_certain_and_right_in_float16_has_no_gradient():
    """PyTorch's is NaN there: its limit of 1e-12 is 0 in float16."""
    for p in 0.0, 1.0:
        p = jnp.float16(p)
        assert jax.grad(lambda x, p=p: binary_cross_entropy(x, p))(p) == 0


def test_large_logits():
    x = np.array([0, -0.0, 40, -40, 800, -800, 1e300, -1e300])
    for y in (np.zeros(8), np.ones(8), np.full(8, 0.5)):
        loss = binary_cross_entropy_with_logits
        arguments = {"reduction": "none", "pos_weight": np.array(3.0)}
        assert_like_torch(loss, x, y, **arguments)


def test_impossible_and_wrong():
    """Infinite logits: PyTorch's infinities and its NaN for 0 · inf, but for one."""
    x = jnp.array([jnp.inf, -jnp.inf, jnp.inf, -jnp.inf, jnp.nan])
    y = jnp.array([0.0, 1, 1, 0, 0])
    theirs = F.binary_cross_entropy_with_logits(
        torch.tensor(np.asarray(x)), torch.tensor(np.asarray(y)), reduction="none"
    )
    actual = binary_cross_entropy_with_logits(x, y, reduction="none")
    theirs[1] = np.inf  # of a positive at -inf, where PyTorch has 0 · inf beside it
    np.testing.assert_array_equal(actual, theirs)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float16, jnp.bfloat16])
@pytest.mark.parametrize("target", [0.0, 1.0, 0.25])
def test_nothing_of_a_small_gradient_is_lost(dtype, target):
    """Of a negative that is told as such: there 1 - σ(-x) would be 0."""
    x = jnp.array([-18, -12, -7, -5, -1, 0, 1, 5, 7, 12, 18], dtype)
    loss = lambda x: binary_cross_entropy_with_logits(
        x, jnp.full_like(x, target), reduction="sum", pos_weight=jnp.ones((), dtype)
    )
    wide = torch.tensor(np.asarray(x, float), requires_grad=True)
    F.binary_cross_entropy_with_logits(
        wide, torch.full_like(wide, target), reduction="sum"
    ).backward()
    limits = {"rtol": 4 * float(jnp.finfo(dtype).eps), "atol": jnp.finfo(dtype).tiny}
    gradient = np.asarray(jax.grad(loss)(x), float)
    np.testing.assert_allclose(gradient, wide.grad, **limits)


def test_kl_div_where_probabilities_are_zero():
    """By the input alone: by the target the gradient is log 0."""
    x = np.array([-1, -2, -np.inf, -np.inf, np.nan, -1, -1])
    y = np.array([0.5, 0, 0.5, 0, 0.5, np.nan, -0.5])
    assert_agrees(
        lambda x: kl_div(x, jnp.asarray(y), "none"),
        lambda x: F.kl_div(x, torch.tensor(y), reduction="none"),
        x,
    )


def test_kl_div_by_a_small_target_in_float16():
    y = np.array([1e-5, 1e-6, 0.5], np.float16)
    x = np.array([-1, -9, -0.5], np.float16)
    theirs = torch.tensor(y, requires_grad=True)
    F.kl_div(torch.tensor(x), theirs, reduction="sum").backward()
    actual = jax.grad(lambda y: kl_div(jnp.asarray(x), y, "sum"))(jnp.asarray(y))
    np.testing.assert_allclose(actual, theirs.grad, rtol=1e-2)


@each_loss
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_dtypes_are_kept(loss, dtype):
    x, y = map(jnp.asarray, operands(loss, (30,)))
    actual = loss(x.astype(dtype), y.astype(dtype))
    assert actual.dtype == dtype
    eps = jnp.finfo(dtype).eps
    np.testing.assert_allclose(actual, loss(x, y), rtol=4 * eps, atol=eps)


@each_loss
def test_vmap_equals_a_loop(loss):
    x, y = map(jnp.asarray, operands(loss, (3, 4)))
    looped = jnp.stack([loss(*pair) for pair in zip(x, y, strict=True)])
    assert_close(jax.jit(jax.vmap(loss))(x, y), looped)


@pytest.mark.parametrize("value", [-0.1, 1.5, np.inf, np.nan])
@pytest.mark.parametrize("name", ["input", "target"])
def test_probabilities_outside_of_0_to_1(name, value):
    arrays = {"input": jnp.full(2, 0.5), "target": jnp.full(2, 0.5)}
    arrays[name] = arrays[name].at[1].set(value)
    message = rf"{name} {value} at \(1,\) lies outside of \[0, 1\]"
    with pytest.raises(ValueError, match=message):
        binary_cross_entropy(**arrays)


@pytest.mark.parametrize("value", [-0.1, 1.5, np.nan])
@pytest.mark.parametrize("name", ["input", "target"])
def test_probabilities_outside_of_0_to_1_are_nan_inside_jit(name, value):
    arrays = {"input": jnp.full(2, 0.5), "target": jnp.full(2, 0.5)}
    arrays[name] = arrays[name].at[1].set(value)

    @jax.jit
    def losses_and_gradient(input, target):
        loss = lambda x: binary_cross_entropy(x, target, reduction="none")
        losses, pullback = jax.vjp(loss, input)
        return losses, *pullback(jnp.ones_like(losses))

    for actual in losses_and_gradient(**arrays):
        np.testing.assert_array_equal(np.isnan(actual), [False, True])


@pytest.mark.parametrize("name", ["input", "target"])
def test_checkify_reports_values_outside_of_0_to_1(name):
    gradient = checkify.checkify(jax.jit(jax.grad(binary_cross_entropy)))
    arrays = [jnp.full(2, 0.5), jnp.array([0.0, 1.0])]
    error, _ = gradient(*arrays)
    error.throw()
    arrays[name == "target"] = jnp.array([0.5, 1.25])
    error, _ = gradient(*arrays)
    with pytest.raises(
        checkify.JaxRuntimeError, match=rf"{name} 1.25 lies outside of \[0, 1\]"
    ):
        error.throw()


@each_loss
def test_nothing_broadcasts(unchecked, loss):
    with pytest.raises(ValueError, match=r"input \(4, 1\) and target \(4,\) differ"):
        loss(jnp.zeros((4, 1)), jnp.zeros(4))


@each_loss
@pytest.mark.parametrize("wrong", ["input", "target"])
def test_integers_are_refused(unchecked, loss, wrong):
    given = {"input": jnp.zeros(2), "target": jnp.zeros(2)}
    given[wrong] = jnp.zeros(2, int)
    with pytest.raises(ValueError, match=f"{wrong} has dtype int64; expected"):
        loss(**given)


@pytest.mark.parametrize("name", ["weight", "pos_weight"])
def test_integer_weights_are_refused(unchecked, name):
    half = jnp.full(2, 0.5)
    with pytest.raises(ValueError, match=f"^{name} has dtype int64; expected"):
        binary_cross_entropy_with_logits(half, half, **{name: jnp.ones(2, int)})


@pytest.mark.parametrize("loss", LOSSES[:2])
def test_reduction_unknown(unchecked, loss):
    with pytest.raises(ValueError, match="'batchmean' is not 'none', 'mean' or 'sum'"):
        loss(jnp.full(2, 0.5), jnp.zeros(2), reduction="batchmean")


def test_reduction_unknown_to_kl_div(unchecked):
    with pytest.raises(ValueError, match="'x' is not 'none', 'mean', 'sum' or 'batchm"):
        kl_div(jnp.zeros(2), jnp.zeros(2), reduction="x")
