"""Initialisers against PyTorch's: fans and gains exactly, draws as distributions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

from jaxdl import initializers
from jaxdl.initializers import (
    calculate_gain,
    constant,
    fan_in_and_fan_out,
    fan_in_uniform,
    kaiming_normal,
    kaiming_uniform,
    normal,
    ones,
    orthogonal,
    trunc_normal,
    uniform,
    xavier_normal,
    xavier_uniform,
    zeros,
)

KEY = jax.random.key(0)
NONLINEARITIES = [
    "linear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d",
    "conv_transpose3d", "sigmoid", "tanh", "relu", "leaky_relu", "selu",
]  # fmt: skip


def torch_weight(shape):
    """PyTorch's weight, in float64, for a kernel (*window, in, out)."""
    *window, inputs, outputs = shape
    return torch.empty(outputs, inputs, *window, dtype=torch.float64)


def kolmogorov_smirnov(a, b):
    """The largest distance between two samples' cumulative distributions."""
    a, b = np.sort(np.ravel(a)), np.sort(np.ravel(b))
    both = np.concatenate([a, b])
    below = lambda sample: np.searchsorted(sample, both, side="right") / len(sample)
    return np.abs(below(a) - below(b)).max()


def assert_same_distribution(ours, theirs):
    """For n = 60,000 draws each: means, deviations, the whole, and the ends.

    Two such samples of one distribution are 0.01 apart once in 200; a scale that is off
    by 5 % puts them 0.012 apart and fails the deviations, which are known to 0.6 %.
    """
    ours, theirs = np.asarray(ours, np.float64), theirs.detach().numpy()
    assert ours.size == theirs.size == 60_000
    deviation = theirs.std()
    np.testing.assert_allclose(ours.mean(), theirs.mean(), atol=0.02 * deviation)
    np.testing.assert_allclose(ours.std(), deviation, rtol=0.015)
    np.testing.assert_allclose(
        np.quantile(ours, [0.001, 0.999]),
        np.quantile(theirs, [0.001, 0.999]),
        rtol=0.15,
    )
    assert kolmogorov_smirnov(ours, theirs) < 0.01


ANY_SHAPE = [
    (uniform, "uniform_", ()),
    (uniform, "uniform_", (-3.0, -1.0)),
    (normal, "normal_", ()),
    (normal, "normal_", (5.0, 0.1)),
    (trunc_normal, "trunc_normal_", ()),
    (trunc_normal, "trunc_normal_", (0.3, 2.0, -1.0, 0.5)),
    (trunc_normal, "trunc_normal_", (0.0, 0.02)),
    (trunc_normal, "trunc_normal_", (0.0, 1.0, 4.0, 5.0)),
    (trunc_normal, "trunc_normal_", (0.0, 1.0, 6.0, 9.0)),
    (trunc_normal, "trunc_normal_", (1.0, 0.5, -3.5, -3.0)),
    (xavier_uniform, "xavier_uniform_", ()),
    (xavier_normal, "xavier_normal_", (2.0,)),
    (kaiming_uniform, "kaiming_uniform_", ()),
    (kaiming_normal, "kaiming_normal_", ()),
    (orthogonal, "orthogonal_", (3.0,)),
]


@pytest.mark.filterwarnings("ignore:mean is more than 2 std:UserWarning")
@pytest.mark.parametrize(("ours", "theirs", "arguments"), ANY_SHAPE)
def test_draws_as_torch_does(ours, theirs, arguments):
    torch.manual_seed(1)
    expected = getattr(torch.nn.init, theirs)(torch_weight((300, 200)), *arguments)
    assert_same_distribution(ours(*arguments)(KEY, (300, 200)), expected)


SCALED = [
    (xavier_uniform, "xavier_uniform_", {"gain": 0.5}),
    (xavier_normal, "xavier_normal_", {}),
    (kaiming_uniform, "kaiming_uniform_", {"a": 5**0.5}),
    (kaiming_uniform, "kaiming_uniform_", {"mode": "fan_out", "nonlinearity": "relu"}),
    (kaiming_normal, "kaiming_normal_", {"mode": "fan_out", "nonlinearity": "tanh"}),
    (kaiming_normal, "kaiming_normal_", {"a": 1.0}),
]


@pytest.mark.parametrize("shape", [(10, 60, 100), (5, 4, 30, 100)], ids=str)
@pytest.mark.parametrize(("ours", "theirs", "arguments"), SCALED)
def test_scales_of_kernels_are_torchs(shape, ours, theirs, arguments):
    torch.manual_seed(1)
    expected = getattr(torch.nn.init, theirs)(torch_weight(shape), **arguments)
    assert_same_distribution(ours(**arguments)(KEY, shape), expected)


@given(st.lists(st.integers(1, 9), min_size=2, max_size=5))
def test_fans_are_torchs(shape):
    expected = torch.nn.init._calculate_fan_in_and_fan_out(torch_weight(shape))
    assert fan_in_and_fan_out(tuple(shape)) == expected


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_fans_of_a_grouped_convolution_are_torchs(groups):
    layer = torch.nn.Conv2d(6, 12, (3, 2), groups=groups)
    expected = torch.nn.init._calculate_fan_in_and_fan_out(layer.weight)
    assert fan_in_and_fan_out((3, 2, 6 // groups, 12)) == expected


def test_fans_of_a_transposed_convolution_are_swapped_in_torch():
    layer = torch.nn.ConvTranspose2d(6, 12, (3, 2))
    expected = torch.nn.init._calculate_fan_in_and_fan_out(layer.weight)
    assert fan_in_and_fan_out((3, 2, 6, 12))[::-1] == expected


@pytest.mark.parametrize("nonlinearity", NONLINEARITIES)
@pytest.mark.parametrize("param", [None, 0, 0.2, 5**0.5])
def test_gains_are_torchs(nonlinearity, param):
    expected = torch.nn.init.calculate_gain(nonlinearity, param)
    assert calculate_gain(nonlinearity, param) == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize(
    ("initializer", "bound"),
    [
        (uniform(-0.5, 0.5), 0.5),
        (trunc_normal(0.0, 1.0, -0.5, 0.5), 0.5),
        (xavier_uniform(), (6 / 500) ** 0.5),
        (kaiming_uniform(), (6 / 300) ** 0.5),
        (kaiming_uniform(mode="fan_out"), (6 / 200) ** 0.5),
        (fan_in_uniform(), 300**-0.5),
        (fan_in_uniform(64), 64**-0.5),
    ],
)
def test_bounded_draws_fill_their_interval(initializer, bound):
    values = np.asarray(initializer(KEY, (300, 200)))
    limit = np.float32(bound) * (1 + 1e-6)
    assert -limit <= values.min() < -0.999 * bound
    assert 0.999 * bound < values.max() <= limit


def test_rounding_leaves_truncated_draws_within_their_limits():
    """-7.7 + 1.1 z, rounded, exceeds 0.003 by 3e-7 for the largest z."""
    values = trunc_normal(-7.7, 1.1, 0.001, 0.003)(KEY, (100,))
    assert np.float32(0.001) <= values.min() <= values.max() <= np.float32(0.003)


def test_a_plain_normal_is_not_truncated():
    """JAX's own xavier_normal ends at 2.3 standard deviations."""
    values = xavier_normal()(KEY, (300, 200))
    assert abs(values).max() > 3.5 * (2 / 500) ** 0.5


@pytest.mark.parametrize("shape", [(7, 3), (3, 7), (5, 5), (2, 3, 4, 5), (1, 2, 2, 9)])
def test_orthogonal_rows_or_columns(shape):
    with jax.enable_x64(True):
        kernel = np.asarray(orthogonal(2.0)(KEY, shape, jnp.float64))
    matrix = kernel.reshape(-1, shape[-1])
    rows, columns = matrix.shape
    product = matrix @ matrix.T if rows < columns else matrix.T @ matrix
    np.testing.assert_allclose(product, 4 * np.eye(min(rows, columns)), atol=1e-12)
    theirs = torch.nn.init.orthogonal_(torch_weight(shape), 2.0).flatten(1).numpy()
    theirs = theirs.T @ theirs if rows < columns else theirs @ theirs.T
    np.testing.assert_allclose(product, theirs, atol=1e-12)


def test_constants():
    np.testing.assert_array_equal(constant(42)(KEY, (2, 3)), np.full((2, 3), 42.0))
    np.testing.assert_array_equal(zeros(KEY, (2, 3)), np.zeros((2, 3)))
    np.testing.assert_array_equal(ones(KEY, (2, 3)), np.ones((2, 3)))


EVERY = {
    "uniform": uniform(),
    "normal": normal(),
    "trunc_normal": trunc_normal(),
    "constant": constant(0.5),
    "zeros": zeros,
    "ones": ones,
    "xavier_uniform": xavier_uniform(),
    "xavier_normal": xavier_normal(),
    "kaiming_uniform": kaiming_uniform(),
    "kaiming_normal": kaiming_normal(),
    "orthogonal": orthogonal(),
    "fan_in_uniform": fan_in_uniform(),
}
every_initializer = pytest.mark.parametrize(
    "initializer", EVERY.values(), ids=EVERY.keys()
)


@every_initializer
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float64])
def test_the_dtype_is_honoured(initializer, dtype):
    with jax.enable_x64(True):
        values = initializer(KEY, (300, 200), dtype)
        assert values.dtype == dtype
        assert values.shape == (300, 200)
        single = initializer(KEY, (300, 200), jnp.float32)
    if dtype != jnp.float64:
        # A half is the float32 draw rounded: narrow draws have no tails.
        np.testing.assert_array_equal(values, single.astype(dtype))
    elif single.std() > 0:
        assert (np.asarray(values) != np.float32(values)).mean() > 0.9


@every_initializer
def test_float32_unless_told(initializer):
    assert initializer(KEY, (4, 3)).dtype == jnp.float32


@every_initializer
def test_the_key_decides(initializer):
    first, again = initializer(KEY, (4, 3)), initializer(KEY, (4, 3))
    np.testing.assert_array_equal(first, again)
    if initializer not in (EVERY["constant"], zeros, ones):
        assert not np.array_equal(first, initializer(jax.random.key(1), (4, 3)))


@every_initializer
@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (2, 0, 0)])
def test_arrays_of_nothing(initializer, shape):
    assert initializer(KEY, shape).shape == shape


@every_initializer
def test_compiled_for_many_keys(initializer):
    draw = lambda key: initializer(key, (4, 3))
    keys = jax.random.split(KEY, 3)
    together = jax.jit(jax.vmap(draw))(keys)
    for batched, key in zip(together, keys, strict=True):
        np.testing.assert_allclose(batched, draw(key), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(), (3,)])
@pytest.mark.parametrize(
    "make", [xavier_uniform, xavier_normal, kaiming_uniform, kaiming_normal]
)
def test_fewer_than_two_axes_have_no_fans(make, shape):
    with pytest.raises(ValueError, match="has no fan-in and fan-out: below 2 axes"):
        make()(KEY, shape)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: uniform(1.0, 0.0), "a=1.0 exceeds b=0.0"),
        (lambda: normal(0.0, -1.0), "std=-1.0 is below 0"),
        (lambda: trunc_normal(std=0.0), "std=0.0 is not above 0"),
        (lambda: trunc_normal(a=1.0, b=1.0), "a=1.0 is not below b=1.0"),
        (
            lambda: kaiming_uniform(nonlinearity="gelu"),
            "nonlinearity='gelu' is not one",
        ),
        (lambda: kaiming_normal(nonlinearity=""), "nonlinearity=''"),
        (lambda: calculate_gain("swish"), "nonlinearity='swish'"),
    ],
)
def test_impossible_settings(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    "make",
    [
        normal,
        lambda size: normal(0.0, size),
        lambda size: uniform(-size, size),
        xavier_uniform,
        xavier_normal,
        orthogonal,
        constant,
    ],
)
def test_sizes_may_be_traced(make):
    draw = lambda size: make(size)(KEY, (4, 3), jnp.bfloat16)
    drawn = jax.jit(draw)(0.7)
    assert drawn.dtype == jnp.bfloat16
    np.testing.assert_allclose(drawn, draw(0.7), rtol=0.01)
    assert (drawn != draw(0.3)).any()


@pytest.mark.parametrize(
    "make",
    [
        lambda std: normal(std=std),
        lambda b: uniform(0.0, b),
        lambda a: uniform(-a, -2.0),
        xavier_uniform,
        xavier_normal,
    ],
)
def test_traced_sizes_out_of_range_are_nan(make):
    assert np.isnan(jax.jit(lambda size: make(size)(KEY, (2, 3)))(-1.0)).all()


@pytest.mark.parametrize("make", [kaiming_uniform, kaiming_normal])
def test_an_unknown_mode(make, unchecked):
    with pytest.raises(ValueError, match="mode='fan_avg' is not 'fan_in' or 'fan_out'"):
        make(mode="fan_avg")


def test_every_initialiser_is_tested():
    assert set(EVERY) <= set(dir(initializers))


@pytest.mark.parametrize("shape", [(), (0, 3), (7,), (784, 10), (3, 3, 2, 5)])
def test_draws_are_those_of_jax_in_their_shape(shape):
    """For float32 alike to the last bit, compiled or not."""
    for transform in (lambda f: f, jax.jit):
        drawn = transform(lambda key: normal(std=0.1)(key, shape))(KEY)
        expected = transform(lambda key: 0.1 * jax.random.normal(key, shape))(KEY)
        np.testing.assert_array_equal(drawn, expected)
        drawn = transform(lambda key: uniform(-2, 3)(key, shape))(KEY)
        expected = transform(lambda key: jax.random.uniform(key, shape, float, -2, 3))
        np.testing.assert_array_equal(drawn, expected(KEY))


def test_large_arrays_are_drawn_in_their_shape():
    """A row, sharded along a later axis, would be drawn whole on every device."""
    drawn = lambda shape: str(jax.make_jaxpr(lambda key: normal()(key, shape))(KEY))
    assert "reshape" in drawn((3, 4))
    assert "reshape" not in drawn((1024, 1025))


def test_limits_where_float32_has_no_probabilities_are_refused():
    with pytest.raises(ValueError, match=r"a=13.* more than 12 std to one side"):
        trunc_normal(0.0, 1.0, 13.0, 14.0)
