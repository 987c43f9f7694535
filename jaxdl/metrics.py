"""Measures of a model that nothing differentiates."""

from typing import Literal

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from jaxdl.functional.checks import check_indices, expect_array, widened


def accuracy(
    logits: Float[Array, "*batch classes"],
    labels: Int[Array, "*batch"],
    reduction: Literal["none", "mean"] = "mean",
) -> Float[Array, "..."]:
    """Share of the labels that have the largest logit; the first one wins a tie.

    With `reduction="none"`, 1 or 0 for each example. Float32 at least.

    Raises:
      ValueError: the labels have another shape than the logits without their classes,
        or are no integers; there is one class; or there is no such `reduction`.

    >>> accuracy(jnp.array([[0.1, 0.9], [0.8, 0.2]]), jnp.array([1, 1]))
    Array(0.5, dtype=float32)
    """
    _check_labels(logits, labels)
    return _reduced(logits.argmax(axis=-1) == labels, logits, reduction)


def top_k_accuracy(
    logits: Float[Array, "*batch classes"],
    labels: Int[Array, "*batch"],
    k: int,
    reduction: Literal["none", "mean"] = "mean",
) -> Float[Array, "..."]:
    """Share of the labels whose logit is among the `k` largest; the first wins a tie.

    With `reduction="none"`, 1 or 0 for each example. Float32 at least.

    Raises:
      ValueError: `k` is not within 1..classes, or as `accuracy`.

    >>> logits = jnp.array([[0.1, 0.9, 0.5], [0.8, 0.2, 0.3]])
    >>> top_k_accuracy(logits, jnp.array([2, 1]), 2)
    Array(0.5, dtype=float32)
    """
    _check_labels(logits, labels)
    if not 1 <= k <= logits.shape[-1]:
        raise ValueError(f"k={k} is not within 1..{logits.shape[-1]}, the classes")
    largest = lax.top_k(logits, k)[1]
    return _reduced((largest == labels[..., None]).any(axis=-1), logits, reduction)


def confusion_matrix(
    labels: Int[Array, " n"], predictions: Int[Array, " n"], num_classes: int
) -> Int[Array, "{num_classes} {num_classes}"]:
    """Counts examples by their class (rows) and the class predicted (columns).

    Raises:
      ValueError: `labels` and `predictions` are no integers, have not one axis of the
        same length, or hold a class outside of 0..num_classes-1. They can only be
        looked at outside of jit; inside, such an example is not counted.

    >>> confusion_matrix(jnp.array([0, 1, 1]), jnp.array([0, 0, 1]), 2)
    Array([[1, 0],
           [1, 1]], dtype=int32)
    """
    for name, classes in {"labels": labels, "predictions": predictions}.items():
        _check_integers(name, classes)
    if labels.ndim != 1 or labels.shape != predictions.shape:
        raise ValueError(
            f"labels {labels.shape} and predictions {predictions.shape} are not one"
            " class for each example"
        )
    inside = jnp.logical_and(
        check_indices("label", labels, num_classes),
        check_indices("prediction", predictions, num_classes),
    )
    # In 32 bits: small integers would wrap where they are compared.
    rows, columns = (widened(jnp.asarray(x)) for x in (labels, predictions))
    rows = jnp.where(inside, rows, num_classes)  # dropped there
    counts = jnp.zeros((num_classes, num_classes), jnp.int32)
    return counts.at[rows, columns].add(1, mode="drop")


def goal_of(metric: str, goal: Literal["min", "max"] | None) -> Literal["min", "max"]:
    """Returns whether the smallest or the largest value of a metric is the best.

    Without a `goal` only a loss is known to be best where it is smallest.

    Raises:
      ValueError: there is no such goal, or none for a metric that is no loss.
    """
    if goal is None and metric.endswith("loss"):
        return "min"
    if goal not in ("min", "max"):
        only = "; it may be left out for a metric that ends with 'loss'"
        said = f"goal={goal!r} of {metric!r} is not 'min' or 'max'"
        raise ValueError(said + (only if goal is None else ""))
    return goal


def _check_integers(name: str, classes) -> None:
    expect_array(name, classes)
    if not jnp.issubdtype(classes.dtype, jnp.integer):
        raise ValueError(f"{name} have dtype {classes.dtype}; expected integers")


def _check_labels(logits, labels) -> None:
    expect_array("logits", logits)
    expect_array("labels", labels)
    if labels.shape != logits.shape[:-1]:
        raise ValueError(f"labels {labels.shape} do not fit logits {logits.shape}")
    _check_integers("labels", labels)
    if logits.shape[-1] == 1:
        raise ValueError(
            f"logits {logits.shape} are of one class, which is always the largest; for"
            " a single logit compare its sign: (logits > 0) == labels"
        )


def _reduced(correct, logits, reduction: str):
    if reduction not in ("none", "mean"):
        raise ValueError(f"reduction={reduction!r} is not 'none' or 'mean'")
    correct = correct.astype(jnp.promote_types(logits.dtype, jnp.float32))
    return correct if reduction == "none" else jnp.mean(correct)
