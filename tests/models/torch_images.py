"""The course's image networks as PyTorch code, and their residual-block variants."""

import torch
import torch.nn.functional as F
from torch import nn


def fc_features(channels, size):
    """The (channels, height, width) that two 5×5 convolutions and pools leave."""
    return (channels, *((((n - 4) // 2) - 4) // 2 for n in size))


class SimpleCNN(nn.Module):
    def __init__(self, inputs=1, channels=(10, 20), features=320, classes=10):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, channels[0], kernel_size=5)
        self.conv2 = nn.Conv2d(channels[0], channels[1], kernel_size=5)
        self.pooling = nn.MaxPool2d(2)
        self.fc = nn.Linear(features, classes)

    def forward(self, x):
        x = F.relu(self.pooling(self.conv1(x)))
        x = F.relu(self.pooling(self.conv2(x)))
        return self.fc(x.flatten(1))


class ResidualBlock(nn.Module):
    def __init__(self, channels, shortcut=True):
        super().__init__()
        self.shortcut = shortcut
        self.conv1 = nn.Conv2d(channels, channels, kernel_size=3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, kernel_size=3, padding=1)

    def forward(self, x):
        y = F.relu(self.conv1(x))
        y = self.conv2(y)
        return F.relu(x + y if self.shortcut else y)


class ResidualCNN(nn.Module):
    def __init__(self, inputs=1, channels=(16, 32), features=512, classes=10):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, channels[0], kernel_size=5)
        self.conv2 = nn.Conv2d(channels[0], channels[1], kernel_size=5)
        self.mp = nn.MaxPool2d(2)
        self.r_block1 = ResidualBlock(channels[0])
        self.r_block2 = ResidualBlock(channels[1])
        self.fc = nn.Linear(features, classes)

    def forward(self, x):
        y = self.mp(F.relu(self.conv1(x)))
        y = self.r_block1(y)
        y = self.mp(F.relu(self.conv2(y)))
        y = self.r_block2(y)
        return self.fc(y.flatten(1))


class InceptionA(nn.Module):
    def __init__(self, inputs, narrow=16, wide=24):
        super().__init__()
        self.branch1x1 = nn.Conv2d(inputs, narrow, kernel_size=1)
        self.branch5x5_1 = nn.Conv2d(inputs, narrow, kernel_size=1)
        self.branch5x5_2 = nn.Conv2d(narrow, wide, kernel_size=5, padding=2)
        self.branch3x3_1 = nn.Conv2d(inputs, narrow, kernel_size=1)
        self.branch3x3_2 = nn.Conv2d(narrow, wide, kernel_size=3, padding=1)
        self.branch3x3_3 = nn.Conv2d(wide, wide, kernel_size=3, padding=1)
        self.branch_pool = nn.Conv2d(inputs, wide, kernel_size=1)

    def forward(self, x):
        branch1x1 = self.branch1x1(x)
        branch5x5 = self.branch5x5_2(self.branch5x5_1(x))
        branch3x3 = self.branch3x3_3(self.branch3x3_2(self.branch3x3_1(x)))
        pooled = F.avg_pool2d(x, kernel_size=3, stride=1, padding=1)
        branch_pool = self.branch_pool(pooled)
        return torch.cat([branch1x1, branch5x5, branch3x3, branch_pool], dim=1)


class InceptionCNN(nn.Module):
    def __init__(
        self, inputs=1, channels=(10, 20), branches=(16, 24), features=1408, classes=10
    ):
        super().__init__()
        out = branches[0] + 3 * branches[1]
        self.conv1 = nn.Conv2d(inputs, channels[0], kernel_size=5)
        self.conv2 = nn.Conv2d(out, channels[1], kernel_size=5)
        self.incep1 = InceptionA(channels[0], *branches)
        self.incep2 = InceptionA(channels[1], *branches)
        self.mp = nn.MaxPool2d(2)
        self.fc = nn.Linear(features, classes)

    def forward(self, x):
        x = F.relu(self.mp(self.conv1(x)))
        x = self.incep1(x)
        x = F.relu(self.mp(self.conv2(x)))
        x = self.incep2(x)
        return self.fc(x.flatten(1))


def conv3x3(channels, out=None):
    return nn.Conv2d(channels, out or channels, 3, padding=1, bias=False)


class Variant(nn.Module):
    """Two convolutions and their batch norms; a subclass says in what order."""

    def __init__(self, channels):
        super().__init__()
        self.conv1, self.conv2 = conv3x3(channels), conv3x3(channels)
        self.bn1, self.bn2 = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)

    def residual(self, x):
        """weight, BN, ReLU, weight, BN"""
        out = self.conv1(x)
        out = self.bn1(out)
        out = F.relu(out)
        out = self.conv2(out)
        return self.bn2(out)


class Original(Variant):
    def forward(self, x):
        out = self.residual(x)
        out += x
        return F.relu(out)


class BNAfterAddition(Variant):
    def forward(self, x):
        out = self.conv1(x)
        out = self.bn1(out)
        out = F.relu(out)
        out = self.conv2(out)
        out = out + x
        out = self.bn2(out)
        return F.relu(out)


class ReLUBeforeAddition(Variant):
    def forward(self, x):
        return F.relu(self.residual(x)) + x


class ReLUOnlyPreactivation(Variant):
    def forward(self, x):
        out = F.relu(x)
        out = self.conv1(out)
        out = self.bn1(out)
        out = F.relu(out)
        out = self.conv2(out)
        out = self.bn2(out)
        return out + x


class FullPreactivation(Variant):
    def forward(self, x):
        out = self.bn1(x)
        out = F.relu(out)
        out = self.conv1(out)
        out = self.bn2(out)
        out = F.relu(out)
        out = self.conv2(out)
        return out + x


class ConstantScaling(Variant):
    def forward(self, x):
        return F.relu(0.5 * x + 0.5 * self.residual(x))


class Gated(Variant):
    def __init__(self, channels):
        super().__init__(channels)
        self.gate = nn.Conv2d(channels, channels, 1)


class ExclusiveGating(Gated):
    def forward(self, x):
        g = torch.sigmoid(self.gate(x))
        return F.relu((1 - g) * x + g * self.residual(x))


class ShortcutOnlyGating(Gated):
    def forward(self, x):
        g = torch.sigmoid(self.gate(x))
        return F.relu((1 - g) * x + self.residual(x))


class ConvShortcut(Variant):
    def __init__(self, channels):
        super().__init__(channels)
        self.shortcut = nn.Conv2d(channels, channels, 1, bias=False)

    def forward(self, x):
        return F.relu(self.shortcut(x) + self.residual(x))


class DropoutShortcut(Variant):
    """Its dropout is given a mask, or else is PyTorch's own."""

    mask = None

    def __init__(self, channels):
        super().__init__(channels)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x):
        shortcut = self.dropout(x) if self.mask is None else self.mask * x
        return F.relu(shortcut + self.residual(x))


class DenseBlock(nn.Module):
    def __init__(self, channels, num_layers=2, growth_rate=12):
        super().__init__()
        self.num_layers = num_layers
        for i in range(1, num_layers + 1):
            setattr(self, f"bn{i}", nn.BatchNorm2d(channels))
            setattr(self, f"conv{i}", conv3x3(channels, growth_rate))
            channels += growth_rate

    def forward(self, x):
        features = [x]
        for i in range(1, self.num_layers + 1):
            out = F.relu(getattr(self, f"bn{i}")(torch.cat(features, 1)))
            features.append(getattr(self, f"conv{i}")(out))
        return torch.cat(features, 1)


BLOCKS = {
    "course": ResidualBlock,
    "original": Original,
    "bn_after_addition": BNAfterAddition,
    "relu_before_addition": ReLUBeforeAddition,
    "relu_only_preactivation": ReLUOnlyPreactivation,
    "full_preactivation": FullPreactivation,
    "constant_scaling": ConstantScaling,
    "exclusive_gating": ExclusiveGating,
    "shortcut_only_gating": ShortcutOnlyGating,
    "conv_shortcut": ConvShortcut,
    "dropout_shortcut": DropoutShortcut,
    "dense": DenseBlock,
}


class VariantCNN(nn.Module):
    def __init__(self, block, inputs, channels, features, classes, depth=1):
        super().__init__()
        a, b = channels
        grown = 24 * depth if block == "dense" else 0
        self.conv1 = nn.Conv2d(inputs, a, 5)
        self.r_block1 = self.blocks(block, a, depth)
        self.conv2 = nn.Conv2d(a + grown, b, 5)
        self.r_block2 = self.blocks(block, b, depth)
        self.fc = nn.Linear(features, classes)

    @staticmethod
    def blocks(block, channels, depth):
        growth = 24 if block == "dense" else 0
        made = [BLOCKS[block](channels + growth * i) for i in range(depth)]
        return nn.Sequential(*made)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.relu(self.r_block1(x))
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = F.relu(self.r_block2(x))
        return self.fc(x.flatten(1))
