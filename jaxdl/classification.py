"""What trains and measures a Flax module that gives a logit for each class."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from jaxdl.functional import cross_entropy
from jaxdl.metrics import accuracy
from jaxdl.training import EvalFn, LossFn


class Classification(NamedTuple):
    """The functions of a classifier, for `jaxdl.training`'s steps.

    Batches hold "image" and "label". `logits_of(params, model_state, images)` evaluates
    the model; `eval_fn` and `loss_fn` give the cross-entropy, as "loss", and the
    "accuracy", one of them for each example and the other their means.
    """

    logits_of: Callable[[PyTree, PyTree, Array], Float[Array, "batch classes"]]
    eval_fn: EvalFn
    loss_fn: LossFn


def classification(model: nn.Module) -> Classification:
    """Makes the functions that train a module by cross-entropy.

    A module that takes `train` gets it, and a key for its dropout; what it updates
    itself, such as batch statistics, is the model state.

    >>> from jaxdl.layers import Linear
    >>> functions, x = classification(Linear(3)), jnp.ones((5, 2))
    >>> params, model_state = init_model(Linear(3), jax.random.key(0), x)
    >>> functions.logits_of(params, model_state, x).shape
    (5, 3)
    """

    def logits_of(params, model_state, images):
        variables = {"params": params, **dict(model_state)}
        return model.apply(variables, images, **_mode(model, train=False))

    def eval_fn(params, model_state, batch):
        return _measures(logits_of(params, model_state, batch["image"]), batch)

    def loss_fn(params, model_state, batch, key):
        logits, updated = model.apply(
            {"params": params, **dict(model_state)},
            batch["image"],
            rngs={"dropout": key},
            mutable=list(dict(model_state)),
            **_mode(model, train=True),
        )
        means = jax.tree.map(jnp.mean, _measures(logits, batch))
        return means.pop("loss"), (updated or model_state, means)

    return Classification(logits_of, eval_fn, loss_fn)


def init_model(
    model: nn.Module, key: PRNGKeyArray, example: Array | np.ndarray
) -> tuple[PyTree, PyTree]:
    """Returns the parameters of a module and its model state, `()` if it has none.

    Only the shape of `example` matters. Initialisation is compiled.
    """
    init = jax.jit(model.init, static_argnames="train")
    variables = dict(init(key, example, **_mode(model, train=False)))
    return variables.pop("params"), variables or ()


def _measures(logits: Array, batch: PyTree) -> dict[str, Array]:
    return {
        "loss": cross_entropy(logits, batch["label"], reduction="none"),
        "accuracy": accuracy(logits, batch["label"], reduction="none"),
    }


def _mode(model: nn.Module, train: bool) -> dict[str, Any]:
    takes = "train" in inspect.signature(type(model).__call__).parameters
    return {"train": train} if takes else {}
