"""Two lessons as PyTorch scripts, which write what jaxdl's lessons write.

    python -m benchmarks.torch_lessons linear_regression FOLDER
    python -m benchmarks.torch_lessons softmax_regression FOLDER

TensorBoard's log of an epoch's losses and accuracies, curves and predictions as
figures, the weights. Data and settings are those of the lessons.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import nn
from torch.utils.tensorboard import SummaryWriter


def train(net, loss_fn, train, test, epochs, batch_size, rate, metrics, folder):
    """Returns what was measured in each epoch, by names as of the lessons."""
    (x, y), (test_x, test_y) = train, test
    optimizer = torch.optim.SGD(net.parameters(), rate)
    history: dict[str, list[float]] = {}
    with SummaryWriter(folder) as writer:
        for epoch in range(epochs):
            total = 0.0
            for rows in torch.randperm(len(x)).split(batch_size):
                optimizer.zero_grad()
                loss = loss_fn(net(x[rows]), y[rows])
                loss.backward()
                optimizer.step()
                total += loss.item() * len(rows)
            with torch.no_grad():
                record = {"train/loss": total / len(x)} | metrics(net(test_x), test_y)
            for name, value in record.items():
                writer.add_scalar(name, value, epoch + 1)
                history.setdefault(name, []).append(value)
    torch.save(net.state_dict(), folder / "weights.pt")
    curves = Figure(figsize=(6, 4))
    axes = curves.subplots()
    for name, values in history.items():
        axes.plot(values, label=name)
    axes.legend()
    curves.savefig(folder / "curves.png", dpi=150)
    return history


def linear_regression(folder: Path) -> None:
    w, b = torch.tensor([-6, 3.2, 10.5]), 1.7

    def draw(n):
        x = torch.randn(n, 3)
        return x, (x @ w + b + 0.01 * torch.randn(n))[:, None]

    net = nn.Linear(3, 1)
    nn.init.normal_(net.weight, std=0.01)
    nn.init.zeros_(net.bias)
    loss = nn.functional.mse_loss
    metrics = lambda outputs, y: {"test/loss": loss(outputs, y).item()}
    train(net, loss, draw(1000), draw(100), 3, 10, 0.03, metrics, folder)

    x, y = torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([[2.0], [4.0], [6.0]])
    line = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(line.parameters(), 0.01)
    for _ in range(10_000):
        optimizer.zero_grad()
        loss(line(x), y).backward()
        optimizer.step()
    print(net.weight.tolist(), net.bias.item(), line(torch.tensor([[4.0]])).item())


def softmax_regression(folder: Path) -> None:
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = torch.tensor(digits.images / 16, dtype=torch.float32)[:, None]
    images = nn.functional.interpolate(images, (28, 28), mode="bilinear")
    labels, split = torch.tensor(digits.target), 1437
    parts = [(images[:split], labels[:split]), (images[split:], labels[split:])]
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    nn.init.normal_(net[1].weight, std=0.01)
    nn.init.zeros_(net[1].bias)
    loss = nn.functional.cross_entropy

    def metrics(logits, y):
        right = (logits.argmax(1) == y).float().mean().item()
        return {"test/loss": loss(logits, y).item(), "test/accuracy": right}

    history = train(net, loss, *parts, 200, 256, 0.1, metrics, folder)
    with torch.no_grad():
        guesses = net(parts[1][0][:32]).argmax(1)
    grid = Figure(figsize=(8, 5))
    for axes, image, guess in zip(
        np.ravel(grid.subplots(4, 8)), parts[1][0], guesses, strict=False
    ):
        axes.imshow(image[0], cmap="gray")
        axes.set_title(f"{guess}")
        axes.set_axis_off()
    grid.savefig(folder / "predictions.png", dpi=150)
    print(history["test/accuracy"][-1])


LESSONS = {
    "linear_regression": linear_regression,
    "softmax_regression": softmax_regression,
}

if __name__ == "__main__":
    torch.manual_seed(0)
    LESSONS[sys.argv[1]](Path(sys.argv[2]))
