"""What trains and measures a Flax module that gives a logit for each class."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from jaxdl.functional import cross_entropy
from jaxdl.functional.checks import at_least_float32
from jaxdl.metrics import accuracy
from jaxdl.training import EvalFn, LossFn, check_names


class Classification(NamedTuple):
    """The functions of a classifier, for `jaxdl.training`'s steps.

    Batches hold "label" and the inputs, "image" by default. `logits_of(params,
    model_state, *inputs)` evaluates the model; `eval_fn` and `loss_fn` give the
    cross-entropy, as "loss", and the "accuracy", one of them for each example and the
    other their means.
    """

    logits_of: Callable[..., Float[Array, "batch classes"]]
    eval_fn: EvalFn
    loss_fn: LossFn


def classification(
    model: nn.Module, inputs: Sequence[str] = ("image",)
) -> Classification:
    """Makes the functions that train a module by cross-entropy.

    `inputs` are the entries of a batch that the module is called with, in its order. A
    module that takes `train` gets it, and a key for its dropout; what it updates
    itself, such as batch statistics, is the model state. Labels are 0..classes-1:
    PyTorch's -100, an example to be ignored, gives a loss of NaN as others do.

    >>> from jaxdl.layers import Linear
    >>> functions, x = classification(Linear(3)), jnp.ones((5, 2))
    >>> params, model_state = init_model(Linear(3), jax.random.key(0), x)
    >>> functions.logits_of(params, model_state, x).shape
    (5, 3)

    Raises ValueError where `inputs` is one string.
    """
    check_names("inputs", inputs)

    def logits_of(params, model_state, *arrays):
        variables = {"params": params, **dict(model_state)}
        return model.apply(variables, *arrays, **_mode(model, train=False))

    def eval_fn(params, model_state, batch):
        arrays = [batch[name] for name in inputs]
        return _measures(logits_of(params, model_state, *arrays), batch)

    def loss_fn(params, model_state, batch, key):
        logits, updated = model.apply(
            {"params": params, **dict(model_state)},
            *(batch[name] for name in inputs),
            rngs={"dropout": key},
            mutable=list(dict(model_state)),
            **_mode(model, train=True),
        )
        means = jax.tree.map(jnp.mean, _measures(logits, batch))
        return means.pop("loss"), (updated or model_state, means)

    return Classification(logits_of, eval_fn, loss_fn)


def init_model(
    model: nn.Module, key: PRNGKeyArray, *examples: Array | np.ndarray
) -> tuple[PyTree, PyTree]:
    """Returns the parameters of a module and its model state, `()` if it has none.

    Only the shapes of the `examples`, the module's inputs, matter. Initialisation is
    compiled.
    """
    init = jax.jit(model.init, static_argnames="train")
    variables = dict(init(key, *examples, **_mode(model, train=False)))
    return variables.pop("params"), variables or ()


def _measures(logits: Array, batch: PyTree) -> dict[str, Array]:
    """Computed in float32 at least, whatever the model computes in."""
    logits = at_least_float32(logits)
    return {
        "loss": cross_entropy(
            logits, batch["label"], ignore_index=None, reduction="none"
        ),
        "accuracy": accuracy(logits, batch["label"], reduction="none"),
    }


def _mode(model: nn.Module, train: bool) -> dict[str, Any]:
    takes = "train" in inspect.signature(type(model).__call__).parameters
    return {"train": train} if takes else {}
