"""Schedules against torch.optim.lr_scheduler, step by step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

from jaxdl.optimizers import (
    cosine_annealing_lr,
    exponential_lr,
    linear_lr,
    multistep_lr,
    sequential_lr,
    step_lr,
)
from tests.oracle import EXACT

lr_scheduler = torch.optim.lr_scheduler
STEPS = 70


@pytest.fixture(autouse=True, scope="module")
def x64():
    with jax.enable_x64(True):
        yield


def torch_rates(lr, make_scheduler, steps=STEPS):
    oracle = torch.optim.SGD([torch.zeros(1)], lr)
    scheduler = make_scheduler(oracle)
    rates = []
    for _ in range(steps):
        rates.append(oracle.param_groups[0]["lr"])
        oracle.step()
        scheduler.step()
    return rates


def assert_rates(schedule, lr, make_scheduler):
    """Compares the rates of counts that are traced, and of Python's own integers."""
    expected = torch_rates(lr, make_scheduler)
    traced = jax.vmap(schedule)(jnp.arange(STEPS, dtype=jnp.int32))
    np.testing.assert_allclose(traced, expected, **EXACT)
    np.testing.assert_allclose([schedule(i) for i in range(STEPS)], expected, **EXACT)


rates = st.floats(1e-4, 10)
factors = st.sampled_from((0.1, 1.0)) | st.floats(0.01, 1.5)


@given(rates, st.integers(1, 80), factors)
def test_step(lr, step_size, gamma):
    oracle = lambda optimizer: lr_scheduler.StepLR(optimizer, step_size, gamma)
    assert_rates(step_lr(lr, step_size, gamma), lr, oracle)


@given(rates, st.lists(st.integers(1, 80), max_size=4), factors)
def test_multistep(lr, milestones, gamma):
    """In any order."""
    oracle = lambda optimizer: lr_scheduler.MultiStepLR(optimizer, milestones, gamma)
    assert_rates(multistep_lr(lr, milestones, gamma), lr, oracle)


def test_a_milestone_given_twice_counts_twice():
    oracle = lambda optimizer: lr_scheduler.MultiStepLR(optimizer, [7, 3, 7])
    assert_rates(multistep_lr(0.3, [7, 3, 7]), 0.3, oracle)


@given(rates, factors)
def test_exponential(lr, gamma):
    oracle = lambda optimizer: lr_scheduler.ExponentialLR(optimizer, gamma)
    assert_rates(exponential_lr(lr, gamma), lr, oracle)


@pytest.mark.parametrize("gamma", [0, 0.0, 1])
def test_exponential_at_once_or_never(gamma):
    oracle = lambda optimizer: lr_scheduler.ExponentialLR(optimizer, gamma)
    assert_rates(exponential_lr(0.3, gamma), 0.3, oracle)


def test_exponential_in_float32_after_many_steps():
    """By 0.95 in each of 100 epochs: gamma ** count would be 0.2 % off."""
    schedule = exponential_lr(0.1, 0.95 ** (1 / 938))
    with jax.enable_x64(False):
        rate = jax.jit(schedule)(jnp.int32(93_800))
    assert rate.dtype == jnp.float32
    np.testing.assert_allclose(rate, 0.1 * 0.95**100, rtol=2e-6)


@given(rates, st.integers(1, 80), st.sampled_from((0.0, 1e-3)))
def test_cosine(lr, T_max, eta_min):
    """Past T_max too, where it goes up again."""
    oracle = lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, T_max, eta_min)
    assert_rates(cosine_annealing_lr(lr, T_max, eta_min), lr, oracle)


@given(rates, st.floats(0.01, 1), st.floats(0, 1), st.integers(1, 80))
def test_linear(lr, start_factor, end_factor, total_iters):
    arguments = start_factor, end_factor, total_iters
    oracle = lambda optimizer: lr_scheduler.LinearLR(optimizer, *arguments)
    assert_rates(linear_lr(lr, *arguments), lr, oracle)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (step_lr(0.3, 20), lambda o: lr_scheduler.StepLR(o, 20)),
        (multistep_lr(0.3, [5, 9]), lambda o: lr_scheduler.MultiStepLR(o, [5, 9])),
        (cosine_annealing_lr(0.3, 20), lambda o: lr_scheduler.CosineAnnealingLR(o, 20)),
        (linear_lr(0.3), lambda o: lr_scheduler.LinearLR(o)),
    ],
    ids=["step", "multistep", "cosine", "linear"],
)
def test_defaults(ours, theirs):
    assert_rates(ours, 0.3, theirs)


@pytest.mark.filterwarnings("ignore:The epoch parameter in `scheduler.step:UserWarning")
@pytest.mark.parametrize("warm_up", [1, 10])
def test_one_after_the_other(warm_up):
    lr = 0.3
    ours = sequential_lr(
        [linear_lr(lr, 0.1, 1.0, warm_up), cosine_annealing_lr(lr, 30), step_lr(lr, 4)],
        [warm_up, 40],
    )
    theirs = lambda optimizer: lr_scheduler.SequentialLR(
        optimizer,
        [
            lr_scheduler.LinearLR(optimizer, 0.1, 1.0, warm_up),
            lr_scheduler.CosineAnnealingLR(optimizer, 30),
            lr_scheduler.StepLR(optimizer, 4),
        ],
        [warm_up, 40],
    )
    assert_rates(ours, lr, theirs)


@pytest.mark.parametrize(
    "make",
    [
        lambda lr: step_lr(lr, 3),
        lambda lr: multistep_lr(lr, [2, 4]),
        lambda lr: exponential_lr(lr, 0.9),
        lambda lr: cosine_annealing_lr(lr, 5, 0.01),
        lambda lr: linear_lr(lr),
        lambda factor: linear_lr(0.5, factor),
        lambda factor: linear_lr(0.5, 1.0, factor),
    ],
    ids=["step", "multistep", "exponential", "cosine", "linear", "start", "end"],
)
def test_rates_and_factors_may_be_traced(make):
    rates = jnp.array([0.1, 0.2])
    actual = jax.jit(jax.vmap(lambda lr: make(lr)(jnp.int32(4))))(rates)
    expected = [make(float(lr))(4) for lr in rates]
    np.testing.assert_allclose(actual, expected, **EXACT)


@pytest.mark.parametrize("count", [29_999_999, 30_000_000, 30_000_001])
def test_counts_that_float32_cannot_hold(count):
    """A step comes at its count and not at the nearest float."""
    with jax.enable_x64(False):
        rate = jax.jit(step_lr(1.0, 30_000_000, gamma=0.5))(jnp.int32(count))
    assert rate == (1.0 if count < 30_000_000 else 0.5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: step_lr(0.1, 0), "step_size=0 is not at least 1"),
        (lambda: cosine_annealing_lr(0.1, 0), "T_max=0 is not at least 1"),
        (lambda: linear_lr(0.1, 0.0), r"start_factor=0.0 is not within \(0, 1\]"),
        (lambda: linear_lr(0.1, jnp.zeros(())), r"=0.0 is not within \(0, 1\]"),
        (lambda: linear_lr(0.1, 1.1), r"start_factor=1.1 is not within \(0, 1\]"),
        (lambda: linear_lr(0.1, 0.5, -0.1), r"end_factor=-0.1 is not within \[0, 1\]"),
        (lambda: linear_lr(0.1, 0.5, 1.1), r"end_factor=1.1 is not within \[0, 1\]"),
        (lambda: linear_lr(0.1, total_iters=0), "total_iters=0 is not at least 1"),
        (
            lambda: sequential_lr([step_lr(0.1, 3)], [5]),
            r"1 schedules need 0 milestones, got \[5\]",
        ),
        (lambda: sequential_lr([step_lr(0.1, 3)] * 3, [5]), "3 schedules need 2"),
    ],
)
def test_impossible_schedules(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_milestones_are_read_once(unchecked):
    milestones = [1, 2]
    schedule = multistep_lr(0.1, (m for m in milestones))
    of_list = multistep_lr(0.1, milestones)
    milestones.append(0)
    for rates in schedule, of_list:
        np.testing.assert_allclose([rates(k) for k in range(3)], [0.1, 0.01, 0.001])


def test_integers_do_not_overflow(x64):
    doubled = jax.jit(step_lr(0.1, 1, 2))
    np.testing.assert_allclose(
        [doubled(k) for k in (30, 31, 70)], 0.1 * 2.0 ** np.array([30, 31, 70])
    )
    later = jax.jit(step_lr(0.1, 2, 1))
    assert later(jnp.int32(-3)) == 0.1
    rate = jax.jit(linear_lr(1, 1, 0, 3))(jnp.int32(1))
    np.testing.assert_allclose(rate, 2 / 3, rtol=1e-15)


@pytest.mark.parametrize(
    "make",
    [
        lambda: step_lr("1e-3", 2),
        lambda: step_lr(1e-3, 2, "0.1"),
        lambda: multistep_lr(1e-3, [2], "0.1"),
        lambda: exponential_lr(1e-3, ".9"),
        lambda: cosine_annealing_lr("0.1", 2),
        lambda: linear_lr(0.1, ".1"),
    ],
)
def test_strings_are_no_numbers(make, unchecked):
    with pytest.raises(ValueError, match=r"=.* is no number"):
        make()
