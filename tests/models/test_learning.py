"""The library's networks, narrow and shallow, learn to read digits."""

import pytest

from jaxdl.models.densenet import DenseNet
from jaxdl.models.lenet import LeNet
from jaxdl.models.resnet import BasicBlock, Bottleneck, ResNet
from tests.models.learning import accuracy_on_digits

NETWORKS = {
    "basic": ResNet(BasicBlock, (1, 1), 10, width=16),
    "bottleneck": ResNet(Bottleneck, (1, 1), 10, width=16),
    "dense": DenseNet(8, (2, 2), 10),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_learns_the_digits(name):
    assert (
        accuracy_on_digits(NETWORKS[name], 100, modes=True) > 0.84
    )  # 0.88 to 0.93 measured


@pytest.mark.slow
def test_lenet_learns_the_digits():
    """Its sigmoids learn slowly at first."""
    assert accuracy_on_digits(LeNet(), 400) > 0.6  # 0.675 measured
