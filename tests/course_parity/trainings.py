"""What is kept of a training: where it began, its batches, and its losses."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import training
from jaxdl.feeds import BatchStream


class Training(NamedTuple):
    """One training of a lesson."""

    params: Any
    model_state: Any
    data: dict[str, np.ndarray]
    rows: list[np.ndarray]
    losses: np.ndarray
    """of the steps from `first` on"""
    key: jax.Array | None
    """that the step is given"""
    first: int = 0
    """the step, from 0, that it went on from with what another training had saved"""
    name: str = ""
    """that `fit` was given"""
    settings: Mapping[str, float] = {}
    """of a member of a search"""


class EnoughSeen(BaseException):
    """Ends a lesson that has trained all that is looked at."""


def float64(tree: Any) -> Any:
    """The tree with its floating arrays, and no keys or integers, in float64."""

    def cast(leaf):
        floating = jnp.issubdtype(jnp.result_type(leaf), jnp.floating)
        return jnp.asarray(leaf, jnp.float64) if floating else leaf

    return jax.tree.map(cast, tree)


def in_float64(step: Callable) -> Callable:
    """A step that is given its batch in float64."""
    return lambda state, batch, key: step(state, float64(batch), key)


def batches_of(
    data: Any, key: jax.Array, settings: Mapping[str, Any], total: int
) -> tuple[dict[str, np.ndarray], list[np.ndarray]]:
    """The examples, and the rows of each step, of a run of `total` steps."""
    if isinstance(data, BatchStream):
        read = [data.batch(step)[0] for step in range(total)]
        joined = jax.tree.map(lambda *parts: np.concatenate(parts), *read)
        return joined, [*np.arange(total * data.batch_size).reshape(total, -1)]
    data, size = jax.tree.map(np.asarray, data), settings["batch_size"]
    rows = rows_of_steps(data, key, size, settings.get("drop_last", False), total)
    return data, [*rows]


def rows_of_steps(data, key, size, drop_last, total) -> Iterator[np.ndarray]:
    n = training.num_examples(data)
    epochs = jnp.arange(-(-total // training.steps_per_epoch(n, size, drop_last)))
    order_key = jax.random.split(key)[0]
    order = lambda epoch: training.epoch_batches(order_key, epoch, n, size)
    orders = jax.jit(jax.vmap(order))(epochs)
    for full, last in zip(*map(np.asarray, orders), strict=True):
        for batch in (*full, *([last] if len(last) and not drop_last else [])):
            if total == 0:
                return
            total -= 1
            yield batch
