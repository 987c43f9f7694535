"""Convolutions with PyTorch's parameters, defaults and default initialisation."""

import math
from dataclasses import KW_ONLY

import numpy as np
from flax import linen as nn
from flax.linen.dtypes import promote_dtype
from jaxtyping import Array, Float

from jaxdl.functional.convolution import Padding, PaddingMode, conv1d, conv2d, conv3d
from jaxdl.functional.windows import Sizes, as_sizes
from jaxdl.initializers import Initializer, fan_in_uniform
from jaxdl.layers.inputs import check_inputs

CONVOLUTIONS = {1: conv1d, 2: conv2d, 3: conv3d}


class Conv(nn.Module):
    """Convolves (N, *sizes, C) with a kernel of shape (*sizes, C / groups, out).

    Arguments are those of torch.nn.Conv1d, Conv2d and Conv3d; unlike `flax.linen.Conv`
    it does not pad unless told to. There are as many spatial axes as `kernel_size` has
    entries; an int is one for each of the input's, which then needs a batch axis.
    Weights and biases start from U(±1/√fan_in).

    Raises:
      ValueError: as `jaxdl.functional.conv2d`, or `x` has not the channels that the
        parameters were made for.
    """

    features: int
    kernel_size: int | Sizes
    _: KW_ONLY
    stride: int | Sizes = 1
    padding: Padding = 0
    dilation: int | Sizes = 1
    groups: int = 1
    padding_mode: PaddingMode = "zeros"
    use_bias: bool = True
    kernel_init: Initializer | None = None
    bias_init: Initializer | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "*batch_and_sizes in"]
    ) -> Float[Array, "*batch_and_out_sizes out"]:
        size = self.kernel_size
        axes = np.size(size) if np.ndim(size) else x.ndim - 2
        if axes not in CONVOLUTIONS:
            raise ValueError(
                f"kernel_size={size} and x of shape {x.shape} make {axes} axes; "
                "there can be 1, 2 or 3"
            )
        if self.groups < 1:
            raise ValueError(f"groups={self.groups} is below 1")
        fan_in = x.shape[-1] // self.groups
        check_inputs(self, "channels a group", fan_in)
        kernel_init = self.kernel_init or fan_in_uniform()
        shape = (*as_sizes("kernel_size", size, axes), fan_in, self.features)
        kernel = self.param("kernel", kernel_init, shape)
        bias = None
        if self.use_bias:
            bias_init = self.bias_init or fan_in_uniform(math.prod(shape[:-1]))
            bias = self.param("bias", bias_init, (self.features,))
        x, kernel, bias = promote_dtype(x, kernel, bias)
        settings = (self.stride, self.padding, self.dilation, self.groups)
        return CONVOLUTIONS[axes](x, kernel, bias, *settings, self.padding_mode)
