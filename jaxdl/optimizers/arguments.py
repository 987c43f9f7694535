"""What all optimisers take, and how it is checked."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike
from jaxtyping import Array

LearningRate = ArrayLike | Callable[..., ArrayLike]


def check_at_least(limit: int, **values: Any) -> None:
    """Raises ValueError for a value below the limit; what is not yet known passes.

    Or for a string, as YAML makes of 1e-3.
    """
    for name, value in values.items():
        as_number(name, value)
        if is_known(value) and not np.asarray(value) >= limit:
            raise ValueError(f"{name}={value} is not at least {limit}")


def check_betas(betas: tuple[Any, Any]) -> None:
    """Raises ValueError for a decay rate outside of [0, 1)."""
    for i, beta in enumerate(betas):
        as_number(f"betas[{i}]", beta)
        if is_known(beta) and not 0 <= np.asarray(beta) < 1:
            raise ValueError(f"betas[{i}]={beta} is not within [0, 1)")


def check_shares(**values: Any) -> None:
    """Raises ValueError for a value outside of [0, 1]; what is not yet known passes."""
    for name, value in values.items():
        as_number(name, value)
        if is_known(value) and not 0 <= np.asarray(value) <= 1:
            raise ValueError(f"{name}={value} is not within [0, 1]")


def as_number(name: str, value: Any) -> Any:
    """Returns the value, a Python integer as a float: its powers overflow.

    Raises ValueError for a string, as YAML makes of 1e-3.
    """
    if isinstance(value, str):
        raise ValueError(f"{name}={value!r} is no number")
    return float(value) if type(value) is int else value


def is_zero(value: ArrayLike) -> bool:
    """Tells a zero that is written in the program from one that is computed."""
    return isinstance(value, int | float) and value == 0


def gradient(weight_decay: ArrayLike, maximize: bool) -> list:
    """Returns what makes PyTorch's gradient of ours: ±gradient + weight_decay · params.

    Weight decay counts from the objective, so `maximize` does not turn its sign.
    """
    steps = [optax.scale(-1)] if maximize else []
    decay = [] if is_zero(weight_decay) else [optax.add_decayed_weights(weight_decay)]
    return steps + decay


def widened(array: ArrayLike) -> Array:
    """Returns the array in float32 at least."""
    return jnp.asarray(array, jnp.promote_types(jnp.result_type(array), jnp.float32))


def in_float32(inner: optax.GradientTransformation) -> optax.GradientTransformation:
    """Computes updates in float32 at least; they and the state keep their types.

    In float16 the square of a gradient of 256 is infinite.
    """

    def update(updates, state, params=None):
        wide, after = inner.update(jax.tree.map(widened, updates), state, params)
        keep = lambda new, old: new.astype(jnp.result_type(old))
        return jax.tree.map(keep, wide, updates), jax.tree.map(keep, after, state)

    return optax.GradientTransformation(inner.init, update)


def is_known(value: Any) -> bool:
    """Tells a number from what gives one later: a schedule, or a traced value.

    One of JAX's is looked at as NumPy's: inside jit, what is computed of it is traced.
    """
    return not (callable(value) or isinstance(value, jax.core.Tracer))
