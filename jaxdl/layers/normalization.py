"""Normalisation layers with PyTorch's parameters, statistics and defaults."""

from dataclasses import KW_ONLY
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from flax.linen.dtypes import promote_dtype
from jaxtyping import Array, Float

from jaxdl.functional.normalization import batch_norm
from jaxdl.initializers import Initializer
from jaxdl.layers.inputs import check_inputs


class BatchNorm(nn.Module):
    """Normalises each channel, the last axis, by the statistics of the batch.

    One class for PyTorch's BatchNorm1d, 2d and 3d; `jaxdl.functional.batch_norm` says
    what is computed. The parameters `scale` and `bias` start from 1 and 0, or `scale`
    from `scale_init`. The collection "batch_stats" holds `mean`, `var` and
    `num_batches_tracked`; every call with `train` updates it, so apply with
    mutable=["batch_stats"]. Initialisation does not, whatever `train` is. `momentum` is
    PyTorch's, 1 minus Flax's; None averages over all batches so far. Without
    `track_running_stats` evaluation uses the batch's statistics as well, so that
    batches of another size, or one that is filled up, give other numbers.

    Raises:
      ValueError: as `jaxdl.functional.batch_norm`, or `x` has not the channels that
        the layer was made for.
    """

    _: KW_ONLY
    momentum: float | None = 0.1
    eps: float = 1e-5
    affine: bool = True
    track_running_stats: bool = True
    scale_init: Initializer = nn.initializers.ones

    @nn.compact
    def __call__(
        self, x: Float[Array, "*batch channels"], *, train: bool
    ) -> Float[Array, "*batch channels"]:
        channels = x.shape[-1]
        check_inputs(self, "channels", channels, "scale", axis=0)
        check_inputs(self, "channels", channels, "mean", 0, "batch_stats")
        parameters: list[Any] = [None, None]
        if self.affine:
            parameters = [
                self.param("scale", self.scale_init, (channels,), jnp.float32),
                self.param("bias", nn.initializers.zeros, (channels,), jnp.float32),
            ]
        x, weight, bias = promote_dtype(x, *parameters)
        if not self.track_running_stats:
            return batch_norm(x, None, None, weight, bias, train=train, eps=self.eps)[0]

        mean, var, batches = self._statistics(channels)
        train = train and not self.is_initializing()
        if train:
            batches.value = batches.value + 1  # a new array: += may change the given
        momentum: float | Array | None = self.momentum
        if momentum is None:
            momentum = 1 / jnp.maximum(batches.value, 1).astype(mean.value.dtype)
        output, running = batch_norm(
            x, mean.value, var.value, weight, bias,
            train=train, momentum=momentum, eps=self.eps,
        )  # fmt: skip
        if train:
            mean.value, var.value = running
        return output

    def _statistics(self, channels: int) -> list[nn.Variable]:
        initial = {
            "mean": lambda: jnp.zeros(channels, jnp.float32),
            "var": lambda: jnp.ones(channels, jnp.float32),
            "num_batches_tracked": lambda: jnp.int32(0),
        }
        return [self.variable("batch_stats", *item) for item in initial.items()]


class LayerNorm(nn.LayerNorm):
    """Normalises the last axis of each example: Flax's own, with PyTorch's defaults.

    They are its epsilon, and a variance that survives a large mean. For several axes,
    as PyTorch's normalized_shape of length 2, give reduction_axes=(-2, -1) and
    feature_axes=(-2, -1).
    """

    _: KW_ONLY
    epsilon: float = 1e-5
    use_fast_variance: bool = False

    def __post_init__(self) -> None:
        """Raises ValueError for PyTorch's normalized_shape, Flax's first setting."""
        if isinstance(self.dtype, int | tuple | list):
            raise ValueError(
                f"LayerNorm({self.dtype}): the input tells its last axis; for several"
                " give reduction_axes and feature_axes"
            )
        super().__post_init__()
