"""For every lesson that trains: its models in PyTorch, in the order they are trained.

A lesson runs with its defaults unless a case says otherwise, and all of its models are
compared, but those of the sweeps with many members, of which a few are named.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from jaxdl.models.mlp import MLP
from jaxdl.models.residual_variants import BLOCKS, VariantCNN
from tests.course_parity import networks
from tests.course_parity.torch_runs import Twin, dropout_masks
from tests.models import torch_images

DIGITS = "digits, 28×28"


class Case(NamedTuple):
    data: str
    models: Mapping[str, Twin]
    config: Mapping[str, Any] = {}
    """settings of the full run that are not the lesson's defaults"""
    quick: Mapping[str, Any] = {}
    """settings that make a few steps cheap, for the ordinary tests"""
    chosen: tuple[int, ...] = ()
    """which of the lesson's trainings the models are, if not all"""
    slow: bool = False
    """whether it takes too long, to compile or otherwise, for the ordinary tests"""

    @property
    def enough(self) -> int:
        """How many trainings there are up to the last that is looked at."""
        return max(self.chosen) + 1 if self.chosen else len(self.models)


def descent(
    rate: float, momentum: float = 0.0, weight_decay: float = 0.0
) -> Callable[..., torch.optim.Optimizer]:
    return lambda net, training: torch.optim.SGD(
        net.parameters(), rate, momentum, weight_decay=weight_decay
    )


def adam(rate: float) -> Callable[..., torch.optim.Optimizer]:
    return lambda net, training: torch.optim.Adam(net.parameters(), rate)


def cross_entropy(*inputs: str) -> Callable[..., torch.Tensor]:
    def loss(net, batch):
        logits = net(*(batch[name] for name in inputs or ("image",)))
        return F.cross_entropy(logits, batch["label"])

    return loss


def squared(net, batch):
    return F.mse_loss(net(batch["x"]).squeeze(-1), batch["y"])


# -- parameters of lessons from scratch, as those of the modules that they spell out


def as_line(params):
    w, b = params["w"], params["b"]
    return {"kernel": w.reshape(len(w), -1), "bias": b.reshape(-1)}


def as_two_layers(params):
    pairs = {
        name: (params[f"w{i}"], params[f"b{i}"]) for i, name in ((1, "1"), (2, "2"))
    }
    return {name: {"kernel": w, "bias": b} for name, (w, b) in pairs.items()}


def as_layers(params):
    return {str(i): {"kernel": w, "bias": b} for i, (w, b) in enumerate(params)}


def scratch_masks(training):
    """Of `dropout_scratch`, whose own function and draws say which units are kept."""
    import jax

    from experiments import dropout_scratch

    rates, lesson_dropout = dropout_scratch.Config().dropout, dropout_scratch.dropout
    widths = [len(b) for _, b in training.params[:-1]]

    @partial(jax.jit, static_argnums=1)
    def of_step(step, size):
        key = jax.random.fold_in(training.key, step)
        pairs = enumerate(zip(widths, rates, strict=True))
        ones = lambda width: jax.numpy.ones((size, width))
        draw = lambda i, *given: lesson_dropout(jax.random.fold_in(key, i), *given)
        return [(draw(i, ones(n), p) > 0) / (1 - p) for i, (n, p) in pairs]

    return lambda step, rows: of_step(step, len(rows))


def width_of(params: Any) -> tuple[int, ...]:
    return tuple(layer["bias"].size for layer in params.values())


def with_dropout(rates, inputs=("image",)):
    def model(training):
        return MLP(width_of(training.params), dropout=rates)

    return dropout_masks(model, inputs)


# -- twins with something of their own


def bce(x: str, y: str) -> Callable[..., torch.Tensor]:
    def loss(net, batch):
        return F.binary_cross_entropy(net(batch[x]).reshape(batch[y].shape), batch[y])

    return loss


def penalised(net, batch):
    return squared(net, batch) + 3.0 * (net.weight**2).sum() / 2


def decay_of_weights(net, training):
    groups = [{"params": [net.weight], "weight_decay": 3.0}, {"params": [net.bias]}]
    return torch.optim.SGD(groups, 0.003)


def head_only(net, training):
    return torch.optim.SGD(net.fc.parameters(), 0.1, 0.9)


def searched(net, training):
    rate, decay = (training.settings[n] for n in ("learning_rate", "weight_decay"))
    return torch.optim.SGD(net.parameters(), rate, 0.9, weight_decay=decay)


def on_line(net, batch):
    w, b = net.theta
    return ((w * batch["x"][:, 0] + b - batch["y"]) ** 2).mean()


def on_saddle(net, batch):
    distances = ((batch["x"] - net.theta) ** 2).sum(1)
    return (1 - torch.exp(-distances / 2)).mean()


def spelled(net, batch):
    """The letters of ohlol, of the vocabulary ehlo."""
    target = torch.tensor(["ehlo".index(letter) for letter in "ohlol"])
    return F.cross_entropy(net(batch["x"]).flatten(0, 1), target)


def edges(net, batch):
    return ((net(batch["x"]) - batch["y"]) ** 2).sum()


def resnet(optimizer, train=True):
    return Twin(networks.resnet18, optimizer, cross_entropy(), train=train)


def image_net(make, channels, optimizer):
    flattened = networks.flattened("fc", channels)
    return Twin(networks.course_cnn(make), optimizer, cross_entropy(), flattened)


def variant(block):
    masks = None
    if block == "dropout_shortcut":
        masks = dropout_masks(lambda training: VariantCNN(block), ("image",))
    channels = 32 + (24 if block == "dense" else 0)
    flattened = networks.flattened("fc", channels)
    loss, optimizer = cross_entropy(), descent(0.01, 0.5)
    net = networks.variant_cnn(block)
    return Twin(net, optimizer, loss, flattened, masks=masks)


LINE = Twin(networks.line, descent(0.01), squared)
MOMENTUM = descent(0.01, 0.5)
MLP_IMAGES = Twin(networks.perceptron(), descent(0.1), cross_entropy())
FLAT = Twin(
    networks.line,
    descent(0.1),
    lambda net, b: F.cross_entropy(net(b["image"].flatten(1)), b["label"]),
)
HALF = lambda net, batch: squared(net, batch) / 2
SIGMOIDS = networks.perceptron(nn.Sigmoid, nn.Sigmoid)
SMALL = {"image_size": 16, "batch_size": 32}

CASES = {
    "linear_regression_scratch": Case(
        "500 drawn points",
        {"": Twin(networks.line, descent(0.03), HALF, as_module=as_line)},
    ),
    "linear_regression": Case(
        "1,000 drawn points; 3 points",
        {
            "three variables": LINE._replace(optimizer=descent(0.03)),
            "one variable": LINE,
        },
    ),
    "gradient_descent": Case(
        "100 drawn points; two clusters",
        {
            f"{place}, {n} a step": Twin(networks.Point, descent(rate), loss)
            for n in (1, 10, 100)
            for place, rate, loss in (
                ("line", 0.1, on_line),
                ("saddle", 0.5, on_saddle),
            )
        },
        quick={"examples_seen": 200},
    ),
    "logistic_regression": Case(
        "3 students",
        {
            name: Twin(
                networks.perceptron(last=nn.Sigmoid),
                descent(0.01),
                bce("hours", "passed"),
                as_module=lambda params: {"0": params},
            )
            for name in ("500 epochs", "50,000 epochs")
        },
    ),
    "diabetes": Case(
        "breast cancer, 8 features",
        {
            "descent": Twin(SIGMOIDS, descent(0.01), bce("x", "y")),
            "adam": Twin(SIGMOIDS, adam(0.01), bce("x", "y")),
        },
        slow=True,
    ),
    "softmax_regression_scratch": Case(
        DIGITS, {"": FLAT._replace(as_module=as_line)}, quick=SMALL
    ),
    "softmax_regression": Case(DIGITS, {"": FLAT}, quick=SMALL),
    "mlp_scratch": Case(
        DIGITS, {"": MLP_IMAGES._replace(as_module=as_two_layers)}, quick=SMALL
    ),
    "mlp": Case(DIGITS, {"": MLP_IMAGES}, quick=SMALL),
    "mnist_mlp": Case(
        DIGITS, {"": MLP_IMAGES._replace(optimizer=MOMENTUM)}, quick=SMALL
    ),
    "titanic": Case(
        "generated passengers",
        {"": Twin(networks.perceptron(), adam(3e-3), cross_entropy("x"))},
    ),
    "otto": Case(
        "generated products",
        {
            "": Twin(
                networks.perceptron(dropout=True),
                adam(1e-3),
                cross_entropy("x"),
                masks=with_dropout(0.5, ("x",)),
            )
        },
    ),
    "polynomial_fitting": Case(
        "100 drawn points, or 2",
        dict.fromkeys(("normal", "underfitting", "overfitting"), LINE),
    ),
    "weight_decay": Case(
        "20 drawn points",
        {
            "without": LINE._replace(optimizer=descent(0.003)),
            "penalty": LINE._replace(optimizer=descent(0.003), loss=penalised),
            "decay": LINE._replace(optimizer=decay_of_weights),
        },
    ),
    "dropout_scratch": Case(
        DIGITS,
        {
            "": Twin(
                networks.perceptron(dropout=True),
                descent(0.1),
                cross_entropy(),
                as_module=as_layers,
                masks=scratch_masks,
            )
        },
        quick=SMALL,
    ),
    "dropout": Case(
        DIGITS,
        {
            "": Twin(
                networks.perceptron(dropout=True),
                descent(0.1),
                cross_entropy(),
                masks=with_dropout((0.2, 0.5)),
            )
        },
        quick=SMALL,
    ),
    "k_fold": Case(
        "digits, 8×8",
        dict.fromkeys(("fold 1 of 10", "fold 5", "fold 10", "all folds"), MLP_IMAGES),
        chosen=(0, 4, 9, 10),
        quick={"epochs": 1},
        slow=True,
    ),
    "hyperparameter_search": Case(
        "digits, 8×8",
        {
            name: MLP_IMAGES._replace(optimizer=searched)
            for name in ("point 1 of 48", "point 24", "point 48", "the best")
        },
        chosen=(0, 23, 47, 48),
        quick={"epochs": 1},
        slow=True,
    ),
    "initialization": Case(
        "digits, 8×8",
        {
            name: MLP_IMAGES._replace(optimizer=descent(0.02))
            for name in (
                "normal, std 0.01",
                "normal, std 1",
                "constant 0.01",
                "Xavier uniform",
                "Xavier normal",
                "Kaiming normal",
                "PyTorch's default",
            )
        },
        quick={"steps": 20},
        slow=True,
    ),
    "custom_layers": Case(
        "200 drawn points",
        {
            name: Twin(
                networks.my_linears(data),
                descent(1e-3),
                lambda net, b: F.mse_loss(net(b["x"]), b["y"]),
            )
            for name, data in (("MyLinear", False), ("weight.data", True))
        },
    ),
    "save_and_load": Case(
        "200 drawn points",
        {
            name: Twin(networks.perceptron(), adam(1e-3), cross_entropy("x"))
            for name in ("never stopped", "stopped", "gone on")
        },
        quick={"epochs": 2},
    ),
    "convolution": Case(
        "an image of 6×8",
        {"edge kernel": Twin(networks.EdgeKernel, descent(0.01), edges)},
    ),
    "lenet": Case(
        DIGITS,
        {
            "": Twin(
                networks.lenet,
                adam(1e-3),
                cross_entropy(),
                networks.flattened("fc1", 16),
            )
        },
        quick=SMALL,
    ),
    "simple_cnn": Case(
        DIGITS,
        {"": image_net(torch_images.SimpleCNN, 20, MOMENTUM)},
        quick=SMALL,
    ),
    "residual_cnn": Case(
        DIGITS,
        {"": image_net(torch_images.ResidualCNN, 32, MOMENTUM)},
        quick=SMALL,
        slow=True,
    ),
    "inception": Case(
        DIGITS,
        {"": image_net(torch_images.InceptionCNN, 88, MOMENTUM)},
        quick=SMALL,
        slow=True,
    ),
    "residual_variants": Case(
        "digits, 16×16", {block: variant(block) for block in BLOCKS}, slow=True
    ),
    "hello_rnn": Case(
        "a word",
        {
            "cell": Twin(networks.LetterCell, adam(0.1), spelled),
            "layer": Twin(networks.LetterLayer, adam(0.1), spelled),
            "embedding": Twin(networks.letter_embedding, adam(0.05), spelled),
        },
        slow=True,
    ),
    "name_classifier": Case(
        "Faker's names",
        {"": Twin(networks.names, adam(1e-3), cross_entropy("text", "length"))},
        slow=True,
    ),
    "fine_tuning": Case(
        "digits, 16×16",
        {
            "seven digits": resnet(descent(0.01, 0.9)),
            "head": resnet(head_only, train=False),
            "all": resnet(descent(0.01, 0.9)),
            "scratch": resnet(descent(0.01, 0.9)),
        },
        slow=True,
    ),
    "data_parallel": Case(
        "digits, 8×8",
        {
            name: MLP_IMAGES._replace(net=networks.normalised_perceptron)
            for name in ("one device", "8 devices")
        },
    ),
    "image_folder": Case(
        "digits as files, 16×16",
        {"": image_net(torch_images.SimpleCNN, 20, adam(3e-3))},
        slow=True,
    ),
}

WITHOUT = {
    "activations": "looks at functions and their derivatives",
    "blocks": "puts layers together and differentiates them once",
    "computational_graph": "differentiates once",
    "control_flow": "differentiates once",
    "devices": "times a product",
    "model_library": "draws or reads parameters and looks at an image",
    "parameters": "changes parameters by hand and differentiates once",
    "pooling": "has no parameters",
}
