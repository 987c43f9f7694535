"""Optimisers that divide each step by a size of the gradients seen so far."""

import math

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike
from jaxtyping import Array

from jaxdl.optimizers.arguments import (
    LearningRate,
    as_number,
    check_at_least,
    check_betas,
    gradient,
    in_float32,
    is_zero,
)


def adam(
    lr: LearningRate = 1e-3,
    betas: tuple[ArrayLike, ArrayLike] = (0.9, 0.999),
    eps: ArrayLike = 1e-8,
    weight_decay: ArrayLike = 0.0,
    amsgrad: bool = False,
    *,
    maximize: bool = False,
) -> optax.GradientTransformation:
    """Steps by -lr · m̂ / (√v̂ + eps), as torch.optim.Adam.

    m and v are running means of g and g², where g = gradient + weight_decay · params,
    and m̂ and v̂ those divided by 1 - betas**count. With `amsgrad`, v̂ is made of the
    largest v so far; optax takes the largest v̂.

    Source: Kingma and Ba, "Adam: A Method for Stochastic Optimization", 2014; Reddi et
    al., "On the Convergence of Adam and Beyond", 2018.

    Raises:
      ValueError: `lr`, `eps` or `weight_decay` is negative, or a beta outside [0, 1).

    >>> optimizer = adam(0.1)
    >>> params = jnp.array([2.0])
    >>> optimizer.update(jnp.array([50.0]), optimizer.init(params), params)[0].round(3)
    Array([-0.1], dtype=float32)
    """
    check_at_least(0, lr=lr, eps=eps, weight_decay=weight_decay)
    return optax.chain(
        *gradient(weight_decay, maximize),
        _adam_direction(betas, eps, amsgrad),
        optax.scale_by_learning_rate(lr),
    )


def adamw(
    lr: LearningRate = 1e-3,
    betas: tuple[ArrayLike, ArrayLike] = (0.9, 0.999),
    eps: ArrayLike = 1e-8,
    weight_decay: ArrayLike = 1e-2,
    amsgrad: bool = False,
    *,
    maximize: bool = False,
) -> optax.GradientTransformation:
    """Steps by -lr · (m̂ / (√v̂ + eps) + weight_decay · params), as torch.optim.AdamW.

    The decay is no part of the gradient and so is not divided by √v̂. By default it is
    1e-2 as in PyTorch, not 1e-4 as in optax.

    Source: Loshchilov and Hutter, "Decoupled Weight Decay Regularization", 2017.

    Raises:
      ValueError: `lr`, `eps` or `weight_decay` is negative, or a beta outside [0, 1).

    >>> optimizer = adamw(0.1, weight_decay=0.5)
    >>> params = jnp.array([2.0])
    >>> optimizer.update(jnp.array([0.0]), optimizer.init(params), params)[0]
    Array([-0.1], dtype=float32)
    """
    check_at_least(0, lr=lr, eps=eps, weight_decay=weight_decay)
    return optax.chain(
        *gradient(0, maximize),
        _adam_direction(betas, eps, amsgrad),
        *gradient(weight_decay, maximize=False),
        optax.scale_by_learning_rate(lr),
    )


def rmsprop(
    lr: LearningRate = 1e-2,
    alpha: ArrayLike = 0.99,
    eps: ArrayLike = 1e-8,
    weight_decay: ArrayLike = 0.0,
    momentum: ArrayLike = 0.0,
    centered: bool = False,
    *,
    maximize: bool = False,
) -> optax.GradientTransformation:
    """Steps by -lr · b, b = momentum · b + g / (√v + eps), as torch.optim.RMSprop.

    v = alpha · v + (1 - alpha) · g², less the square of the running mean of g where
    `centered`; eps is outside of the root. A centred v that rounds below 0, as it may
    after many equal gradients, makes the step NaN, here and in PyTorch.

    Source: Tieleman and Hinton, "Neural Networks for Machine Learning", 2012, lecture
    6.5; Graves, "Generating Sequences With Recurrent Neural Networks", 2013, §4.

    Raises:
      ValueError: one of the numbers is negative.

    >>> optimizer = rmsprop(0.1, alpha=0.75)
    >>> params = jnp.array([2.0])
    >>> optimizer.update(jnp.array([-8.0]), optimizer.init(params), params)[0]
    Array([0.2], dtype=float32)
    """
    check_at_least(
        0, lr=lr, alpha=alpha, eps=eps, weight_decay=weight_decay, momentum=momentum
    )
    direction = optax.scale_by_stddev if centered else optax.scale_by_rms
    return optax.chain(
        *gradient(weight_decay, maximize),
        in_float32(direction(alpha, eps, initial_scale=0.0, eps_in_sqrt=False)),
        *([] if is_zero(momentum) else [optax.trace(momentum)]),
        optax.scale_by_learning_rate(lr),
    )


def adagrad(
    lr: LearningRate = 1e-2,
    lr_decay: ArrayLike = 0.0,
    weight_decay: ArrayLike = 0.0,
    initial_accumulator_value: ArrayLike = 0.0,
    eps: ArrayLike = 1e-10,
    *,
    maximize: bool = False,
) -> optax.GradientTransformation:
    """Steps by -lr / (1 + count · lr_decay) · g / (√Σg² + eps), as torch.optim.Adagrad.

    `count` is 0 in the first step. The sum of squares starts from
    `initial_accumulator_value`: 0, not optax's 0.1.

    Source: Duchi, Hazan and Singer, "Adaptive Subgradient Methods for Online Learning
    and Stochastic Optimization", 2011.

    Raises:
      ValueError: one of the numbers is negative.

    >>> optimizer = adagrad(0.5)
    >>> params = jnp.array([2.0])
    >>> optimizer.update(jnp.array([-8.0]), optimizer.init(params), params)[0]
    Array([0.5], dtype=float32)
    """
    check_at_least(
        0,
        lr=lr,
        lr_decay=lr_decay,
        weight_decay=weight_decay,
        initial_accumulator_value=initial_accumulator_value,
        eps=eps,
    )

    lr, lr_decay = as_number("lr", lr), as_number("lr_decay", lr_decay)

    def decayed(count):
        return (lr(count) if callable(lr) else lr) / (1 + count * lr_decay)

    return optax.chain(
        *gradient(weight_decay, maximize),
        _divide_by_root_of_sum(initial_accumulator_value, eps),
        optax.scale_by_learning_rate(lr if is_zero(lr_decay) else decayed),
    )


def _adam_direction(
    betas: tuple[ArrayLike, ArrayLike], eps: ArrayLike, amsgrad: bool
) -> optax.GradientTransformation:
    """`optax.scale_by_adam` or `scale_by_amsgrad`, with a bias correction of its own.

    The maximum of AMSGrad is taken before v's correction.
    """
    check_betas(betas)
    b1, b2 = betas

    def update(updates, state, params=None):
        mu = optax.tree.update_moment(updates, state.mu, b1, 1)
        nu = optax.tree.update_moment_per_elem_norm(updates, state.nu, b2, 2)
        count = optax.safe_increment(state.count)
        if amsgrad:
            largest = jax.tree.map(jnp.maximum, state.nu_max, nu)
            state = optax.ScaleByAmsgradState(count, mu, nu, largest)
        else:
            largest, state = nu, optax.ScaleByAdamState(count, mu, nu)
        of_m, of_v = (_bias_correction(beta, count) for beta in betas)

        def direction(m, v):
            m_hat, v_hat = m / of_m.astype(m.dtype), v / of_v.astype(v.dtype)
            return m_hat / (jnp.sqrt(v_hat) + eps)

        return jax.tree.map(direction, mu, largest), state

    like = optax.scale_by_amsgrad if amsgrad else optax.scale_by_adam
    return in_float32(optax.GradientTransformation(like().init, update))


def _bias_correction(beta: ArrayLike, count: Array) -> Array:
    """1 - beta**count, from a logarithm in Python's float64 where beta is a number.

    In float32 0.999 itself is 1e-8 off, which is 1e-5 of 1 - 0.999.
    """
    if not isinstance(beta, float | int):
        return -jnp.expm1(count * jnp.log(beta))
    return -jnp.expm1(count * (math.log(beta) if beta else -math.inf))


def _divide_by_root_of_sum(
    initial_accumulator_value: ArrayLike, eps: ArrayLike
) -> optax.GradientTransformation:
    """`optax.scale_by_rss` with eps outside of the root."""

    def update(updates, state, params=None):
        sums = jax.tree.map(lambda s, g: s + g**2, state.sum_of_squares, updates)
        updates = jax.tree.map(lambda g, s: g / (jnp.sqrt(s) + eps), updates, sums)
        return updates, optax.ScaleByRssState(sums)

    return optax.GradientTransformation(
        optax.scale_by_rss(initial_accumulator_value).init, update
    )
