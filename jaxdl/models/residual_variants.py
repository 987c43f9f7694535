"""Residual blocks that differ in one thing each, and a network to compare them in.

He, Zhang, Ren and Sun, "Identity Mappings in Deep Residual Networks", 2016, figures 2
and 4. All keep the size and the number of channels of their input. A dense block, of
Huang, Liu, van der Maaten and Weinberger, "Densely Connected Convolutional Networks",
2016, stands beside them.
"""

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import partial
from typing import Literal, get_args

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from jaxdl.functional import max_pool2d, relu, sigmoid
from jaxdl.initializers import constant
from jaxdl.layers import BatchNorm, Conv, Dropout, Linear, Sequential
from jaxdl.models.cnn import SMALLEST_IMAGE, Images, Logits
from jaxdl.models.images import check_images
from jaxdl.models.inputs import flatten
from jaxdl.models.residual_cnn import Maps, ResidualBlock

Order = Literal[
    "original",
    "bn_after_addition",
    "relu_before_addition",
    "relu_only_preactivation",
    "full_preactivation",
]
Shortcut = Literal[
    "constant_scaling",
    "exclusive_gating",
    "shortcut_only_gating",
    "conv_shortcut",
    "dropout_shortcut",
]


class OrderedBlock(nn.Module):
    """Two convolutions of 3×3 and an identity shortcut: figure 4.

    The variants differ in where batch normalisation and ReLU stand. In the last three
    nothing stands after the addition, so that a chain of blocks has an identity path.

    Raises:
      ValueError: there is no such `order`.
    """

    order: Order = "original"

    @nn.compact
    def __call__(self, x: Maps, *, train: bool) -> Maps:
        conv1, conv2 = _conv3x3(x, "conv1"), _conv3x3(x, "conv2")
        bn1 = partial(BatchNorm(name="bn1"), train=train)
        bn2 = partial(BatchNorm(name="bn2"), train=train)
        match self.order:
            case "original":
                return relu(x + bn2(conv2(relu(bn1(conv1(x))))))
            case "bn_after_addition":
                return relu(bn2(x + conv2(relu(bn1(conv1(x))))))
            case "relu_before_addition":
                return x + relu(bn2(conv2(relu(bn1(conv1(x))))))
            case "relu_only_preactivation":
                return x + bn2(conv2(relu(bn1(conv1(relu(x))))))
            case "full_preactivation":
                return x + conv2(relu(bn2(conv1(relu(bn1(x))))))
        raise ValueError(_unknown("order", self.order, get_args(Order)))


class ShortcutBlock(nn.Module):
    """The original block with something on its shortcut: figure 2.

    With g the sigmoid of a 1×1 convolution of x, f the two convolutions and each
    result rectified:

    - constant_scaling: shortcut_scale · x + residual_scale · f
    - exclusive_gating: (1 - g) · x + g · f
    - shortcut_only_gating: (1 - g) · x + f
    - conv_shortcut: a 1×1 convolution of x, plus f
    - dropout_shortcut: dropout of x with probability p, plus f

    The gate's bias starts from `gate_bias`; at -6, the paper's best, g is almost 0.
    Dropout keeps the expectation of x, as PyTorch's does; the paper reads it as a scale
    of expectation ½.

    Raises:
      ValueError: there is no such `shortcut`.
    """

    shortcut: Shortcut
    shortcut_scale: float = 0.5
    residual_scale: float = 0.5
    gate_bias: float = -6.0
    p: float = 0.5

    @nn.compact
    def __call__(self, x: Maps, *, train: bool) -> Maps:
        y = relu(BatchNorm(name="bn1")(_conv3x3(x, "conv1")(x), train=train))
        y = BatchNorm(name="bn2")(_conv3x3(x, "conv2")(y), train=train)
        match self.shortcut:
            case "constant_scaling":
                return relu(self.shortcut_scale * x + self.residual_scale * y)
            case "exclusive_gating":
                gate = self._gate(x)
                return relu((1 - gate) * x + gate * y)
            case "shortcut_only_gating":
                return relu((1 - self._gate(x)) * x + y)
            case "conv_shortcut":
                conv = Conv(x.shape[-1], 1, use_bias=False, name="shortcut")
                return relu(conv(x) + y)
            case "dropout_shortcut":
                return relu(Dropout(self.p, name="dropout")(x, train=train) + y)
        raise ValueError(_unknown("shortcut", self.shortcut, get_args(Shortcut)))

    def _gate(self, x: Maps) -> Maps:
        bias_init = constant(self.gate_bias)
        return sigmoid(Conv(x.shape[-1], 1, bias_init=bias_init, name="gate")(x))


class DenseBlock(nn.Module):
    """Appends to its input `growth_rate` new channels, `num_layers` times.

    Each layer is batch normalisation, ReLU and a convolution of 3×3 of everything
    before it.
    """

    num_layers: int = 2
    growth_rate: int = 12

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width in"], *, train: bool
    ) -> Float[Array, "batch height width out"]:
        for i in range(1, self.num_layers + 1):
            y = relu(BatchNorm(name=f"bn{i}")(x, train=train))
            conv = Conv(self.growth_rate, 3, padding=1, use_bias=False, name=f"conv{i}")
            x = jnp.concatenate([x, conv(y)], axis=-1)
        return x


# "course" is the course's own block, which has no batch normalisation.
BLOCKS: Mapping[str, Callable[[], nn.Module]] = {
    "course": ResidualBlock,
    **{order: partial(OrderedBlock, order) for order in get_args(Order)},
    **{shortcut: partial(ShortcutBlock, shortcut) for shortcut in get_args(Shortcut)},
    "dense": DenseBlock,
}


class VariantCNN(nn.Module):
    """The course's residual network with the block of that name in `BLOCKS`.

    Each convolution of 5×5 is rectified, pooled and followed by `depth` blocks and
    ReLU, which changes nothing after a block that ends with one. With "course" and a
    depth of 1 it computes what `ResidualCNN` does.

    Raises:
      ValueError: there is no such `block`, `depth` is negative, or as `SimpleCNN`.
    """

    block: str
    num_classes: int = 10
    channels: tuple[int, int] = (16, 32)
    depth: int = 1

    @nn.compact
    def __call__(self, x: Images, *, train: bool) -> Logits:
        check_images("VariantCNN", x, SMALLEST_IMAGE)
        if self.block not in BLOCKS:
            raise ValueError(_unknown("block", self.block, BLOCKS))
        if self.depth < 0:
            raise ValueError(f"depth={self.depth} is below 0")
        for i, features in enumerate(self.channels, 1):
            x = max_pool2d(relu(Conv(features, 5, name=f"conv{i}")(x)), 2)
            blocks = [BLOCKS[self.block]() for _ in range(self.depth)]
            x = relu(Sequential(blocks, name=f"r_block{i}")(x, train=train))
        return Linear(self.num_classes, name="fc")(flatten(x))


def _conv3x3(x: Maps, name: str) -> Conv:
    """Without a bias, which the batch normalisation that follows would take away."""
    return Conv(x.shape[-1], 3, padding=1, use_bias=False, name=name)


def _unknown(argument, given, known) -> str:
    close = get_close_matches(given, known, n=1)
    hint = f": did you mean {close[0]!r}?" if close else ""
    return f"{argument}={given!r} is none of {', '.join(known)}{hint}"
