"""Losses as torch.nn.functional computes them, with the class axis last."""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

Reduction = Literal["none", "mean", "sum"]


def mse_loss(
    input: Float[Array, "..."],
    target: Float[Array, "..."],
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    """Squared error, without the factor ½ of `optax.l2_loss`.

    Raises:
      ValueError: the shapes differ. PyTorch broadcasts them with a warning, and so
        makes n² errors of a (n,) target beside an (n, 1) input.

    >>> mse_loss(jnp.array([1.0, 2.0]), jnp.array([1.0, 4.0]))
    Array(2., dtype=float32)
    """
    if input.shape != target.shape:
        raise ValueError(f"input {input.shape} and target {target.shape} differ")
    return _reduce((input - target) ** 2, reduction)


def cross_entropy(
    input: Float[Array, "*batch classes"],
    target: Int[Array, "*batch"] | Float[Array, "*batch classes"],
    weight: Float[Array, " classes"] | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
) -> Float[Array, "..."]:
    """Negative log-likelihood of `target` under softmax(input), in nats.

    `target` holds class indices, or a probability of every class for each example. The
    loss is log Σ exp(input) - input[target]: with the largest logit taken out of the
    sum it neither overflows nor takes the log of a probability that was rounded to 0,
    as log(softmax(input)) computed in two steps does.

    With class indices, `mean` divides by the summed weights of the examples that
    count, so it is NaN when all are ignored; with probabilities it divides by the
    number of examples (torch/nn/functional.py, cross_entropy). `label_smoothing` mixes
    the target with the uniform distribution (Szegedy et al., "Rethinking the Inception
    Architecture for Computer Vision", 2015, §7).

    Raises:
      ValueError: shapes or types do not fit, `label_smoothing` lies outside of [0, 1],
        or a label outside of 0..classes-1 without being `ignore_index`. Labels can only
        be looked at outside of jit; inside, such a label makes the loss NaN.

    >>> cross_entropy(jnp.array([[0.0, 0.0], [1e3, 0.0]]), jnp.array([0, 0]))
    Array(0.3465736, dtype=float32)
    """
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing={label_smoothing} is not within [0, 1]")
    classes = input.shape[-1]
    probabilities = target.shape == input.shape
    if not probabilities and target.shape != input.shape[:-1]:
        raise ValueError(f"target {target.shape} does not fit input {input.shape}")
    if probabilities != jnp.issubdtype(target.dtype, jnp.floating):
        raise ValueError(
            f"target has dtype {target.dtype} and shape {target.shape}: probabilities"
            f" are floats of shape {input.shape}, labels integers {input.shape[:-1]}"
        )
    if weight is not None and weight.shape != (classes,):
        raise ValueError(f"weight {weight.shape} does not fit {classes} classes")
    log_p = jax.nn.log_softmax(input, axis=-1)
    weighted = log_p if weight is None else weight * log_p

    def smoothed(losses):
        if label_smoothing == 0:  # 0 times the loss of a class with logit -inf is NaN
            return losses
        uniform = -weighted.mean(axis=-1)
        return (1 - label_smoothing) * losses + label_smoothing * uniform

    if probabilities:
        return _reduce(smoothed(-jnp.sum(target * weighted, axis=-1)), reduction)

    check_labels(target, classes, ignore_index)
    counts = target != ignore_index
    # A gather wraps negative indices; move them past the end, where it fills with NaN.
    labels = jnp.where(counts & (target < 0), classes, target)
    labels = jnp.where(counts, labels, 0)
    losses = -jnp.take_along_axis(
        weighted, labels[..., None], axis=-1, mode="fill", fill_value=jnp.nan
    ).squeeze(-1)
    losses = jnp.where(counts, smoothed(losses), 0)
    if reduction != "mean":
        return _reduce(losses, reduction)

    weights = jnp.ones_like(losses) if weight is None else weight[labels]
    return losses.sum() / jnp.sum(jnp.where(counts, weights, 0))


def check_labels(
    labels: Int[Array, "..."], classes: int, ignore_index: int | None = None
) -> None:
    """Raises ValueError for a label outside of 0..classes-1; inside jit, nothing."""
    if isinstance(labels, jax.core.Tracer):
        return
    values = np.asarray(labels)
    wrong = (values < 0) | (values >= classes)
    if ignore_index is not None:
        wrong &= values != ignore_index
    if wrong.any():
        where = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise ValueError(
            f"label {values[where]} at {where} lies outside of 0..{classes - 1}"
        )


def _reduce(values: Float[Array, "..."], reduction: Reduction) -> Float[Array, "..."]:
    match reduction:
        case "none":
            return values
        case "mean":
            return values.mean()
        case "sum":
            return values.sum()
    raise ValueError(f"reduction={reduction!r} is not 'none', 'mean' or 'sum'")
