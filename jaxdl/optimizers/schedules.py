"""torch.optim.lr_scheduler's learning rates as functions of the count of steps.

A schedule is given to an optimiser for `lr` and is called with 0 in its first step. It
counts optimiser steps. Where a PyTorch program calls `scheduler.step()` once an epoch,
multiply its counts by the steps per epoch, `jaxdl.training.steps_per_epoch`:

    sgd(step_lr(0.1, step_size=30 * steps_per_epoch(n, batch_size)))

LambdaLR is any function of the count; `optax.schedules` has more.
"""

from collections.abc import Sequence
from math import log, pi

import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike
from jaxtyping import Array

from jaxdl.optimizers.arguments import (
    as_number,
    check_at_least,
    check_shares,
    is_known,
)


def step_lr(lr: ArrayLike, step_size: int, gamma: ArrayLike = 0.1) -> optax.Schedule:
    """Multiplies the rate by gamma at every multiple of step_size, as StepLR.

    Raises:
      ValueError: `step_size` is below 1.

    >>> schedule = step_lr(0.5, step_size=2, gamma=0.5)
    >>> [schedule(count) for count in range(5)]
    [0.5, 0.5, 0.25, 0.25, 0.125]
    """
    check_at_least(1, step_size=step_size)
    lr, gamma = as_number("lr", lr), as_number("gamma", gamma)
    return lambda count: lr * gamma ** (count // step_size)


def multistep_lr(
    lr: ArrayLike, milestones: Sequence[int], gamma: ArrayLike = 0.1
) -> optax.Schedule:
    """Multiplies the rate by gamma at each of the milestones, as MultiStepLR.

    >>> schedule = multistep_lr(0.5, [1, 3], gamma=0.5)
    >>> [schedule(count) for count in range(5)]
    [0.5, 0.25, 0.25, 0.125, 0.125]
    """
    lr, gamma, milestones = (
        as_number("lr", lr),
        as_number("gamma", gamma),
        tuple(milestones),
    )
    return lambda count: lr * gamma ** sum(count >= m for m in milestones)


def exponential_lr(lr: ArrayLike, gamma: ArrayLike) -> optax.Schedule:
    """Multiplies the rate by gamma at every step, as ExponentialLR.

    A gamma that PyTorch applies once an epoch is gamma ** (1 / steps_per_epoch) here.

    >>> float(exponential_lr(0.5, gamma=0.5)(2))
    0.125
    """
    lr, gamma = as_number("lr", lr), as_number("gamma", gamma)
    if not isinstance(gamma, float) or gamma <= 0:
        return lambda count: lr * gamma**count
    # In float32 a gamma near 1 is 3e-8 off, and so is each of its 100,000 factors.
    return lambda count: lr * jnp.exp(count * log(gamma))


def cosine_annealing_lr(
    lr: ArrayLike, T_max: int, eta_min: float | int = 0.0
) -> optax.Schedule:
    """Goes from lr to eta_min in T_max steps by half a cosine, as CosineAnnealingLR.

    After T_max it goes up again and is back at lr at 2 · T_max, as in PyTorch.
    `optax.cosine_decay_schedule(lr, T_max, alpha=eta_min / lr)` stays at eta_min.

    Source: Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm
    Restarts", 2016, equation 5, without the restarts.

    Raises:
      ValueError: `T_max` is below 1.

    >>> schedule = cosine_annealing_lr(0.5, T_max=10)
    >>> [round(float(schedule(count)), 2) for count in (0, 5, 10, 15)]
    [0.5, 0.25, 0.0, 0.25]
    """
    check_at_least(1, T_max=T_max)
    lr, eta_min = as_number("lr", lr), as_number("eta_min", eta_min)
    return lambda count: (
        eta_min + (lr - eta_min) / 2 * (1 + jnp.cos(pi * count / T_max))
    )


def linear_lr(
    lr: ArrayLike,
    start_factor: float | int | Array = 1 / 3,
    end_factor: float | int | Array = 1.0,
    total_iters: int = 5,
) -> optax.Schedule:
    """Goes from lr · start_factor to lr · end_factor in total_iters steps, as LinearLR.

    After that it stays there. This is the usual warm-up.

    Raises:
      ValueError: `start_factor` is not within (0, 1], `end_factor` not within [0, 1],
        or `total_iters` is below 1.

    >>> schedule = linear_lr(0.5, start_factor=0.5, total_iters=2)
    >>> [float(schedule(count)) for count in range(4)]
    [0.25, 0.375, 0.5, 0.5]
    """
    lr = as_number("lr", lr)
    start_factor = as_number("start_factor", start_factor)
    end_factor = as_number("end_factor", end_factor)
    if is_known(start_factor) and not 0 < np.asarray(start_factor) <= 1:
        raise ValueError(f"start_factor={start_factor} is not within (0, 1]")
    check_shares(end_factor=end_factor)
    check_at_least(1, total_iters=total_iters)
    change = end_factor - start_factor
    # Not optax.linear_schedule: it divides counts in float32 also where lr is float64.
    return lambda count: (
        lr * (start_factor + change * jnp.minimum(count, total_iters) / total_iters)
    )


def sequential_lr(
    schedules: Sequence[optax.Schedule], milestones: Sequence[int]
) -> optax.Schedule:
    """Follows one schedule after the other, each counting from 0, as SequentialLR.

    The next one begins at each milestone. This is `optax.join_schedules`, which takes
    lists of any lengths.

    Raises:
      ValueError: there is not one milestone less than there are schedules.

    >>> warm_up = linear_lr(0.5, start_factor=0.5, total_iters=10)
    >>> schedule = sequential_lr([warm_up, cosine_annealing_lr(0.5, T_max=90)], [10])
    >>> float(schedule(0)), float(schedule(10)), float(schedule(100))
    (0.25, 0.5, 0.0)
    """
    if len(milestones) != len(schedules) - 1:
        raise ValueError(
            f"{len(schedules)} schedules need {len(schedules) - 1} milestones,"
            f" got {list(milestones)}"
        )
    return optax.join_schedules(schedules, milestones)
