"""Activations against PyTorch in float64: values, gradients, kinks, errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

from jaxdl.functional import activations
from tests.oracle import assert_agrees, assert_close, random

F = torch.nn.functional
POINTWISE = [
    ("celu", {}),
    ("celu", {"alpha": 0.5}),  # PyTorch rounds 1/alpha to float32: powers of two
    ("elu", {}),
    ("elu", {"alpha": 0.2}),
    ("gelu", {}),
    ("gelu", {"approximate": "none"}),
    ("gelu", {"approximate": "tanh"}),
    ("hardshrink", {}),
    ("hardshrink", {"lambd": 1.0}),
    ("hardswish", {}),
    ("hardtanh", {}),
    ("hardtanh", {"min_val": -0.5, "max_val": 2.0}),
    ("hardtanh", {"min_val": 1.0, "max_val": 1.0}),
    ("leaky_relu", {}),
    ("leaky_relu", {"negative_slope": 0.2}),
    ("logsigmoid", {}),
    ("mish", {}),
    ("relu", {}),
    ("relu6", {}),
    ("selu", {}),
    ("sigmoid", {}),
    ("silu", {}),
    ("softplus", {}),
    ("softplus", {"beta": 2.0}),
    ("softplus", {"beta": 3.0, "threshold": 1.5}),
    ("softshrink", {}),
    ("softshrink", {"lambd": 1.0}),
    ("softshrink", {"lambd": 0.0}),
    ("softsign", {}),
    ("tanh", {}),
    ("tanhshrink", {}),
    ("threshold", {"threshold": 0.5, "value": 20.0}),
    ("threshold", {"threshold": -1.0, "value": 0.0}),
]
NAMES = sorted({name for name, _ in POINTWISE} | {"hardsigmoid"})
each_pointwise = pytest.mark.parametrize(("name", "arguments"), POINTWISE)
each_name = pytest.mark.parametrize("name", NAMES)

# Kinks, both zeros, what over- or underflows, infinities.
POINTS = [0, 0.5, 1, 2, 3, 6, 0.3, 1.5, 10, 19.9, 20, 20.1, 40, 710, 800, 1e300, np.inf]
POINTS = np.array([*POINTS, 1e-5, 1e-12, 1e-300, 0.7])
POINTS = np.concatenate([POINTS, -POINTS])


@pytest.fixture(autouse=True, scope="module")
def x64():
    with jax.enable_x64(True):
        yield


def assert_like_torch(name, *arrays, **arguments):
    ours, theirs = getattr(activations, name), getattr(F, name)
    assert_agrees(
        lambda *a: ours(*a, **arguments), lambda *a: theirs(*a, **arguments), *arrays
    )


@each_pointwise
def test_at_kinks_zeros_and_infinities(name, arguments):
    assert_like_torch(name, POINTS, **arguments)


@each_pointwise
@pytest.mark.filterwarnings("ignore:overflow")
def test_random_inputs(name, arguments):
    assert_like_torch(name, 3 * random((40, 3), 0), **arguments)


@each_name
def test_nan_passes_through(name):
    """PyTorch's gradient at NaN depends on where in the array it stands."""
    needed = {"threshold": 0.5, "value": 2.0} if name == "threshold" else {}
    actual = getattr(activations, name)(jnp.array([jnp.nan, 1.0]), **needed)
    np.testing.assert_array_equal(np.isnan(actual), [True, False])


def test_hardsigmoid():
    """PyTorch's gradient holds 1/6 in float32, which is 3e-8 of it off."""
    x = torch.tensor(POINTS, requires_grad=True)
    expected = F.hardsigmoid(x)
    expected.sum().backward()
    value, pullback = jax.vjp(activations.hardsigmoid, jnp.asarray(POINTS))
    assert_close(value, expected.detach())
    (gradient,) = pullback(jnp.ones_like(value))
    np.testing.assert_allclose(gradient, x.grad, rtol=1e-7)


@given(
    shape=st.sampled_from([(3,), (5, 3), (2, 1, 4), (1, 1)]),
    per_channel=st.booleans(),
)
def test_prelu(shape, per_channel):
    weight = random(shape[-1:] if per_channel else (1,), 1)
    # PyTorch's channels are the second axis.
    swap = lambda x: x.movedim(-1, 1) if x.ndim > 2 else x
    theirs = lambda x, w: swap(F.prelu(swap(torch.atleast_2d(x)), w)).reshape(x.shape)
    if len(shape) > 2:
        theirs = lambda x, w: F.prelu(x.movedim(-1, 1), w).movedim(1, -1)
    assert_agrees(activations.prelu, theirs, random(shape, 0), weight)


def test_prelu_of_one_slope_at_special_points():
    finite = POINTS[np.isfinite(POINTS)]
    assert_like_torch("prelu", finite, np.array([0.25]))
    assert_like_torch("prelu", np.array([np.inf, 1.0]), np.array(0.25))


@pytest.mark.parametrize("shape", [(2,), (3, 1), (2, 3)])
def test_prelu_of_other_slopes(unchecked, shape):
    with pytest.raises(ValueError, match=r"weight \(.*\) does not fit input \(2, 3\)"):
        activations.prelu(jnp.ones((2, 3)), jnp.ones(shape))


@pytest.mark.parametrize("shape", [(4,), (3, 6), (2, 4, 1, 2), (2, 0)])
def test_glu_of_the_last_axis(shape):
    assert_like_torch("glu", random(shape, 0))


@pytest.mark.parametrize("dim", [0, 1, -2])
def test_glu_of_another_axis(dim):
    assert_like_torch("glu", random((4, 2, 3), 0), dim=dim)


@pytest.mark.parametrize(
    ("shape", "dim", "message"),
    [
        ((2, 3), -1, r"input \(2, 3\) cannot be halved along dim=-1"),
        ((3, 2), 0, r"input \(3, 2\) cannot be halved along dim=0"),
        ((2, 2), 2, r"dim=2 is no axis of input \(2, 2\)"),
        ((2, 2), -3, r"dim=-3 is no axis of input \(2, 2\)"),
        ((), -1, r"dim=-1 is no axis of input \(\)"),
    ],
)
def test_glu_of_what_cannot_be_halved(shape, dim, message):
    with pytest.raises(ValueError, match=message):
        activations.glu(jnp.zeros(shape), dim)


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize("dim", [0, 1, 2, -1, -3])
@pytest.mark.parametrize("scale", [1, 1e3])
def test_softmax_along_any_axis(name, dim, scale):
    assert_like_torch(name, scale * random((2, 3, 4), 0), dim=dim)


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax_is_of_the_last_axis(name):
    ours, theirs = getattr(activations, name), getattr(F, name)
    assert_agrees(ours, lambda x: theirs(x, dim=-1), random((2, 3, 4), 0))


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax_of_infinities_and_nan(name):
    inf, nan = np.inf, np.nan
    rows = [[-inf] * 3, [inf, 0, 0], [inf, inf, 0], [-inf, 0, 1], [nan, 0, 1]]
    assert_like_torch(name, np.array([*rows, [1e308, -1e308, 0]]), dim=-1)


@each_name
def test_half_precision_keeps_its_type_and_is_rounded_once(name):
    needed = {"threshold": 0.5, "value": 2.0} if name == "threshold" else {}
    activation = lambda x: getattr(activations, name)(x, **needed)
    value_and_slope = jax.jit(lambda x: jax.jvp(activation, [x], [jnp.ones_like(x)]))
    x = jnp.linspace(-4, 4, 65, dtype=jnp.float32)  # exact in bfloat16
    for dtype in (jnp.float16, jnp.bfloat16):
        rounding = 0.51 * float(jnp.finfo(dtype).eps)
        for actual, expected in zip(
            value_and_slope(x.astype(dtype)), value_and_slope(x), strict=True
        ):
            assert actual.dtype == dtype
            np.testing.assert_allclose(actual, expected, rtol=rounding, atol=1e-7)


def test_half_precision_where_its_own_numbers_would_not_suffice():
    gelu = lambda x: activations.gelu(x, "tanh")
    assert jax.grad(gelu)(jnp.float16(300)) == 1  # whose cube is infinite
    expected = F.gelu(torch.tensor(-3, dtype=torch.bfloat16), approximate="tanh")
    assert gelu(jnp.bfloat16(-3)) == expected.item()


@pytest.mark.parametrize("name", ["softmax", "log_softmax", "glu"])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_activations_of_an_axis_keep_dtypes(name, dtype):
    x = jnp.asarray(random((5, 4), 0)).astype(dtype)
    actual = getattr(activations, name)(x)
    assert actual.dtype == dtype
    expected = getattr(activations, name)(x.astype(float))
    eps = float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(actual, expected, rtol=4 * eps, atol=eps)


@pytest.mark.parametrize("name", ["softmax", "log_softmax", "glu", "relu", "gelu"])
def test_vmap_equals_a_loop(name):
    x = jnp.asarray(random((3, 2, 4), 0))
    activation = getattr(activations, name)
    assert_close(
        jax.jit(jax.vmap(activation))(x), jnp.stack([activation(a) for a in x])
    )


def test_prelu_under_vmap_over_slopes():
    x, weight = jnp.asarray(random((2, 4), 0)), jnp.asarray(random((3, 4), 1))
    batched = jax.jit(jax.vmap(activations.prelu, (None, 0)))(x, weight)
    assert_close(batched, jnp.stack([activations.prelu(x, w) for w in weight]))


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("gelu", {"approximate": "erf"}, "approximate='erf' is not 'none' or 'tanh'"),
        ("hardtanh", {"min_val": 2.0}, "min_val=2.0 exceeds max_val=1.0"),
        ("softshrink", {"lambd": -0.5}, "lambd=-0.5 is negative"),
    ],
)
def test_impossible_settings(unchecked, name, arguments, message):
    with pytest.raises(ValueError, match=message):
        getattr(activations, name)(jnp.zeros(2), **arguments)


def test_celu_divides_by_alpha():
    with pytest.raises(ValueError, match="alpha=0: celu divides by it"):
        activations.celu(jnp.ones(2), 0.0)


def test_sigmoid_of_integers():
    x = np.array([-1, 0, 2])
    expected = torch.sigmoid(torch.tensor(x, dtype=torch.float64))
    assert_close(activations.sigmoid(jnp.asarray(x)), expected)


def test_bounds_of_jax_are_known_inside_jit(unchecked):
    low, high = jnp.float32(-0.5), jnp.float32(0.5)
    clip = jax.jit(lambda x, low, high: activations.hardtanh(x, low, high))
    assert jax.jit(lambda x: activations.hardtanh(x, low, high))(2.0) == 0.5
    assert clip(2.0, low, high) == 0.5
    with pytest.raises(ValueError, match=r"min_val=0\.5 exceeds max_val=-0\.5"):
        jax.jit(lambda x: activations.hardtanh(x, high, low))(2.0)
