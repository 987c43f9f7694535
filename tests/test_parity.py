"""Training runs beside PyTorch: the same weights, the same batches, 50 steps."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from experiments import linear_regression_scratch, softmax_regression_scratch
from jaxdl.functional import cross_entropy, mse_loss
from jaxdl.layers import Linear
from jaxdl.metrics import accuracy
from jaxdl.models.lenet import LeNet
from jaxdl.training import (
    TrainState,
    init_state,
    loop_steps,
    make_train_step,
    scan_steps,
)
from tests.oracle import (
    EXACT,
    assert_trees_match,
    randomised,
    to_torch,
    torch_lenet,
)

KEY = jax.random.key(0)
STEPS, BATCH = 50, 7


@pytest.fixture(autouse=True)
def _float64(x64):
    pass


def train_ours(train_step, state, data, batches, driver=scan_steps):
    steps = driver(train_step)
    steps = jax.jit(steps) if driver is scan_steps else steps
    return steps(state, jax.tree.map(jnp.asarray, data), jnp.asarray(batches), KEY)


def train_torch(net, loss, optimizer, data, batches, name="x"):
    losses = []
    for rows in batches:
        x, y = to_torch(data[name][rows]), torch.tensor(data["label"][rows])
        optimizer.zero_grad()
        value = loss(net(x), y)
        value.backward()
        optimizer.step()
        losses.append(value.item())
    return losses


@pytest.fixture
def batches(rng):
    return rng.integers(40, size=(STEPS, BATCH))


@pytest.fixture
def points(rng):
    x = rng.normal(size=(40, 3))
    return {"x": x, "y": x @ [-6.0, 3.2, 10.5] + 1.7 + 0.01 * rng.normal(size=40)}


@pytest.mark.parametrize("driver", [scan_steps, loop_steps])
def test_linear_regression(rng, points, batches, driver):
    w, b = rng.normal(size=(3, 1)), rng.normal(size=1)
    optimizer = optax.sgd(0.03)

    def loss_fn(params, model_state, batch, key):
        predicted = Linear(1).apply({"params": params}, batch["x"])[:, 0]
        return mse_loss(predicted, batch["y"]), (model_state, {})

    state = init_state({"kernel": jnp.asarray(w), "bias": jnp.asarray(b)}, optimizer)
    step = make_train_step(loss_fn, optimizer)
    state, metrics = train_ours(step, state, points, batches, driver)

    net = torch.nn.Linear(3, 1).double()
    with torch.no_grad():
        net.weight.copy_(to_torch(w.T))
        net.bias.copy_(to_torch(b))
    losses = train_torch(
        net,
        lambda predicted, y: torch.nn.functional.mse_loss(predicted[:, 0], y),
        torch.optim.SGD(net.parameters(), 0.03),
        {"x": points["x"], "label": points["y"]},
        batches,
    )
    np.testing.assert_allclose(metrics["loss"], losses, **EXACT)
    np.testing.assert_allclose(state.params["kernel"], net.weight.detach().T, **EXACT)
    np.testing.assert_allclose(state.params["bias"], net.bias.detach(), **EXACT)


def test_linear_regression_scratch(rng, points, batches):
    """½ of the mean squared error, as in the notes."""
    w, b = rng.normal(size=3), rng.normal()
    state = TrainState(jnp.int32(0), {"w": jnp.asarray(w), "b": jnp.float64(b)}, (), ())

    def step(state, batch, key):
        return linear_regression_scratch.sgd_step(state, batch, key, learning_rate=0.03)

    state, metrics = train_ours(step, state, points, batches)

    net = torch.nn.Linear(3, 1).double()
    with torch.no_grad():
        net.weight.copy_(to_torch(w))
        net.bias.fill_(b)
    losses = train_torch(
        net,
        lambda predicted, y: torch.nn.functional.mse_loss(predicted[:, 0], y) / 2,
        torch.optim.SGD(net.parameters(), 0.03),
        {"x": points["x"], "label": points["y"]},
        batches,
    )
    np.testing.assert_allclose(metrics["loss"], losses, **EXACT)
    np.testing.assert_allclose(state.params["w"], net.weight.detach()[0], **EXACT)
    np.testing.assert_allclose(state.params["b"], net.bias.item(), **EXACT)


def torch_softmax(data, batches, w, b):
    net = torch.nn.Linear(*w.shape).double()
    with torch.no_grad():
        net.weight.copy_(to_torch(w.T))
        net.bias.copy_(to_torch(b))
    flat = {"x": data["image"].reshape(40, -1), "label": data["label"]}
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    losses = train_torch(
        net, torch.nn.functional.cross_entropy, optimizer, flat, batches
    )
    guesses = net(to_torch(flat["x"])).argmax(1).numpy()
    return net, losses, np.mean(guesses == data["label"])


@pytest.fixture
def images(rng):
    image, label = rng.random((40, 5, 6, 1)), rng.integers(4, size=40)
    return {"image": image, "label": label}


@pytest.mark.parametrize("driver", [scan_steps, loop_steps])
def test_softmax_regression(rng, images, batches, driver):
    w, b = rng.normal(size=(30, 4)), rng.normal(size=4)
    optimizer = optax.sgd(0.1)

    def logits_of(params, images):
        return Linear(4).apply({"params": params}, images.reshape(len(images), -1))

    def loss_fn(params, model_state, batch, key):
        loss = cross_entropy(logits_of(params, batch["image"]), batch["label"])
        return loss, (model_state, {})

    state = init_state({"kernel": jnp.asarray(w), "bias": jnp.asarray(b)}, optimizer)
    step = make_train_step(loss_fn, optimizer)
    state, metrics = train_ours(step, state, images, batches, driver)

    net, losses, share = torch_softmax(images, batches, w, b)
    np.testing.assert_allclose(metrics["loss"], losses, **EXACT)
    np.testing.assert_allclose(state.params["kernel"], net.weight.detach().T, **EXACT)
    np.testing.assert_allclose(state.params["bias"], net.bias.detach(), **EXACT)
    logits = logits_of(state.params, jnp.asarray(images["image"]))
    assert accuracy(logits, jnp.asarray(images["label"])) == share


def test_softmax_regression_scratch(rng, images, batches):
    w, b = rng.normal(size=(30, 4)), rng.normal(size=4)
    params = {"w": jnp.asarray(w), "b": jnp.asarray(b)}

    def step(state, batch, key):
        return softmax_regression_scratch.sgd_step(state, batch, key, learning_rate=0.1)

    state = TrainState(jnp.int32(0), params, (), ())
    state, metrics = train_ours(step, state, images, batches)

    net, losses, share = torch_softmax(images, batches, w, b)
    np.testing.assert_allclose(metrics["loss"], losses, **EXACT)
    np.testing.assert_allclose(state.params["w"], net.weight.detach().T, **EXACT)
    np.testing.assert_allclose(state.params["b"], net.bias.detach(), **EXACT)
    every = jax.tree.map(jnp.asarray, images)
    measured = softmax_regression_scratch.measure(state.params, (), every)
    assert measured["accuracy"].mean() == share


def test_lenet_with_adam(rng, batches):
    data = {"x": rng.random((40, 18, 17, 1)), "label": rng.integers(5, size=40)}
    model, optimizer = LeNet(5), optax.adam(1e-3)
    params = model.init(KEY, jnp.asarray(data["x"]))["params"]
    params = jax.tree.map(lambda p: 0.3 * p, randomised(rng, params))

    def loss_fn(params, model_state, batch, key):
        logits = model.apply({"params": params}, batch["x"])
        return cross_entropy(logits, batch["label"]), (model_state, {})

    net = torch_lenet(params)
    state = init_state(params, optimizer)
    step = make_train_step(loss_fn, optimizer)
    state, metrics = train_ours(step, state, data, batches)

    channels_first = {"x": data["x"].transpose(0, 3, 1, 2), "label": data["label"]}
    losses = train_torch(
        net,
        torch.nn.functional.cross_entropy,
        torch.optim.Adam(net.parameters(), 1e-3),
        channels_first,
        batches,
    )
    # Adam divides by the root of its second moment, which makes a rounding error of a
    # gradient near zero one of the update: 1e-13 after one step, 1e-9 after fifty.
    np.testing.assert_allclose(metrics["loss"], losses, rtol=1e-10)
    trained = torch_lenet(state.params).state_dict()
    for name, value in net.state_dict().items():
        np.testing.assert_allclose(trained[name], value, rtol=1e-7, atol=1e-9)
    assert_trees_match(state.step, STEPS)
