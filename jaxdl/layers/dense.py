"""Dense layers with PyTorch's parameters, defaults and default initialisation."""

from dataclasses import KW_ONLY

from flax import linen as nn
from flax.linen.dtypes import promote_dtype
from jaxtyping import Array, Float

from jaxdl.functional.linear import linear
from jaxdl.initializers import Initializer, fan_in_uniform
from jaxdl.layers.inputs import check_inputs


class Linear(nn.Module):
    """Computes x W + b, with W of shape (in, out), the transpose of PyTorch's.

    Weights and biases start from U(±1/√in) unless other initialisers are given.

    Raises:
      ValueError: `x` has not the features that the parameters were made for.
    """

    features: int
    _: KW_ONLY
    use_bias: bool = True
    kernel_init: Initializer | None = None
    bias_init: Initializer | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "*batch in"]) -> Float[Array, "*batch out"]:
        fan_in = x.shape[-1]
        check_inputs(self, "input features", fan_in)
        kernel_init = self.kernel_init or fan_in_uniform()
        kernel = self.param("kernel", kernel_init, (fan_in, self.features))
        bias = None
        if self.use_bias:
            bias_init = self.bias_init or fan_in_uniform(fan_in)
            bias = self.param("bias", bias_init, (self.features,))
        return linear(*promote_dtype(x, kernel, bias))
