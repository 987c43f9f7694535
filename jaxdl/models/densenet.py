"""Densely connected networks of 121 to 201 layers, as timm and torchvision build them.

Huang, Liu, van der Maaten and Weinberger, "Densely Connected Convolutional Networks",
2016, table 1: DenseNet-BC, with bottlenecks and compression to half.

Submodules have timm's names: the path of a parameter, joined by dots, is its name in
timm's state dict.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from jaxdl.functional import avg_pool2d, max_pool2d, relu
from jaxdl.initializers import kaiming_normal
from jaxdl.layers import BatchNorm, Conv, Linear, Sequential
from jaxdl.models.images import check_images

Maps = Float[Array, "batch height width channels"]
NewMaps = Float[Array, "batch new_height new_width new_channels"]

# As in timm 1.0's `DenseNet.__init__`: kaiming_normal_ with its defaults, bias 0.
_conv = partial(Conv, use_bias=False, kernel_init=kaiming_normal())
_head = partial(Linear, bias_init=nn.initializers.zeros)


class DenseLayer(nn.Module):
    """Appends `growth_rate` channels to x: 1×1 to `bn_size` times as many, then 3×3."""

    growth_rate: int
    bn_size: int = 4

    @nn.compact
    def __call__(self, x: Maps, *, train: bool) -> NewMaps:
        y = relu(BatchNorm(name="norm1")(x, train=train))
        y = _conv(self.bn_size * self.growth_rate, 1, name="conv1")(y)
        y = relu(BatchNorm(name="norm2")(y, train=train))
        y = _conv(self.growth_rate, 3, padding=1, name="conv2")(y)
        return jnp.concatenate([x, y], axis=-1)


class Transition(nn.Module):
    """Halves the channels and the image between two blocks."""

    @nn.compact
    def __call__(self, x: Maps, *, train: bool) -> NewMaps:
        y = relu(BatchNorm(name="norm")(x, train=train))
        return avg_pool2d(_conv(x.shape[-1] // 2, 1, name="conv")(y), 2)


class DenseNet(nn.Module):
    """A 7×7 convolution, blocks of dense layers, the mean, a linear layer.

    `depths` are the layers of each block. The image is halved five times, the first two
    rounding up, so 29×29 pixels are the fewest (for four blocks); channels may be any
    number, but the parameters belong to the one they were made for. `num_classes=0`
    leaves the linear layer out: features instead of logits.

    Statistics of batches as in `jaxdl.layers.BatchNorm`: apply with
    mutable=["batch_stats"] to train.

    Raises:
      ValueError: the images are too small or no (batch, height, width, channels), or
        they have not the channels that the parameters were made for; with `train`, a
        batch of one image that shrinks to one pixel.
    """

    growth_rate: int
    depths: Sequence[int]
    num_classes: int = 1000
    bn_size: int = 4

    @nn.compact
    def __call__(self, x: Maps, *, train: bool) -> Float[Array, "batch outputs"]:
        check_images("DenseNet", x, smallest=4 * (2 ** (len(self.depths) - 1) - 1) + 1)
        x = Sequential(self._features(), name="features")(x, train=train).mean((1, 2))
        return _head(self.num_classes, name="classifier")(x) if self.num_classes else x

    def _features(self) -> dict[str, Any]:
        layers: dict[str, Any] = {
            "conv0": _conv(2 * self.growth_rate, 7, stride=2, padding=3),
            "norm0": BatchNorm(),
            "relu0": relu,
            "pool0": partial(max_pool2d, kernel_size=3, stride=2, padding=1),
        }
        for number, depth in enumerate(self.depths, 1):
            layers[f"denseblock{number}"] = Sequential(
                {
                    f"denselayer{i}": DenseLayer(self.growth_rate, self.bn_size)
                    for i in range(1, depth + 1)
                }
            )
            if number < len(self.depths):
                layers[f"transition{number}"] = Transition()
        return layers | {"norm5": BatchNorm(), "relu5": relu}


densenet121 = partial(DenseNet, 32, (6, 12, 24, 16))
densenet161 = partial(DenseNet, 48, (6, 12, 36, 24))
densenet169 = partial(DenseNet, 32, (6, 12, 32, 32))
densenet201 = partial(DenseNet, 32, (6, 12, 48, 32))
