"""PyTorch's networks, as large as the parameters of a lesson's model are."""

import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from tests.models import torch_images, torch_lessons, torch_resnet


class Masked(nn.Module):
    """Dropout whose mask is given."""

    mask = None

    def forward(self, x):
        return x * self.mask


def line(params: Any) -> nn.Module:
    return nn.Linear(*params["kernel"].shape)


def perceptron(
    activation: Callable[[], nn.Module] = nn.ReLU,
    last: Callable[[], nn.Module] = nn.Identity,
    dropout: bool = False,
) -> Callable[[Any], nn.Module]:
    """Linear layers by the names that they have, in the order of their names."""

    def of(params):
        layers: list[tuple[str, nn.Module]] = [("flatten", nn.Flatten())]
        for name, layer in params.items():
            layers.append((name, nn.Linear(*layer["kernel"].shape)))
            layers.append((f"activation {name}", activation()))
            if dropout:
                layers.append((f"dropout {name}", Masked()))
        layers[-1 - dropout :] = [("last", last())]
        return nn.Sequential(OrderedDict(layers))

    return of


def normalised_perceptron(params: Any) -> nn.Module:
    """With batch normalisation, of `data_parallel`."""
    first, last = (nn.Linear(*params[name]["kernel"].shape) for name in "14")
    norm = nn.BatchNorm1d(first.out_features)
    return nn.Sequential(nn.Flatten(), first, norm, nn.ReLU(), last)


def lenet(params: Any) -> nn.Module:
    pixels, classes = params["fc1"]["kernel"].shape[0], params["fc3"]["bias"].size
    return torch_lessons.LeNet(pixels, classes)


def course_cnn(make: Callable[..., nn.Module]) -> Callable[[Any], nn.Module]:
    """One of the course's three, of its own widths."""

    def of(params):
        inputs = params["conv1"]["kernel"].shape[2]
        features, classes = params["fc"]["kernel"].shape
        return make(inputs, features=features, classes=classes)

    return of


def variant_cnn(block: str) -> Callable[[Any], nn.Module]:
    def of(params):
        features, classes = params["fc"]["kernel"].shape
        return torch_images.VariantCNN(block, 1, (16, 32), features, classes)

    return of


def flattened(layer: str, channels: int) -> Callable[[Any], dict[str, tuple]]:
    """Of the linear layer that reads square maps of as many channels."""

    def of(params):
        side = math.isqrt(params[layer]["kernel"].shape[0] // channels)
        return {layer: (channels, side, side)}

    return of


def resnet18(params: Any) -> nn.Module:
    block, layers = torch_resnet.ARGUMENTS["resnet18"]
    return torch_resnet.ResNet(block, layers, params["fc"]["bias"].size, in_chans=1)


def names(params: Any) -> nn.Module:
    symbols, hidden = params["embedding"]["embedding"].shape
    return torch_lessons.Names(params["fc"]["bias"].size, symbols, hidden)


class LetterCell(nn.Module):
    """Of `hello_rnn`: a cell called letter by letter."""

    def __init__(self, params):
        super().__init__()
        self.rnncell = nn.RNNCell(4, 4)

    def forward(self, x):
        state, outputs = None, []
        for letter in x.unbind(1):
            state = self.rnncell(letter, state)
            outputs.append(state)
        return torch.stack(outputs, 1)


class LetterLayer(nn.Module):
    def __init__(self, params):
        super().__init__()
        self.rnn = nn.RNN(4, 4, batch_first=True)

    def forward(self, x):
        return self.rnn(x)[0]


def letter_embedding(params: Any) -> nn.Module:
    return torch_lessons.CharRNN(len(params["emb"]["embedding"]))


class MyLinear(nn.Module):
    """The notes' layer, whose `.data` lets no gradient pass, or as it should be."""

    def __init__(self, params, data):
        super().__init__()
        self.data = data
        self.weight = nn.Parameter(torch.empty(params["weight"].shape))
        self.bias = nn.Parameter(torch.empty(params["bias"].shape))

    def forward(self, x):
        weight, bias = self.weight, self.bias
        if self.data:
            weight, bias = weight.data, bias.data
        return torch.relu(x @ weight + bias)


def my_linears(data: bool) -> Callable[[Any], nn.Module]:
    return lambda params: nn.Sequential(*(MyLinear(params[n], data) for n in "01"))


class Point(nn.Module):
    """Of `gradient_descent`: nothing but θ."""

    def __init__(self, params):
        super().__init__()
        self.theta = nn.Parameter(torch.empty(2))


class EdgeKernel(nn.Module):
    """Of `convolution`: a kernel and a bias, as arrays of the lesson's shapes."""

    def __init__(self, params):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(params["weight"].shape))
        self.bias = nn.Parameter(torch.empty(()))

    def forward(self, x):
        weight = self.weight[None, None]
        return nn.functional.conv2d(x[:, None], weight, self.bias[None])[:, 0]
