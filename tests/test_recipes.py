"""What trainings are composed of, each against its definition or PyTorch."""

import copy
from operator import itemgetter

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from flax import linen as nn

from jaxdl.functional import cross_entropy, mse_loss
from jaxdl.layers import Linear
from jaxdl.optimizers import average_of, sgd, track_average
from jaxdl.training import (
    TrainState,
    compiled,
    compute_in,
    init_state,
    make_epoch,
    make_run,
    make_train_step,
)
from tests.oracle import assert_close, assert_same_bits, to_torch

KEY = jax.random.key(0)


def loss_fn(params, model_state, batch, key):
    return mse_loss(batch["x"] @ params, batch["y"]), (model_state, {})


@pytest.fixture
def problem(rng, x64):
    data = {"x": jnp.asarray(rng.normal(size=(24, 3))), "y": rng.normal(size=24)}
    return jnp.asarray(rng.normal(size=3)), jax.tree.map(jnp.asarray, data)


def torch_loss(weight, batch):
    x, y = to_torch(batch["x"]), to_torch(batch["y"])
    return torch.nn.functional.mse_loss(x @ weight, y)


def batches(data, size):
    n = len(data["x"])
    return [
        jax.tree.map(itemgetter(slice(i, i + size)), data) for i in range(0, n, size)
    ]


@pytest.mark.parametrize("mean", [False, True])
def test_accumulated_gradients_equal_torchs(problem, mean):
    """PyTorch adds up what `backward` gives; optax averages unless told otherwise."""
    params, data = problem
    accumulated = optax.MultiSteps(
        sgd(0.05, momentum=0.9), 4, use_grad_mean=mean, accumulator_dtype=jnp.float64
    )
    optimizer = accumulated.gradient_transformation()
    step = jax.jit(make_train_step(loss_fn, optimizer))
    state = init_state(params, optimizer)
    weight = to_torch(params).requires_grad_()
    theirs = torch.optim.SGD([weight], lr=0.05, momentum=0.9)
    for i, batch in enumerate(batches(data, 2), 1):
        state, _ = step(state, batch, KEY)
        (torch_loss(weight, batch) / (4 if mean else 1)).backward()
        if i % 4 == 0:
            theirs.step()
            theirs.zero_grad()
        assert_close(state.params, weight.detach())


def test_the_average_of_parameters_equals_torchs(problem):
    params, data = problem
    optimizer = optax.chain(sgd(0.1), track_average(0.8))
    step = jax.jit(make_train_step(loss_fn, optimizer))
    state = init_state(params, optimizer)
    net = torch.nn.Linear(3, 1, bias=False).double()
    with torch.no_grad():
        net.weight.copy_(to_torch(params)[None])
    theirs = torch.optim.SGD(net.parameters(), lr=0.1)
    decay = torch.optim.swa_utils.get_ema_multi_avg_fn(0.8)
    averaged = torch.optim.swa_utils.AveragedModel(
        copy.deepcopy(net), multi_avg_fn=decay
    )
    for batch in batches(data, 4):
        state, _ = step(state, batch, KEY)
        theirs.zero_grad()
        torch_loss(net.weight[0], batch).backward()
        theirs.step()
        averaged.update_parameters(net)
        average = averaged.module.weight[0].detach()
        assert_close(average_of(state.opt_state), average)


@pytest.mark.parametrize("decay", [0.9, 0.99])
def test_an_average_in_bfloat16_of_what_stays_is_that(decay):
    params = jnp.array([1, 1.5, 0.3, -7], jnp.bfloat16)
    average = track_average(decay)
    state = average.init(params)
    for _ in range(400):
        _, state = average.update(jnp.zeros(4), state, params)
    assert_same_bits(state.average, params)


def test_a_decay_may_be_traced():
    def averaged(decay):
        average = track_average(decay)
        state = average.init(jnp.ones(2))
        for i in range(3):
            _, state = average.update(jnp.ones(2), state, jnp.full(2, i))
        return state.average

    actual = jax.jit(jax.vmap(averaged))(jnp.array([0.3, 0.9]))
    np.testing.assert_allclose(actual, [averaged(0.3), averaged(0.9)], rtol=1e-6)


def test_a_step_may_overwrite_a_state_with_averages(problem):
    params, data = problem
    optimizer = optax.chain(sgd(0.1), track_average(0.8))
    step = make_train_step(loss_fn, optimizer)
    expected = jax.jit(step)(init_state(params, optimizer), data, KEY)
    donating = jax.jit(step, donate_argnums=0)
    assert_same_bits(donating(init_state(params, optimizer), data, KEY), expected)


def test_averages_that_cannot_be(problem):
    params, _ = problem
    with pytest.raises(ValueError, match=r"decay=1.5 is not within \[0, 1\]"):
        track_average(1.5)
    with pytest.raises(ValueError, match="holds 0 averages"):
        average_of(sgd(0.1).init(params))
    with pytest.raises(ValueError, match="needs the parameters"):
        track_average(0.5).update(params, track_average(0.5).init(params))


def test_a_run_of_epochs_is_one_program_with_the_same_bits(problem):
    params, data = problem
    optimizer = optax.adam(0.1)
    epoch = make_epoch(make_train_step(loss_fn, optimizer), 5)
    state = init_state(params, optimizer)
    whole, metrics = compiled(make_run(epoch, 3))(state, data, KEY)
    losses = []
    for _ in range(3):
        state, met = compiled(epoch)(state, data, KEY)
        losses.append(met["loss"])
    assert_same_bits(whole, state)
    np.testing.assert_array_equal(metrics["loss"], np.stack(losses))
    with pytest.raises(ValueError, match="epochs=0 is below 1"):
        make_run(epoch, 0)


def test_two_networks_with_an_optimiser_each_equal_torchs(rng, x64):
    """Each sees the other as its model state; the maker meets the critic's update."""
    x, noise = jnp.asarray(rng.normal(size=(2, 12, 3)))
    maker, critic = (
        jnp.asarray(rng.normal(size=(3, 3))),
        jnp.asarray(rng.normal(size=3)),
    )

    def critic_loss(critic, maker, batch, key):
        loss = nn.softplus(-batch["x"] @ critic) + nn.softplus(noise @ maker @ critic)
        return loss.mean(), (maker, {})

    def maker_loss(maker, critic, batch, key):
        return nn.softplus(-noise @ maker @ critic).mean(), (critic, {})

    optimizers = sgd(0.3, momentum=0.9), sgd(0.2)
    maker_step = make_train_step(maker_loss, optimizers[0])
    critic_step = make_train_step(critic_loss, optimizers[1])

    def step_of_both(state, batch, key):
        step, (maker, critic), _, (maker_opt, critic_opt) = state
        critic_state = TrainState(step, critic, maker, critic_opt)
        critic_state, metrics = critic_step(critic_state, batch, key)
        maker_state = TrainState(step, maker, critic_state.params, maker_opt)
        maker_state, _ = maker_step(maker_state, batch, key)
        params = maker_state.params, critic_state.params
        opt_state = maker_state.opt_state, critic_state.opt_state
        return TrainState(step + 1, params, (), opt_state), metrics

    opt_state = optimizers[0].init(maker), optimizers[1].init(critic)
    state = TrainState(jnp.int32(0), (maker, critic), (), opt_state)
    step = jax.jit(step_of_both)
    for _ in range(3):
        state, _ = step(state, {"x": x}, KEY)

    theirs = [to_torch(array).requires_grad_() for array in (maker, critic)]
    first = torch.optim.SGD(theirs[:1], lr=0.3, momentum=0.9)
    second = torch.optim.SGD(theirs[1:], lr=0.2)
    softplus, z, real = torch.nn.functional.softplus, to_torch(noise), to_torch(x)
    for _ in range(3):
        second.zero_grad()
        made = (z @ theirs[0]).detach()
        (softplus(-real @ theirs[1]) + softplus(made @ theirs[1])).mean().backward()
        second.step()
        first.zero_grad()
        softplus(-z @ theirs[0] @ theirs[1]).mean().backward()
        first.step()
    for ours, expected in zip(state.params, theirs, strict=True):
        assert_close(ours, expected.detach())


class Network(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        x = nn.BatchNorm(use_running_average=not train)(nn.Dense(7)(x))
        return nn.Dense(3)(nn.relu(x))


@pytest.fixture
def network(rng):
    x = rng.normal(size=(16, 5)).astype(np.float32)
    batch = {"x": jnp.asarray(x), "y": jnp.asarray(x[:, :3].argmax(axis=1))}
    variables = Network().init(KEY, batch["x"], True)

    def loss(params, model_state, batch, key):
        logits, model_state = Network().apply(
            {"params": params, **model_state}, batch["x"], True, mutable=["batch_stats"]
        )
        seen.append(logits.dtype)
        return cross_entropy(logits, batch["y"]), (model_state, {"top": logits.max()})

    seen = []
    stats = {"batch_stats": variables["batch_stats"]}
    return variables["params"], stats, batch, loss, seen


def test_half_precision_computes_in_it_and_keeps_parameters(network):
    params, stats, batch, loss, seen = network
    optimizer = optax.sgd(0.1)
    half = jax.jit(make_train_step(compute_in(jnp.bfloat16, loss, ["x"]), optimizer))
    state, metrics = half(init_state(params, optimizer, stats), batch, KEY)
    assert seen == [jnp.bfloat16]
    assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {np.dtype("f4")}
    assert {leaf.dtype for leaf in jax.tree.leaves(state.model_state)} == {
        np.dtype("f4")
    }
    assert {leaf.dtype for leaf in metrics.values()} == {np.dtype("f4")}
    full = jax.jit(make_train_step(loss, optimizer))
    exact, expected = full(init_state(params, optimizer, stats), batch, KEY)
    # bfloat16 keeps 8 bits, 0.4 %, and errors add up over a few operations.
    np.testing.assert_allclose(metrics["loss"], expected["loss"], rtol=0.05)
    for a, b in zip(*map(jax.tree.leaves, (state.params, exact.params)), strict=True):
        assert not np.array_equal(a, b)
        np.testing.assert_allclose(a, b, atol=0.01)


def test_half_precision_keeps_targets_and_computes_losses_as_torchs_autocast(rng):
    """In bfloat16 300.5 would be 300 or 302, and the loss of another model."""
    x, y = rng.normal(size=(20, 3)), 300.5 + 0.3 * rng.normal(size=(20, 1))
    batch = {"x": jnp.asarray(x, jnp.float32), "y": jnp.asarray(y, jnp.float32)}
    params = {"kernel": jnp.zeros((3, 1)), "bias": jnp.full(1, 300.0)}

    def loss(params, model_state, batch, key):
        return mse_loss(Linear(1).apply({"params": params}, batch["x"]), batch["y"]), (
            model_state,
            {},
        )

    ours, _ = compute_in(jnp.bfloat16, loss, ["x"])(params, (), batch, KEY)
    layer = torch.nn.Linear(3, 1)
    torch.nn.init.zeros_(layer.weight)
    torch.nn.init.constant_(layer.bias, 300.0)
    with torch.autocast("cpu", torch.bfloat16):
        theirs = torch.nn.functional.mse_loss(
            layer(to_torch(np.asarray(batch["x"]))), to_torch(np.asarray(batch["y"]))
        )
    np.testing.assert_allclose(ours, theirs.item(), rtol=1e-6)
    with pytest.raises(ValueError, match="the batch has no 'image', only 'x', 'y'"):
        compute_in(jnp.bfloat16, loss)(params, (), batch, KEY)
    with pytest.raises(ValueError, match=r"inputs='x' is one string; give \('x',\)"):
        compute_in(jnp.bfloat16, loss, "x")
    with pytest.raises(ValueError, match="the batch is a tuple: compute_in needs"):
        compute_in(jnp.bfloat16, loss)(params, (), (batch["x"],), KEY)


def test_checkpointed_layers_keep_less_and_compute_the_same(rng, x64):
    class Deep(nn.Module):
        layer: type

        @nn.compact
        def __call__(self, x):
            for i in range(4):
                x = self.layer(6, name=f"layer{i}")(x)
            return x.sum()

    class Layer(nn.Module):
        width: int

        @nn.compact
        def __call__(self, x):
            return jnp.tanh(nn.Dense(self.width)(nn.Dense(50)(x)))

    x = jnp.asarray(rng.normal(size=(9, 6)))
    plain, remat = Deep(Layer), Deep(nn.remat(Layer))
    params = plain.init(KEY, x)
    ours, theirs = (
        jax.grad(lambda p, m=m: m.apply(p, x))(params) for m in (remat, plain)
    )
    jax.tree.map(assert_close, ours, theirs)

    def kept(model):
        _, pullback = jax.vjp(lambda p: model.apply(p, x), params)
        return sum(leaf.size for leaf in jax.tree.leaves(pullback))

    assert kept(remat) < kept(plain)


def test_the_rate_falls_where_the_loss_stays(problem):
    params, data = problem
    plateau = optax.contrib.reduce_on_plateau(factor=0.5, patience=2, rtol=1e-4)
    optimizer = optax.chain(sgd(0.0), plateau)
    step = jax.jit(make_train_step(loss_fn, optimizer))
    state = init_state(params, optimizer)
    scales = []
    for _ in range(9):
        state, _ = step(state, data, KEY)
        scales.append(float(state.opt_state[1].scale))
    assert scales[0] == 1
    assert scales[-1] == 0.5**4
