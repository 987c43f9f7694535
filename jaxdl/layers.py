"""Flax modules with PyTorch's parameters, defaults and default initialisation.

Parameters are float32; inputs and parameters are promoted to the wider of their types.
"""

import math

from flax import linen as nn
from flax.linen.dtypes import promote_dtype
from jaxtyping import Array, Float

from jaxdl.functional.convolution import Padding, as_pair, conv2d
from jaxdl.initializers import Initializer, fan_in_uniform


class Linear(nn.Module):
    """Computes x W + b, with W of shape (in, out), the transpose of PyTorch's.

    Weights and biases start from U(±1/√in) unless other initialisers are given.

    Raises:
      ValueError: `x` has not the features that the parameters were made for.
    """

    features: int
    use_bias: bool = True
    kernel_init: Initializer | None = None
    bias_init: Initializer | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "*batch in"]) -> Float[Array, "*batch out"]:
        fan_in = x.shape[-1]
        _check_inputs(self, "input features", fan_in)
        kernel_init = self.kernel_init or fan_in_uniform()
        kernel = self.param("kernel", kernel_init, (fan_in, self.features))
        bias = None
        if self.use_bias:
            bias_init = self.bias_init or fan_in_uniform(fan_in)
            bias = self.param("bias", bias_init, (self.features,))
        x, kernel, bias = promote_dtype(x, kernel, bias)
        return x @ kernel if bias is None else x @ kernel + bias


class Conv(nn.Module):
    """Convolves images (N, H, W, C) with a kernel of shape (H, W, C / groups, out).

    Arguments are those of torch.nn.Conv2d; unlike `flax.linen.Conv` it does not pad
    unless told to. Weights and biases start from U(±1/√fan_in).

    Raises:
      ValueError: as `jaxdl.functional.conv2d`, or `x` has not the channels that the
        parameters were made for.
    """

    features: int
    kernel_size: int | tuple[int, int]
    stride: int | tuple[int, int] = 1
    padding: Padding = 0
    dilation: int | tuple[int, int] = 1
    groups: int = 1
    use_bias: bool = True
    kernel_init: Initializer | None = None
    bias_init: Initializer | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "*batch height width in"]
    ) -> Float[Array, "*batch out_height out_width out"]:
        height, width = as_pair("kernel_size", self.kernel_size)
        if self.groups < 1:
            raise ValueError(f"groups={self.groups} is below 1")
        fan_in = x.shape[-1] // self.groups
        _check_inputs(self, "channels a group", fan_in)
        kernel_init = self.kernel_init or fan_in_uniform()
        shape = (height, width, fan_in, self.features)
        kernel = self.param("kernel", kernel_init, shape)
        bias = None
        if self.use_bias:
            bias_init = self.bias_init or fan_in_uniform(math.prod(shape[:-1]))
            bias = self.param("bias", bias_init, (self.features,))
        x, kernel, bias = promote_dtype(x, kernel, bias)
        return conv2d(
            x, kernel, bias, self.stride, self.padding, self.dilation, self.groups
        )


def _check_inputs(module: nn.Module, what: str, given: int) -> None:
    """Says in words what Flax would report as a shape mismatch of parameters."""
    if not module.has_variable("params", "kernel"):
        return
    made_for: int = module.get_variable("params", "kernel").shape[-2]
    if made_for != given:
        name = "/".join(module.path) or type(module).__name__
        raise ValueError(f"{name} was made for {made_for} {what} and is given {given}")
