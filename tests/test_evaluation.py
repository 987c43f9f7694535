from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from jaxdl.classification import classification, init_model
from jaxdl.evaluation import count_confusions, evaluate_run, predict
from jaxdl.functional import cross_entropy
from jaxdl.layers import BatchNorm, Dropout, Linear, Sequential
from jaxdl.loop import Watch, fit
from jaxdl.resume import load_trained
from jaxdl.training import init_state, make_eval_step, make_train_step
from tests.oracle import assert_same_bits

KEY = jax.random.key(0)
NAMES = ["left", "right"]


@pytest.fixture
def data(rng):
    x = rng.normal(size=(60, 3)).astype(np.float32)
    return {"image": x, "label": (x[:, 0] > 0.3).astype(np.int32)}


def train(data, directory, net, **settings):
    """Returns what the best epoch's state holds, and the history."""
    params, model_state = init_model(net, KEY, data["image"])
    functions, optimizer = classification(net), optax.sgd(0.5)
    kept = []
    _, history = fit(
        init_state(params, optimizer, model_state),
        make_train_step(functions.loss_fn, optimizer),
        data, KEY, epochs=4, batch_size=10, checkpoint_dir=directory / "checkpoints",
        eval_step=make_eval_step(functions.eval_fn), held_out={"test": data},
        callbacks=[lambda e, s, r: kept.append(jax.tree.map(np.asarray, s))],
        show=False, **settings,
    )  # fmt: skip
    return kept, history, (functions.logits_of, params, model_state)


def test_the_best_state_is_measured_without_an_optimiser(data, tmp_path, capsys):
    net = Sequential([Linear(4), BatchNorm(), jax.nn.relu, Linear(2)])
    watch = Watch("test/loss", "max")  # so that it is not the last
    kept, history, (logits_of, params, model_state) = train(
        data, tmp_path, net, watch=watch
    )
    best = int(history["test/loss"].argmax())
    assert best != 3
    trained = load_trained(tmp_path / "checkpoints", params, model_state)
    assert trained.step == kept[best].step
    assert_same_bits(trained.params, kept[best].params)
    assert_same_bits(trained.model_state, kept[best].model_state)

    result = evaluate_run(tmp_path, logits_of, params, data, NAMES, model_state)
    assert result["test/accuracy"] == pytest.approx(history["test/accuracy"][best])
    said = capsys.readouterr().out
    assert said.startswith(f"step {trained.step}: {result['test/accuracy']:.1%} of 60")
    assert (tmp_path / "confusion.png").is_file()


def test_the_last_state_where_none_was_watched_for(data, tmp_path):
    kept, _, (_, params, _) = train(data, tmp_path, Linear(2))
    trained = load_trained(tmp_path / "checkpoints", params)
    assert trained.model_state == ()
    assert_same_bits(trained.params, kept[-1].params)


@pytest.mark.parametrize(
    "model_state",
    [{"key": jax.random.key(7, impl="rbg"), "count": jnp.int32(3)}, jnp.arange(3)],
)
def test_any_model_state_comes_back(tmp_path, model_state):
    """Keys as keys, and an array without a container, which has no truth value."""
    optimizer = optax.sgd(0.1)
    loss_fn = lambda params, model_state, *_: (params**2, (model_state, {}))
    fit(
        init_state(jnp.float32(1), optimizer, model_state),
        make_train_step(loss_fn, optimizer), {"x": np.ones(3)}, KEY,
        epochs=1, batch_size=3, checkpoint_dir=tmp_path, show=False,
    )  # fmt: skip
    found = load_trained(tmp_path, jnp.float32(0), model_state).model_state
    same = jax.tree.map(lambda x, y: x.dtype == y.dtype, found, model_state)
    assert jax.tree.all(same)
    assert_same_bits(found, model_state)
    assert jax.tree.structure(
        load_trained(tmp_path, jnp.float32(0)).model_state
    ) == jax.tree.structure(model_state)


def test_other_parameters_are_refused_in_a_table(data, tmp_path):
    train(data, tmp_path, Linear(2))
    logits_of, _, _ = classification(Linear(5))
    params, _ = init_model(Linear(5), KEY, data["image"])
    with pytest.raises(
        ValueError, match=r"kernel: wanted float32\[3, 5\], found.*3, 2"
    ):
        evaluate_run(tmp_path, logits_of, params, data, NAMES)


def test_nothing_was_saved(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no state of a run"):
        load_trained(tmp_path, {"w": jnp.zeros(2)})


def test_predictions_are_those_of_one_batch(rng, monkeypatch):
    monkeypatch.setattr("jaxdl.evaluation.BATCH", 4)
    params, images = jnp.asarray(rng.normal(size=(3, 5))), rng.normal(size=(10, 3))
    ours = predict(lambda p, s, x: x @ p, params, (), images)
    np.testing.assert_array_equal(ours, (images @ params).argmax(axis=1))


class Difference(nn.Module):
    @nn.compact
    def __call__(self, x, y):
        return Linear(3)(x - 2 * y)


@pytest.fixture
def pairs(rng):
    x, y = (jnp.asarray(rng.normal(size=(10, 2)), jnp.float32) for _ in "xy")
    return {"y": y, "x": x, "label": jnp.asarray(rng.integers(3, size=10))}


def test_a_model_of_several_inputs(pairs, monkeypatch):
    """Named in a batch, in the order in which the module takes them."""
    monkeypatch.setattr("jaxdl.evaluation.BATCH", 4)
    data, x, y = pairs, pairs["x"], pairs["y"]
    params, _ = init_model(Difference(), KEY, x, y)
    functions = classification(Difference(), ("x", "y"))
    logits = Difference().apply({"params": params}, x, y)
    hits = logits.argmax(axis=1) == data["label"]
    measured = functions.eval_fn(params, (), data)
    np.testing.assert_array_equal(measured["accuracy"], hits)
    _, (_, means) = functions.loss_fn(params, (), data, KEY)
    np.testing.assert_allclose(means["accuracy"], hits.mean(), rtol=1e-6)
    predictions = predict(functions.logits_of, params, (), np.asarray(x), np.asarray(y))
    np.testing.assert_array_equal(predictions, logits.argmax(axis=1))


def test_a_run_of_several_inputs_is_measured(pairs, tmp_path, capsys):
    optimizer, examples = optax.sgd(0.5), (pairs["x"], pairs["y"])
    params, _ = init_model(Difference(), KEY, *examples)
    logits_of, _, loss_fn = classification(Difference(), ("x", "y"))
    state, _ = fit(
        init_state(params, optimizer), make_train_step(loss_fn, optimizer), pairs, KEY,
        epochs=2, batch_size=5, checkpoint_dir=tmp_path / "checkpoints", show=False,
    )  # fmt: skip
    test, inputs = jax.tree.map(np.asarray, pairs), ("x", "y")
    result = evaluate_run(tmp_path, logits_of, params, test, "abc", inputs=inputs)
    predicted = logits_of(state.params, (), *examples).argmax(axis=1)
    right = float(jnp.mean(predicted == pairs["label"]))
    assert result["test/accuracy"] == pytest.approx(right)
    assert "of 10 test examples" in capsys.readouterr().out
    counts = count_confusions(logits_of, state.params, (), test, 3, inputs=inputs)
    for label, name in np.ndindex(3, 3):
        both = (pairs["label"] == label) & (predicted == name)
        assert counts[label, name] == both.sum()


def test_dropout_and_batch_norm_are_in_the_mode_of_each_function(data):
    net = Sequential([Linear(4), BatchNorm(), Dropout(0.5), Linear(2)])
    params, model_state = init_model(net, KEY, data["image"])
    functions, data = classification(net), jax.tree.map(jnp.asarray, data)
    loss, (updated, means) = functions.loss_fn(params, model_state, data, KEY)
    other, _ = functions.loss_fn(params, model_state, data, jax.random.key(1))
    assert loss != other
    assert updated["batch_stats"]["1"]["num_batches_tracked"] == 1
    assert list(means) == ["accuracy"]
    measured = functions.eval_fn(params, model_state, data)
    logits = net.apply({"params": params, **model_state}, data["image"], train=False)
    np.testing.assert_array_equal(
        measured["accuracy"], logits.argmax(axis=1) == data["label"]
    )
    assert measured["loss"].shape == (60,)


def test_labels_and_predictions_without_a_name_are_refused():
    logits_of = lambda params, model_state, x: jax.nn.one_hot(x[:, 0].astype(int), 4)
    x = np.array([0, 1, 3], np.float32)[:, None]
    count = partial(count_confusions, logits_of, {}, ())
    with pytest.raises(ValueError, match=r"prediction 3 at \(2,\) lies outside"):
        count({"image": x, "label": np.array([0, 1, 2])}, 3)
    with pytest.raises(ValueError, match=r"label -1 at \(1,\) lies outside of 0..3"):
        count({"image": x, "label": np.array([0, -1, 2])}, 4)
    with pytest.raises(ValueError, match="no examples"):
        count({"image": x[:0], "label": np.array([], int)}, 4)


def test_inputs_are_several():
    with pytest.raises(ValueError, match=r"inputs='x' is one string; give \('x',\)"):
        classification(Linear(3), "x")


def test_labels_to_be_ignored_are_none_of_a_classifiers():
    functions, x = classification(Linear(3)), jnp.ones((4, 2))
    params, _ = init_model(Linear(3), KEY, x)
    batch = {"image": x, "label": jnp.array([0, -100, 2, 1])}
    loss, _ = jax.jit(functions.loss_fn)(params, (), batch, KEY)
    assert jnp.isnan(loss)
    with pytest.raises(ValueError, match=r"label -100 at \(1,\) lies outside of 0..2"):
        functions.eval_fn(params, (), batch)


def test_a_classifiers_loss_is_computed_in_float32_whatever_it_computes_in():
    functions = classification(Linear(3))
    x = jax.random.normal(KEY, (40, 2), jnp.bfloat16)
    params, _ = init_model(Linear(3), KEY, x.astype(jnp.float32))
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)
    batch = {"image": x, "label": jnp.arange(40) % 3}
    found = functions.eval_fn(params, (), batch)["loss"]
    logits = functions.logits_of(params, (), x)
    assert logits.dtype == jnp.bfloat16
    assert_same_bits(
        found,
        cross_entropy(logits.astype(jnp.float32), batch["label"], reduction="none"),
    )
