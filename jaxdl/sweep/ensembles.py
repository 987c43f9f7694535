"""Members of one point: an ensemble of them, or one alone."""

import warnings
from collections.abc import Sequence

import numpy as np
from jaxtyping import Array, Key, PRNGKeyArray, PyTree

from jaxdl.sweep.members import How, run_members
from jaxdl.sweep.settings import as_points, by_static
from jaxdl.sweep.train import Settings, Train, check_keys, is_finite, trained
from jaxdl.training import TrainState, compiled


def ensemble(
    train: Train,
    settings: Settings,
    data: PyTree,
    keys: Key[Array, " members"],
    *,
    static: Sequence[str] = (),
    how: How = "auto",
    block_size: int | None = None,
) -> TrainState:
    """Returns the states that `train` ends with for each of the keys, stacked.

    `settings` are those of one point. Members draw batches of their own if `train`
    takes the order from its key; if it takes it from a key of its own, they share them.

    Raises:
      ValueError: settings of several points, see also `search`; or keys that are none.

    Warns of members whose parameters are not finite.
    """
    constants, traced = _single_point(settings, static)
    check_keys(keys, np.shape(keys)[:1] or (1,))

    def program(traced, keys, data):
        def member(key):
            state = trained(train, constants | traced, key, data)
            return state, is_finite(state)

        return run_members(member, keys, how=how, block_size=block_size)

    states, finite = compiled(program)(traced, keys, data)
    failed = np.flatnonzero(~np.asarray(finite))
    if len(failed):
        warnings.warn(
            f"of {len(keys)} members, the parameters of {failed.tolist()} are not"
            " finite",
            RuntimeWarning,
            stacklevel=2,
        )
    return states


def refit(
    train: Train,
    settings: Settings,
    data: PyTree,
    key: PRNGKeyArray,
    *,
    static: Sequence[str] = (),
) -> TrainState:
    """Returns the state that `train` ends with, compiled: what one member computes.

    With `settings=sweep.best(metric)` and all data it is the model that a search or a
    cross-validation was for.

    Raises:
      ValueError: settings of several points, see also `search`.
      FloatingPointError: the parameters are not finite.
    """
    constants, traced = _single_point(settings, static)
    check_keys(key, ())

    def program(traced, key, data):
        state = trained(train, constants | traced, key, data)
        return state, is_finite(state)

    state, finite = compiled(program)(traced, key, data)
    if not finite:
        raise FloatingPointError(
            f"the parameters trained with {dict(settings)} are not finite: try a"
            " smaller learning rate"
        )
    return state


def _single_point(settings: Settings, static: Sequence[str]) -> tuple[dict, dict]:
    """Returns the settings of one point: those that are static, and the others."""
    # A tuple is one value here, as Sweep.best returns it.
    points, n = as_points(
        {name: [v] if isinstance(v, tuple) else v for name, v in settings.items()}
    )
    if n > 1:
        raise ValueError(f"settings hold {n} points: choose one, as Sweep.best does")
    constants, traced, _ = next(by_static(points, n, static))
    return constants, {name: values[0] for name, values in traced.items()}
