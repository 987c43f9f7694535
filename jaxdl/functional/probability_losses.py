"""Losses of probabilities, as torch.nn.functional computes them."""

from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float

from jaxdl.functional.checks import at_least_float32, check_floating, check_values
from jaxdl.functional.reductions import Reduction, check_pair, reduce_losses

LEAST_VARIANCE = float(np.float32(1e-12))  # rounded by PyTorch, which in float64 shows


def binary_cross_entropy(
    input: Float[Array, "*shape"],
    target: Float[Array, "*shape"],
    weight: Float[Array, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    """-target · log(input) - (1 - target) · log(1 - input), for probabilities.

    Logarithms are no less than -100, and the gradient by `input` is
    (input - target) / max(input (1 - input), 1e-12): a certain and wrong prediction
    costs 100 and is corrected by a gradient of 1e12. The loss of logits has neither
    limit; prefer it. The gradient by `target`, log(1 - input) - log(input), is infinite
    there. `mean` divides by the number of elements, also with weights.

    Raises:
      ValueError: shapes differ, `weight` does not broadcast to them, a dtype is not
        floating, or a probability lies outside of [0, 1] or is NaN. Values can only be
        looked at outside of jit; inside, they make loss and gradient NaN.

    >>> binary_cross_entropy(jnp.array([0.5, 0.0]), jnp.array([0.0, 1.0]), None, "none")
    Array([  0.6931472, 100.       ], dtype=float32)
    """
    check_pair(input, target)
    _check_weight("weight", weight, input.shape)
    within = _check_probabilities("input", input)
    within &= _check_probabilities("target", target)
    losses = _clamped_losses(input, target) * jnp.where(within, 1, jnp.nan)
    return reduce_losses(losses if weight is None else weight * losses, reduction)


def binary_cross_entropy_with_logits(
    input: Float[Array, "*shape"],
    target: Float[Array, "*shape"],
    weight: Float[Array, "..."] | None = None,
    reduction: Reduction = "mean",
    pos_weight: Float[Array, "..."] | None = None,
) -> Float[Array, "..."]:
    """Binary cross-entropy of sigmoid(input), exact for large logits and small losses.

    The loss is -pos_weight · target · log σ(x) - (1 - target) · log(1 - σ(x)), times
    `weight`, with 1 - σ(x) = σ(-x) and log σ(x) = -log(1 + exp(-x)) computed without
    overflow. `pos_weight` above 1 raises recall, usually one number a class. Both
    weights broadcast to the input. `mean` divides by the number of elements.

    Raises:
      ValueError: shapes differ, a weight does not broadcast to them, or a dtype is not
        floating.

    >>> x, y = jnp.array([0.0, 1e3]), jnp.array([1.0, 0.0])
    >>> binary_cross_entropy_with_logits(x, y, reduction="none")
    Array([6.931472e-01, 1.000000e+03], dtype=float32)
    """
    check_pair(input, target)
    _check_weight("weight", weight, input.shape)
    _check_weight("pos_weight", pos_weight, input.shape)
    # Not log σ(-x) = log σ(x) - x: nothing of a small σ(x) is left in 1 - σ(-x).
    positive = target if pos_weight is None else pos_weight * target
    losses = -positive * jax.nn.log_sigmoid(input)
    losses -= (1 - target) * jax.nn.log_sigmoid(-input)
    return reduce_losses(losses if weight is None else weight * losses, reduction)


def kl_div(
    input: Float[Array, "*shape"],
    target: Float[Array, "*shape"],
    reduction: Reduction | Literal["batchmean"] = "mean",
    log_target: bool = False,
) -> Float[Array, "..."]:
    """Kullback-Leibler divergence of `input`, log-probabilities, from `target`.

    target · (log target - input), where 0 · log 0 is 0. With `log_target` the target
    holds logarithms as well. The divergence per example is "batchmean", which divides
    by the length of the first axis only: "mean" divides by the classes too.

    Raises:
      ValueError: shapes differ, where PyTorch broadcasts, or a dtype is not floating.

    >>> p, q = jnp.array([[0.0, 1.0]]), jnp.array([[0.5, 0.5]])
    >>> kl_div(jnp.log(q), p, reduction="batchmean")
    Array(0.6931472, dtype=float32)
    """
    check_pair(input, target)
    if log_target:
        losses = jnp.exp(target) * (target - input)
    else:
        # Not xlogy: in float16 its gradient by a target below 1e-5 is infinite.
        entropy = jnp.where(target == 0, 0, target * jnp.log(target))
        losses = entropy - target * input
    if reduction == "batchmean":
        return losses.sum() / (len(losses) if losses.ndim else 1)
    if reduction not in ("none", "mean", "sum"):
        choices = "'none', 'mean', 'sum' or 'batchmean'"
        raise ValueError(f"reduction={reduction!r} is not {choices}")
    return reduce_losses(losses, reduction)


@jax.custom_jvp
def _clamped_losses(p, target):
    log_p, log_q = jnp.maximum(jnp.log(p), -100), jnp.maximum(jnp.log1p(-p), -100)
    return -(target * log_p + (1 - target) * log_q)


@partial(_clamped_losses.defjvp, symbolic_zeros=True)
def _clamped_losses_jvp(primals, tangents):
    """PyTorch limits the denominator of one derivative, and not the other's logarithms.

    What is not differentiated is left out: an infinite derivative times 0 is NaN.
    """
    p, target = primals
    by_p, by_target = tangents
    losses = _clamped_losses(p, target)
    tangent = jnp.zeros_like(losses)
    if not isinstance(by_p, SymbolicZero):
        wide, error = at_least_float32(p), at_least_float32(p - target)
        # In float16 the limit would be 0.
        slope = error / jnp.maximum(wide * (1 - wide), LEAST_VARIANCE)
        tangent += (slope * by_p).astype(losses.dtype)
    if not isinstance(by_target, SymbolicZero):
        tangent += (jnp.log1p(-p) - jnp.log(p)) * by_target
    return losses, tangent


def _check_weight(name, weight, shape):
    """Raises ValueError for a weight that would give more losses than there are."""
    if weight is None:
        return
    check_floating(**{name: weight})
    sizes = zip(reversed(weight.shape), reversed(shape), strict=False)
    if weight.ndim > len(shape) or any(w not in (1, size) for w, size in sizes):
        raise ValueError(f"{name} {weight.shape} does not broadcast to {shape}")


def _check_probabilities(name, values):
    """Which values lie in [0, 1]; raises as `checks.check_values` for others."""
    within = (values >= 0) & (values <= 1)
    return check_values(name, values, within, "[0, 1]")
