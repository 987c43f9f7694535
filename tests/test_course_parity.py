"""The first steps of every lesson that trains beside PyTorch's, and the whole table.

The whole runs are those of `python -m tests.course_parity`.
"""

from importlib import import_module

import numpy as np
import pytest

from experiments._all import lessons
from tests.course_parity import results
from tests.course_parity.cases import CASES, WITHOUT, descent
from tests.course_parity.recording import DRIVERS, SWEEPS, record
from tests.course_parity.torch_runs import Apart, apart, compare
from tests.marks import slow_if

STEPS = 20
NEAR = 1e-11
"""a limit of the few first steps, in which rounding has not grown: 1e-13 at most"""
TRAIN = {*DRIVERS, *SWEEPS, "make_train_step", "loop_steps", "ensemble"}


@pytest.mark.parametrize(
    "lesson",
    slow_if(lambda name: CASES[name].slow, CASES),
)
def test_first_steps_are_those_of_torch(lesson):
    for name, outcome in results.compared(lesson, limit=STEPS).items():
        assert outcome["steps"] > 1, name
        assert outcome["jaxdl"]["largest"] < NEAR, name


def test_another_learning_rate_is_seen():
    outcome = results.compared("linear_regression", limit=STEPS)["one variable"]
    twin = CASES["linear_regression"].models["one variable"]
    with results.float64_everywhere():
        [_, training] = record("linear_regression", {}, limit=STEPS)
        other = compare(twin._replace(optimizer=descent(0.01001)), training)
    assert outcome["jaxdl"]["passes"] is None
    assert other["jaxdl"]["passes"] == 2


def test_every_lesson_that_trains_has_a_case():
    assert sorted([*CASES, *WITHOUT]) == sorted(lessons())


@pytest.mark.parametrize("lesson", WITHOUT)
def test_a_lesson_without_a_case_does_not_train(lesson):
    assert not TRAIN & vars(import_module(f"experiments.{lesson}")).keys()


def test_the_page_has_what_was_measured_and_says_what_was_not():
    kept, page = results.read(), results.PAGE.read_text()
    for lesson, models in kept.items():
        assert list(models) == list(CASES[lesson].models)
    assert "\n".join(results.lines(kept)) in page


def test_difference_of_losses():
    expected = np.array([4.0, 2.0, 1e-14, np.nan, np.inf])
    losses = expected * (1 + np.array([0, 1e-9, 1e-2, 0, 0]))
    # What is below 1e-12 of the largest loss, 4, is compared with 4e-12.
    assert apart(losses, expected) == Apart(pytest.approx(2.5e-5), 0.0, 3)
    nearly = pytest.approx(1e-9, rel=1e-6)
    assert apart(losses[:2], expected[:2]) == Apart(nearly, nearly, None)


def test_difference_of_losses_of_a_run_that_went_on():
    expected = np.array([4.0, 2.0, 1.0])
    assert apart(np.array([2.0, 1.1]), expected, 1) == Apart(
        pytest.approx(0.1), pytest.approx(0.1), 3
    )


@pytest.mark.parametrize("pair", [(np.nan, 1.0), (1.0, np.nan), (np.inf, 1.0)])
def test_nan_on_one_side_is_a_difference(pair):
    losses, expected = (np.array([value]) for value in pair)
    assert apart(losses, expected) == Apart(np.inf, np.inf, 1)
