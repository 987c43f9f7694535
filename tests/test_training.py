import os

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from flax import linen as nn, nnx
from flax.core import freeze
from jax import lax

from jaxdl import training
from jaxdl.functional import cross_entropy
from jaxdl.models.lenet import LeNet
from jaxdl.training import (
    choose_driver,
    compiled,
    compiler_options,
    epoch_batches,
    init_state,
    loop_steps,
    make_epoch,
    make_eval_step,
    make_evaluation,
    make_train_step,
    num_examples,
    scan_steps,
    steps_per_epoch,
    take,
)
from tests.marks import slow
from tests.oracle import EXACT, assert_same_bits, assert_trees_match, to_torch

KEY = jax.random.key(7)


def noisy_quadratic(params, model_state, batch, key):
    """A loss with noise, so that a wrong key cannot hide."""
    target = batch["x"] + 0.1 * jax.random.normal(key, batch["x"].shape)
    return jnp.mean((params - target) ** 2), (model_state, {"target": target.mean()})


class Perceptron(nn.Module):
    """Two layers with dropout and batch norm: randomness and state in one model."""

    @nn.compact
    def __call__(self, x, *, train):
        x = nn.Dense(16)(x.reshape(len(x), -1))
        x = nn.BatchNorm(use_running_average=not train)(x)
        x = nn.Dropout(0.3, deterministic=not train)(nn.relu(x))
        return nn.Dense(3)(x)


def classification(model):
    def loss_fn(params, model_state, batch, key):
        logits, model_state = model.apply(
            {"params": params, **model_state},
            batch["x"],
            train=True,
            rngs={"dropout": key},
            mutable=list(model_state),
        )
        loss = cross_entropy(logits, batch["label"])
        return loss, (model_state, {"top": logits.max()})

    return loss_fn


def small_images(rng, n, size=16):
    x = rng.normal(size=(n, size, size, 1))
    return {"x": jnp.asarray(x), "label": jnp.asarray(rng.integers(3, size=n))}


def perceptron_run(rng, n=22):
    data = small_images(rng, n, size=4)
    optimizer = optax.sgd(0.1, momentum=0.9)
    variables = Perceptron().init(jax.random.key(1), data["x"], train=False)
    variables = jax.tree.map(lambda v: v.astype(data["x"].dtype), variables)
    params = variables.pop("params")
    train_step = make_train_step(classification(Perceptron()), optimizer)
    return init_state(params, optimizer, variables), train_step, data


def lenet_run(rng, n=10):
    data = small_images(rng, n)
    optimizer = optax.adam(1e-2)
    params = LeNet(3).init(jax.random.key(1), data["x"])["params"]
    params = jax.tree.map(lambda p: p.astype(data["x"].dtype), params)

    def loss_fn(params, model_state, batch, key):
        logits = LeNet(3).apply({"params": params}, batch["x"])
        return cross_entropy(logits, batch["label"]), (model_state, {})

    return init_state(params, optimizer), make_train_step(loss_fn, optimizer), data


# -- one step


def test_train_step_is_one_gradient_step(x64):
    optimizer = optax.sgd(0.25)
    data = {"x": jnp.linspace(-1.0, 1.0, 10)}
    state = init_state(jnp.float64(3.0), optimizer)._replace(step=jnp.int32(4))
    after, metrics = make_train_step(noisy_quadratic, optimizer)(state, data, KEY)

    # By hand: d/dp mean (p - t)² = 2 (p - mean t), with the noise of step 4.
    noise = jax.random.normal(jax.random.fold_in(KEY, 4), data["x"].shape)
    target = data["x"] + 0.1 * noise
    np.testing.assert_allclose(after.params, 3 - 0.5 * (3 - target.mean()), **EXACT)
    np.testing.assert_allclose(metrics["loss"], ((3 - target) ** 2).mean(), **EXACT)
    np.testing.assert_allclose(metrics["target"], target.mean(), **EXACT)
    assert after.step == 5


def test_state_holds_arrays_only(rng):
    state, _, _ = perceptron_run(rng)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(state))


def test_two_states_made_alike_are_traced_once(rng):
    traces = []
    optimizer = optax.sgd(0.1)

    def loss_fn(params, model_state, batch, key):
        traces.append(1)
        return jnp.sum(params * batch), (model_state, {})

    step = jax.jit(make_train_step(loss_fn, optimizer))
    for _ in range(2):
        step(init_state(jnp.ones(3), optimizer), jnp.ones(3), KEY)
    assert len(traces) == 1


def test_weight_decay_is_pytorchs(rng, x64):
    """optax's decay, chained before SGD, is added to the gradient as in PyTorch."""
    optimizer = optax.chain(
        optax.add_decayed_weights(0.1), optax.sgd(0.05, momentum=0.9)
    )
    w, x = rng.normal(size=4), rng.normal(size=(6, 4))

    def loss_fn(params, model_state, batch, key):
        return jnp.mean((batch @ params) ** 2), (model_state, {})

    state = init_state(jnp.asarray(w), optimizer)
    step = jax.jit(make_train_step(loss_fn, optimizer))
    tensor = to_torch(w).requires_grad_()
    oracle = torch.optim.SGD([tensor], 0.05, momentum=0.9, weight_decay=0.1)
    for _ in range(20):
        state, _ = step(state, jnp.asarray(x), KEY)
        oracle.zero_grad()
        (to_torch(x) @ tensor).square().mean().backward()
        oracle.step()
    np.testing.assert_allclose(state.params, tensor.detach(), **EXACT)


# -- epochs and their drivers


@pytest.mark.parametrize("driver", ["scan", "loop"])
@pytest.mark.parametrize("drop_last", [False, True])
def test_epoch_equals_steps_by_hand(x64, driver, drop_last):
    optimizer = optax.adam(0.1)
    data = {"x": jnp.linspace(-1.0, 1.0, 11)}
    state = init_state(jnp.float64(3.0), optimizer)
    train_step = make_train_step(noisy_quadratic, optimizer)
    epoch = make_epoch(train_step, 3, drop_last=drop_last, driver=driver)
    final, metrics = epoch(state, data, KEY)

    order_key, step_key = jax.random.split(KEY)
    order = jax.random.permutation(jax.random.fold_in(order_key, 0), 11)
    losses = []
    for start in range(0, 9 if drop_last else 11, 3):
        batch = {"x": data["x"][order[start : start + 3]]}
        state, step_metrics = train_step(state, batch, step_key)
        losses.append(step_metrics["loss"])
    assert_trees_match(final, state)
    np.testing.assert_allclose(metrics["loss"], jnp.stack(losses), **EXACT)


@pytest.fixture
def optimised(monkeypatch):
    """XLA computes as it does for users, where other tests have it compile fast."""
    options: dict = {**compiler_options(), "xla_backend_optimization_level": 3}
    if "fusion_emitters" in os.environ["XLA_FLAGS"]:  # see conftest.py
        options["xla_cpu_use_fusion_emitters"] = True
        options["xla_llvm_disable_expensive_passes"] = False
    monkeypatch.setattr(training, "compiler_options", lambda: options)


@pytest.mark.parametrize(
    "batch_size",
    [
        slow(22),
        slow(11),
        4,
        1,
    ],
    ids=lambda size: f"batch{size}",
)
def test_scan_and_loop_give_the_same_bits_without_convolutions(
    rng, batch_size, optimised
):
    state, train_step, data = perceptron_run(rng)
    results = []
    for driver in "scan", "loop":
        epoch = make_epoch(train_step, batch_size, driver=driver)
        epoch = compiled(epoch) if driver == "scan" else epoch
        after, first = epoch(state, data, KEY)
        results.append((epoch(after, data, KEY), first))
    assert_same_bits(*results)


def test_scan_and_loop_agree_with_convolutions(rng, x64):
    state, train_step, data = lenet_run(rng)
    scanned = compiled(make_epoch(train_step, 4))(state, data, KEY)
    looped = make_epoch(train_step, 4, driver="loop")(state, data, KEY)
    assert_trees_match(scanned, looped)


@pytest.mark.parametrize("driver", ["scan", "loop"])
def test_same_key_same_bits_and_another_key_others(rng, driver):
    state, train_step, data = perceptron_run(rng)
    epoch = make_epoch(train_step, 4, driver=driver)
    first, _ = epoch(state, data, KEY)
    again, _ = epoch(state, data, KEY)
    other, _ = epoch(state, data, jax.random.key(8))
    assert_same_bits(first, again)
    assert not np.array_equal(
        first.params["Dense_0"]["kernel"], other.params["Dense_0"]["kernel"]
    )


def test_the_loop_leaves_the_given_state_usable(rng):
    state, train_step, data = perceptron_run(rng)
    make_epoch(train_step, 4, driver="loop")(state, data, KEY)
    assert np.isfinite(jax.tree.leaves(state.params)[0]).all()


def test_epochs_differ_in_order_under_one_key():
    first, _ = epoch_batches(KEY, 0, 30, 10)
    second, _ = epoch_batches(KEY, 1, 30, 10)
    assert not np.array_equal(first, second)


def test_an_epoch_visits_each_example_once():
    full, last = epoch_batches(KEY, 3, 759, 32)
    assert full.shape == (23, 32)
    assert last.shape == (23,)
    seen = np.sort(np.concatenate([np.ravel(full), last]))
    np.testing.assert_array_equal(seen, np.arange(759))


def test_batch_statistics_come_from_real_rows_only(rng, x64):
    """The last, smaller batch is not padded: its mean is that of its own examples."""
    state, train_step, data = perceptron_run(rng, n=5)
    before = state.model_state["batch_stats"]["BatchNorm_0"]["mean"]
    _, last = epoch_batches(jax.random.split(KEY)[0], 0, 5, 4)
    full_only, _ = make_epoch(train_step, 4, drop_last=True)(state, data, KEY)
    both, _ = make_epoch(train_step, 4)(state, data, KEY)

    dense = full_only.params["Dense_0"]
    row = data["x"][last].reshape(1, -1) @ dense["kernel"] + dense["bias"]
    after_full = full_only.model_state["batch_stats"]["BatchNorm_0"]["mean"]
    after_both = both.model_state["batch_stats"]["BatchNorm_0"]["mean"]
    np.testing.assert_allclose(after_both, 0.99 * after_full + 0.01 * row[0], **EXACT)
    assert not np.array_equal(before, after_full)


def test_epoch_trains_many_seeds_at_once(x64):
    optimizer = optax.adam(0.1)
    data = {"x": jnp.linspace(-1.0, 1.0, 11)}
    state = init_state(jnp.float64(3.0), optimizer)
    epoch = make_epoch(make_train_step(noisy_quadratic, optimizer), 5)
    keys = jax.random.split(KEY, 4)
    together, _ = jax.vmap(epoch, in_axes=(None, None, 0))(state, data, keys)
    alone, _ = epoch(state, data, keys[2])
    np.testing.assert_allclose(together.params[2], alone.params, **EXACT)


def test_lenet_trains_under_vmap_over_seeds(rng, x64):
    state, train_step, data = lenet_run(rng)
    keys = jax.random.split(KEY, 2)
    epoch = make_epoch(train_step, 4)
    together, _ = jax.jit(jax.vmap(epoch, in_axes=(None, None, 0)))(state, data, keys)
    alone, _ = jax.jit(epoch)(state, data, keys[1])
    assert_trees_match(jax.tree.map(lambda x: x[1], together), alone)


@pytest.mark.parametrize("batch_size", [0, -3])
def test_batch_size_below_one(batch_size):
    with pytest.raises(ValueError, match=f"batch_size={batch_size} is below 1"):
        make_epoch(lambda *args: args, batch_size)


@pytest.mark.parametrize("driver", ["scan", "loop"])
def test_batch_larger_than_the_data(rng, driver):
    state, train_step, data = perceptron_run(rng)
    with pytest.raises(ValueError, match="batch_size=23 exceeds the 22 examples given"):
        make_epoch(train_step, 23, driver=driver)(state, data, KEY)


def test_arrays_of_unequal_length_are_named():
    with pytest.raises(ValueError, match="'label': 4, 'x': 5"):
        num_examples({"x": jnp.zeros((5, 2)), "label": jnp.zeros(4)})


@pytest.mark.parametrize(
    ("n", "batch_size", "drop_last", "steps"),
    [
        (759, 32, False, 24),
        (759, 32, True, 23),
        (60_000, 256, False, 235),
        (8, 4, False, 2),
    ],
)
def test_steps_per_epoch(n, batch_size, drop_last, steps):
    assert steps_per_epoch(n, batch_size, drop_last) == steps


# -- the choice of a driver


def autodiff_convolution(params, model_state, batch, key):
    """Leaves the gradients of a convolution to autodiff."""
    y = jax.lax.conv_general_dilated(
        batch["x"], params, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return jnp.mean(y**2), (model_state, {})


def test_autodiffs_convolution_gradients_take_the_loop_on_cpu(rng):
    optimizer = optax.sgd(0.1)
    state = init_state(jnp.ones((3, 3, 1, 2)), optimizer)
    step = make_train_step(autodiff_convolution, optimizer)
    assert choose_driver(step, state, small_images(rng, 4), KEY) == "loop"


def test_nested_convolution_gradients_are_found(rng):
    optimizer = optax.sgd(0.1)
    state = init_state(jnp.ones((3, 3, 1, 2)), optimizer)
    step = jax.jit(jax.checkpoint(make_train_step(autodiff_convolution, optimizer)))
    assert choose_driver(step, state, small_images(rng, 4), KEY) == "loop"


@pytest.mark.parametrize("make_run", [perceptron_run, lenet_run])
def test_other_models_are_scanned(rng, make_run):
    state, step, data = make_run(rng)
    assert choose_driver(step, state, data, KEY) == "scan"


def test_compiler_options_are_known_to_this_xla():
    assert compiler_options() == training._CPU_OPTIONS


def test_only_the_compiler_options_that_xla_does_not_know_are_left_out(monkeypatch):
    known = compiler_options()
    monkeypatch.setitem(training._CPU_OPTIONS, "xla_no_such_option", "True")
    compiler_options.cache_clear()
    try:
        assert compiler_options() == known
    finally:
        compiler_options.cache_clear()


def test_barriers_are_kept_to_the_end():
    """Or XLA would compute a convolution of one channel once more in each reader."""
    double = compiled(lambda x: lax.optimization_barrier(2 * x) + 1)
    assert "opt-barrier(" in double.lower(jnp.ones(3)).compile().as_text()
    assert double(jnp.ones(3)).tolist() == [3, 3, 3]


def test_barriers_compile_in_small_loops():
    step = lambda x, _: (lax.optimization_barrier(2 * x) + 1, None)
    run = compiled(lambda x: lax.scan(step, x, length=3)[0])
    assert run(jnp.ones(3)).tolist() == [15, 15, 15]


# -- evaluation


def measured(params, model_state, batch):
    error = (batch["x"] - params) ** 2
    return {"loss": error, "pair": jnp.stack([error, -error], axis=1), "hit": error > 1}


@pytest.mark.parametrize("n", [1, 3, 8, 11])
@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_evaluation_gives_exact_means(rng, x64, n, batch_size):
    data = {"x": jnp.asarray(rng.normal(size=n))}
    state = init_state(jnp.float64(0.3), optax.sgd(0.1))
    evaluate = jax.jit(make_evaluation(make_eval_step(measured), batch_size))
    means = evaluate(state, data)
    every = measured(state.params, (), data)
    np.testing.assert_allclose(means["loss"], every["loss"].mean(), **EXACT)
    np.testing.assert_allclose(means["pair"], every["pair"].mean(axis=0), **EXACT)
    np.testing.assert_allclose(means["hit"], np.mean(np.asarray(every["hit"])), **EXACT)


def test_evaluation_traces_one_shape():
    shapes = []

    def eval_fn(params, model_state, batch):
        shapes.append(batch["x"].shape)
        return {"loss": batch["x"]}

    evaluate = jax.jit(make_evaluation(make_eval_step(eval_fn), 4))
    evaluate(init_state(jnp.zeros(()), optax.sgd(0.1)), {"x": jnp.arange(11.0)})
    assert set(shapes) == {(4,)}


def test_evaluation_in_half_precision_counts_exactly():
    """bfloat16 has 8 bits, with which 256 + 1 is 256."""
    evaluate = make_evaluation(
        make_eval_step(lambda params, model_state, batch: {"hit": batch}), 1000
    )
    hits = jnp.arange(3000) < 2997
    state = init_state(jnp.zeros(()), optax.sgd(0.1))
    np.testing.assert_allclose(
        evaluate(state, hits.astype(jnp.bfloat16))["hit"], 0.999, rtol=1e-6
    )


def test_evaluation_needs_a_value_for_each_example():
    eval_step = make_eval_step(lambda params, model_state, batch: {"loss": batch.sum()})
    state = init_state(jnp.zeros(()), optax.sgd(0.1))
    with pytest.raises(ValueError, match=r"gives shape \(\) for 3 examples"):
        eval_step(state, jnp.ones(3), jnp.ones(3, bool))


def test_evaluation_gives_values_by_their_names():
    eval_step = make_eval_step(lambda params, model_state, batch: (batch, {}))
    state = init_state(jnp.zeros(()), optax.sgd(0.1))
    with pytest.raises(ValueError, match="eval_fn returned a tuple: expected val"):
        eval_step(state, jnp.ones(3), jnp.ones(3, bool))


def test_data_without_examples():
    with pytest.raises(ValueError, match="no examples"):
        num_examples({"x": jnp.zeros((0, 2))})
    with pytest.raises(ValueError, match="x is a object: expected an array of exa"):
        num_examples({"x": object()})


def test_a_driver_that_does_not_exist(unchecked):
    with pytest.raises(ValueError, match="driver='scna' is not 'scan' or 'loop'"):
        make_epoch(lambda *args: args, 3, driver="scna")


def test_rows_outside_of_the_data_are_clamped():
    rows = jnp.array([-1, 7, 1])
    np.testing.assert_array_equal(take(jnp.array([5, 6, 7]), rows), [5, 7, 6])


def test_padding_cannot_spoil_a_mean():
    """What the mask leaves out is not even multiplied by 0: NaN × 0 is NaN."""
    eval_step = make_eval_step(lambda params, model_state, batch: {"loss": batch})
    state = init_state(jnp.zeros(()), optax.sgd(0.1))
    sums = eval_step(state, jnp.array([1.0, jnp.nan]), jnp.array([True, False]))
    assert sums["loss"] == 1


# -- any module system


def test_an_nnx_module_trains_through_the_same_step(rng, x64):
    x, y = rng.normal(size=(12, 3)), rng.normal(size=(12, 1))
    module = nnx.Linear(3, 1, rngs=nnx.Rngs(0), param_dtype=jnp.float64)
    graph, params = nnx.split(module)

    def loss_fn(params, model_state, batch, key):
        predicted = nnx.merge(graph, params)(batch["x"])
        return jnp.mean((predicted - batch["y"]) ** 2), (model_state, {})

    optimizer = optax.sgd(0.1)
    state = init_state(params, optimizer)
    data = {"x": jnp.asarray(x), "y": jnp.asarray(y)}
    step = make_train_step(loss_fn, optimizer)
    state, _ = jax.jit(scan_steps(step))(
        state, data, jnp.tile(jnp.arange(12), (30, 1)), KEY
    )

    w, b = (np.asarray(module.kernel[...]), np.zeros(1))
    for _ in range(30):
        error = x @ w + b - y
        w, b = w - 0.1 * 2 * x.T @ error / 12, b - 0.1 * 2 * error.mean(axis=0)
    trained = nnx.merge(graph, state.params)
    np.testing.assert_allclose(trained.kernel[...], w, **EXACT)
    np.testing.assert_allclose(trained.bias[...], b, **EXACT)


def test_a_plain_function_trains_through_the_same_step(rng, x64):
    x = jnp.asarray(rng.normal(size=(8, 2)))
    optimizer = optax.sgd(0.1)

    def loss_fn(params, model_state, batch, key):
        return jnp.mean((batch @ params) ** 2), (model_state + 1, {})

    state = init_state(jnp.ones(2), optimizer, model_state=jnp.int32(0))
    state, _ = loop_steps(make_train_step(loss_fn, optimizer))(
        state, x, jnp.tile(jnp.arange(8), (5, 1)), KEY
    )
    w = np.ones(2)
    for _ in range(5):
        w = w - 0.1 * 2 * x.T @ (x @ w) / 8
    np.testing.assert_allclose(state.params, w, **EXACT)
    assert state.model_state == 5


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (
            lambda loss: loss,
            r"returned \w+; expected \(loss, \(model_state",
        ),
        (lambda loss: (loss, {}), r"expected \(loss, \(model_state, metrics\)\)"),
        (lambda loss: (loss, ((), loss)), "and metrics a dictionary"),
        (lambda loss: (loss[None], ((), {})), r"a loss of shape \(1,\): expected one"),
        (lambda loss: (loss, ((), {"loss": 2 * loss})), "hold a 'loss' that is not"),
    ],
)
def test_what_a_loss_function_has_to_return_is_said(returned, message):
    step = make_train_step(lambda p, *_: returned(p**2), optax.sgd(0.1))
    with pytest.raises(ValueError, match=message):
        step(init_state(jnp.float32(1), optax.sgd(0.1)), {}, KEY)


def test_parameters_without_a_gradient_are_named():
    optimizer = optax.sgd(0.1)
    variables = {"params": {"w": jnp.ones(2)}, "batch_stats": {"n": jnp.int32(0)}}
    step = make_train_step(lambda p, *_: (p["params"]["w"].sum(), ((), {})), optimizer)
    with pytest.raises(ValueError, match=r"params hold batch_stats/n, of int32, wh"):
        step(init_state(variables, optimizer), {}, KEY)


def test_a_state_of_another_optimiser_is_named():
    step = make_train_step(lambda p, *_: (p**2, ((), {})), optax.adam(0.1))
    state = init_state(jnp.float32(1), optax.sgd(0.1))
    with pytest.raises(ValueError, match="opt_state is not of the optimizer that the"):
        step(state, {}, KEY)


def test_a_mistake_of_an_optimiser_keeps_its_words():
    def fails(updates, state, params):
        raise ArithmeticError("no")

    optimizer = optax.GradientTransformation(lambda params: (), fails)
    step = make_train_step(lambda p, *_: (p**2, ((), {})), optimizer)
    with pytest.raises(ArithmeticError, match="no"):
        step(init_state(jnp.float32(1), optimizer), {}, KEY)


def test_a_loss_function_may_name_its_loss():
    step = make_train_step(lambda p, *_: ((q := p**2), ((), {"loss": q})), optax.sgd(1))
    _, metrics = step(init_state(jnp.float32(3), optax.sgd(1)), {}, KEY)
    assert metrics == {"loss": 9}


def giving(model_state, given):
    """Takes a step from a model state to another."""
    optimizer = optax.sgd(0.1)
    loss_fn = lambda params, *_: (params.sum(), ({"mean": model_state}, {}))
    state = init_state(jnp.ones(2), optimizer, {"mean": given})
    return make_train_step(loss_fn, optimizer)(state, {}, KEY)[0].model_state["mean"]


@pytest.mark.parametrize(
    ("new", "old"),
    [
        (np.float64(0.1), jnp.float32(0)),
        (jnp.float32(0.1), jnp.bfloat16(0)),
        (jnp.int32(3), jnp.float32(0)),
        (True, jnp.int32(0)),
    ],
)
def test_a_model_state_keeps_its_types(x64, new, old):
    kept = giving(new, old)
    assert kept.dtype == old.dtype
    assert kept == jnp.asarray(new, old.dtype)


@pytest.mark.parametrize(
    ("new", "old", "message"),
    [
        (
            jnp.float32(0.5),
            jnp.int32(0),
            r"as int32\[\], and returned it as float32",
        ),
        (
            jnp.ones(4),
            jnp.ones(3),
            r"as float32\[3\], and returned it as float32\[4\]",
        ),
        (jnp.int32(2), jnp.array(True), r"as bool\[\], and returned it as int32"),
    ],
)
def test_a_model_state_of_another_kind_is_named(new, old, message):
    with pytest.raises(ValueError, match=message):
        giving(new, old)


@pytest.mark.parametrize(
    ("metric", "kind"), [({"p": jnp.ones(())}, "dict"), (None, "NoneType")]
)
def test_a_metric_is_an_array(metric, kind):
    optimizer = optax.sgd(0.1)
    state = init_state(jnp.ones(2), optimizer)
    step = make_train_step(lambda p, *_: (p.sum(), ((), {"norms": metric})), optimizer)
    with pytest.raises(ValueError, match=f"loss_fn returned a {kind} as .* 'norms'"):
        step(state, {}, KEY)
    evaluate = make_evaluation(make_eval_step(lambda *_: {"norms": metric}), 2)
    with pytest.raises(ValueError, match=f"eval_fn returned a {kind} as .* 'norms'"):
        evaluate(state, {"x": jnp.ones(4)})


def test_a_model_state_of_other_entries_is_named():
    optimizer = optax.sgd(0.1)
    state = init_state(jnp.ones(2), optimizer, {"mean": jnp.float32(1)})

    def step_giving(model_state):
        loss_fn = lambda params, *_: (params.sum(), (model_state, {}))
        return make_train_step(loss_fn, optimizer)

    with pytest.raises(ValueError, match="missing: mean; new: none"):
        step_giving({})(state, {}, jax.random.key(0))
    with pytest.raises(ValueError, match="missing: mean; new: var"):
        step_giving({"var": jnp.float32(1)})(state, {}, jax.random.key(0))


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (freeze({"a": {"b": 1.0}}), {"a": {"b": 2.0}}),
        ((), {}),
        ((1.0, 2.0), [2.0, 1.0]),
    ],
)
def test_a_model_state_may_come_back_in_other_containers(given, found):
    optimizer = optax.sgd(0.1)
    given, found = (jax.tree.map(jnp.float32, tree) for tree in (given, found))
    step = make_train_step(lambda params, *_: (params.sum(), (found, {})), optimizer)
    state = init_state(jnp.ones(2), optimizer, given)
    state, _ = jax.lax.scan(
        lambda state, _: step(state, {}, jax.random.key(0)), state, length=2
    )
    assert jax.tree.structure(state.model_state) == jax.tree.structure(given)
    assert jax.tree.leaves(state.model_state) == jax.tree.leaves(found)


def test_line_searches_see_the_loss_of_the_batch(rng, x64):
    """L-BFGS, as its own loop in optax's documentation has it."""
    target = jnp.asarray(rng.normal(size=5))
    optimizer = optax.lbfgs(memory_size=3)

    def loss_of(params, batch):
        return (batch * (params**2 - target) ** 2).sum()

    loss_fn = lambda params, state, batch, key: (loss_of(params, batch), (state, {}))
    params, batch = jnp.asarray(rng.normal(size=5)), jnp.arange(1.0, 6.0)
    state = init_state(params, optimizer)
    steps = jax.jit(make_train_step(loss_fn, optimizer))
    value_fn = lambda params: loss_of(params, batch)
    value_and_grad = jax.jit(optax.value_and_grad_from_state(value_fn))
    opt_state = optimizer.init(params)
    for _ in range(8):
        state, _ = steps(state, batch, jax.random.key(0))
        value, grad = value_and_grad(params, state=opt_state)
        updates, opt_state = optimizer.update(
            grad, opt_state, params, value=value, grad=grad, value_fn=value_fn
        )
        params = optax.apply_updates(params, updates)
        np.testing.assert_allclose(state.params, params, **EXACT)


def test_optimisers_that_take_other_extra_arguments_train():
    adversary = optax.chain(optax.contrib.normalize(), optax.sgd(0.05))
    sam = optax.contrib.sam(optax.sgd(0.1), adversary)
    optimizer = optax.chain(optax.clip(1.0), sam)
    loss_fn = lambda params, model_state, *_: ((params**2).sum(), (model_state, {}))
    step = jax.jit(make_train_step(loss_fn, optimizer))
    state = init_state(jnp.ones(2), optimizer)
    for _ in range(20):
        state, metrics = step(state, {}, jax.random.key(0))
    assert metrics["loss"] < 1
