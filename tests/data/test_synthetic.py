import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.data import make_linear_data

WEIGHTS, BIAS = [-6.0, 3.2, 10.5], 1.7


def residual(data):
    """y - x · weights - bias, in float64: only the data's own rounding is left."""
    x, y = (np.asarray(data[k], np.float64) for k in "xy")
    return y - x @ np.array(WEIGHTS) - BIAS


def test_least_squares_recovers_weights_and_bias():
    data = make_linear_data(jax.random.key(0), WEIGHTS, BIAS, 10_000)
    design = np.column_stack([data["x"], np.ones(10_000)])
    solution, *_ = np.linalg.lstsq(design, np.asarray(data["y"]))
    # The standard error of each coefficient is noise / √n = 1e-4.
    np.testing.assert_allclose(solution, [*WEIGHTS, BIAS], atol=6e-4)


@pytest.mark.parametrize("noise", [0.01, 2.0])
def test_noise_is_normal_with_the_given_deviation(noise):
    error = residual(make_linear_data(jax.random.key(1), WEIGHTS, BIAS, 40_000, noise))
    # Four standard errors at n = 40,000: of a deviation σ/√(2n), of a mean σ/√n.
    assert error.std() == pytest.approx(noise, rel=0.015)
    assert abs(error.mean()) < 0.02 * noise


def test_without_noise_y_is_the_linear_function():
    data = make_linear_data(jax.random.key(2), WEIGHTS, BIAS, 100, noise=0.0)
    # Rounding in float32 of values up to about 40.
    np.testing.assert_allclose(residual(data), 0, atol=2e-5)


def test_features_are_standard_normal_and_independent():
    x = make_linear_data(jax.random.key(3), WEIGHTS, BIAS, 40_000)["x"]
    # Five standard errors, 5/√n, of a mean and of a correlation.
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=0.025)
    np.testing.assert_allclose(np.cov(x.T), np.eye(3), atol=0.036)


def test_noise_is_independent_of_the_features():
    data = make_linear_data(jax.random.key(4), WEIGHTS, BIAS, 40_000, noise=1.0)
    correlation = np.corrcoef(residual(data), np.asarray(data["x"]).T)[0, 1:]
    np.testing.assert_allclose(correlation, 0, atol=0.025)


@pytest.mark.parametrize(
    "weights",
    [[2.0], [1, 2], np.ones(3, np.float32), jnp.ones(4)],
    ids=["one", "integers", "numpy", "jax"],
)
def test_shapes_follow_the_weights(weights):
    data = make_linear_data(jax.random.key(0), weights, 0.5, 11)
    assert data["x"].shape == (11, len(weights))
    assert data["y"].shape == (11,)
    assert data["y"].dtype == data["x"].dtype == jnp.float32


def test_it_is_a_function_of_the_key():
    a, b, c = (make_linear_data(jax.random.key(s), WEIGHTS, BIAS, 5) for s in (0, 0, 1))
    np.testing.assert_array_equal(a["y"], b["y"])
    assert not np.array_equal(a["y"], c["y"])


@pytest.mark.parametrize(
    ("num_examples", "noise", "message"),
    [(0, 0.01, "num_examples=0 must be at least 1"), (5, -1.0, "noise=-1.0")],
)
def test_arguments_out_of_range_are_refused(num_examples, noise, message):
    with pytest.raises(ValueError, match=message):
        make_linear_data(jax.random.key(0), WEIGHTS, BIAS, num_examples, noise)
