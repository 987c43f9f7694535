import io
from functools import cache
from operator import itemgetter

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from jax import lax

from jaxdl.data import Folds, Stream, k_folds
from jaxdl.functional import cross_entropy
from jaxdl.metrics import accuracy
from jaxdl.models.mlp import MLP
from jaxdl.plots import WRONG, sweep_figure
from jaxdl.sweep import (
    Sweep,
    cross_validate,
    ensemble,
    grid,
    log_uniform,
    random_search,
    refit,
    run_members,
    search,
    uniform,
)
from jaxdl.sweep.members import choose_how
from jaxdl.training import (
    compiled,
    init_state,
    make_eval_step,
    make_evaluation,
    make_train_step,
    scan_steps,
    take,
)
from tests.oracle import EXACT, assert_same_bits, assert_trees_match

KEY = jax.random.key(3)
FEATURES, CLASSES = 5, 3
STREAM = Stream({"x": np.ones((4, FEATURES))}, 2, remainder="drop")


def examples(rng, n=22):
    x = jnp.asarray(rng.normal(size=(n, FEATURES)))
    return {"x": x, "label": jnp.asarray(rng.integers(CLASSES, size=n))}


def eval_fn(params, model_state, batch):
    logits = batch["x"] @ params
    return {
        "accuracy": accuracy(logits, batch["label"], reduction="none"),
        "loss": cross_entropy(logits, batch["label"], reduction="none"),
    }


eval_step = make_eval_step(eval_fn)


def loss_fn(params, model_state, batch, key):
    return eval_fn(params, model_state, batch)["loss"].mean(), (model_state, {})


def train(settings, key, data):
    """Three steps; one draw gives weights and batches, which is less to compile."""
    width, rows = settings.get("width", CLASSES), (3, 8)
    weights = FEATURES * width
    draws = jax.random.uniform(key, (weights + 24,), data["x"].dtype)
    params = draws[:weights].reshape(FEATURES, width)
    batches = (draws[weights:].reshape(rows) * len(data["x"])).astype(int)
    optimizer = optax.sgd(settings["learning_rate"], settings.get("momentum", 0.9))
    steps = scan_steps(make_train_step(loss_fn, optimizer))
    return steps(init_state(params, optimizer), data, batches, key)[0]


@cache
def compiled_single_run():
    def run(settings, key, data, held_out):
        state = train(settings, key, data)
        return state, [
            make_evaluation(eval_step, 256)(state, part) for part in held_out
        ]

    return compiled(run)


def single_run(settings, key, data, *held_out):
    """What one member should compute, by the public parts alone."""
    settings = {name: jnp.asarray(value) for name, value in settings.items()}
    return compiled_single_run()(settings, key, data, held_out)


# -- members


def members_of(rng, n=5):
    data = examples(rng)
    run = lambda rate, data: train({"learning_rate": rate}, KEY, data)
    return run, jnp.linspace(0.05, 0.5, n), data


def test_mapped_members_are_their_single_runs_bit_for_bit(rng):
    run, rates, data = members_of(rng)
    program = lambda rates, data: run_members(
        lambda rate: run(rate, data), rates, how="map"
    )
    states = compiled(program)(rates, data)
    for i, rate in enumerate(rates):
        member = jax.tree.map(itemgetter(i), states)
        assert_same_bits(member, single_run({"learning_rate": rate}, KEY, data)[0])


@pytest.mark.parametrize("block_size", [None, 2, 9])
def test_members_at_once_differ_by_the_order_of_sums_only(rng, x64, block_size):
    """Their products are one wide product, which adds up in an order of its own."""
    run, rates, data = members_of(rng)
    program = lambda rates, data: run_members(
        lambda rate: run(rate, data), rates, how="vmap", block_size=block_size
    )
    states = compiled(program)(rates, data)
    for i, rate in enumerate(rates):
        member = jax.tree.map(itemgetter(i), states)
        assert_trees_match(member, single_run({"learning_rate": rate}, KEY, data)[0])


def test_blocks_bound_how_many_run_at_once():
    def shapes(**settings):
        run = lambda x: jnp.sin(x) * 2
        return str(
            jax.make_jaxpr(lambda x: run_members(run, x, **settings))(jnp.ones(7))
        )

    assert "f32[7] = sin" in shapes(how="vmap")
    assert "f32[3] = sin" in shapes(how="vmap", block_size=3)
    assert "f32[] = sin" in shapes(how="map", block_size=3)
    assert shapes(how="auto") == shapes(how="vmap")


def test_a_single_member_is_run_as_it_is(rng):
    run, rates, data = members_of(rng, 1)
    program = lambda rates, data: run_members(lambda rate: run(rate, data), rates)
    only = jax.tree.map(itemgetter(0), compiled(program)(rates, data))
    assert_same_bits(only, single_run({"learning_rate": rates[0]}, KEY, data)[0])


@pytest.mark.parametrize(
    ("members", "settings", "words"),
    [
        (jnp.ones(3), {"how": "pmap"}, "how='pmap' is not 'auto', 'vmap' or 'map'"),
        (jnp.ones(3), {"block_size": 0}, "block_size=0 is below 1"),
        (jnp.ones(0), {}, "there are no members"),
        ({}, {}, "there are no members"),
        (
            {"a": jnp.ones(3), "b": jnp.ones(2)},
            {},
            r"members have arrays of different lengths: \{'a': 3, 'b': 2\}",
        ),
    ],
)
def test_members_that_cannot_be_run(unchecked, members, settings, words):
    with pytest.raises(ValueError, match=words):
        run_members(lambda member: member, members, **settings)


# -- at once or in turn


def steps(batch, features, width, own_batches, n=64):
    """Returns a run of three steps and its members: (rate, key)."""
    data = {"x": jnp.ones((n, features)), "label": jnp.zeros(n, int)}

    def run(member):
        rate, key = member

        def step(params, i):
            order_key = jax.random.fold_in(key if own_batches else KEY, i)
            rows = jax.random.choice(order_key, n, (batch,))
            loss = lambda params: cross_entropy(
                take(data, rows)["x"] @ params, take(data, rows)["label"]
            )
            return params - rate * jax.grad(loss)(params), None

        return lax.scan(step, jnp.ones((features, width)), jnp.arange(3))[0]

    return run, (jnp.ones(4), jax.random.split(KEY, 4))


@pytest.mark.parametrize(
    ("case", "how"),
    [
        ((64, 784, 10, False), "vmap"),
        ((512, 784, 10, False), "vmap"),
        ((64, 784, 10, True), "vmap"),
        ((512, 784, 10, True), "map"),
        ((64, 784, 256, False), "map"),
    ],
)
def test_on_a_cpu_members_with_large_arrays_of_their_own_go_in_turn(case, how):
    assert choose_how(*steps(*case)) == how


def test_on_a_cpu_convolutions_go_in_turn():
    def run(kernel):
        def body(image, _):
            return lax.conv(image, kernel, (1, 1), "SAME"), None

        return lax.scan(body, jnp.ones((1, 1, 4, 4)), length=2)[0]

    assert choose_how(run, jnp.ones((3, 1, 1, 2, 2))) == "map"


def test_on_accelerators_all_run_at_once(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    large = steps(512, 784, 256, True)
    assert choose_how(*large) == "vmap"


# -- points


def test_a_grid_is_every_combination():
    points = grid(rate=[0.1, 1.0], width=[1, 2, 3], name=["a"])
    assert list(zip(*(values.tolist() for values in points.values()), strict=True)) == [
        (rate, width, "a") for rate in (0.1, 1.0) for width in (1, 2, 3)
    ]
    assert [values.dtype.kind for values in points.values()] == ["f", "i", "U"]


def test_a_single_value_is_in_the_whole_grid():
    assert grid(rate=[0.1, 1.0], decay=0.5)["decay"].tolist() == [0.5, 0.5]


def test_a_grid_without_values():
    with pytest.raises(ValueError, match=r"momentum has shape \(0,\)"):
        grid(rate=[0.1], momentum=[])


def test_a_grid_of_tuples_functions_and_nothing(rng):
    points = grid(
        width=[(3,), (2, 3), (4, 2)], act=[jnp.tanh, None], learning_rate=[0.1, 0.2]
    )
    assert points["width"].tolist() == [
        w for w in [(3,), (2, 3), (4, 2)] for _ in "1234"
    ]
    assert points["act"].tolist() == [jnp.tanh, jnp.tanh, None, None] * 3
    seen = set()

    def counting(settings, key, data):
        seen.add((settings["width"], settings["act"]))
        rate = settings["learning_rate"] * len(settings["width"])
        return train({"learning_rate": rate}, key, data)

    settings = {"eval_step": eval_step, "static": ("width", "act"), "show": False}
    data = examples(rng)
    sweep = search(counting, points, data, {"test": data}, KEY, **settings)
    assert seen == {*zip(points["width"].tolist(), points["act"].tolist(), strict=True)}
    best = sweep.best("test/loss")
    assert best["width"] in [(3,), (2, 3), (4, 2)]
    refit(counting, best, data, KEY, static=("width", "act"))
    assert "(2, 3)" in str(sweep)
    assert "tanh" in str(sweep)
    sweep_figure(*sweep, "test/loss").canvas.draw()


def test_random_points_follow_their_distributions():
    points = random_search(
        KEY, 4000, rate=log_uniform(1e-4, 1.0), decay=uniform(-1.0, 3.0)
    )
    assert 1e-4 <= points["rate"].min() < points["rate"].max() < 1
    shares = np.histogram(np.log10(points["rate"]), range(-4, 1))[0] / 4000
    np.testing.assert_allclose(shares, 0.25, atol=0.03)  # 4 standard deviations
    shares = np.histogram(points["decay"], [-1, 0, 1, 2, 3])[0] / 4000
    np.testing.assert_allclose(shares, 0.25, atol=0.03)
    correlation = np.corrcoef(np.log(points["rate"]), points["decay"])[0, 1]
    assert abs(correlation) < 0.07


def test_a_number_is_that_of_all_random_points():
    points = random_search(KEY, 3, rate=uniform(0.0, 1.0), momentum=0.9)
    np.testing.assert_array_equal(points["momentum"], [0.9, 0.9, 0.9])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: random_search(KEY, 0, rate=uniform(0.0, 1.0)), "n=0 is below 1"),
        (lambda: uniform(1.0, 1.0), "low=1.0 is not below high=1.0"),
        (lambda: log_uniform(0.0, 1.0), "low=0.0, high=1.0: 0 < low < high"),
        (lambda: log_uniform(2.0, 1.0), "low=2.0, high=1.0: 0 < low < high"),
    ],
)
def test_distributions_that_are_none(make, words):
    with pytest.raises(ValueError, match=words):
        make()


# -- search


def run_search(rng, settings=None, key=KEY, **options):
    settings = {"learning_rate": [0.1, 0.5, 0.3]} if settings is None else settings
    data, held_out = examples(rng), {"test": examples(rng, 7)}
    options = {"eval_step": eval_step, "how": "map"} | options
    return search(train, settings, data, held_out, key, **options), data, held_out


def assert_members_match(sweep, expected, **tolerance):
    """`expected[point][repeat]` holds the metrics of one set."""
    for name in ("loss", "accuracy"):
        values = [[repeat[name] for repeat in point] for point in expected]
        measured = sweep.metrics[f"test/{name}"]
        np.testing.assert_allclose(measured, np.array(values), **tolerance)


def test_a_number_is_no_key(rng, unchecked):
    with pytest.raises(ValueError, match="keys have to be those of"):
        run_search(rng, key=0)
    with pytest.raises(ValueError, match="keys have to be those of"):
        ensemble(train, {}, examples(rng), 5)


def test_a_terminal_sees_how_many_members_have_ended(rng, capsys, monkeypatch):
    settings = {"width": [3, 4, 4], "learning_rate": 0.1}
    run_search(rng, settings, static=["width"])
    assert not capsys.readouterr().out
    monkeypatch.setenv("FORCE_COLOR", "1")  # as a terminal, for rich
    run_search(rng, settings, static=["width"])
    said = capsys.readouterr().out
    assert "100%" in said
    assert "training" in said
    assert said.endswith("\x1b[2K")  # the bar's line is erased
    run_search(rng, settings, static=["width"], show=False)
    assert not capsys.readouterr().out


@pytest.mark.parametrize("seeds", [None, 2])
def test_each_point_is_its_single_run_bit_for_bit(rng, seeds):
    settings = grid(learning_rate=[0.1, 0.5], momentum=[0.0, 0.9])
    key = KEY if seeds is None else jax.random.split(KEY, seeds)
    sweep, data, held_out = run_search(rng, settings, key)
    expected = [
        [
            single_run(point, each, data, held_out["test"])[1][0]
            for each in jnp.atleast_1d(key)
        ]
        for point in [{n: v[i] for n, v in settings.items()} for i in range(4)]
    ]
    assert_members_match(sweep, expected, rtol=0, atol=0)
    assert sweep.metrics["test/loss"].shape == (4, seeds or 1)
    assert len(np.unique(sweep.metrics["test/loss"])) == 4 * (seeds or 1)


def test_members_may_each_have_their_own_key(rng, x64):
    keys = jax.random.split(KEY, (3, 2))
    sweep, data, held_out = run_search(rng, key=keys, how="vmap", eval_batch_size=3)
    expected = [
        [
            single_run({"learning_rate": rate}, key, data, held_out["test"])[1][0]
            for key in row
        ]
        for rate, row in zip([0.1, 0.5, 0.3], keys, strict=True)
    ]
    assert_members_match(sweep, expected, **EXACT)


def test_the_draws_of_a_key_are_shared_by_all_points():
    """What depends on the key and data alone is computed once, not once for each."""
    shapes = []

    def train(settings, key, data):
        noise = jax.random.normal(key, (11,))
        shapes.append(str(jax.typeof(jnp.sin(noise))))
        return init_state(settings["rate"] * noise, optax.sgd(0.1))

    def program(rates, keys):
        run = lambda rate: train({"rate": rate}, keys, ()).params
        return run_members(run, rates, how="vmap")

    jaxpr = str(jax.make_jaxpr(program)(jnp.ones(7), KEY))
    assert "f32[11] = sin" in jaxpr
    assert "f32[7,11] = mul" in jaxpr


def test_all_points_are_one_program(rng):
    calls = []

    def counted(*given):
        calls.append(1)
        return train(*given)

    data, held_out = examples(rng), {"test": examples(rng, 7)}
    rates = {"learning_rate": np.linspace(0.1, 0.5, 6)}
    search(counted, rates, data, held_out, KEY, eval_step=eval_step, how="map")
    assert len(calls) <= 2  # times traced


def test_probabilities_and_smoothing_are_numbers_of_one_program(rng, x64):
    traced = []

    def train(settings, key, data):
        traced.append(1)
        model = MLP((8, CLASSES), dropout=settings["dropout"])
        smoothing = settings["smoothing"]

        def loss_fn(params, model_state, batch, key):
            rngs = {"dropout": key}
            logits = model.apply({"params": params}, batch["x"], train=True, rngs=rngs)
            labels = batch["label"]
            loss = cross_entropy(logits, labels, label_smoothing=smoothing)
            return loss, (model_state, {})

        params = model.init(key, data["x"], train=False)["params"]
        optimizer = optax.sgd(0.5)
        steps = scan_steps(make_train_step(loss_fn, optimizer))
        batches = jnp.arange(16).reshape(2, 8)
        return steps(init_state(params, optimizer), data, batches, key)[0]

    def eval_fn(params, model_state, batch):
        model = MLP((8, CLASSES), dropout=0.0)
        logits = model.apply({"params": params}, batch["x"], train=False)
        return {"loss": cross_entropy(logits, batch["label"], reduction="none")}

    data = examples(rng)
    settings = grid(dropout=[0.0, 0.7], smoothing=[0.0, 0.1])
    step = make_eval_step(eval_fn)
    sweep = search(train, settings, data, {"train": data}, KEY, eval_step=step)
    assert len(traced) <= 2
    losses = sweep.metrics["train/loss"][:, 0]
    assert len(set(losses)) == 4
    for i, loss in enumerate(losses):
        point = {name: float(values[i]) for name, values in settings.items()}
        state = train(point, KEY, data)  # of Python's numbers
        expected = make_evaluation(step, 256)(state, data)["loss"]
        np.testing.assert_allclose(loss, expected, **EXACT)


def test_static_settings_are_python_values_with_a_program_each(rng):
    settings = grid(width=[3, 6], kind=["a"], learning_rate=[0.1, 0.5])
    shuffled = {name: values[[0, 2, 3, 1]] for name, values in settings.items()}
    static, seen = ("width", "kind"), set()

    def seeing(settings, key, data):
        seen.add((type(settings["width"]), settings["width"], settings["kind"]))
        return train(settings, key, data)

    data, held_out = examples(rng), {"test": examples(rng, 7)}
    sweep = search(
        seeing, shuffled, data, held_out, KEY, eval_step=eval_step, static=static
    )
    assert seen == {(int, 3, "a"), (int, 6, "a")}
    assert sweep.settings["width"].tolist() == [3, 6, 6, 3]
    for point in (1, 2):
        setting = {name: values[point] for name, values in shuffled.items()}
        state = refit(train, setting, data, KEY, static=static)
        expected = eval_fn(state.params, (), held_out["test"])["loss"].mean()
        measured = sweep.metrics["test/loss"][point, 0]
        np.testing.assert_allclose(measured, expected, rtol=1e-5)  # float32


@pytest.mark.parametrize(
    ("settings", "options", "words"),
    [
        ({"a": [1.0], "b": [1.0, 2.0]}, {}, r"different lengths: \{'a': 1, 'b': 2\}"),
        ({"a": []}, {}, r"a has shape \(0,\)"),
        ({"a": np.ones((1, 1))}, {}, r"a has shape \(1, 1\)"),
        ({"a": [[1.0]]}, {}, r"a=\[1.0\] is no number: name it in `static`"),
        ({"a": [[1.0]]}, {"static": ("a",)}, "unhashable type: 'list'; a tuple"),
        ({"a": [None]}, {}, "a=None is no number: name it in `static`"),
        ({"a": ["x", "y"]}, {}, "a='x' is no number: name it in `static`"),
        ({"a": [7, 2**40]}, {}, "a=1099511627776 does not fit int32: name it in `st"),
        ({"a": [1.0, 1e-50]}, {}, "a=1e-50 does not fit float32: name it in `static`"),
        ({"a": [1e50]}, {}, r"a=1e\+50 does not fit float32: name it in `static`"),
        ({"a": [1.0]}, {"static": ("b",)}, r"static='b' is not among .*\['a'\]"),
        ({"a": [1.0]}, {"how": "loop"}, "how='loop'"),
        ({"a": [1.0]}, {"block_size": 0}, "block_size=0"),
        ({"a": [1.0]}, {"eval_batch_size": 0}, "batch_size=0"),
        ({"a": [1.0]}, {"held_out": {}}, "held_out names no set"),
        ({"a": [1.0]}, {"held_out": {"x": 1, "label": 2}}, "is one set of examples: n"),
        ({"a": [1.0]}, {"held_out": jnp.ones(2)}, "is one set of examples: name it"),
        ({"a": [1.0]}, {"held_out": {"v": STREAM}}, "held_out/v is a Stream: expected"),
        ({"a": [1.0]}, {"data": STREAM}, "data is a Stream: expected an array"),
        ({"a": [1.0]}, {"data": np.array(["x"])}, "data has dtype <U1: expected numb"),
        ({"a": [1.0]}, {"key": jnp.zeros(2, "uint32")}, "those of jax.random.key"),
        (
            {"a": [1.0]},
            {"key": jax.random.split(KEY, (2, 3))},
            r"shape \(2, 3\); expected \(\) or \(3,\) or \(1, 3\)",
        ),
        (
            {"a": [1.0]},
            {"train": lambda *_: (1, 2)},
            "return a TrainState, not .*tuple",
        ),
        ({"a": [1.0]}, {"eval_step": lambda *_: {}}, "eval_step gives no metrics"),
    ],
)
def test_searches_that_cannot_be(unchecked, rng, settings, options, words):
    state = init_state(jnp.ones((FEATURES, CLASSES)), optax.sgd(1))
    given = {
        "train": lambda settings, key, data: state,
        "data": examples(rng),
        "held_out": {"test": examples(rng)},
        "key": KEY,
        "eval_step": eval_step,
    } | options
    with pytest.raises(ValueError, match=words):
        search(settings=settings, **given)


def test_a_setting_that_is_a_shape_has_to_be_static(rng):
    with pytest.raises(TypeError) as raised:
        run_search(rng, {"learning_rate": 0.1, "width": [3, 4]})
    assert "name it in `static`" in raised.value.__notes__[0]


# -- cross-validation


def run_folds(rng, masked, settings=None, **options):
    data = examples(rng)
    folds = k_folds(KEY, 22, 4, masked=masked)
    settings = {"learning_rate": 0.3} if settings is None else settings
    options = {"eval_step": eval_step, "how": "map"} | options
    return cross_validate(train, settings, data, folds, KEY, **options), data, folds


@pytest.mark.parametrize(
    ("masked", "how"), [(False, "map"), (True, "map"), (True, "vmap")]
)
def test_each_fold_is_its_single_run(rng, x64, masked, how):
    sweep, data, folds = run_folds(rng, masked, how=how)
    for fold in range(4):
        rows = folds.train[fold][folds.train[fold] < 22][: 16 if masked else 15]
        held_out = folds.validation[fold][folds.validation[fold] < 22]
        parts = take(data, rows), take(data, held_out)
        _, expected = single_run({"learning_rate": 0.3}, KEY, parts[0], *parts)
        for split, metrics in zip(("train", "validation"), expected, strict=True):
            for name, value in metrics.items():
                measured = sweep.metrics[f"{split}/{name}"][0, fold]
                np.testing.assert_allclose(measured, value, **EXACT)


def test_masked_folds_hold_every_example_out_once(rng):
    """Told by an evaluation that sums up which examples it has met."""
    seen = lambda state, batch, mask: {
        "examples": jnp.zeros(22).at[batch["x"]].add(mask)
    }
    state = init_state(jnp.ones(1), optax.sgd(0.1))
    folds = k_folds(KEY, 22, 4, masked=True)
    sweep = cross_validate(
        lambda *_: state, {}, {"x": jnp.arange(22)}, folds, KEY, eval_step=seen
    )
    train, validation = (
        sweep.metrics[f"{split}/examples"][0] for split in ("train", "validation")
    )
    np.testing.assert_array_equal((validation > 0).sum(axis=0), 1)
    np.testing.assert_array_equal((train > 0).sum(axis=1), 16)
    np.testing.assert_array_equal((validation > 0).sum(axis=1), [6, 6, 5, 5])
    assert not ((train > 0) & (validation > 0)).any()
    np.testing.assert_allclose(validation.sum(axis=1), 1, rtol=1e-6)


def test_points_and_folds_go_into_one_table(rng, x64):
    settings = grid(learning_rate=[0.1, 0.3])
    both, _, _ = run_folds(rng, True, settings, how="vmap", block_size=3)
    one, _, _ = run_folds(np.random.default_rng(0), True)
    for name, values in both.metrics.items():
        assert values.shape == (2, 4)
        np.testing.assert_allclose(values[1], one.metrics[name][0], **EXACT)


@pytest.mark.parametrize(
    ("folds", "words"),
    [
        (([[0, 1]], [[23]]), "folds hold row 23, but data has 22 examples"),
        (([[-1, 1]], [[2]]), "folds hold row -1, but data has 22 examples"),
        (([[22, 1]], [[2]]), "folds hold row 22, but data has 22 examples"),
        (([[1]], [[22, 2]]), "folds hold row 22, but data has 22 examples"),
        (([[1], [2]], [[3], [22]]), "fold 1 holds out no example"),
        (([[22]], [[3]]), "fold 0 trains on no example"),
        (([[1, 2], [3, 4]], [[3], [4]]), "fold 1 trains on row 4, which it holds out"),
        (k_folds(KEY, 18, 3), "hold each of 18 examples out, but data has 22"),
        (k_folds(KEY, 17, 3, masked=True), "hold each of 18 examples out, but data"),
    ],
)
def test_folds_that_do_not_fit(rng, folds, words):
    folds = Folds(*map(jnp.array, folds))
    with pytest.raises(ValueError, match=words):
        cross_validate(train, {}, examples(rng), folds, KEY, eval_step=eval_step)


def test_texts_are_not_divided_into_folds():
    folds, texts = k_folds(KEY, 4, 2), np.array(["a", "b", "c", "d"])
    with pytest.raises(ValueError, match="data has dtype <U1: expected numbers"):
        cross_validate(train, {}, texts, folds, KEY, eval_step=eval_step)


def test_folds_need_not_use_every_example(rng):
    """Windows that move along: only what k_folds made of fewer is refused."""
    at = jnp.array([0, 2, 4])[:, None]
    folds = Folds(at + jnp.arange(8), at + jnp.arange(8, 12))
    sweep = cross_validate(
        train, {"learning_rate": 0.1}, examples(rng), folds, KEY, eval_step=eval_step
    )
    assert np.isfinite(sweep.metrics["validation/loss"]).all()


# -- results


@pytest.fixture
def sweep(rng):
    """Three points with four repeats; the second has one that is not finite."""
    loss, top = rng.normal(size=(2, 3, 4))
    loss[1] -= 9
    loss[1, 2:] = np.inf, -np.inf
    settings = {"rate": np.array([0.1, 1.0, 10.0]), "name": np.array(["a", "b", "c"])}
    confusion = np.ones((3, 4, 2, 2))
    return Sweep(settings, {"v/loss": loss, "v/top": top, "v/confusion": confusion})


def test_mean_and_spread_over_the_repeats(sweep):
    for name, values in sweep.metrics.items():
        values = torch.tensor(values)
        np.testing.assert_allclose(sweep.mean[name], values.mean(1), **EXACT)
        np.testing.assert_allclose(sweep.std[name], values.std(1), **EXACT)


def test_one_repeat_has_no_spread(sweep):
    one = Sweep(sweep.settings, {"loss": sweep.metrics["v/loss"][:, :1]})
    assert np.isnan(one.std["loss"]).all()
    assert "±" not in str(one)


@pytest.mark.parametrize("goal", ["min", "max"])
def test_the_best_point_is_finite_in_all_its_repeats(sweep, goal):
    finite = sweep.metrics["v/loss"][[0, 2]].mean(axis=1)
    first = (finite[0] < finite[1]) == (goal == "min")
    expected = {"rate": 0.1, "name": "a"} if first else {"rate": 10.0, "name": "c"}
    best = sweep.best("v/loss", goal)
    assert best == expected
    assert [type(value) for value in best.values()] == [float, str]


def test_a_point_that_failed_in_another_metric_is_not_the_best(sweep):
    sweep.metrics["v/top"][1] = 100
    assert sweep.best("v/top", "max")["name"] != "b"


def test_of_equal_points_the_first_is_the_best():
    sweep = Sweep({"rate": np.arange(3)}, {"loss": np.array([[2.0], [1.0], [1.0]])})
    assert sweep.best("loss") == {"rate": 1}


@pytest.mark.parametrize(
    ("metric", "goal", "words"),
    [
        ("loss", "min", "metric='loss' is not among the metrics: v/loss, v/top$"),
        ("v/confusion", "min", "metric='v/confusion' is not among"),
        ("v/loss", "least", "goal='least' of 'v/loss' is not 'min' or 'max'"),
    ],
)
def test_bests_that_are_none(unchecked, sweep, metric, goal, words):
    with pytest.raises(ValueError, match=words):
        sweep.best(metric, goal)


def test_the_best_of_none(sweep):
    sweep.metrics["v/top"][:, 1] = np.nan
    with pytest.raises(FloatingPointError, match="none of the 3 points is finite"):
        sweep.best("v/loss")


def test_the_table():
    settings = {"rate": np.array([0.001, 1.0]), "width": np.array([64, 128])}
    loss = np.array([[1.0, 2.0], [np.nan, 2.0]])
    assert str(Sweep(settings, {"loss": loss, "top": loss / 10})).splitlines() == [
        "rate   width  loss                  top",
        "0.001  64     1.5 ± 0.71            0.15 ± 0.071",
        "1      128    not finite in 1 of 2",
    ]


def test_the_table_of_metrics_that_are_no_numbers():
    sweep = Sweep({"rate": np.array([0.5])}, {"pair": np.full((1, 1, 2), np.nan)})
    assert str(sweep).splitlines() == ["rate", "0.5"]


def test_members_that_are_not_finite_are_told_and_never_the_best(rng):
    """Accuracy alone would not show it: NaN logits have an argmax too."""
    top = make_eval_step(lambda *given: {"accuracy": eval_fn(*given)["accuracy"]})
    rates = {"learning_rate": [0.1, np.inf, 0.2]}
    with pytest.warns(RuntimeWarning, match="1 of 3 members .*: learning_rate=inf"):
        sweep, _, _ = run_search(rng, rates, eval_step=top)
    np.testing.assert_array_equal(sweep.finite, [[True], [False], [True]])
    assert np.isnan(sweep.metrics["test/accuracy"][1])
    assert sweep.best("test/accuracy", "max")["learning_rate"] != np.inf


def test_a_warning_names_five_points(rng):
    rates = {"learning_rate": [np.inf] * 6, "momentum": 0.5}
    named = "; ".join(["learning_rate=inf, momentum=0.5"] * 5 + ["..."])
    with pytest.warns(RuntimeWarning, match=f"6 of 6 members .*: {named}$"):
        run_search(rng, rates)


# -- ensembles and refits


def test_an_ensemble_is_its_members_bit_for_bit(rng):
    data, keys = examples(rng), jax.random.split(KEY, 3)
    settings = {"learning_rate": 0.3, "momentum": 0.9}
    states = ensemble(train, settings, data, keys, how="map")
    for i, key in enumerate(keys):
        member = jax.tree.map(itemgetter(i), states)
        assert_same_bits(member, single_run(settings, key, data)[0])


def test_a_refit_is_the_best_member_bit_for_bit(rng):
    sweep, data, held_out = run_search(rng)
    best = sweep.best("test/loss")
    state, (measured,) = single_run(best, KEY, data, held_out["test"])
    assert_same_bits(refit(train, best, data, KEY), state)
    assert measured["loss"] == sweep.metrics["test/loss"].min()


def test_ensembles_and_refits_take_static_settings(rng):
    settings, data = {"learning_rate": 0.3, "width": 6}, examples(rng)
    states = ensemble(train, settings, data, jax.random.split(KEY, 2), static=["width"])
    assert states.params.shape == (2, FEATURES, 6)
    state = refit(train, settings, data, KEY, static=["width"])
    assert state.params.shape == (FEATURES, 6)


def test_parameters_that_are_not_finite(rng):
    data, diverging = examples(rng), {"learning_rate": np.inf}
    with pytest.raises(FloatingPointError, match=r"with \{'learning_rate': inf\} are"):
        refit(train, diverging, data, KEY)

    def third_fails(settings, key, data):
        state = init_state(
            jnp.where((key == keys[2]).all(), jnp.nan, 1.0), optax.sgd(1)
        )
        return state._replace(model_state=jnp.arange(3))

    keys = jax.random.split(KEY, 4)
    words = r"of 4 members, the parameters of \[2\] are not finite"
    with pytest.warns(RuntimeWarning, match=words):
        ensemble(third_fails, {}, data, keys)


@pytest.mark.parametrize(
    ("function", "settings", "key", "words"),
    [
        (refit, {"a": [1.0, 2.0]}, KEY, "settings hold 2 points: choose one"),
        (ensemble, {"a": [1.0, 2.0]}, KEY[None], "settings hold 2 points"),
        (refit, {"a": 2**40}, KEY, "a=1099511627776 does not fit int32"),
        (refit, {}, KEY[None], r"keys have shape \(1,\); expected \(\)"),
        (ensemble, {}, KEY, r"keys have shape \(\); expected \(1,\)"),
        (ensemble, {}, KEY[None][:0], "there are no members"),
        (refit, {}, jnp.zeros(2, "uint32"), "those of jax.random.key"),
    ],
)
def test_refits_that_cannot_be(unchecked, rng, function, settings, key, words):
    with pytest.raises(ValueError, match=words):
        function(train, settings, examples(rng), key)


# -- figure


def test_a_figure_has_a_chart_for_each_setting_that_varies(sweep):
    sweep.settings["fixed"] = np.ones(3)
    rate, name = sweep_figure(*sweep, "v/loss").axes
    assert (rate.get_xlabel(), name.get_xlabel()) == ("rate", "name")
    assert (rate.get_ylabel(), rate.get_xscale()) == ("v/loss", "log")
    drawn, failed = rate.lines[0], rate.lines[-1]
    assert drawn.get_linestyle() == "None"  # they differ in their names, too
    np.testing.assert_allclose(drawn.get_xdata(), [0.1, 10])
    np.testing.assert_allclose(drawn.get_ydata(), sweep.mean["v/loss"][[0, 2]])
    assert (failed.get_label(), failed.get_color()) == ("not finite", WRONG)
    assert failed.get_xdata() == [1.0]
    (bars,) = rate.containers
    low, high = bars[2][0].get_segments()[0][:, 1]
    assert high - low == pytest.approx(2 * sweep.std["v/loss"][0])


def test_a_figure_joins_points_that_agree_in_all_other_settings(rng):
    settings = grid(rate=[1.0, 0.1, 5.0], width=[32, 64])
    loss = rng.normal(size=(6, 2))
    rate, width = sweep_figure(settings, {"loss": loss}, "loss").axes
    assert (rate.get_xscale(), width.get_xscale()) == ("log", "linear")
    labels = [text.get_text() for text in rate.get_legend().get_texts()]
    assert labels == ["width=32", "width=64"]
    labels = [text.get_text() for text in width.get_legend().get_texts()]
    assert labels == ["rate=1", "rate=0.1", "rate=5"]
    line = rate.containers[1][0]
    np.testing.assert_array_equal(line.get_xdata(), [0.1, 1, 5])
    np.testing.assert_allclose(line.get_ydata(), loss.mean(axis=1)[[3, 1, 5]])
    assert line.get_linestyle() == "-"


def test_a_figure_of_one_setting_is_one_line(rng):
    (axes,) = sweep_figure(
        {"rate": np.arange(3), "fixed": np.ones(3)},
        {"loss": rng.random((3, 1))},
        "loss",
    ).axes
    assert axes.lines[0].get_linestyle() == "-"
    assert axes.get_legend() is None


def test_a_figure_of_one_point_is_over_its_repeats(sweep):
    one = {name: values[:1] for name, values in sweep.metrics.items()}
    (axes,) = sweep_figure({"rate": np.ones(1)}, one, "v/top").axes
    assert axes.get_xlabel() == "repeat"
    np.testing.assert_array_equal(axes.lines[0].get_xdata(), [1, 2, 3, 4])
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), one["v/top"][0])
    sweep_figure({"rate": np.ones(1)}, one, "v/top").savefig(io.BytesIO())


@pytest.mark.parametrize("name", ["loss", "v/confusion"])
def test_a_figure_of_what_is_no_number(sweep, name):
    with pytest.raises(ValueError, match=f"name='{name}' is no single number"):
        sweep_figure(*sweep, name)


def test_one_string_is_no_list_of_static_settings(rng, unchecked):
    data = examples(rng)
    settings = {"width": [3, 6], "learning_rate": [0.1, 0.5]}
    step = make_eval_step(eval_fn)
    with pytest.raises(ValueError, match=r"static='width' is one string; give \('wid"):
        search(
            train, settings, data, {"train": data}, KEY, eval_step=step, static="width"
        )
