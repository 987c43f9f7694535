"""Batch and layer normalisation against PyTorch in float64."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from jax import lax

from jaxdl.functional.normalization import batch_norm, layer_norm
from tests.oracle import assert_agrees, assert_close, random, to_torch

F = torch.nn.functional


@pytest.fixture(autouse=True, scope="module")
def x64():
    with jax.enable_x64(True):
        yield


def torch_batch_norm(x, mean, var, weight=None, bias=None, *, train, **settings):
    """PyTorch's, for channels-last tensors, with the statistics returned."""
    # The statistics are updated in place, and are no leaves of the gradient's graph.
    mean, var = (s if s is None else s.detach().clone() for s in (mean, var))
    channels_first = x.movedim(-1, 1) if x.ndim > 1 else x
    output = F.batch_norm(
        channels_first, mean, var, weight, bias, training=train, **settings
    )
    return output.movedim(1, -1), mean, var


def ours(x, mean, var, weight=None, bias=None, **settings):
    output, (mean, var) = batch_norm(x, mean, var, weight, bias, **settings)
    return output, mean, var


def statistics(channels):
    return random(channels, 1), random(channels, 2) ** 2 + 0.1


def operands(*shape):
    """The input and all that has one value a channel."""
    return (
        random(shape, 0), *statistics(shape[-1]), random(shape[-1:], 3),
        random(shape[-1:], 4),
    )  # fmt: skip


def assert_batch_norm_agrees(arrays, **settings):
    """The statistics get no gradient in PyTorch, since they are detached there."""
    assert_agrees(
        lambda *a: ours(*a, **settings),
        lambda *a: torch_batch_norm(*a, **settings),
        *arrays,
    )


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=4),
    st.integers(1, 5),
    st.booleans(),
    st.sampled_from([0.1, 0.7, 0.0, 1.0]),
    st.sampled_from([1e-5, 1e-3, 0.5]),
)
def test_batch_norm_equals_torch(leading, channels, train, momentum, eps):
    leading = [*leading, 2]  # more than one value per channel
    arrays = operands(*leading, channels)
    assert_batch_norm_agrees(arrays, train=train, momentum=momentum, eps=eps)


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("shape", [(2, 3), (4, 5, 3), (1, 3, 2, 6)])
def test_batch_norms_defaults_equal_torchs(train, shape):
    assert_batch_norm_agrees(operands(*shape), train=train)


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("given", ["neither", "weight", "bias"])
def test_batch_norm_without_weight_or_bias_equals_torch(train, given):
    x, *statistics, weight, bias = operands(4, 3, 2)
    parameters = {"weight": {"weight": weight}, "bias": {"bias": bias}}.get(given, {})
    assert_agrees(
        lambda x, *p: ours(
            x, *to_jax(statistics), train=train, **dict(zip(parameters, p, strict=True))
        ),
        lambda x, *p: torch_batch_norm(
            x, *map(to_torch, statistics), train=train,
            **dict(zip(parameters, p, strict=True)),
        ),
        x, *parameters.values(),
    )  # fmt: skip


def to_jax(arrays):
    return jax.tree.map(jnp.asarray, arrays)


@pytest.mark.parametrize("train", [True, False])
def test_without_running_statistics_the_batchs_are_used(train):
    x, _, _, weight, bias = operands(5, 3)
    assert_agrees(
        lambda x, w, b: batch_norm(x, None, None, w, b, train=train)[0],
        lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True),
        x, weight, bias,
    )  # fmt: skip
    assert batch_norm(jnp.asarray(x), None, None, train=train)[1] == (None, None)


@pytest.mark.parametrize("train", [True, False])
def test_no_gradient_flows_through_running_statistics(train):
    x, mean, var, *_ = to_jax(operands(4, 3))

    def everything(x, mean, var):
        _, running = batch_norm(x, mean, var, train=train)
        return sum(r.sum() for r in running)

    def output(mean, var):
        return jnp.sin(batch_norm(x, mean, var, train=train)[0]).sum()

    gradients = jax.grad(everything, (0, 1, 2))(x, mean, var)
    for gradient in (*gradients, *jax.grad(output, (0, 1))(mean, var)):
        assert not gradient.any()


def test_an_empty_batch_leaves_the_statistics_as_in_torch():
    x, mean, var, weight, bias = operands(0, 4, 3)
    assert_batch_norm_agrees((x, mean, var, weight, bias), train=True)
    assert_batch_norm_agrees((x, mean, var, weight, bias), train=False)


def test_evaluation_takes_a_batch_of_one_and_no_epsilon():
    assert_batch_norm_agrees(operands(1, 3), train=False, eps=0.0)


def test_momentum_may_be_traced():
    x, mean, var, *_ = to_jax(operands(4, 3))
    traced = jax.jit(lambda m: batch_norm(x, mean, var, train=True, momentum=m)[1])
    expected = batch_norm(x, mean, var, train=True, momentum=0.3)[1]
    for a, e in zip(traced(jnp.asarray(0.3)), expected, strict=True):
        assert_close(a, e)


def loss(x, weight, bias):
    return jnp.sin(batch_norm(x, None, None, weight, bias, train=True)[0]).sum()


@pytest.mark.parametrize("outer", [jax.jacfwd, jax.jacrev])
def test_second_derivatives_equal_torch(outer):
    x, _, _, weight, bias = operands(3, 2)
    expected = torch.autograd.functional.hessian(
        lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True).sin().sum(),
        tuple(map(to_torch, (x, weight, bias))),
    )
    hessian = jax.jit(outer(jax.grad(loss, (0, 1, 2)), (0, 1, 2)))
    actual = hessian(*to_jax((x, weight, bias)))
    for actual_row, expected_row in zip(actual, expected, strict=True):
        for actual_block, expected_block in zip(actual_row, expected_row, strict=True):
            assert_close(actual_block, expected_block)


def test_forward_mode_is_the_transpose_of_reverse_mode():
    x, _, _, weight, bias = operands(5, 3)
    primals = to_jax((x, weight, bias))
    tangents = tuple(jnp.asarray(random(a.shape, 7)) for a in primals)
    apply = lambda x, w, b: batch_norm(x, None, None, w, b, train=True)[0]
    output, tangent = jax.jvp(apply, primals, tangents)
    cotangent = jnp.asarray(random(output.shape, 8))
    gradients = jax.vjp(apply, *primals)[1](cotangent)
    pairing = sum(jnp.vdot(g, t) for g, t in zip(gradients, tangents, strict=True))
    assert_close(jnp.vdot(cotangent, tangent), pairing)


@pytest.mark.parametrize("train", [True, False])
def test_vmap_over_everything_equals_a_loop(train):
    models = [to_jax(operands(4, 2, 3)) for _ in range(2)]
    models[1] = jax.tree.map(lambda a: 2 * a + 1, models[1])

    def gradients(x, mean, var, weight, bias):
        def value(x, weight, bias):
            output, running = batch_norm(x, mean, var, weight, bias, train=train)
            return jnp.sin(output).sum(), running

        return jax.grad(value, (0, 1, 2), has_aux=True)(x, weight, bias)

    batched = jax.vmap(gradients)(*map(jnp.stack, zip(*models, strict=True)))
    looped = jax.tree.map(lambda *a: jnp.stack(a), *(gradients(*m) for m in models))
    jax.tree.map(assert_close, batched, looped)


def test_steps_in_a_scan_equal_steps_outside():
    x, mean, var, weight, bias = to_jax(operands(4, 2, 3))

    def step(carry, _):
        weight, running = carry

        def value(weight):
            output, new = batch_norm(x, *running, weight, bias, train=True)
            return jnp.sin(output).sum(), new

        gradient, running = jax.grad(value, has_aux=True)(weight)
        return (weight - 0.1 * gradient, running), None

    carry = weight, (mean, var)
    scanned, _ = jax.jit(lambda c: lax.scan(step, c, length=3))(carry)
    for _ in range(3):
        carry, _ = step(carry, None)
    jax.tree.map(assert_close, scanned, carry)


def float32_far_from_zero(shape):
    x = np.random.default_rng(0).normal(1000, 0.1, size=shape)
    return x.astype(np.float32)


def test_batch_norm_keeps_a_small_variance_beside_a_large_mean():
    """In float32, where E[x²] - E[x]² gives 0 for a variance of 0.01."""
    x = float32_far_from_zero((4096, 3))
    exact = x.astype(np.float64)
    compute = jax.jit(
        lambda x: batch_norm(
            x, jnp.zeros(3, x.dtype), jnp.zeros(3, x.dtype), train=True, momentum=1.0
        )
    )
    output, (mean, var) = compute(jnp.asarray(x))
    np.testing.assert_allclose(mean, exact.mean(0), rtol=3e-7)
    np.testing.assert_allclose(var, exact.var(0, ddof=1), rtol=1e-4)
    # An error of 2e-4 in the mean, three roundings, is 0.002 of these outputs.
    expected = (exact - exact.mean(0)) / np.sqrt(exact.var(0) + 1e-5)
    np.testing.assert_allclose(output, expected, atol=2e-3)


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_batch_norm_of_lower_precision_keeps_its_type(dtype, train):
    """PyTorch too takes half-precision inputs beside float32 parameters."""
    x, *rest = operands(6, 4, 3)
    rest = [jnp.asarray(a, jnp.float32) for a in rest]
    low = jnp.asarray(x, dtype)
    output, running = batch_norm(low, *rest, train=train)
    assert output.dtype == dtype
    assert {r.dtype for r in running} == {jnp.dtype("float32")}
    wide, wide_running = batch_norm(low.astype(jnp.float64), *rest, train=train)
    # The arithmetic is float32: only the output is rounded to the input's type.
    np.testing.assert_allclose(
        output.astype(float), wide, rtol=float(jnp.finfo(dtype).eps), atol=1e-6
    )
    for a, e in zip(running, wide_running, strict=True):
        np.testing.assert_allclose(a, e, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("train", [True, False])
def test_batch_norm_in_bfloat16_is_near_torchs(train):
    x, *rest = operands(6, 4, 3)
    rest = [a.astype(np.float32) for a in rest]
    output, running = batch_norm(
        jnp.asarray(x, jnp.bfloat16), *map(jnp.asarray, rest), train=train
    )
    expected, *expected_running = torch_batch_norm(
        to_torch(x).bfloat16(), *map(to_torch, rest), train=train
    )
    assert expected.dtype == torch.bfloat16
    np.testing.assert_allclose(
        output.astype(float), expected.double(), rtol=1e-2, atol=1e-2
    )
    for a, e in zip(running, expected_running, strict=True):
        np.testing.assert_allclose(a, e, rtol=1e-5, atol=1e-6)


def test_statistics_in_half_precision_stay_so():
    x, *rest = (jnp.asarray(a, jnp.bfloat16) for a in operands(6, 3))
    output, running = batch_norm(x, *rest, train=True)
    assert {a.dtype for a in (output, *running)} == {jnp.dtype(jnp.bfloat16)}


def test_batch_norm_passes_nan_on_in_its_channel_only():
    x, mean, var, *_ = operands(4, 2)
    x[1, 0] = np.nan
    output, running = batch_norm(*to_jax((x, mean, var)), train=True)
    for values in (output, *running):
        assert jnp.isnan(values[..., 0]).all()
        assert jnp.isfinite(values[..., 1]).all()


zeros = jnp.zeros


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input": zeros(())}, "input is a scalar"),
        ({"input": zeros((4, 3), int)}, "input has dtype int.*floating"),
        ({"input": zeros((1, 3))}, r"\(1, 3\) has one value per.*need more"),
        ({"input": zeros(3)}, r"input \(3,\) has one value"),
        ({"input": zeros((1, 3)), "running_mean": None, "running_var": None,
          "train": False}, "has one value"),
        ({"running_mean": None}, "one of running_mean and running_var is None"),
        ({"running_var": None}, "one of running_mean and running_var is None"),
        ({"running_mean": zeros(2)}, r"running_mean has shape \(2,\); expected \(3,\)"),
        ({"running_var": zeros((3, 1))}, r"running_var has shape \(3, 1\)"),
        ({"weight": zeros(())}, r"weight has shape \(\); expected \(3,\)"),
        ({"bias": zeros(4)}, r"bias has shape \(4,\)"),
        ({"running_var": zeros(3, int)}, "running_var has dtype int"),
        ({"weight": zeros(3, int)}, "weight has dtype int.*expected a floating one"),
        ({"eps": -1e-5}, "eps=-1e-05 is not above 0"),
        ({"eps": 0.0}, "eps=0.0 is not above 0"),
        ({"eps": -1.0, "train": False}, "eps=-1.0 is not above 0"),
        ({"momentum": 1.1}, r"momentum=1.1 is not within \[0, 1\]"),
        ({"momentum": -1}, "momentum=-1 is"),
        ({"momentum": np.float32(3)}, "momentum=3.0 is not within"),
        ({"eps": float("nan")}, "eps=nan is not above 0"),
    ],
)  # fmt: skip
def test_invalid_arguments_of_batch_norm_raise(changes, message):
    arguments = {
        "input": zeros((4, 3)), "running_mean": zeros(3), "running_var": zeros(3),
        "train": True,
    } | changes  # fmt: skip
    # Unwrapped: the annotations, checked here only, would otherwise speak first.
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(batch_norm)(**arguments)


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=4),
    st.data(),
    st.sampled_from([1e-5, 1e-3, 0.5]),
)
def test_layer_norm_equals_torch(shape, data, eps):
    trailing = tuple(shape[data.draw(st.integers(0, len(shape) - 1)) :])
    assert_agrees(
        lambda x, w, b: layer_norm(x, trailing, w, b, eps),
        lambda x, w, b: F.layer_norm(x, trailing, w, b, eps),
        random(shape, 0), random(trailing, 1), random(trailing, 2),
    )  # fmt: skip


@pytest.mark.parametrize("shape", [(4, 3), (0, 3), (3,), (2, 1)])
def test_layer_norms_defaults_equal_torchs(shape):
    normalized = shape[-1:]
    assert_agrees(
        lambda x: layer_norm(x, normalized),
        lambda x: F.layer_norm(x, normalized),
        random(shape, 0),
    )


@pytest.mark.parametrize("given", ["weight", "bias"])
def test_layer_norm_with_only_one_parameter_equals_torch(given):
    assert_agrees(
        lambda x, p: layer_norm(x, [3], **{given: p}),
        lambda x, p: F.layer_norm(x, [3], **{given: p}),
        random((4, 3), 0), random(3, 1),
    )  # fmt: skip


def test_hessian_of_layer_norm_equals_torchs():
    x = random((2, 3), 0)
    expected = torch.autograd.functional.hessian(
        lambda x: F.layer_norm(x, (3,)).sin().sum(), to_torch(x)
    )
    actual = jax.hessian(lambda x: jnp.sin(layer_norm(x, (3,))).sum())(jnp.asarray(x))
    assert_close(actual, expected)


def test_vmap_of_layer_norm_equals_a_batch():
    x, weight, bias = to_jax((random((4, 3), 0), random(3, 1), random(3, 2)))
    mapped = jax.vmap(lambda x: layer_norm(x, (3,), weight, bias))(x)
    assert_close(mapped, layer_norm(x, (3,), weight, bias))


def test_layer_norm_keeps_a_small_variance_beside_a_large_mean():
    x = float32_far_from_zero((4, 512))
    exact = x.astype(np.float64)
    output = jax.jit(lambda x: layer_norm(x, (512,)))(jnp.asarray(x))
    centered = exact - exact.mean(-1, keepdims=True)
    expected = centered / np.sqrt(exact.var(-1, keepdims=True) + 1e-5)
    # Three roundings of the mean, 2e-4, are 0.002 of these outputs.
    np.testing.assert_allclose(output, expected, atol=2e-3)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_layer_norm_of_lower_precision_keeps_its_type(dtype):
    x = jnp.asarray(random((4, 6), 0), dtype)
    weight, bias = (jnp.asarray(random(6, seed), jnp.float32) for seed in (1, 2))
    output = layer_norm(x, (6,), weight, bias)
    assert output.dtype == dtype
    wide = layer_norm(x.astype(jnp.float64), (6,), weight, bias)
    np.testing.assert_allclose(
        output.astype(float), wide, rtol=float(jnp.finfo(dtype).eps), atol=1e-6
    )


def test_layer_norm_passes_nan_on_in_its_example_only():
    x = random((2, 3), 0)
    x[0, 1] = np.nan
    output = layer_norm(jnp.asarray(x), (3,))
    assert jnp.isnan(output[0]).all()
    assert jnp.isfinite(output[1]).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"normalized_shape": (4,)},
            r"normalized_shape=\(4,\) does not end.*\(2, 3\)",
        ),
        ({"normalized_shape": (1, 2, 3)}, r"normalized_shape=\(1, 2, 3\) does not"),
        ({"normalized_shape": ()}, r"normalized_shape=\(\) does not end"),
        ({"weight": zeros((2, 3))}, r"weight has shape \(2, 3\); expected \(3,\)"),
        ({"bias": zeros(1)}, r"bias has shape \(1,\); expected \(3,\)"),
        ({"bias": zeros(3, int)}, "bias has dtype int"),
        ({"input": zeros((2, 3), int)}, "input has dtype int"),
        ({"eps": -0.1}, r"eps=-0.1 is not within \[0, inf"),
    ],
)
def test_invalid_arguments_of_layer_norm_raise(changes, message):
    arguments = {"input": zeros((2, 3)), "normalized_shape": (3,)} | changes
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(layer_norm)(**arguments)


def test_settings_of_jax_are_known_inside_jit(unchecked):
    x, eps = jnp.array([[1.0], [3.0]]), jnp.float32(1e-5)
    for norm in (
        lambda x: batch_norm(x, None, None, train=True, eps=eps)[0],
        lambda x: layer_norm(x, (1,), eps=eps),
    ):
        assert_close(jax.jit(norm)(x), norm(x))
    with pytest.raises(ValueError, match="eps is traced: give a number that is known"):
        jax.jit(lambda eps: batch_norm(x, None, None, train=True, eps=eps))(eps)


def test_a_momentum_is_a_number(unchecked):
    x = jnp.ones((3, 1))
    with pytest.raises(ValueError, match="momentum=None is no number"):
        batch_norm(x, None, None, train=True, momentum=None)


def test_a_traced_momentum_out_of_range_is_nan():
    x, zero = jnp.array([[1.0], [3.0]]), jnp.zeros(1)
    moved = jax.jit(lambda m: batch_norm(x, zero, zero, train=True, momentum=m)[1])
    assert np.isnan(moved(3.0)).all()
    assert_close(moved(0.5)[0], [1.0])
