"""Losses of numbers and of class labels, as torch.nn.functional computes them.

The class axis is last. Losses of probabilities are in `probability_losses`. Where
PyTorch's losses of numbers take `weight`, reduce by hand: with
`losses = mse_loss(x, y, reduction="none")` its mean is
`jnp.sum(weight * losses) / jnp.sum(weight)`.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer

from jaxdl.functional.checks import (
    Number,
    at_least_float32,
    check_floating,
    check_indices,
    check_setting,
    check_share,
    expect_array,
    is_traced,
    widened,
)
from jaxdl.functional.reductions import Reduction, check_pair, reduce_losses


def mse_loss(
    input: Float[Array, "*shape"],
    target: Float[Array, "*shape"],
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    """Squared error, without the factor ½ of `optax.l2_loss`.

    Raises:
      ValueError: shapes differ, where PyTorch broadcasts, or a dtype is not floating.

    >>> mse_loss(jnp.array([1.0, 2.0]), jnp.array([1.0, 4.0]))
    Array(2., dtype=float32)
    """
    check_pair(input, target)
    return reduce_losses((input - target) ** 2, reduction)


def l1_loss(
    input: Float[Array, "*shape"],
    target: Float[Array, "*shape"],
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    """Absolute error; its gradient where both are equal is 0.

    Raises:
      ValueError: shapes differ, where PyTorch broadcasts, or a dtype is not floating.

    >>> l1_loss(jnp.array([1.0, 2.0]), jnp.array([1.0, 4.0]))
    Array(1., dtype=float32)
    """
    check_pair(input, target)
    error = input - target
    # Not jnp.abs, whose gradient at 0 is 1.
    return reduce_losses(error * jnp.sign(error), reduction)


def smooth_l1_loss(
    input: Float[Array, "*shape"],
    target: Float[Array, "*shape"],
    reduction: Reduction = "mean",
    beta: Number = 1.0,
) -> Float[Array, "..."]:
    """|e| - β/2 for errors e beyond `beta`, e²/2β within: `huber_loss` / β.

    With `beta=0` it is `l1_loss` (Girshick, "Fast R-CNN", 2015, §2.3, where β = 1).

    Raises:
      ValueError: `beta` is negative, shapes differ, or a dtype is not floating. A
        traced `beta` that is negative gives NaN.

    >>> smooth_l1_loss(jnp.array([0.0, 0.0]), jnp.array([1.0, 4.0]), "none")
    Array([0.5, 3.5], dtype=float32)
    """
    check_pair(input, target)
    beta = check_setting("beta", beta, lambda beta: beta >= 0, "[0, inf]")
    error = input - target
    beta = jnp.asarray(beta, error.dtype)
    small, large, beta_of_large = _parted(error, beta)
    curve = small * (small / 2 / jnp.where(beta == 0, 1, beta))
    return reduce_losses(curve + jnp.abs(large) - beta_of_large / 2, reduction)


def huber_loss(
    input: Float[Array, "*shape"],
    target: Float[Array, "*shape"],
    reduction: Reduction = "mean",
    delta: Number = 1.0,
) -> Float[Array, "..."]:
    """e²/2 for errors e up to `delta`, beyond it the line δ (|e| - δ/2) that goes on.

    The gradient is the error, clipped to ±δ (Huber, "Robust Estimation of a Location
    Parameter", 1964).

    Raises:
      ValueError: `delta` is not above 0, shapes differ, or a dtype is not floating. A
        traced `delta` that is not above 0 gives NaN.

    >>> huber_loss(jnp.array([0.0, 0.0]), jnp.array([1.0, 4.0]), "none", delta=2.0)
    Array([0.5, 6. ], dtype=float32)
    """
    check_pair(input, target)
    delta = check_setting("delta", delta, lambda delta: delta > 0, "(0, inf]")
    error = input - target
    small, large, delta = _parted(error, jnp.asarray(delta, error.dtype))
    curve, line = small * (small / 2), delta * (jnp.abs(large) - delta / 2)
    return reduce_losses(curve + line, reduction)


def _parted(error, width):
    """Returns the errors up to a width, the others, and the width where the others are.

    With zeros between: the gradient of an inf² that is not used would be 0 · inf.
    """
    error = error * jnp.where(width == width, 1, jnp.nan)  # a width out of its range
    near = ~(jnp.abs(error) > width)  # NaN among them, which has a gradient of NaN
    of_others = lambda array: jnp.where(near, 0, array)
    return jnp.where(near, error, 0), of_others(error), of_others(width)


def nll_loss(
    input: Float[Array, "*batch classes"],
    target: Integer[Array, "*batch"],
    weight: Float[Array, " classes"] | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    """Negative log-likelihood of the labels, for log-probabilities as input.

    It is -weight[target] · input[target], and 0 where the label is `ignore_index`.
    `mean` divides by the summed weights of the examples that count, not by their
    number, so it is NaN when all are ignored or weigh nothing.

    Raises:
      ValueError: shapes or dtypes do not fit, or a label lies outside of 0..classes-1
        without being `ignore_index`. Labels can only be looked at outside of jit;
        inside, such a label makes loss and gradient NaN.

    >>> nll_loss(jnp.log(jnp.array([[0.25, 0.75], [0.5, 0.5]])), jnp.array([1, 0]))
    Array(0.49041462, dtype=float32)
    """
    _check_classes(input, weight)
    _check_labels(input, target)
    log_p = input if weight is None else weight * input
    return _reduce_labelled(
        lambda picked: picked, log_p, target, weight, ignore_index, reduction
    )


def cross_entropy(
    input: Float[Array, "*batch classes"],
    target: Integer[Array, "*batch"] | Float[Array, "*batch classes"],
    weight: Float[Array, " classes"] | None = None,
    ignore_index: int | None = -100,
    reduction: Reduction = "mean",
    label_smoothing: Number = 0.0,
) -> Float[Array, "..."]:
    """Negative log-likelihood of `target` under softmax(input), in nats.

    `target` holds class indices, or a probability of every class for each example. The
    loss is log Σ exp(input) - input[target]: with the largest logit taken out of the
    sum it neither overflows nor takes the log of a probability that was rounded to 0,
    as log(softmax(input)) computed in two steps does.

    With class indices, `mean` divides by the summed weights of the examples that
    count, so it is NaN when all are ignored; with probabilities it divides by the
    number of examples (torch/nn/functional.py, cross_entropy). With `ignore_index=None`
    every example counts, and no label is allowed but classes. `label_smoothing` mixes
    the target with the uniform distribution (Szegedy et al., "Rethinking the Inception
    Architecture for Computer Vision", 2015, §7).

    Raises:
      ValueError: shapes or types do not fit, `label_smoothing` lies outside of [0, 1],
        an `ignore_index` from 0 on is given with probabilities, or a label lies outside
        of 0..classes-1 without being `ignore_index`. Labels can only be looked at
        outside of jit; inside, such a label makes loss and gradient NaN, as does a
        traced `label_smoothing` out of range.

    >>> cross_entropy(jnp.array([[0.0, 0.0], [1e3, 0.0]]), jnp.array([0, 0]))
    Array(0.3465736, dtype=float32)
    """
    _check_classes(input, weight)
    label_smoothing = check_share("label_smoothing", label_smoothing)
    smooths = is_traced(label_smoothing) or label_smoothing > 0
    if smooths:
        label_smoothing = jnp.asarray(label_smoothing, input.dtype)
    log_p = jax.nn.log_softmax(input, axis=-1)
    log_p = log_p if weight is None else weight * log_p
    if target.shape == input.shape:
        check_floating(target=target)
        if ignore_index is not None and ignore_index >= 0:
            raise ValueError(
                f"ignore_index={ignore_index} is for class indices: the target holds"
                " probabilities"
            )
        # Not a mean of two losses: the one of a class with logit -inf, of which the
        # target has nothing, is NaN.
        if smooths:
            uniform = 1 / input.shape[-1]
            target = jnp.asarray((1 - label_smoothing) * target)
            target += label_smoothing * uniform
        return reduce_losses(-jnp.sum(target * log_p, axis=-1), reduction)
    _check_labels(input, target)

    def smoothed(losses):
        if not smooths:
            return losses
        uniform = -log_p.mean(axis=-1)
        # 0 times the loss of a class with logit -inf would be NaN.
        counts = (label_smoothing != 0) | jnp.isfinite(uniform)
        uniform = jnp.where(counts, uniform, 0)
        return (1 - label_smoothing) * losses + label_smoothing * uniform

    return _reduce_labelled(smoothed, log_p, target, weight, ignore_index, reduction)


def _check_classes(input, weight):
    check_floating(input=input, weight=weight)
    if input.ndim == 0:
        raise ValueError("input () has no class axis")
    if weight is not None and weight.shape != input.shape[-1:]:
        raise ValueError(
            f"weight {weight.shape} does not fit {input.shape[-1]} classes"
        )


def _check_labels(input, target):
    expect_array("target", target)
    if target.shape != input.shape[:-1]:
        raise ValueError(f"target {target.shape} does not fit input {input.shape}")
    if not jnp.issubdtype(target.dtype, jnp.integer):
        raise ValueError(f"target has dtype {target.dtype}: labels are integers")


def _reduce_labelled(smoothed, log_p, target, weight, ignore_index, reduction):
    """Reduces `smoothed` of -log_p[target] over the labels that are not ignored."""
    # In uint8, -100 would be 156 and 300 classes would be 44.
    target = widened(target)
    classes = log_p.shape[-1]
    within = check_indices("label", target, classes, ignore_index)
    counts = ignore_index is None or target != ignore_index
    labels = jnp.where(within & counts, target, 0)
    picked = -jnp.take_along_axis(log_p, labels[..., None], axis=-1).squeeze(-1)
    losses = smoothed(jnp.where(within, 1, jnp.nan) * picked)
    losses = jnp.where(counts, losses, 0)
    if reduction != "mean":
        return reduce_losses(losses, reduction)
    # Half precision cannot count a segmented image's pixels.
    wide = at_least_float32(losses)
    weights = jnp.ones_like(wide) if weight is None else jnp.asarray(weight)[labels]
    total = jnp.sum(jnp.where(counts, weights.astype(wide.dtype), 0))
    if weight is not None:  # smoothed losses of labels that weigh nothing are no 0
        total = jnp.where(total == 0, jnp.nan, total)
    return (wide.sum() / total).astype(losses.dtype)
