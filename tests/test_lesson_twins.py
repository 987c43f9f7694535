"""Lessons from scratch beside their concise twins, and both beside PyTorch.

In float64, from the same weights, on the same batches, with the same units dropped.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from experiments import (
    computational_graph,
    convolution,
    diabetes,
    dropout,
    dropout_scratch,
    logistic_regression,
    mlp,
    mlp_scratch,
    weight_decay,
)
from jaxdl.classification import classification
from jaxdl.optimizers import param_groups, sgd
from jaxdl.torch_weights import to_state_dict
from jaxdl.training import TrainState, init_state, make_train_step, scan_steps
from tests.models.twins import drawn_masks, load
from tests.oracle import EXACT, assert_trees_match, randomised, to_torch

KEY = jax.random.key(7)
STEPS, BATCH, RATE = 30, 7, 0.1


@pytest.fixture(autouse=True)
def _float64(x64):
    pass


@pytest.fixture
def data(rng):
    image, label = rng.random((40, 5, 5, 1)), rng.integers(10, size=40)
    return {"image": jnp.asarray(image), "label": jnp.asarray(label)}


@pytest.fixture
def batches(rng):
    return jnp.asarray(rng.integers(40, size=(STEPS, BATCH)))


def concise(model, params, data, batches):
    """Trains as the concise lessons do: the parameters, and the losses of the steps."""
    optimizer = sgd(RATE)
    step = make_train_step(classification(model).loss_fn, optimizer)
    state = init_state(params, optimizer)
    state, metrics = jax.jit(scan_steps(step))(state, data, batches, KEY)
    return state.params, metrics["loss"]


def in_pytorch(params, data, batches, masks=None):
    """The same in PyTorch, for linear layers with ReLU and masks in between."""
    layers = [
        [to_torch(layer[name]).requires_grad_() for name in ("kernel", "bias")]
        for layer in params.values()
    ]
    optimizer = torch.optim.SGD([part for layer in layers for part in layer], RATE)
    images = to_torch(data["image"]).flatten(1)
    labels, losses = to_torch(data["label"]), []
    for step, rows in enumerate(to_torch(batches)):
        x = images[rows]
        for i, (kernel, bias) in enumerate(layers):
            x = x @ kernel + bias
            if i < len(layers) - 1:
                x = torch.relu(x)
                x = x * to_torch(masks[step][i]) if masks else x
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(x, labels[rows])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    trained = [[part.detach().numpy() for part in layer] for layer in layers]
    named = [dict(zip(("kernel", "bias"), layer, strict=True)) for layer in trained]
    return dict(zip(params, named, strict=True)), losses


def drawn(rng, model, data, **mode):
    variables = model.init(KEY, data["image"][:1], **mode)
    return jax.tree.map(lambda p: 0.3 * p, randomised(rng, variables["params"]))


def test_mlp(rng, data, batches):
    model = mlp.make_model(mlp.Config(hidden=6))
    params = drawn(rng, model, data)
    trained, losses = concise(model, params, data, batches)

    start = {
        "w1": params["1"]["kernel"], "b1": params["1"]["bias"],
        "w2": params["3"]["kernel"], "b2": params["3"]["bias"],
    }  # fmt: skip

    def step(*given):
        return mlp_scratch.sgd_step(*given, learning_rate=RATE)

    state = TrainState(jnp.int32(0), start, (), ())
    state, metrics = jax.jit(scan_steps(step))(state, data, batches, KEY)
    np.testing.assert_allclose(metrics["loss"], losses, **EXACT)
    for i, name in enumerate(("1", "3"), 1):
        found = {"kernel": state.params[f"w{i}"], "bias": state.params[f"b{i}"]}
        assert_trees_match(found, trained[name])
    assert_trees_match((trained, losses), in_pytorch(params, data, batches))


def masks_of(model, params, data, batches):
    """What the dropout layers of a module multiply by, at each step."""
    of_step = jax.jit(partial(drawn_masks, model, {"params": params}))
    keys = (jax.random.fold_in(KEY, step) for step in range(len(batches)))
    images = (data["image"][rows] for rows in batches)
    return [of_step(key, image) for key, image in zip(keys, images, strict=True)]


def test_dropout(rng, data, batches, monkeypatch):
    """Draws of the lesson from scratch are replaced: 0 for a unit kept, else 1."""
    model = dropout.make_model(dropout.Config(dropout=(0.2, 0.5)))
    model = model.clone(widths=(8, 6, 10))
    params = drawn(rng, model, data, train=False)
    trained, losses = concise(model, params, data, batches)

    masks = masks_of(model, params, data, batches)
    assert {float(m) for m in np.unique(masks[0][0])} == {0, 1 / 0.8}

    @jax.jit
    def step(state, batch, masks):
        draws = (1.0 - (mask > 0) for mask in masks)
        monkeypatch.setattr(jax.random, "uniform", lambda key, shape: next(draws))
        return dropout_scratch.sgd_step(state, batch, KEY, (0.2, 0.5), RATE)

    start = [(layer["kernel"], layer["bias"]) for layer in params.values()]
    state, found = TrainState(jnp.int32(0), start, (), ()), []
    for rows, of_step in zip(batches, masks, strict=True):
        batch = {name: values[rows] for name, values in data.items()}
        state, metrics = step(state, batch, of_step)
        found.append(metrics["loss"])
    np.testing.assert_allclose(found, losses, **EXACT)
    for (w, b), layer in zip(state.params, trained.values(), strict=True):
        assert_trees_match({"kernel": w, "bias": b}, layer)
    assert_trees_match((trained, losses), in_pytorch(params, data, batches, masks))


def test_dropout_is_off_where_the_lessons_measure(rng, data):
    model = dropout.make_model(dropout.Config()).clone(widths=(8, 6, 10))
    params = drawn(rng, model, data, train=False)
    start = [(layer["kernel"], layer["bias"]) for layer in params.values()]
    measured = dropout_scratch.measure(start, (), data)
    assert_trees_match(measured, classification(model).eval_fn(params, (), data))


def beside_pytorch(loss_fn, optimizer, net, torch_optimizer, torch_loss, params, data):
    """30 steps of a lesson's own loss function, and of its twin in PyTorch."""
    rows = np.random.default_rng(1).integers(len(data["x"]), size=(STEPS, BATCH))
    steps = jax.jit(scan_steps(make_train_step(loss_fn, optimizer)))
    state, metrics = steps(init_state(params, optimizer), data, jnp.asarray(rows), KEY)
    load(net, {"params": params})
    x, y, losses = to_torch(data["x"]), to_torch(data["y"]), []
    for batch in rows:
        torch_optimizer.zero_grad()
        loss = torch_loss(net(x[batch]).squeeze(-1), y[batch])
        loss.backward()
        torch_optimizer.step()
        losses.append(loss.item())
    trained = {name: p.detach().numpy() for name, p in net.named_parameters()}
    assert_trees_match(to_state_dict({"params": state.params}), trained)
    return metrics["loss"], losses


def examples(rng, features):
    x = jnp.asarray(rng.normal(size=(40, features)))
    return {"x": x, "y": jnp.asarray(rng.integers(2, size=40) * 1.0)}


@pytest.mark.parametrize("way", ["descent", "adam"])
def test_diabetes(rng, way):
    nn = torch.nn
    sizes, layers = (5, 6, 4, 1), [nn.Flatten()]
    for i in range(3):
        layers += [nn.Linear(sizes[i], sizes[i + 1]), nn.Sigmoid()]
    net, data = nn.Sequential(*layers).double(), examples(rng, 5)
    params = randomised(rng, diabetes.MODEL.init(KEY, data["x"])["params"])
    optimizer, twin = {
        "descent": (optax.sgd(RATE), torch.optim.SGD),
        "adam": (optax.adam(RATE), torch.optim.Adam),
    }[way]
    twin = twin(net.parameters(), RATE)
    found, losses = beside_pytorch(
        diabetes.loss_fn, optimizer, net, twin, nn.BCELoss(), params, data
    )
    np.testing.assert_allclose(found, losses, **EXACT)


def test_logistic_regression(rng):
    net = torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.Sigmoid()).double()
    twin, params = torch.optim.SGD(net.parameters(), RATE), {"0": drawn_line(rng, 1)}

    def loss_fn(params, model_state, batch, key):
        batch = {"hours": batch["x"], "passed": batch["y"][:, None]}
        return logistic_regression.loss_fn(params["0"], model_state, batch, key)

    bce, data = torch.nn.BCELoss(), examples(rng, 1)
    found, losses = beside_pytorch(
        loss_fn, optax.sgd(RATE), net, twin, bce, params, data
    )
    np.testing.assert_allclose(found, losses, **EXACT)


@pytest.mark.parametrize("way", ["penalty", "decay"])
def test_weight_decay(rng, way):
    """Both are PyTorch's decay of weights and not of biases."""
    net = torch.nn.Linear(5, 1).double()
    groups = [{"params": [net.weight], "weight_decay": 3.0}, {"params": [net.bias]}]
    twin, data = torch.optim.SGD(groups, 0.01), examples(rng, 5)
    decayed = {"kernel": sgd(0.01, weight_decay=3.0), "bias": sgd(0.01)}
    loss_fn, optimizer = {
        "penalty": (weight_decay.penalised(3.0), sgd(0.01)),
        "decay": (weight_decay.penalised(0.0), param_groups(decayed)),
    }[way]
    mse, params = torch.nn.MSELoss(), drawn_line(rng, 5)
    found, losses = beside_pytorch(loss_fn, optimizer, net, twin, mse, params, data)
    if way == "decay":  # else the loss holds the penalty too
        np.testing.assert_allclose(found, losses, **EXACT)


def drawn_line(rng, features):
    return {"kernel": rng.normal(size=(features, 1)), "bias": rng.normal(size=1)}


def test_backpropagation_by_hand(rng):
    shapes = (2, 3), (2,), (3,), ()
    arguments = [jnp.asarray(rng.normal(size=shape)) for shape in shapes]
    expected = jax.grad(computational_graph.loss, argnums=(0, 1))(*arguments)
    assert_trees_match(computational_graph.backpropagate(*arguments), expected)


def test_an_edge_kernel_is_learned_as_by_torch(rng):
    X, Y = rng.normal(size=(6, 8)), rng.normal(size=(6, 7))
    weight = rng.normal(size=(1, 2))
    params = {"weight": jnp.asarray(weight), "bias": jnp.float64(0.3)}
    for _ in range(20):
        params = convolution.step(params, *map(jnp.asarray, (X, Y)), 0.01)

    conv = torch.nn.Conv2d(1, 1, (1, 2)).double()
    with torch.no_grad():
        conv.weight.copy_(to_torch(weight)[None, None])
        conv.bias.fill_(0.3)
    optimizer = torch.optim.SGD(conv.parameters(), 0.01)
    for _ in range(20):
        optimizer.zero_grad()
        ((conv(to_torch(X)[None, None])[0, 0] - to_torch(Y)) ** 2).sum().backward()
        optimizer.step()
    np.testing.assert_allclose(
        params["weight"], conv.weight.detach().numpy()[0, 0], **EXACT
    )
    np.testing.assert_allclose(params["bias"], conv.bias.item(), **EXACT)
