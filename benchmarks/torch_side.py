"""PyTorch as its users write it: eager steps, a DataLoader or indexed tensors.

The same with the network given to torch.compile. The networks are those that the tests
compare jaxdl with, where they have them.
"""

from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
from torch import nn

from benchmarks.cases import Arrays, Case, folds_of
from tests.models import torch_images, torch_lessons, torch_resnet

INDEXED, LOADER, COMPILED = "PyTorch", "PyTorch, DataLoader", "torch.compile"


def mlp(widths, dropout=None):
    layers, width = [nn.Flatten()], 784
    for i, features in enumerate(widths):
        layers.append(nn.Linear(width, features))
        if i < len(widths) - 1:
            layers.append(nn.ReLU())
            layers += [nn.Dropout(dropout[i])] if dropout else []
        width = features
    return nn.Sequential(*layers)


def resnet(name, **options):
    block, depths = torch_resnet.ARGUMENTS[name]
    return torch_resnet.ResNet(block, depths, 10, **options)


NETWORKS = {
    "mlp": mlp,
    "lenet": torch_lessons.LeNet,
    "residual_cnn": torch_images.ResidualCNN,
    "inception": torch_images.InceptionCNN,
    "resnet18": partial(resnet, "resnet18"),
    "resnet50": partial(resnet, "resnet50"),
    "names": torch_lessons.Names,
    "char_rnn": torch_lessons.CharRNN,
}


def make_network(case: Case, data: Arrays) -> nn.Module:
    if case.network == "linear":
        return nn.Linear(data["x"].shape[1], case.options["features"])
    return NETWORKS[case.network](**case.options)


def draw_weights(case: Case, data: Arrays) -> list[Arrays]:
    """Initial weights for all sides: one state dict, or one for each network."""
    torch.manual_seed(0)
    count = case.members if case.kind == "ensemble" else 1
    nets = [make_network(case, data) for _ in range(count)]
    return [{k: v.numpy() for k, v in net.state_dict().items()} for net in nets]


def make_loss(case: Case):
    def cross_entropy(outputs, labels):
        return nn.functional.cross_entropy(outputs.flatten(0, -2), labels.flatten())

    return {
        "cross_entropy": cross_entropy,
        "squared_error": nn.functional.mse_loss,
        "binary": lambda outputs, y: nn.functional.binary_cross_entropy(
            torch.sigmoid(outputs), y
        ),
    }[case.loss]


def make_optimizer(case: Case, net: nn.Module, rate: float):
    if case.optimizer == "adam":
        return torch.optim.Adam(net.parameters(), rate)
    return torch.optim.SGD(net.parameters(), rate, momentum=case.momentum)


def as_tensors(case: Case, data: Arrays) -> list[torch.Tensor]:
    """The inputs and the target; images have their channels first."""
    target = "label" if "label" in data else "y"
    tensors = [torch.from_numpy(data[name]) for name in (*case.inputs, target)]
    if tensors[0].ndim == 4:
        tensors[0] = tensors[0].permute(0, 3, 1, 2).contiguous()
    return [t.long() if t.dtype == torch.int32 else t for t in tensors]


class Rows(torch.utils.data.Sampler):
    """Draws an order as RandomSampler does, and takes the given one."""

    def __init__(self, rows: torch.Tensor):
        self.rows = rows

    def __len__(self):
        return self.rows.numel()

    def __iter__(self):
        torch.randperm(len(self)).tolist()
        yield from self.rows.flatten().tolist()


def indexed(tensors, rows: torch.Tensor) -> Iterator[list[torch.Tensor]]:
    # Its cost; the given order is taken.
    torch.randperm(rows.numel(), device=rows.device)
    for chosen in rows:
        yield [tensor[chosen] for tensor in tensors]


def loaded(tensors, rows: torch.Tensor, device) -> Iterator[list[torch.Tensor]]:
    pin = device.type == "cuda"
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(*tensors),
        batch_size=rows.shape[1],
        sampler=Rows(rows),
        pin_memory=pin,
    )
    for batch in loader:
        yield [t.to(device, non_blocking=True) for t in batch] if pin else batch


def build(case: Case, data: Arrays, weights=None, rows=None, way=INDEXED, kind="cpu"):
    """Returns `begin() -> run() -> losses`, as `jaxdl_side.build`.

    `kind` is cpu or gpu. Without `weights` and `rows` it draws its own.
    """
    device = torch.device("cuda" if kind == "gpu" else "cpu")
    if kind == "gpu":
        torch.backends.cudnn.allow_tf32 = False  # float32, as `compute_on` has JAX do
        torch.backends.cudnn.benchmark = True  # XLA tries algorithms, too
    weights = weights or draw_weights(case, data)
    if rows is None:
        rows = np.tile(np.arange(case.examples), (case.epochs, 1))
        rows = np.random.default_rng(1).permuted(rows, axis=1)
        rows = rows[:, : case.steps * case.batch_size]
        rows = rows.reshape(case.epochs, case.steps, case.batch_size)
    tensors = as_tensors(case, data)
    net = make_network(case, data).to(device)
    if case.dtype == "bfloat16":  # the layout in which cuDNN computes it fast
        tensors[0] = tensors[0].contiguous(memory_format=torch.channels_last)
        net = net.to(memory_format=torch.channels_last)
    if way != LOADER:
        tensors = [tensor.to(device) for tensor in tensors]
    rows = torch.tensor(rows, dtype=torch.long, device=tensors[0].device)
    network = net
    if way == COMPILED:
        torch.compiler.reset()  # else an earlier case's sizes make these dynamic
        network = torch.compile(net, mode="reduce-overhead" if kind == "gpu" else None)
    autocast = torch.autocast(
        device.type, torch.bfloat16, enabled=case.dtype == "bfloat16"
    )
    criterion = make_loss(case)

    starts = [
        {name: torch.from_numpy(array).to(device) for name, array in given.items()}
        for given in weights
    ]

    def restore(i):
        net.load_state_dict(starts[i % len(starts)])

    def epochs_of(tensors, rate):
        optimizer, means = make_optimizer(case, net, rate), []
        net.train()
        for of_epoch in rows:
            losses = []
            batches = (
                loaded(tensors, of_epoch, device)
                if way == LOADER
                else indexed(tensors, of_epoch)
            )
            for *inputs, target in batches:
                optimizer.zero_grad()
                with autocast:
                    loss = criterion(network(*inputs), target)
                loss.backward()
                optimizer.step()
                losses.append(loss.detach())
            means.append(torch.stack(losses).float().mean())
        return torch.stack(means).cpu().numpy()

    def train():
        return epochs_of(tensors, case.learning_rate)

    def train_members():
        losses = []
        parts = folds_of(case) if case.kind == "folds" else [None] * case.members
        for i, (rate, part) in enumerate(zip(case.rates(), parts, strict=True)):
            restore(i)
            mine = tensors
            if part is not None:
                mine = [tensor[torch.from_numpy(part).long()] for tensor in tensors]
            losses.append(epochs_of(mine, float(rate)))
        return np.stack(losses)

    def evaluate():
        net.eval()
        means = []
        for _ in range(case.epochs):
            total = correct = 0
            with torch.inference_mode():
                parts = (tensor.split(case.batch_size) for tensor in tensors)
                for *inputs, labels in zip(*parts, strict=True):
                    logits = network(*inputs)
                    total += criterion(logits, labels) * len(labels)
                    correct += (logits.argmax(1) == labels).sum()
            means.append(total / case.examples)
        return torch.stack(means).cpu().numpy()

    run = {"train": train, "evaluate": evaluate}.get(case.kind, train_members)

    def begin():
        restore(0)
        return run

    return begin
