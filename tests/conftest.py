"""Fixtures that all tests share."""

import jax
import jaxtyping
import numpy as np
import pytest


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def x64():
    """Computes in float64, where both sides of a comparison differ by rounding only."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def unchecked():
    """Switches run-time type checks off, to see what users without them see."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
