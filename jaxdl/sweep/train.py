"""The function that every member trains with, and what is asked of it."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Key, PRNGKeyArray, PyTree

from jaxdl.training import TrainState, noting

Settings = Mapping[str, Any]
Train = Callable[[dict[str, Any], PRNGKeyArray, PyTree], TrainState]


def trained(train: Train, settings: dict, key: PRNGKeyArray, data) -> TrainState:
    """Returns what `train` does. Raises ValueError if that is no TrainState."""
    hint = f"If Python or a shape in `train` depends on one of {[*settings]}, name it"
    with noting(f"{hint} in `static`."):
        state = train(settings, key, data)
    if not isinstance(state, TrainState):
        raise ValueError(f"train has to return a TrainState, not {type(state)}")
    return state


def is_finite(state: TrainState) -> Bool[Array, ""]:
    """Tells whether all parameters, and the model state, are finite."""
    leaves = jax.tree.leaves((state.params, state.model_state))
    floats = [leaf for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return jnp.array([jnp.isfinite(leaf).all() for leaf in floats]).all()


def check_keys(keys: Key[Array, "..."], *shapes: tuple[int, ...]) -> None:
    """Raises ValueError unless they are random keys, of one of the shapes."""
    if not jnp.issubdtype(getattr(keys, "dtype", int), jax.dtypes.prng_key):
        raise ValueError("keys have to be those of jax.random.key, not raw numbers")
    if keys.shape not in shapes:
        expected = " or ".join(map(str, shapes))
        raise ValueError(f"keys have shape {keys.shape}; expected {expected}")
