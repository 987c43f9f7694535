"""What a step costs, in counts that are the same on every machine."""

import json
import re
from dataclasses import replace

import jax
import jax.numpy as jnp
import pytest

from benchmarks import costs, jaxdl_side
from benchmarks.cases import BY_NAME
from jaxdl.loop import fit
from jaxdl.training import compiled, init_state, scan_steps

KEPT = json.loads(costs.KEPT.read_text())


def initial_state(case, data):
    params, model_state = jaxdl_side.initial(case, data)
    return init_state(params, jaxdl_side.make_optimizer(case, 0.1), model_state)


@pytest.mark.parametrize("case", costs.TRAINED, ids=lambda case: case.name)
def test_a_step_costs_what_it_did(case):
    """After a change that is meant: `python -m benchmarks.costs --write`."""
    found, kept = costs.count(case), KEPT[case.name]
    assert found["flops"] == pytest.approx(kept["flops"], rel=0.02)
    assert found["bytes"] == pytest.approx(kept["bytes"], rel=0.02)
    exact = ("loops", "convolutions", "products", "host", "effects")
    assert {name: found[name] for name in exact} == {name: kept[name] for name in exact}


@pytest.mark.parametrize("what", ["host", "effects"])
def test_no_step_calls_the_host_or_takes_the_slow_path_of_effects(what):
    assert {counts[what] for counts in KEPT.values()} == {0}


def test_work_done_twice_is_noticed(monkeypatch):
    case = BY_NAME["lenet"]
    once = jaxdl_side.make_loss(case)

    def twice(params, model_state, batch, key):
        loss, (model_state, metrics) = once(params, model_state, batch, key)
        image = batch["image"][::-1]  # else XLA would see that it is the same
        again, _ = once(params, model_state, {**batch, "image": image}, key)
        return (loss + again) / 2, (model_state, metrics)

    monkeypatch.setattr(jaxdl_side, "make_loss", lambda case: twice)
    found = costs.count(case)
    assert found["flops"] > 1.9 * KEPT["lenet"]["flops"]
    assert found["convolutions"] == 2 * KEPT["lenet"]["convolutions"]


def test_a_callback_in_a_step_is_noticed(monkeypatch):
    case = BY_NAME["softmax"]
    quiet = jaxdl_side.make_loss(case)

    def loud(params, model_state, batch, key):
        loss, rest = quiet(params, model_state, batch, key)
        jax.debug.callback(print, loss)
        return loss, rest

    monkeypatch.setattr(jaxdl_side, "make_loss", lambda case: loud)
    assert costs.count(case)["host"] > 0


def test_a_scan_copies_no_weights():
    """XLA did, where a gradient reads the weights that the update then replaces."""
    case = BY_NAME["mlp"].quick()
    data = case.draw()
    steps = compiled(scan_steps(jaxdl_side.make_step(case)), donate_argnums=0)
    state = initial_state(case, data)
    rows = jnp.zeros((5, case.batch_size), int)
    program = steps.lower(state, data, rows, jax.random.key(0)).compile().as_text()
    # What the loop holds; a copy inside of a fusion turns an array around.
    copied = re.findall(r"= (\S+)\{\S* copy\(%get-tuple-element", program)
    kernels = [layer["kernel"].shape for layer in state.params.values()]
    assert not {f"f32[{n},{m}]" for n, m in kernels} & set(copied)


@pytest.mark.parametrize("driver", ["scan", "loop", "run"])
def test_later_epochs_compile_nothing(driver):
    """Of a model with dropout, a last, smaller batch and a set held out."""
    case = replace(BY_NAME["dropout"].quick(), examples=20)
    data = case.draw()
    compilations, after = [], []

    def listen(event, seconds, **rest):
        if event == "/jax/core/compile/jaxpr_to_mlir_module_duration":
            compilations.append(rest)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        fit(
            initial_state(case, data),
            jaxdl_side.make_step(case),
            data,
            jax.random.key(0),
            epochs=4,
            batch_size=8,
            driver=driver,
            callbacks=[lambda *_: after.append(len(compilations))],
            show=False,
        )
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert after[0] > 0
    assert set(after) == {after[0]}
