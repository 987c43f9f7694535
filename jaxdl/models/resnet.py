"""Residual networks of 18 to 152 layers, as timm and torchvision build them.

He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition", 2015, table 1.
The stride of a `Bottleneck` is that of its 3×3 convolution, not of its first 1×1 as in
the paper; so do timm and torchvision, whose weights this makes fit ("ResNet v1.5").

Submodules have timm's names: the path of a parameter, joined by dots, is its name in
timm's state dict.
"""

from collections.abc import Sequence
from functools import partial
from typing import ClassVar

from flax import linen as nn
from jaxtyping import Array, Float

from jaxdl.functional import max_pool2d, relu
from jaxdl.initializers import kaiming_normal
from jaxdl.layers import BatchNorm, Conv, Linear, Sequential
from jaxdl.models.images import check_images

Maps = Float[Array, "batch height width channels"]
NewMaps = Float[Array, "batch new_height new_width new_channels"]

# Convolutions and the last normalisation of a block start as in timm 1.0's
# `ResNet.init_weights`, so that every block starts as the identity; `fc` as in PyTorch.
_conv = partial(
    Conv,
    use_bias=False,
    kernel_init=kaiming_normal(mode="fan_out", nonlinearity="relu"),
)
_last_norm = partial(BatchNorm, scale_init=nn.initializers.zeros)


class BasicBlock(nn.Module):
    """relu(x + f(x)), f being two 3×3 convolutions (figure 5)."""

    width: int
    stride: int = 1
    expansion: ClassVar[int] = 1

    @nn.compact
    def __call__(self, x: Maps, *, train: bool) -> NewMaps:
        y = _conv(self.width, 3, stride=self.stride, padding=1, name="conv1")(x)
        y = relu(BatchNorm(name="bn1")(y, train=train))
        y = _conv(self.width, 3, padding=1, name="conv2")(y)
        y = _last_norm(name="bn2")(y, train=train)
        return relu(_shortcut(self, x, train) + y)


class Bottleneck(nn.Module):
    """relu(x + f(x)), f being 1×1 to `width`, 3×3, 1×1 to 4 `width` (figure 5)."""

    width: int
    stride: int = 1
    expansion: ClassVar[int] = 4

    @nn.compact
    def __call__(self, x: Maps, *, train: bool) -> NewMaps:
        y = _conv(self.width, 1, name="conv1")(x)
        y = relu(BatchNorm(name="bn1")(y, train=train))
        y = _conv(self.width, 3, stride=self.stride, padding=1, name="conv2")(y)
        y = relu(BatchNorm(name="bn2")(y, train=train))
        y = _conv(self.expansion * self.width, 1, name="conv3")(y)
        y = _last_norm(name="bn3")(y, train=train)
        return relu(_shortcut(self, x, train) + y)


def _shortcut(block: BasicBlock | Bottleneck, x: Maps, train: bool) -> NewMaps:
    """x itself, or where f changes its shape, x through a 1×1 convolution (§3.3, B)."""
    channels = block.expansion * block.width
    if block.stride == 1 and x.shape[-1] == channels:
        return x
    layers = [_conv(channels, 1, stride=block.stride), BatchNorm()]
    return Sequential(layers, name="downsample")(x, train=train)


class ResNet(nn.Module):
    """A 7×7 convolution, stages of blocks, the mean over the image, a linear layer.

    `depths` are the blocks of each stage. Each stage but the first halves the image and
    doubles the width. The image may have any size, since all windows are padded, and
    any number of channels; the parameters belong to the channels they were made for.
    `num_classes=0` leaves the linear layer out: features instead of logits.

    Statistics of batches as in `jaxdl.layers.BatchNorm`: apply with
    mutable=["batch_stats"] to train.

    Raises:
      ValueError: the images are empty or no (batch, height, width, channels), or they
        have not the channels that the parameters were made for; with `train`, a batch
        of one image that shrinks to one pixel.
    """

    block: type[BasicBlock] | type[Bottleneck]
    depths: Sequence[int]
    num_classes: int = 1000
    width: int = 64

    @nn.compact
    def __call__(self, x: Maps, *, train: bool) -> Float[Array, "batch outputs"]:
        check_images("ResNet", x)
        x = _conv(self.width, 7, stride=2, padding=3, name="conv1")(x)
        x = relu(BatchNorm(name="bn1")(x, train=train))
        x = max_pool2d(x, 3, stride=2, padding=1)
        for stage, depth in enumerate(self.depths):
            width, first_stride = self.width * 2**stage, 2 if stage else 1
            strides = [first_stride, *[1] * (depth - 1)]
            blocks = [self.block(width, stride) for stride in strides]
            x = Sequential(blocks, name=f"layer{stage + 1}")(x, train=train)
        x = x.mean((1, 2))
        return Linear(self.num_classes, name="fc")(x) if self.num_classes else x


resnet18 = partial(ResNet, BasicBlock, (2, 2, 2, 2))
resnet34 = partial(ResNet, BasicBlock, (3, 4, 6, 3))
resnet50 = partial(ResNet, Bottleneck, (3, 4, 6, 3))
resnet101 = partial(ResNet, Bottleneck, (3, 4, 23, 3))
resnet152 = partial(ResNet, Bottleneck, (3, 8, 36, 3))
