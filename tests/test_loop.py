import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl.loop import STEPS_A_REPORT, fit
from jaxdl.training import (
    compiled,
    init_state,
    make_epoch,
    make_eval_step,
    make_train_step,
)
from tests.oracle import EXACT, assert_same_bits

KEY = jax.random.key(3)


def loss_fn(params, model_state, batch, key):
    target = batch["x"] + 0.1 * jax.random.normal(key, batch["x"].shape)
    error = (params * batch["x"] - target) ** 2
    return error.mean(), (model_state, {"error": error.max()})


def eval_fn(params, model_state, batch):
    return {"loss": (params * batch["x"] - 1) ** 2}


@pytest.fixture
def run(rng):
    optimizer = optax.sgd(0.1, momentum=0.9)
    data = {"x": rng.normal(size=11).astype(np.float32)}
    return (
        init_state(jnp.float32(0.0), optimizer),
        make_train_step(loss_fn, optimizer),
        data,
    )


def train(run, **settings):
    state, train_step, data = run
    settings = {"epochs": 3, "batch_size": 4, "show": False} | settings
    return fit(state, train_step, data, KEY, **settings)


@pytest.mark.parametrize("driver", ["scan", "loop"])
@pytest.mark.parametrize("drop_last", [False, True])
def test_fit_gives_the_bits_of_epochs(run, driver, drop_last):
    final, _ = train(run, driver=driver, drop_last=drop_last)
    state, train_step, data = run
    data = jax.tree.map(jnp.asarray, data)
    epoch = make_epoch(train_step, 4, drop_last=drop_last, driver=driver)
    epoch = compiled(epoch) if driver == "scan" else epoch
    for _ in range(3):
        state, _ = epoch(state, data, KEY)
    assert_same_bits(final, state)


def test_epochs_longer_than_a_report_give_the_same_bits(rng):
    """An epoch cut into parts to report between is the same epoch."""
    optimizer = optax.sgd(0.01)
    n = 2 * (2 * STEPS_A_REPORT + 37) + 1
    data = {"x": jnp.asarray(rng.normal(size=n), jnp.float32)}
    step = make_train_step(loss_fn, optimizer)
    state = init_state(jnp.float32(0.0), optimizer)
    final, _ = fit(state, step, data, KEY, epochs=2, batch_size=2, show=False)
    epoch = compiled(make_epoch(step, 2))
    for _ in range(2):
        state, _ = epoch(state, data, KEY)
    assert_same_bits(final, state)


def test_fit_goes_on_from_a_state(run):
    _, train_step, data = run
    whole, _ = train(run)
    half, _ = train(run, epochs=2)
    rest, history = fit(half, train_step, data, KEY, epochs=3, batch_size=4, show=False)
    assert_same_bits(rest, whole)
    assert len(history["train/loss"]) == 1


def test_history_holds_exact_means_over_examples(run):
    """The last batch of 3 weighs 3, not 4."""
    _, history = train(run, epochs=1)
    state, train_step, data = run
    data = jax.tree.map(jnp.asarray, data)
    _, metrics = make_epoch(train_step, 4)(state, data, KEY)
    expected = np.average(metrics["loss"], weights=[4, 4, 3])
    np.testing.assert_allclose(history["train/loss"][0], expected, rtol=1e-6)


def test_held_out_sets_are_measured_each_epoch(run, x64):
    data = run[2]
    states = []
    _, history = train(
        run,
        eval_step=make_eval_step(eval_fn),
        held_out={"test": {"x": data["x"][:5]}, "other": {"x": data["x"][:2]}},
        callbacks=[lambda epoch, state, record: states.append(state.params + 0)],
    )
    assert list(history) == [
        "train/loss", "train/error", "test/loss", "other/loss",
    ]  # fmt: skip
    for params, measured in zip(states, history["test/loss"], strict=True):
        expected = np.mean((np.asarray(params) * data["x"][:5] - 1) ** 2)
        np.testing.assert_allclose(measured, expected, rtol=1e-6)


def test_metrics_may_be_arrays(run):
    """A row of each example's, such as what a confusion matrix adds up."""
    data = run[2]

    def eval_fn(params, model_state, batch):
        return {"pair": jnp.stack([batch["x"], -batch["x"]], axis=1)}

    _, history = train(run, eval_step=make_eval_step(eval_fn), held_out={"test": data})
    assert history["test/pair"].shape == (3, 2)
    np.testing.assert_allclose(history["test/pair"][0, 0], data["x"].mean(), rtol=1e-5)


def test_callbacks_see_each_epoch(run):
    seen = []
    _, history = train(
        run, callbacks=[lambda epoch, state, record: seen.append((epoch, record))]
    )
    assert [epoch for epoch, _ in seen] == [1, 2, 3]
    np.testing.assert_allclose(
        [record["train/loss"] for _, record in seen], history["train/loss"], **EXACT
    )


def test_the_given_state_stays_usable(run):
    train(run)
    assert run[0].params == 0


def test_lines_are_printed_where_there_is_no_terminal(run, capsys):
    train(run, show=True)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("epoch 1/3  train loss ")


def test_many_epochs_print_about_twenty_lines(run, capsys):
    train(run, epochs=50, show=True)
    lines = capsys.readouterr().out.splitlines()
    assert 15 <= len(lines) <= 21
    assert lines[-1].startswith("epoch 50/50")


def test_a_loss_that_is_not_finite_stops_and_names_the_step(run):
    state, _, data = run
    optimizer = optax.sgd(1e30)
    step = make_train_step(loss_fn, optimizer)
    state = init_state(jnp.float32(0.0), optimizer)
    with pytest.raises(
        FloatingPointError, match=r"the loss is (inf|nan) at step \d of"
    ):
        fit(state, step, data, KEY, epochs=3, batch_size=4, show=False)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "epochs=0 is below 1"),
        ({"batch_size": 0}, "batch_size=0 is below 1"),
        ({"batch_size": 12}, "batch_size=12 exceeds the 11 examples given"),
        ({"held_out": {"test": {"x": np.zeros(2)}}}, "needs an eval_step"),
        (
            {"held_out": {"train": {"x": np.zeros(2)}}, "eval_step": print},
            "a set named 'train'",
        ),
        ({"held_out": {"test": {"x": np.zeros(0)}}, "eval_step": print}, "no examples"),
    ],
)
def test_bad_settings(run, settings, message):
    with pytest.raises(ValueError, match=message):
        train(run, **settings)


def test_a_state_past_the_last_epoch_is_refused(run):
    state, train_step, data = run
    state = state._replace(step=jnp.int32(9))
    with pytest.raises(ValueError, match="epochs=3, but the state has had 3 already"):
        fit(state, train_step, data, KEY, epochs=3, batch_size=4)


def test_a_driver_that_does_not_exist(run, unchecked):
    with pytest.raises(ValueError, match="driver='scna' is not 'auto', 'scan' or"):
        train(run, driver="scna")


def test_half_precision(run):
    """NumPy does not average bfloat16 by weights of its own."""

    def half_loss_fn(params, model_state, batch, key):
        return ((params - batch["x"]) ** 2).mean(), (model_state, {})

    optimizer = optax.sgd(0.1)
    state = init_state(jnp.bfloat16(0.0), optimizer)
    step = make_train_step(half_loss_fn, optimizer)
    data = {"x": jnp.asarray(run[2]["x"], jnp.bfloat16)}
    _, metrics = make_epoch(step, 4)(state, data, KEY)
    assert metrics["loss"].dtype == jnp.bfloat16
    _, history = fit(state, step, data, KEY, epochs=1, batch_size=4, show=False)
    assert np.isfinite(history["train/loss"]).all()


def test_a_state_within_an_epoch_is_refused(run):
    state, train_step, data = run
    with pytest.raises(ValueError, match="step 4 is 1 steps into an epoch"):
        fit(
            state._replace(step=jnp.int32(4)),
            train_step,
            data,
            KEY,
            epochs=3,
            batch_size=4,
        )
