"""Layers written by hand: without parameters, with them, and with many of them."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.dtypes import promote_dtype
from jaxtyping import Array, Float

from jaxdl.functional import corr2d, linear, relu
from jaxdl.initializers import normal
from jaxdl.layers.inputs import check_inputs

Features = Float[Array, "*batch features"]
Outputs = Float[Array, "*batch outputs"]


class CenteredLayer(nn.Module):
    """Subtracts the mean of everything it is given.

    >>> CenteredLayer().apply({}, jnp.array([1.0, 2.0, 3.0, 4.0, 5.0]))
    Array([-2., -1.,  0.,  1.,  2.], dtype=float32)
    """

    @nn.compact
    def __call__(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        return x - x.mean()


class MyLinear(nn.Module):
    """A linear layer and ReLU, its `weight` (in, units) and `bias` from N(0, 1).

    Both get their gradients. In the course's own they get none, since it computes with
    `weight.data`.

    Raises:
      ValueError: `x` has not the features that the parameters were made for.
    """

    units: int

    @nn.compact
    def __call__(self, x: Features) -> Outputs:
        check_inputs(self, "input features", x.shape[-1], "weight")
        weight = self.param("weight", normal(), (x.shape[-1], self.units))
        bias = self.param("bias", normal(), (self.units,))
        return relu(linear(*promote_dtype(x, weight, bias)))


class Corr2D(nn.Module):
    """Cross-correlates one array with its `weight` and adds its one `bias`: `corr2d`.

    Both start from N(0, 1). For batches of images with channels use
    `jaxdl.layers.Conv`.

    Raises:
      ValueError: the kernel is larger than the array.
    """

    kernel_size: tuple[int, int]

    @nn.compact
    def __call__(
        self, x: Float[Array, "height width"]
    ) -> Float[Array, "out_height out_width"]:
        weight = self.param("weight", normal(), self.kernel_size)
        bias = self.param("bias", normal(), (1,))
        return corr2d(x, weight) + bias


class ListedWeights(nn.Module):
    """Multiplies by one matrix after another: a list of parameters, `weights`.

    Three matrices keep the number of features and a last one leads to `outputs`. The
    entries are named "0" to "3", as in torch.nn.ParameterList.

    Raises:
      ValueError: `x` has not the features that the parameters were made for.
    """

    outputs: int = 1

    @nn.compact
    def __call__(self, x: Features) -> Outputs:
        n = x.shape[-1]
        shapes = {"0": (n, n), "1": (n, n), "2": (n, n), "3": (n, self.outputs)}
        _check_features(self, n, "0")
        weights = self.param("weights", _draw_each, shapes)
        for weight in weights.values():
            x = x @ weight
        return x


class KeyedWeights(nn.Module):
    """Multiplies by the matrix of the given name: a dictionary of parameters.

    `weights` holds linear1 (in, in), linear2 (in, 1) and linear3 (in, 2), as a
    torch.nn.ParameterDict. All are made, whichever is chosen.

    Raises:
      ValueError: there is no such `choice`, or `x` has not the features that the
        parameters were made for.
    """

    @nn.compact
    def __call__(self, x: Features, choice: str = "linear1") -> Outputs:
        n = x.shape[-1]
        shapes = {"linear1": (n, n), "linear2": (n, 1), "linear3": (n, 2)}
        if choice not in shapes:
            raise ValueError(f"choice={choice!r} is none of {', '.join(shapes)}")
        _check_features(self, n, choice)
        weights = self.param("weights", _draw_each, shapes)
        return x @ weights[choice]


def _draw_each(
    key: Array, shapes: dict[str, tuple[int, ...]]
) -> dict[str, Float[Array, "..."]]:
    keys = jax.random.split(key, len(shapes))
    return {
        name: normal()(k, shape, jnp.float32)
        for k, (name, shape) in zip(keys, shapes.items(), strict=True)
    }


def _check_features(layer: nn.Module, given: int, name: str) -> None:
    if layer.has_variable("params", "weights"):
        made_for = len(layer.get_variable("params", "weights")[name])
        if made_for != given:
            raise ValueError(
                f"{type(layer).__name__} was made for {made_for} input features and is"
                f" given {given}"
            )
