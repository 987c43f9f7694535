"""Pure operations with PyTorch's semantics: one file per family."""

from jaxdl.functional.convolution import conv2d as conv2d
from jaxdl.functional.losses import cross_entropy as cross_entropy
from jaxdl.functional.losses import mse_loss as mse_loss
from jaxdl.functional.pooling import max_pool2d as max_pool2d
