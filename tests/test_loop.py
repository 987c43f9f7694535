import functools
import os
import shutil
import signal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from jaxdl import feeds
from jaxdl.checkpoint import Checkpoints
from jaxdl.data.streaming import Stream
from jaxdl.feeds import STEPS_A_REPORT
from jaxdl.loop import Watch, fit
from jaxdl.resume import Progress, Saves, load_best
from jaxdl.training import (
    compiled,
    init_state,
    make_epoch,
    make_eval_step,
    make_train_step,
)
from tests.oracle import EXACT, assert_same_bits

KEY = jax.random.key(3)
PID = os.getpid()


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


@pytest.mark.parametrize("driver", ["run", "scan", "loop"])
@pytest.mark.parametrize("drop_last", [False, True])
def test_fit_gives_the_bits_of_epochs(run, driver, drop_last):
    final, _ = train(run, driver=driver, drop_last=drop_last)
    state, train_step, data = run
    data = jax.tree.map(jnp.asarray, data)
    one = "loop" if driver == "loop" else "scan"
    epoch = make_epoch(train_step, 4, drop_last=drop_last, driver=one)
    epoch = epoch if driver == "loop" else compiled(epoch)
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


def test_metrics_of_another_shape_in_the_last_batch_are_named(run):
    def each(params, model_state, batch, key):
        loss, _ = loss_fn(params, model_state, batch, key)
        return loss, (model_state, {"error": params * batch["x"]})

    state, _, data = run
    step = make_train_step(each, optax.sgd(0.1, momentum=0.9))
    for driver in "run", "scan", "loop":
        with pytest.raises(ValueError, match=r"metric 'error' .* \(4,\) .* \(3,\)"):
            train((state, step, data), driver=driver)
    with pytest.raises(ValueError, match=r"metric 'error' .* \(4,\) .* \(3,\)"):
        make_epoch(step, 4)(state, data, KEY)


@pytest.mark.parametrize("driver", ["run", "scan", "loop"])
@pytest.mark.parametrize("wrong", ["eval_step", "last batch"])
def test_mistakes_at_the_end_of_an_epoch_show_before_a_step(run, driver, wrong):
    state, _, data = run
    seen = []

    def seeing(params, model_state, batch, key):
        jax.debug.callback(lambda: seen.append("a step"))
        loss, (_, metrics) = loss_fn(params, model_state, batch, key)
        if wrong == "last batch" and len(batch["x"]) == 3:
            raise ValueError("this is wrong")
        return loss, (model_state, metrics)

    def eval_fn(params, model_state, batch):
        if wrong == "eval_step":
            raise ValueError("this is wrong")
        return {"x": batch["x"]}

    step = make_train_step(seeing, optax.sgd(0.1, momentum=0.9))
    settings = {"eval_step": make_eval_step(eval_fn), "held_out": {"test": data}}
    with pytest.raises(ValueError, match="this is wrong"):
        train((state, step, data), driver=driver, **settings)
    jax.effects_barrier()
    # A loop of compiled steps meets its last batch when it gets there.
    assert seen == ["a step"] * (2 * (driver == "loop" and wrong == "last batch"))


@pytest.mark.parametrize("driver", ["run", "scan"])
def test_held_out_numbers_that_are_none_are_warned_of_once(run, driver):
    bad = {"x": np.array([1.0, np.nan], np.float32)}
    with pytest.warns(RuntimeWarning, match=r"test/loss is nan in epoch 1: ") as seen:
        train(
            run, driver=driver, eval_step=make_eval_step(eval_fn),
            held_out={"other": run[2], "test": bad},
        )  # fmt: skip
    assert len(seen) == 1


@pytest.mark.parametrize("driver", ["auto", "run", "scan", "loop"])
def test_compiled_steps_give_the_same_bits(run, driver):
    state, step, data = run
    evaluation = make_eval_step(eval_fn)
    settings = {"driver": driver, "held_out": {"test": data}}
    expected, _ = train(run, eval_step=evaluation, **settings)
    given = state, compiled(step), data
    found, _ = train(given, eval_step=compiled(evaluation), **settings)
    assert_same_bits(found, expected)
    batch = {"x": jnp.asarray(data["x"])}
    twice = compiled(compiled(step))(state, batch, KEY)
    assert_same_bits(twice, compiled(step)(state, batch, KEY))


def test_a_stream_trains_by_a_compiled_step(run):
    state, step, data = run
    stream = stream_of(data)
    settings = {"epochs": 1, "show": False}
    expected, _ = fit(state, step, stream, KEY, **settings)
    found, _ = fit(state, compiled(step), stream, KEY, **settings)
    assert_same_bits(found, expected)


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


def test_the_name_of_a_model_stands_before_its_lines(run, capsys):
    train(run, show=True, name="decay")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[:2] for line in lines] == [
        ["decay", f"epoch {epoch}/3"] for epoch in (1, 2, 3)
    ]


def test_a_bar_alone_is_no_lines(run, capsys, monkeypatch):
    train(run, show="bar", name="[decay]")
    assert not capsys.readouterr().out
    monkeypatch.setenv("FORCE_COLOR", "1")  # as a terminal, for rich
    train(run, show="bar", name="[decay]")
    said = capsys.readouterr().out
    assert "[decay]  epoch 3/3  loss " in said
    assert "train loss" not in said
    assert said.endswith("\x1b[2K")  # the bar's line is erased


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
        ({"epochs": None, "steps": 0}, "steps=0 is below 1"),
        ({"epochs": None}, "one of epochs and steps is needed, none given"),
        ({"steps": 4}, "one of epochs and steps is needed, {'epochs': 3, 'steps': 4}"),
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
    with pytest.raises(ValueError, match="the run ends at step 9, the state is at 9"):
        fit(state, train_step, data, KEY, epochs=3, batch_size=4)


def test_a_driver_that_does_not_exist(run, unchecked):
    with pytest.raises(ValueError, match="driver='scna' is not 'auto', 'run', 'scan'"):
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


def records(*values):
    return [{"test/loss": np.float64(value)} for value in values]


@pytest.mark.parametrize(
    ("values", "goal", "best"),
    [
        ([3, 1, 2], "min", 1),
        ([3, 1, 4], "max", 2),
        ([2, 1, 1], "min", 1),
        ([np.nan, 2, np.nan], "min", 1),
        ([np.nan, np.nan], "max", None),
        ([-np.inf, 2], "max", 1),
        ([], "min", None),
    ],
)
def test_the_best_epoch_is_the_first_best_and_never_nan(values, goal, best):
    assert Watch("test/loss", goal).best(records(*values)) == best


def test_patience_counts_epochs_that_are_no_better():
    watch = Watch("test/loss", patience=2)
    over = [watch.is_over(records(*[3, 1, 2, 1, 0][:n])) for n in range(6)]
    assert over == [False, False, False, False, True, False]
    assert Watch("test/loss", patience=2).is_over(records(np.nan, np.nan))


@pytest.mark.parametrize(
    ("watch", "message"),
    [
        (Watch("val/loss"), "watch='val/loss' does not begin with train/"),
        (Watch("train/los", "min"), "'train/los' is not among the metrics: train/loss"),
        (
            Watch("train/los"),
            "not 'min' or 'max'; it may be left out for a metric",
        ),
        (
            Watch("train/loss", "least"),
            "goal='least' of 'train/loss' is not 'min' or 'max'",
        ),
        (Watch("train/loss", patience=0), "patience=0 is below 1"),
    ],
)
def test_a_watch_that_cannot_be(run, unchecked, watch, message):
    with pytest.raises(ValueError, match=message):
        train(run, watch=watch)


def test_a_watched_metric_is_one_number():
    with pytest.raises(ValueError, match=r"watch='a/loss' has shape \(3,\), is no num"):
        Watch("a/loss").best([{"a/loss": np.ones(3)}])


def test_a_run_stops_when_patience_runs_out(run):
    state, step, data = run
    frozen = lambda state, batch, key: (state._replace(step=state.step + 1), step(
        state, batch, jax.random.key(0))[1])  # fmt: skip
    held_out = {"test": data}
    _, history = fit(
        state, frozen, data, KEY, epochs=9, batch_size=4, show=False,
        eval_step=make_eval_step(eval_fn), held_out=held_out,
        watch=Watch("test/loss", patience=3),
    )  # fmt: skip
    assert len(history["test/loss"]) == 4


def test_a_run_with_other_held_out_sets_is_refused(run, tmp_path):
    settings = {"checkpoint_dir": tmp_path, "eval_step": make_eval_step(eval_fn)}
    train(run, held_out={"test": run[2]}, **settings)
    for held_out in ({}, {"validation": run[2]}):
        with pytest.raises(ValueError, match="held_out"):
            train(run, epochs=5, held_out=held_out, **settings)


def test_a_metric_to_watch_is_looked_for_in_a_run_of_one_epoch(run):
    with pytest.raises(ValueError, match="'train/bad' is not among the metrics"):
        train(run, epochs=1, watch=Watch("train/bad", "max"))


def interrupt(at_epoch):
    def callback(epoch, state, record):
        if epoch == at_epoch:
            raise KeyboardInterrupt

    return callback


@pytest.mark.parametrize("driver", ["run", "scan", "loop"])
def test_a_run_goes_on_from_its_directory(run, tmp_path, driver, capsys):
    settings = {"driver": driver, "epochs": 5, "checkpoint_dir": tmp_path / "again"}
    settings |= {"save_seconds": 0, "watch": Watch("train/loss")}
    whole, history = train(run, driver=driver, epochs=5)
    with pytest.raises(KeyboardInterrupt):
        train(run, callbacks=[interrupt(3)], **settings)
    seen = []
    callbacks = [lambda epoch, state, record: seen.append(epoch)]
    state, resumed = train(run, callbacks=callbacks, **settings)
    assert seen == [3, 4, 5]
    assert_same_bits(state, whole)
    assert_same_bits(resumed, history)
    # A run that has ended is not done again.
    state, resumed = train(run, callbacks=callbacks, **settings | {"show": True})
    assert "had ended at step 15 and was saved: nothing" in capsys.readouterr().out
    assert seen == [3, 4, 5]
    assert_same_bits((state, resumed), (whole, history))
    # More epochs than it had go on from its end.
    longer, _ = train(run, **settings | {"epochs": 7})
    assert_same_bits(longer, train(run, driver=driver, epochs=7)[0])


def test_an_interrupted_run_saves_itself(run, tmp_path, capfd):
    """Where it was, though no save was due; afterwards Ctrl-C is what it was."""
    settings = {"driver": "scan", "epochs": 4, "checkpoint_dir": tmp_path}
    callbacks = [lambda epoch, *_: epoch == 2 and signal.raise_signal(signal.SIGINT)]
    with pytest.raises(KeyboardInterrupt, match="saved at step 6"):
        train(run, callbacks=callbacks, **settings)
    assert "interrupted: saves first" in capfd.readouterr().err
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    state, history = train(run, show=True, **settings)
    assert "goes on from step 6" in capfd.readouterr().out
    assert_same_bits((state, history), train(run, driver="scan", epochs=4))


def test_a_second_interrupt_does_not_wait(run, tmp_path):
    def callback(*_):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(run, callbacks=[callback], checkpoint_dir=tmp_path)
    assert not Checkpoints(tmp_path / "latest").steps


def test_a_directory_that_cannot_be_written_is_named(run, tmp_path):
    (tmp_path / "reached").mkdir()
    with pytest.raises(OSError, match=r"the run cannot be saved to .*: Is a directory"):
        Saves(tmp_path, {}, 0).save(Progress(run[0], [], {}))


def test_records_keep_their_order_when_a_run_goes_on(run, tmp_path):
    two = lambda *arguments: {"a": (values := eval_fn(*arguments))["loss"]} | values
    settings = {
        "eval_step": make_eval_step(two),
        "held_out": {"z": run[2], "a": run[2]},
    }
    settings |= {"checkpoint_dir": tmp_path}
    names = ["train/loss", "train/error", "z/loss", "z/a", "a/loss", "a/a"]
    for epochs in (2, 2, 3):
        _, history = train(run, epochs=epochs, **settings)
        assert [*history] == names


def test_a_state_may_hold_random_keys(run, tmp_path):
    data = run[2]
    noise = optax.add_noise(0.1, 0.5, jax.random.key(1))
    optimizer = optax.chain(noise, optax.sgd(0.1))
    step = make_train_step(loss_fn, optimizer)

    def trained(epochs, **settings):
        state = init_state(run[0].params, optimizer)
        return fit(
            state, step, data, KEY, epochs=epochs, batch_size=4, show=False, **settings
        )[0]

    trained(2, checkpoint_dir=tmp_path)
    assert_same_bits(trained(5, checkpoint_dir=tmp_path), trained(5))


def test_a_state_that_cannot_be_saved_is_told_before_the_first_step(run, tmp_path):
    state, _, data = run
    state = state._replace(model_state={"empty": jnp.zeros((0, 3))})
    with pytest.raises(ValueError, match=r"\['empty'\] has shape \(0, 3\)"):
        fit(
            state, lambda *_: pytest.fail("a step"), data, KEY,
            epochs=1, batch_size=4, checkpoint_dir=tmp_path, driver="scan",
        )  # fmt: skip


@pytest.mark.parametrize(
    ("data", "key", "message"),
    [
        ({"x": [1.0, 2.0]}, KEY, "(data|held_out/test)/x/0 is a "),
        ({"x": torch.ones(3)}, KEY, "/x is a Tensor: expected an array of NumPy"),
        ({"x": np.array(["1"])}, KEY, "/x has dtype <U1: expected numbers"),
        (object(), KEY, "(data|held_out/test) is a object: expected an array"),
        (jnp.float32(1), KEY, "data is a single value: expected an array of examples"),
        (None, 0, "key=0 is no random key: jax.random.key makes them"),
    ],
)
def test_other_types_are_named(run, unchecked, data, key, message):
    state, step, own = run
    with pytest.raises(ValueError, match=message):
        fit(state, step, own if data is None else data, key, epochs=1, batch_size=2)
    if data is not None:
        with pytest.raises(ValueError, match=message):
            train(run, held_out={"test": data}, eval_step=make_eval_step(eval_fn))


def test_sets_to_measure_on_are_arrays_by_their_names(run, unchecked):
    settings = {"eval_step": make_eval_step(eval_fn)}
    for unnamed in (run[2], (run[2]["x"],)):
        with pytest.raises(
            ValueError, match="held_out is one set of examples: name it"
        ):
            train(run, held_out=unnamed, **settings)
    stream = Stream(range(5), 2, remainder="mask")
    with pytest.raises(ValueError, match="held_out/test is a Stream: expected an arr"):
        train(run, held_out={"test": stream}, **settings)


def test_functions_of_other_arguments_get_a_note(run, unchecked):
    """The loss in the place of the step, and eval_fn in that of eval_step."""
    state, _, data = run
    for driver in "auto", "scan":
        with pytest.raises(TypeError) as caught:
            train((state, loss_fn, data), driver=driver)
        assert "make_train_step" in caught.value.__notes__[-1]
        with pytest.raises(TypeError) as caught:
            train(run, driver=driver, eval_step=eval_fn, held_out={"test": data})
        assert "make_eval_step" in caught.value.__notes__[-1]


@pytest.mark.parametrize("driver", ["run", "scan", "loop"])
def test_a_second_call_compiles_nothing(run, driver):
    state, step, data = run
    traced = []

    def counting(state, batch, key):
        traced.append(1)
        return step(state, batch, key)

    settings = {"driver": driver, "held_out": {"test": data}}
    settings["eval_step"] = make_eval_step(eval_fn)
    first, _ = train((state, counting, data), **settings)
    before = len(traced)
    again, _ = train((state, counting, data), **settings)
    assert len(traced) == before > 0
    assert_same_bits(first, again)
    others = {"x": data["x"] + 1}
    moved, _ = train((state, counting, others), **settings)
    fresh, _ = train((state, step, others), **settings)
    assert len(traced) == before
    assert_same_bits(moved, fresh)


def test_a_wrapped_step_is_another(run):
    state, step, data = run
    train(run)

    @functools.wraps(step)
    def doubled(*arguments):
        state, metrics = step(*arguments)
        return state, {"loss": 2 * metrics["loss"]}

    for driver in "run", "scan", "loop":
        _, once = train(run, driver=driver)
        _, twice = train((state, doubled, data), driver=driver)
        np.testing.assert_array_equal(twice["train/loss"], 2 * once["train/loss"])


def test_objects_may_change_between_calls(run):
    state, step, data = run

    class Trainer:
        factor = 1

        def step(self, state, batch, key):
            state, metrics = step(state, batch, key)
            return state, {"loss": self.factor * metrics["loss"]}

    trainer = Trainer()
    _, once = train((state, trainer.step, data))
    trainer.factor = 2
    _, twice = train((state, trainer.step, data))
    np.testing.assert_array_equal(twice["train/loss"], 2 * once["train/loss"])


def test_integers_that_jax_would_cut_are_refused(run, unchecked):
    state, step, data = run
    ids = np.arange(len(jax.tree.leaves(data)[0])) + 2**32
    message = (
        "data/id holds integers from 4294967296 to .* cut to int32: set jax_enable"
    )
    with pytest.raises(ValueError, match=message):
        train((state, step, {"x": data, "id": ids}))


def test_a_step_without_a_loss(run):
    state, step, data = run
    nameless = lambda *a: (step(*a)[0], {"error": step(*a)[1]["loss"]})
    for driver in "run", "scan", "loop":
        with pytest.raises(ValueError, match="metrics without a 'loss': error"):
            train((state, nameless, data), driver=driver)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"callbacks": print}, "callbacks is one function: give"),
        ({"epochs": 2.0}, "epochs=2.0 is no whole number"),
    ],
)
def test_settings_of_other_kinds(run, settings, message, unchecked):
    with pytest.raises(ValueError, match=message):
        train(run, **settings)


def test_a_name_is_no_watch(run, unchecked):
    with pytest.raises(ValueError, match=r"no Watch: write Watch\('train/loss'\)"):
        train(run, watch="train/loss")


def test_fit_is_no_part_of_a_program(run):
    state, step, data = run
    with pytest.raises(ValueError, match=r"data/x is traced: .* make_epoch can"):
        jax.jit(lambda data: train((state, step, data)))(data)


def test_parameters_are_no_state(run, unchecked):
    with pytest.raises(ValueError, match=r"state is a dict: .* init_state"):
        train(({"w": jnp.ones(3)}, *run[1:]))


@pytest.mark.parametrize(
    ("driver", "block_steps", "programs"),
    [("run", 1, 1), ("auto", 1, 25), ("auto", 30, 5), ("scan", 1, 0)],
)
def test_epochs_run_ahead_in_programs_of_many(
    run, monkeypatch, driver, block_steps, programs
):
    """Yet callbacks see every state, and patience ends the run in a block's middle.

    All blocks are of one length, since each length is compiled once more.
    """
    calls, lengths, keeps = [], set(), []

    def counting(function, **options):
        program = compiled(function, **options)

        def call(*arguments):
            calls.append(function.__name__)
            if function.__name__ == "run":
                *_, length, keep = arguments
                lengths.add(length)
                keeps.append(keep)
            return program(*arguments)

        call.trace = program.trace
        return call

    monkeypatch.setattr(feeds, "compiled", counting)
    monkeypatch.setattr(feeds, "BLOCK_STEPS", block_steps)
    seen = []

    def look(epoch, state, record):
        assert isinstance(state.params, jax.Array)
        seen.append(float(state.params))

    settings = {"callbacks": [look], "held_out": {"test": run[2]}}
    settings["eval_step"] = make_eval_step(eval_fn)
    state, history = train(run, epochs=50, driver=driver, **settings)
    assert calls.count("run") == programs
    assert len(lengths) == min(programs, 1)
    assert all(keeps)
    keeps.clear()
    train(run, epochs=50, driver=driver)
    assert keeps == [False] * programs
    watched, stopped = train(
        run, epochs=50, driver=driver, watch=Watch("test/loss", patience=2), **settings
    )
    one_by_one = seen[:50]
    seen.clear()
    assert_same_bits((state, history), train(run, epochs=50, driver="scan", **settings))
    assert seen == one_by_one
    best = int(history["test/loss"].argmin())
    assert len(stopped["test/loss"]) <= 50
    assert isinstance(watched.params, jax.Array)
    assert float(watched.params) == seen[len(stopped["test/loss"]) - 1]
    assert best <= len(stopped["test/loss"]) or len(stopped["test/loss"]) < 50


@pytest.mark.parametrize("start", [0, 1])
@pytest.mark.parametrize("steps", [36, 35])
def test_nobody_looks_at_the_states_and_gets_the_same(
    run, monkeypatch, capsys, start, steps
):
    """Bits, history and lines of a run that has a callback; 3 steps are an epoch."""
    monkeypatch.setattr(feeds, "BLOCK_STEPS", 12)
    _, step, data = run
    first = train(run, epochs=start)[0] if start else run[0]
    settings = {
        "steps": steps,
        "batch_size": 4,
        "eval_step": make_eval_step(eval_fn),
        "held_out": {"test": data, "other": {"x": data["x"][:5]}},
    }
    outcomes = []
    for callbacks in [], [lambda epoch, state, record: None]:
        final, history = fit(first, step, data, KEY, callbacks=callbacks, **settings)
        outcomes.append((final, history))
        names = ["train/loss", "train/error", "test/loss", "other/loss"]
        assert list(history) == names
        assert len(history["train/loss"]) == 12 - start
    assert_same_bits(*outcomes)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 * (12 - start)
    assert lines[: 12 - start] == lines[12 - start :]


def test_a_loss_that_is_not_finite_is_found_in_a_block(run, capsys):
    state, step, data = run

    def breaking(state, batch, key):
        state, metrics = step(state, batch, key)
        return state, metrics | {"loss": jnp.where(state.step > 7, jnp.nan, 1.0)}

    with pytest.raises(
        FloatingPointError, match="nan at step 7 of the run, in epoch 3:"
    ):
        fit(state, breaking, data, KEY, epochs=20, batch_size=4, driver="run")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == ["1/20", "2/20"]


def test_blocks_are_short_where_states_are_large(run, monkeypatch):
    whole, history = train(run, epochs=7, driver="run")
    monkeypatch.setattr(feeds, "BLOCK_NUMBERS", 6)  # the state holds 3
    assert_same_bits((whole, history), train(run, epochs=7, driver="run"))


def test_larger_models_are_scanned_by_epoch(run, monkeypatch):
    monkeypatch.setattr(feeds, "feed_blocks", None)
    monkeypatch.setattr(feeds, "SMALL_EPOCH", 8)  # 3 steps of 3 numbers
    train(run, epochs=2)
    monkeypatch.setattr(feeds, "SMALL_EPOCH", 9)
    with pytest.raises(TypeError):
        train(run, epochs=2)


@pytest.mark.parametrize("driver", ["run", "scan", "loop"])
def test_steps_end_a_run_within_an_epoch(run, tmp_path, driver):
    settings = {"driver": driver, "epochs": None, "checkpoint_dir": tmp_path}
    settings |= {"eval_step": make_eval_step(eval_fn), "held_out": {"test": run[2]}}
    whole, by_epoch = train(run, **settings | {"epochs": 3, "checkpoint_dir": None})
    met = []

    def keep(epoch, state, record):
        met.append((epoch, int(state.step)))

    part, history = train(run, steps=7, callbacks=[keep], **settings)
    assert part.step == 7  # 3 to an epoch
    assert met == [(1, 3), (2, 6), (3, 7)]
    expected = by_epoch["train/loss"][:2]
    np.testing.assert_array_equal(history["train/loss"][:2], expected)
    error = np.mean((np.asarray(part.params) * run[2]["x"] - 1) ** 2)
    np.testing.assert_allclose(history["test/loss"][2], error, rtol=1e-5)
    # It is no epoch of the run: the same call gives the same, and more go on from it.
    assert_same_bits((part, history), train(run, steps=7, **settings))
    assert_same_bits((whole, by_epoch), train(run, steps=9, **settings))


def test_the_best_is_of_a_whole_epoch(run, tmp_path):
    state, step, data = run

    def counting(state, batch, key):
        state, metrics = step(state, batch, key)
        return state, metrics | {"count": state.step.astype(float)}

    watch = Watch("train/count", "max")
    train((state, counting, data), epochs=None, steps=7, watch=watch,
          checkpoint_dir=tmp_path, save_seconds=0)  # fmt: skip
    assert Checkpoints(tmp_path / "best").steps == [6]  # 3 are an epoch


def test_another_runs_best_is_not_taken_for_this_ones(run, tmp_path):
    """It was killed when its best was saved, and nothing else."""
    other = {"epochs": 9, "watch": Watch("train/loss"), "checkpoint_dir": tmp_path}
    train(run, **other)
    shutil.rmtree(tmp_path / "latest")
    train(run, **other | {"epochs": 1, "watch": Watch("train/error", "max")})
    assert Checkpoints(tmp_path / "best").steps == [3]


@pytest.mark.parametrize("driver", ["run", "scan", "loop"])
def test_numbers_of_python_in_a_state_keep_their_types(tmp_path, driver):
    """A saved one comes back with a type of its own, which half precision shows."""

    def loss_fn(params, scale, batch, key):
        error = (scale * params - batch["x"].astype(jnp.bfloat16)) ** 2
        return error.mean(), (scale, {})

    optimizer = optax.sgd(0.1)
    params = jnp.linspace(-1, 1, 40).astype(jnp.bfloat16)
    state = init_state(params, optimizer, jnp.asarray(1.1))
    data = {"x": np.linspace(1, 2, 8, dtype=np.float32)[:, None]}
    run = state, make_train_step(loss_fn, optimizer), data
    whole, _ = train(run, driver=driver, epochs=4)
    train(run, driver=driver, epochs=1, checkpoint_dir=tmp_path)
    assert_same_bits(
        train(run, driver=driver, epochs=4, checkpoint_dir=tmp_path)[0], whole
    )


def test_numpys_settings_are_saved(run, tmp_path, unchecked):
    settings = {"batch_size": np.int64(4), "drop_last": np.bool_(True)}
    first, _ = train(run, checkpoint_dir=tmp_path, **settings)
    again, _ = train(run, checkpoint_dir=tmp_path, batch_size=4, drop_last=True)
    assert_same_bits(first, again)


def test_a_run_under_other_settings_of_jax_is_refused(run, tmp_path):
    train(run, checkpoint_dir=tmp_path)
    with (
        jax.threefry_partitionable(False),
        pytest.raises(ValueError, match="jax_threefry_partitionable: was True, is Fal"),
    ):
        train(run, checkpoint_dir=tmp_path, epochs=5)


def test_one_run_at_a_time_uses_a_directory(run, tmp_path):
    def another(epoch, state, record):
        with pytest.raises(ValueError, match=rf"{tmp_path} is in use by process {PID}"):
            train(run, checkpoint_dir=tmp_path)

    train(run, checkpoint_dir=tmp_path, callbacks=[another])
    for wrong in {"epochs": 1}, {"batch_size": 5}:  # refused, and it lets go
        with pytest.raises(ValueError, match=r"the run ends|other settings"):
            train(run, checkpoint_dir=tmp_path, **wrong)
    train(run, checkpoint_dir=tmp_path, epochs=5)


def test_no_directory_is_named(run):
    with pytest.raises(ValueError, match="checkpoint_dir='' names no directory"):
        train(run, checkpoint_dir="")


def test_what_was_not_saved_is_said(run, tmp_path, capsys):
    settings = {"epochs": 4, "checkpoint_dir": tmp_path, "show": True, "driver": "scan"}
    with pytest.raises(KeyboardInterrupt):
        train(run, callbacks=[interrupt(2)], save_seconds=0, **settings)
    (tmp_path / "reached").write_text("6")
    train(run, **settings)
    said = capsys.readouterr().out
    assert "goes on from step 5, in epoch 2; 1 more had not been saved" in said


def test_a_run_that_had_saved_nothing_says_what_is_done_again(run, tmp_path, capsys):
    tmp_path.joinpath("reached").write_text("6")
    train(run, checkpoint_dir=tmp_path, show=True)
    assert "begins again: 6 steps had been done, and none saved" in (
        capsys.readouterr().out
    )


def test_the_best_state_is_kept(run, tmp_path):
    state, step, data = run
    kept = {}

    def keep(epoch, state, record):
        kept[epoch] = jax.tree.map(np.asarray, state)

    _, history = fit(
        state, step, data, KEY, epochs=6, batch_size=4, show=False, callbacks=[keep],
        watch=Watch("train/error", "min"), checkpoint_dir=tmp_path,
    )  # fmt: skip
    best = int(history["train/error"].argmin()) + 1
    saved = load_best(tmp_path, {"state": state})
    assert_same_bits(saved.tree["state"], kept[best])


@pytest.mark.parametrize("rows", [11, 3000])
def test_a_run_of_other_data_is_refused(run, tmp_path, rng, rows):
    state, step, _ = run
    x = rng.normal(size=(rows, 2)).astype(np.float32)
    settings = {"checkpoint_dir": tmp_path, "eval_step": make_eval_step(eval_fn)}

    def go_on(epochs, x, test):
        data, held_out = {"x": x}, {"test": {"x": test}}
        train((state, step, data), epochs=epochs, held_out=held_out, **settings)

    go_on(1, x, x)
    for row in (0, -1):
        other = x.copy()
        other[row, 1] += 1e-6
        found = r"train/x: was float32\[\d+,2\], checksum \w+, is float32"
        with pytest.raises(ValueError, match=found):
            go_on(2, other, x)
        with pytest.raises(ValueError, match="test/x: was"):
            go_on(2, x, other)
    go_on(2, jnp.asarray(x), jnp.asarray(x))


def test_a_run_clears_away_what_a_kill_left_behind(run, tmp_path):
    left = [tmp_path / kind / "2.orbax-checkpoint-tmp" for kind in ("latest", "best")]
    for path in left:
        path.mkdir(parents=True)
    train(run, checkpoint_dir=tmp_path)
    assert not any(path.exists() for path in left)


def test_a_run_with_another_watch_is_refused(run, tmp_path):
    train(run, watch=Watch("train/error", "min", patience=9), checkpoint_dir=tmp_path)
    for watch in (None, Watch("train/error", "max"), Watch("train/loss")):
        with pytest.raises(
            ValueError, match=r"watch: was \['train/error', 'min'\], is"
        ):
            train(run, epochs=4, watch=watch, checkpoint_dir=tmp_path)
    train(run, epochs=4, watch=Watch("train/error", "min"), checkpoint_dir=tmp_path)


@pytest.mark.parametrize("names", [{"loss"}, {"loss", "square", "root"}])
def test_a_run_with_other_metrics_is_refused(run, tmp_path, names):
    def measure(*arguments):
        loss = eval_fn(*arguments)["loss"]
        return {"loss": loss, "square": loss**2, "root": loss**0.5}

    def go_on(epochs, names):
        some = lambda *arguments: {
            n: v for n, v in measure(*arguments).items() if n in names
        }
        settings = {"eval_step": make_eval_step(some), "held_out": {"test": run[2]}}
        train(run, epochs=epochs, checkpoint_dir=tmp_path, **settings)

    go_on(1, {"loss", "square"})
    said = (
        "metrics of the run were test/loss, test/square, train/error, train/loss; they"
    )
    with pytest.raises(ValueError, match=said):
        go_on(2, names)


@pytest.mark.parametrize("dtype", [np.float64, float])
def test_a_state_of_numpy_or_python_goes_on(run, tmp_path, dtype):
    _, step, data = run
    start = lambda: init_state(dtype(0.5), optax.sgd(0.1, momentum=0.9))
    settings = {"epochs": 3, "checkpoint_dir": tmp_path}
    train((start(), step, data), **settings | {"epochs": 1})
    state, _ = train((start(), step, data), **settings)
    assert_same_bits(state, train((start(), step, data))[0])


@pytest.mark.parametrize("epochs", [3, 9])
@pytest.mark.parametrize("driver", ["auto", "scan", "loop"])
def test_parameters_that_are_not_finite_are_neither_returned_nor_saved(
    tmp_path, driver, epochs
):
    """Its loss was finite: the derivative of a root at 0 is not."""

    def rooted(params, model_state, batch, key):
        return jnp.sqrt(params["c"] ** 2), (model_state, {})

    optimizer = optax.sgd(1.0)
    state = init_state({"c": jnp.float32(2.0)}, optimizer)
    run = state, make_train_step(rooted, optimizer), {"x": np.zeros(4, np.float32)}
    settings = {"batch_size": 4, "epochs": 3, "driver": driver}
    message = r"parameter 'c' is not finite after step 3 of the run"
    with pytest.raises(FloatingPointError, match=message):
        train(run, **settings)
    settings |= {"checkpoint_dir": tmp_path, "watch": Watch("train/loss")}
    settings |= {"save_seconds": 0, "epochs": epochs}
    with pytest.raises(FloatingPointError, match=message):
        train(run, **settings)
    assert Checkpoints(tmp_path / "latest").steps[-1] == 2
    assert load_best(tmp_path, {"state": state}).tree["state"].step == 2


def test_a_run_on_random_keys_goes_on(run, tmp_path):
    state, *_ = run
    keys = {"keys": jax.random.split(jax.random.key(1), 11)}

    def drawing(params, model_state, batch, key):
        drawn = jax.vmap(jax.random.normal)(batch["keys"])
        return ((params - drawn) ** 2).mean(), (model_state, {})

    step = make_train_step(drawing, optax.sgd(0.1, momentum=0.9))
    for epochs in (1, 2):
        train((state, step, keys), epochs=epochs, checkpoint_dir=tmp_path)
    other = {"keys": keys["keys"][::-1]}
    with pytest.raises(ValueError, match="train/keys: was key"):
        train((state, step, other), epochs=3, checkpoint_dir=tmp_path)


def test_the_directory_of_another_run_is_refused(run, tmp_path):
    train(run, checkpoint_dir=tmp_path)
    with pytest.raises(ValueError, match=r"batch_size: was 4, is 3"):
        train(run, checkpoint_dir=tmp_path, batch_size=3)
    with pytest.raises(ValueError, match="the run ends at step 6, the state is at 9"):
        train(run, checkpoint_dir=tmp_path, epochs=2)
    _, step, data = run
    other = init_state(jnp.zeros(2), optax.sgd(0.1, momentum=0.9))
    with pytest.raises(ValueError, match=r"state/params: wanted float32\[2\], found"):
        fit(
            other, step, data, KEY, epochs=3, batch_size=4, show=False, driver="scan",
            checkpoint_dir=tmp_path,
        )  # fmt: skip


def test_a_loss_that_is_not_finite_leaves_the_last_checkpoint(run, tmp_path):
    state, step, data = run

    def breaking(state, batch, key):
        state, metrics = step(state, batch, key)
        return state, metrics | {"loss": jnp.where(state.step > 7, jnp.nan, 1.0)}

    settings = {"epochs": 4, "batch_size": 4, "show": False, "save_seconds": 0}
    with pytest.raises(FloatingPointError, match="step 7 of the run"):
        fit(state, breaking, data, KEY, checkpoint_dir=tmp_path, **settings)
    assert Checkpoints(tmp_path / "latest").steps[-1] == 6


def stream_of(data, **settings):
    source = [{"x": x} for x in data["x"]]
    return Stream(source, 4, **{"remainder": "drop", "key": KEY} | settings)


def test_a_stream_trains_as_its_batches_do(run):
    state, step, data = run
    stream = stream_of(data)
    final, history = fit(state, step, stream, KEY, epochs=2, show=False)
    step_key = jax.random.split(KEY)[1]
    losses = []
    for batch, _ in stream.read(epochs=2):
        state, metrics = compiled(step)(state, batch, step_key)
        losses.append(metrics["loss"])
    assert_same_bits(final, state)
    np.testing.assert_allclose(
        history["train/loss"], np.reshape(losses, (2, 2)).mean(axis=1), rtol=1e-6
    )


def test_a_streamed_run_goes_on_from_its_directory(run, tmp_path):
    state, step, data = run
    settings = {"epochs": 4, "show": False, "save_seconds": 0}
    whole, history = fit(state, step, stream_of(data), KEY, **settings)
    settings |= {"checkpoint_dir": tmp_path}
    with pytest.raises(KeyboardInterrupt):
        fit(state, step, stream_of(data), KEY, callbacks=[interrupt(3)], **settings)
    final, resumed = fit(state, step, stream_of(data), KEY, **settings)
    assert_same_bits((final, resumed), (whole, history))
    other = stream_of(data, key=jax.random.key(8))
    with pytest.raises(ValueError, match=r"seed: was \[0, 3\], is \[0, 8\]"):
        fit(state, step, other, KEY, **settings)


def test_what_a_stream_or_arrays_cannot_be_given(run):
    state, step, data = run
    with pytest.raises(ValueError, match="needs remainder='drop', not 'mask'"):
        fit(state, step, stream_of(data, remainder="mask"), KEY, epochs=1)
    with pytest.raises(ValueError, match="batch_size=3, the stream's 4"):
        fit(state, step, stream_of(data), KEY, epochs=1, batch_size=3)
    with pytest.raises(ValueError, match="batch_size is missing"):
        fit(state, step, data, KEY, epochs=1)
