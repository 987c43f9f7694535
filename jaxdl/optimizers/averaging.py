"""Averages of parameters over a training, beside the parameters themselves."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike
from jaxtyping import Array, Int, PyTree

from jaxdl.optimizers.arguments import check_shares, widened


class AverageState(NamedTuple):
    """The number of updates averaged, and their parameters' average."""

    updates: Int[Array, ""]
    average: PyTree


def track_average(decay: ArrayLike = 0.999) -> optax.GradientTransformation:
    """Averages parameters exponentially and leaves the updates as they are.

    Chained last, it sees what the parameters become: average ← decay · average +
    (1 - decay) · params, starting from the parameters after the first update. That is
    `torch.optim.swa_utils.AveragedModel` with `get_ema_multi_avg_fn(decay)`, updated
    after each step. `average_of` finds the average in the optimiser's state.

    Raises:
      ValueError: `decay` is not within [0, 1].

    >>> optimizer = optax.chain(optax.sgd(1.0), track_average(0.5))
    >>> params, gradient = jnp.zeros(1), -jnp.ones(1)
    >>> state = optimizer.init(params)
    >>> for _ in range(2):
    ...     updates, state = optimizer.update(gradient, state, params)
    ...     params = optax.apply_updates(params, updates)
    >>> params, average_of(state)
    (Array([2.], dtype=float32), Array([1.5], dtype=float32))
    """
    check_shares(decay=decay)

    def init(params):  # copies: no step can be given one array's memory twice
        return AverageState(jnp.int32(0), jax.tree.map(jnp.array, params))

    def update(updates, state, params=None):
        if params is None:
            raise ValueError("track_average needs the parameters: update(..., params)")
        first = state.updates == 0

        def mean(average, param, update):
            new = (param + update).astype(average.dtype)
            step = (1 - decay) * (widened(new) - widened(average))  # a lerp, as PyTorch
            return jnp.where(first, new, average + step.astype(average.dtype))

        average = jax.tree.map(mean, state.average, params, updates)
        return updates, AverageState(state.updates + 1, average)

    return optax.GradientTransformation(init, update)


def average_of(opt_state: PyTree) -> PyTree:
    """Returns the parameters' average that `track_average` keeps.

    Raises:
      ValueError: there is none in this state, or more than one.
    """
    is_average = lambda part: isinstance(part, AverageState)
    found = [s for s in jax.tree.leaves(opt_state, is_leaf=is_average) if is_average(s)]
    if len(found) != 1:
        raise ValueError(f"the optimiser's state holds {len(found)} averages, not one")
    return found[0].average
