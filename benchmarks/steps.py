"""Times training steps of whole networks beside PyTorch's, in turns, in one process.

    python -m benchmarks.steps

float32, the same weights, batches and SGD with momentum 0.5. Both sides hold the batch
in memory: jaxdl runs its compiled step in a loop, PyTorch eagerly. The losses of three
steps are compared first. Medians of turns of ten steps, with a pause before each; a
ratio above 1 means that jaxdl is faster. The PyTorch networks are those that the tests
compare with.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import torch
from flax import linen as nn

from jaxdl.classification import classification, init_model
from jaxdl.models.cnn import SimpleCNN
from jaxdl.models.inception import InceptionCNN
from jaxdl.models.lenet import LeNet
from jaxdl.models.recurrent import RecurrentClassifier
from jaxdl.models.residual_cnn import ResidualCNN
from jaxdl.models.resnet import resnet18
from jaxdl.optimizers import sgd
from jaxdl.torch_weights import from_state_dict
from jaxdl.training import compiled, init_state, make_train_step
from tests.models import torch_images, torch_resnet

STEPS, TURNS = 10, 9
PAUSE = 0.5  # seconds: PyTorch's threads go on spinning after their work is done
LEARNING_RATE = 0.01


class Case(NamedTuple):
    name: str
    ours: nn.Module
    theirs: torch.nn.Module
    inputs: dict[str, np.ndarray]
    flattened: dict[str, tuple[int, ...]] | None = None


class TorchLeNet(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = torch.nn.Conv2d(1, 6, 5), torch.nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2 = torch.nn.Linear(256, 120), torch.nn.Linear(120, 84)
        self.fc3 = torch.nn.Linear(84, 10)

    def forward(self, x):
        for conv in self.conv1, self.conv2:
            x = torch.nn.functional.max_pool2d(torch.sigmoid(conv(x)), 2)
        x = torch.sigmoid(self.fc1(x.flatten(1)))
        return self.fc3(torch.sigmoid(self.fc2(x)))


class TorchNames(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(128, 100)
        self.gru = torch.nn.GRU(100, 100, 2, bidirectional=True)
        self.fc = torch.nn.Linear(200, 18)

    def forward(self, x, lengths):
        packed = torch.nn.utils.rnn.pack_padded_sequence(
            self.embedding(x.t()), lengths, enforce_sorted=False
        )
        hidden = self.gru(packed)[1]
        return self.fc(torch.cat([hidden[-1], hidden[-2]], dim=1))


def cases() -> list[Case]:
    rng = np.random.default_rng(0)

    def images(n, size, channels):
        shape = (n, size, size, channels)
        return {"image": rng.normal(size=shape).astype(np.float32)}

    residual = torch_resnet.ResNet(torch_resnet.BasicBlock, [2, 2, 2, 2], 10)
    names = {
        "name": rng.integers(128, size=(256, 12)).astype(np.int32),
        "lengths": rng.integers(3, 13, size=256).astype(np.int32),
    }
    names["lengths"][0] = 12
    map16, map20 = {"fc1": (16, 4, 4)}, {"fc": (20, 4, 4)}
    return [
        Case("LeNet, 256 of 28²", LeNet(), TorchLeNet(), images(256, 28, 1), map16),
        Case("SimpleCNN, 64 of 28²", SimpleCNN(), torch_images.SimpleCNN(),
             images(64, 28, 1), map20),
        Case("ResidualCNN, 64 of 28²", ResidualCNN(), torch_images.ResidualCNN(),
             images(64, 28, 1), {"fc": (32, 4, 4)}),
        Case("InceptionCNN, 64 of 28²", InceptionCNN(), torch_images.InceptionCNN(),
             images(64, 28, 1), {"fc": (88, 4, 4)}),
        Case("ResNet-18, 64 of 32²", resnet18(10), residual, images(64, 32, 3)),
        Case("names: GRU, 256 of 12", RecurrentClassifier(18), TorchNames(), names),
    ]  # fmt: skip


def our_steps(case: Case, labels: np.ndarray) -> Callable[[int], list[float]]:
    functions = classification(case.ours, tuple(case.inputs))
    batch = jax.device_put(case.inputs | {"label": labels})
    arrays = [batch[name] for name in case.inputs]
    params, model_state = init_model(case.ours, jax.random.key(0), *arrays)
    variables = {"params": params, **dict(model_state)}
    weights = case.theirs.state_dict()
    variables = from_state_dict(weights, variables, flattened=case.flattened)
    params = variables.pop("params")
    optimizer = sgd(LEARNING_RATE, momentum=0.5)
    step = compiled(make_train_step(functions.loss_fn, optimizer), donate_argnums=0)
    held = [init_state(params, optimizer, variables or model_state)]
    key = jax.random.key(1)

    def run(steps):
        state, losses = held[0], []
        for _ in range(steps):
            state, metrics = step(state, batch, key)
            losses.append(metrics["loss"])
        held[0] = jax.block_until_ready(state)
        return [float(loss) for loss in losses]

    return run


def their_steps(case: Case, labels: np.ndarray) -> Callable[[int], list[float]]:
    net, target = case.theirs.train(), torch.tensor(labels, dtype=torch.int64)
    inputs: list[Any] = [torch.tensor(array) for array in case.inputs.values()]
    if inputs[0].ndim == 4:
        inputs[0] = inputs[0].permute(0, 3, 1, 2).contiguous()
    optimizer = torch.optim.SGD(net.parameters(), LEARNING_RATE, momentum=0.5)

    def run(steps):
        losses = []
        for _ in range(steps):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(net(*inputs), target)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return losses

    return run


def main() -> None:
    print("| step | jaxdl | PyTorch | PyTorch / jaxdl |")
    print("|---|---|---|---|")
    for case in cases():
        n = len(next(iter(case.inputs.values())))
        labels = np.random.default_rng(1).integers(10, size=n).astype(np.int32)
        runs = [our_steps(case, labels), their_steps(case, labels)]
        ours, theirs = (run(3) for run in runs)
        np.testing.assert_allclose(ours, theirs, rtol=1e-3)
        times: list[list[float]] = [[], []]
        for _ in range(TURNS):
            for run, kept in zip(runs, times, strict=True):
                time.sleep(PAUSE)
                start = time.perf_counter()
                run(STEPS)
                kept.append(1000 * (time.perf_counter() - start) / STEPS)
        a, b = map(statistics.median, times)
        print(f"| {case.name} | {a:.1f} ms | {b:.1f} ms | {b / a:.2f} |", flush=True)


if __name__ == "__main__":
    main()
