"""Which of a test's parameters run only with `-m slow`."""

from collections.abc import Callable
from typing import Any

import pytest


def slow(value: Any, *others: Any) -> Any:
    """The parameters of one run of a test, which is slow."""
    return pytest.param(value, *others, marks=pytest.mark.slow)


def slow_if(condition: Callable[[Any], object], values: Any) -> list[Any]:
    """The parameters of a test, slow those of which a condition holds."""
    return [slow(value) if condition(value) else value for value in values]
