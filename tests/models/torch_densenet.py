"""timm's DenseNet as PyTorch code, with timm's names; channels may be narrower."""

from collections import OrderedDict

import torch
from torch import nn


class DenseLayer(nn.Module):
    def __init__(self, inputs, growth_rate, bn_size):
        super().__init__()
        middle = bn_size * growth_rate
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, middle, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(middle)
        self.conv2 = nn.Conv2d(middle, growth_rate, 3, padding=1, bias=False)

    def forward(self, features):
        x = torch.cat(features, 1)
        x = self.conv1(torch.relu(self.norm1(x)))
        return self.conv2(torch.relu(self.norm2(x)))


class DenseBlock(nn.ModuleDict):
    def __init__(self, depth, inputs, growth_rate, bn_size):
        super().__init__()
        for i in range(depth):
            layer = DenseLayer(inputs + i * growth_rate, growth_rate, bn_size)
            self.add_module(f"denselayer{i + 1}", layer)

    def forward(self, x):
        features = [x]
        for layer in self.values():
            features.append(layer(features))
        return torch.cat(features, 1)


class Transition(nn.Sequential):
    def __init__(self, inputs):
        super().__init__(
            OrderedDict(
                norm=nn.BatchNorm2d(inputs),
                relu=nn.ReLU(),
                conv=nn.Conv2d(inputs, inputs // 2, 1, bias=False),
                pool=nn.AvgPool2d(kernel_size=2, stride=2),
            )
        )


class DenseNet(nn.Module):
    def __init__(
        self, growth_rate, block_config, num_classes=1000, in_chans=3, bn_size=4
    ):
        super().__init__()
        width = 2 * growth_rate
        self.features = nn.Sequential(
            OrderedDict(
                conv0=nn.Conv2d(in_chans, width, 7, stride=2, padding=3, bias=False),
                norm0=nn.BatchNorm2d(width),
                relu0=nn.ReLU(),
                pool0=nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
            )
        )
        for i, depth in enumerate(block_config, 1):
            block = DenseBlock(depth, width, growth_rate, bn_size)
            self.features.add_module(f"denseblock{i}", block)
            width += depth * growth_rate
            if i < len(block_config):
                self.features.add_module(f"transition{i}", Transition(width))
                width //= 2
        self.features.add_module("norm5", nn.BatchNorm2d(width))
        self.classifier = nn.Linear(width, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
            elif isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

    def forward(self, x):
        return self.classifier(torch.relu(self.features(x)).mean((2, 3)))


ARGUMENTS = {
    "densenet121": (32, (6, 12, 24, 16)),
    "densenet161": (48, (6, 12, 36, 24)),
    "densenet169": (32, (6, 12, 32, 32)),
    "densenet201": (32, (6, 12, 48, 32)),
}
