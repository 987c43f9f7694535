"""Recurrent networks against PyTorch's, with packed sequences, in float64."""

import inspect
from operator import itemgetter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from jax.experimental import checkify
from jax.sharding import PartitionSpec as P

from jaxdl.backend import as_defined
from jaxdl.functional import (
    PackedSequence,
    recurrent_cells as cells,
    recurrent_packed,
)
from jaxdl.functional.recurrent import gru, lstm, rnn
from jaxdl.functional.recurrent_cells import RecurrentWeights
from jaxdl.sharding import make_mesh
from tests.marks import slow, slow_if
from tests.oracle import assert_agrees, assert_close, assert_trees_match, random

HIDDEN = 3
GATES = {"rnn_tanh": 1, "rnn_relu": 1, "gru": 3, "lstm": 4}
KINDS = list(GATES)


def kinds(*ordinary, of=KINDS):
    """Parameters of a test: these, and the others of the kinds with `-m slow`.

    All share their loops, of which the GRU's is the hardest; each compiles for seconds.
    """
    return slow_if(lambda kind: kind not in ordinary, of)


GATED = kinds("gru", of=["gru", "lstm"])


@pytest.fixture(autouse=True, scope="module")
def x64():
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module", params=["padded", "packed"])
def lanes(request):
    """As few sequences run, padded, and as many would: packed, in one lane or more."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "packed":
            patch.setattr(recurrent_packed, "LANES", 1)
        yield


padded_and_packed = pytest.mark.usefixtures("lanes")


def run(kind, *arguments, **settings):
    if kind.startswith("rnn"):
        settings["nonlinearity"] = kind[4:]
    return {"gru": gru, "lstm": lstm}.get(kind, rnn)(*arguments, **settings)


def weight_shapes(kind, features, layers, directions, bias=True, hidden=HIDDEN):
    width = GATES[kind] * hidden
    shapes = []
    for each in range(layers * directions):
        size = features if each < directions else directions * hidden
        shapes += [(size, width), (hidden, width), *[(width,)] * (2 * bias)]
    return shapes


def as_weights(arrays, bias=True):
    count = 4 if bias else 2
    return [
        RecurrentWeights(*arrays[i : i + count]) for i in range(0, len(arrays), count)
    ]


def flat(result):
    """(output, h_n, c_n) or (output, h_n)."""
    output, state = result
    return (output, *state) if isinstance(state, tuple) else (output, state)


def assert_like_torch(
    kind,
    shape,
    lengths=None,
    *,
    layers=1,
    bias=True,
    bidirectional=False,
    batch_first=False,
    with_hx=True,
    **dropout,
):
    """Compares outputs, last states and the gradients of x, hx and all parameters."""
    directions = 1 + bidirectional
    shapes = weight_shapes(kind, shape[-1], layers, directions, bias)
    batch = () if len(shape) == 2 else (shape[0 if batch_first else 1],)
    states = (2 if kind == "lstm" else 1) * with_hx
    arrays = [random(shape, 0)]
    arrays += [
        random((layers * directions, *batch, HIDDEN), 1 + i) for i in range(states)
    ]
    arrays += [random(s, 10 + i) for i, s in enumerate(shapes)]

    def ours(x, *rest):
        hx = rest[:states] if kind == "lstm" else rest[0] if states else None
        result = run(
            kind, x, as_weights(rest[states:], bias), hx if states else None,
            None if lengths is None else jnp.array(lengths),
            bidirectional=bidirectional, batch_first=batch_first, **dropout,
        )  # fmt: skip
        return flat(result)

    module = {"gru": torch.nn.GRU, "lstm": torch.nn.LSTM}.get(kind, torch.nn.RNN)
    extra = {"nonlinearity": kind[4:]} if kind.startswith("rnn") else {}
    network = module(
        shape[-1], HIDDEN, layers, bias=bias, batch_first=batch_first,
        bidirectional=bidirectional, dropout=dropout.get("dropout", 0.0), **extra,
    ).double()  # fmt: skip
    names = [name for name, _ in network.named_parameters()]

    def theirs(x, *rest):
        hx = rest[:states] if kind == "lstm" else rest[0] if states else None
        parameters = [w.T if w.ndim == 2 else w for w in rest[states:]]
        if lengths is not None:
            x = torch.nn.utils.rnn.pack_padded_sequence(
                x, torch.tensor(lengths), batch_first, enforce_sorted=False
            )
        output, state = torch.func.functional_call(
            network,
            dict(zip(names, parameters, strict=True)),
            (x, hx) if states else (x,),
        )
        if lengths is not None:
            output, _ = torch.nn.utils.rnn.pad_packed_sequence(
                output, batch_first, total_length=shape[1 if batch_first else 0]
            )
        return flat((output, state))

    assert_agrees(ours, theirs, *arrays)


@st.composite
def problems(draw):
    steps, batch = draw(st.integers(1, 5)), draw(st.integers(1, 4))
    batch_first = draw(st.booleans())
    lengths = st.lists(st.integers(1, steps), min_size=batch, max_size=batch)
    shape = (batch, steps, 2) if batch_first else (steps, batch, 2)
    return shape, batch_first, draw(st.none() | lengths)


@padded_and_packed
@pytest.mark.parametrize("kind", kinds("gru", "lstm", "rnn_tanh"))
@given(
    problem=problems(),
    layers=st.integers(1, 3),
    bias=st.booleans(),
    bidirectional=st.booleans(),
    with_hx=st.booleans(),
)
def test_equals_torch(kind, problem, **arguments):
    shape, batch_first, lengths = problem
    assert_like_torch(kind, shape, lengths, batch_first=batch_first, **arguments)


@padded_and_packed
@pytest.mark.parametrize("kind", kinds("gru", "rnn_relu"))
def test_two_layers_both_ways_in_any_order_of_lengths_equal_torch(kind):
    assert_like_torch(kind, (6, 5, 2), [2, 4, 1, 5, 4], layers=2, bidirectional=True)


@pytest.mark.parametrize(
    ("batch", "bias"),
    [
        (33, True),
        slow(75, False),
        slow(301, False),
        slow(301, True),
    ],
)
def test_many_sequences_equal_torch(batch, bias):
    lengths = 1 + np.random.default_rng(batch).integers(7, size=batch)
    settings = {"bidirectional": True, "bias": bias, "layers": 2}
    assert_like_torch("lstm", (9, batch, 2), lengths.tolist(), **settings)


def test_loops_compute_the_lanes_that_run(monkeypatch):
    monkeypatch.setattr(recurrent_packed, "LANES", 1)
    lengths = jnp.array([3, 1, 7, 2, 2, 5, 4, 1])
    plan = recurrent_packed._plan(lengths, steps=20, directions=1)
    loops = [(lanes, int(start), int(end)) for lanes, start, end in plan.loops]
    # After 2 steps there are 4 that run, after 5 steps 1, and the longest has 7.
    assert loops == [(8, 0, 2), (4, 2, 5), (1, 5, 7)]


@pytest.mark.parametrize("kind", GATED)
@pytest.mark.parametrize("shape", [(4, 2), (1, 1, 2), (1, 3, 2), (3, 0, 2)])
def test_odd_shapes_equal_torch(kind, shape):
    assert_like_torch(kind, shape, bidirectional=True, layers=3)


def test_one_sequence_ignores_batch_first_as_torch():
    assert_like_torch("gru", (4, 2), batch_first=True)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("batch", [(4,), ()])
def test_cells_equal_torch(kind, bias, batch):
    shapes = weight_shapes(kind, 2, 1, 1, bias)
    states = 2 if kind == "lstm" else 1
    arrays = [random((*batch, 2), 0)]
    arrays += [random((*batch, HIDDEN), 1 + i) for i in range(states)]
    arrays += [random(s, 10 + i) for i, s in enumerate(shapes)]
    cell, oracle = getattr(cells, f"{kind}_cell"), getattr(torch, f"{kind}_cell")

    def ours(x, *rest):
        hx = rest[:2] if kind == "lstm" else rest[0]
        return cell(x, hx, *rest[states:])

    def theirs(x, *rest):
        rows = [a if batch else a[None] for a in (x, *rest[:states])]
        hx = tuple(rows[1:]) if kind == "lstm" else rows[1]
        state = oracle(rows[0], hx, *(w.T if w.ndim == 2 else w for w in rest[states:]))
        state = state if kind == "lstm" else (state,)
        return tuple(s if batch else s[0] for s in state)

    assert_agrees(ours, theirs, *arrays)


def problem(kind="gru", layers=2, directions=2, shape=(5, 3, 2), dtype=None):
    shapes = weight_shapes(kind, shape[-1], layers, directions)
    weights = as_weights(
        [jnp.asarray(random(s, i), dtype) for i, s in enumerate(shapes)]
    )
    return jnp.asarray(random(shape, 99), dtype), weights


LENGTHS = jnp.array([3, 5, 1])


@padded_and_packed
@pytest.mark.parametrize("kind", kinds("gru"))
def test_padding_neither_counts_nor_gets_gradients(kind):
    x, weights = problem(kind)
    padding = (jnp.arange(5)[:, None] >= LENGTHS)[..., None]

    @jax.jit
    def outputs_and_gradients(x):
        def scalar(x, weights):
            result = run(kind, x, weights, lengths=LENGTHS, bidirectional=True)
            return sum(jnp.sin(a).sum() for a in flat(result)), result

        return jax.grad(scalar, (0, 1), has_aux=True)(x, weights)

    clean = outputs_and_gradients(x)
    for junk in (np.nan, np.inf, 1e300):
        dirty = outputs_and_gradients(jnp.where(padding, junk, x))
        jax.tree.map(np.testing.assert_array_equal, clean, dirty)
        assert (jnp.where(padding, dirty[0][0], 0) == 0).all()
        assert (jnp.where(padding, dirty[1][0], 0) == 0).all()


@padded_and_packed
def test_a_nan_within_the_length_stays_in_its_sequence():
    x, weights = problem()
    output, h_n = gru(
        x.at[0, 1, 0].set(jnp.nan), weights, None, LENGTHS, bidirectional=True
    )
    assert jnp.isnan(output[:, 1]).all()
    assert jnp.isnan(h_n[:, 1]).all()
    assert not jnp.isnan(output[:, jnp.array([0, 2])]).any()


@padded_and_packed
def test_lengths_may_be_traced():
    x, weights = problem()
    run_lengths = lambda lengths: gru(x, weights, None, lengths, bidirectional=True)
    actual = jax.jit(run_lengths)(LENGTHS)
    jax.tree.map(assert_close, actual, run_lengths(LENGTHS))


def test_lengths_may_be_a_list():
    x, weights = problem()
    run_lengths = lambda lengths: gru(x, weights, None, lengths, bidirectional=True)
    assert_trees_match(run_lengths([3, 5, 1]), run_lengths(LENGTHS))


@padded_and_packed
@pytest.mark.parametrize("wrong", [0, -2, 6])
def test_a_traced_length_out_of_range_gives_nan_and_is_found_by_checkify(wrong):
    x, weights = problem(layers=1, directions=1)
    lengths = LENGTHS.at[1].set(wrong)
    function = jax.jit(lambda lengths: gru(x, weights, None, lengths))
    output, h_n = function(lengths)
    assert jnp.isnan(output[:, 1]).all()
    assert jnp.isnan(h_n[:, 1]).all()
    expected = gru(x, weights, None, LENGTHS)[0]
    for other in (0, 2):
        assert_close(output[:, other], expected[:, other])
    error, _ = checkify.checkify(function)(lengths)
    assert f"length {wrong} lies outside of 1..5" in error.get()


@padded_and_packed
@pytest.mark.parametrize("kind", GATED)
def test_vmap_equals_a_loop(kind):
    x, weights = problem(kind, layers=1)
    xs = jnp.stack([x, x[::-1]])
    lengths = jnp.stack([LENGTHS, jnp.array([5, 2, 4])])
    stacked = jax.tree.map(lambda w: jnp.stack([w, -w]), weights)

    def gradient(x, weights, lengths):
        scalar = lambda *arguments: sum(
            jnp.sin(a).sum()
            for a in flat(run(kind, *arguments, None, lengths, bidirectional=True))
        )
        return jax.grad(scalar, (0, 1))(x, weights)

    arguments = (xs, stacked, lengths)
    batched = jax.jit(jax.vmap(gradient))(*arguments)
    single = jax.jit(gradient)
    singles = [single(*jax.tree.map(itemgetter(i), arguments)) for i in range(2)]
    jax.tree.map(assert_close, batched, jax.tree.map(lambda *a: jnp.stack(a), *singles))


@padded_and_packed
@pytest.mark.parametrize("padded", [slow(False), True])
@pytest.mark.parametrize("split", ["input", slow("weights")])
@pytest.mark.parametrize("kind", GATED)
def test_inside_shard_map_what_is_split_may_be_either(kind, split, padded):
    """There JAX tells by type what differs among devices, were there one alone."""
    (x, weights), lengths = problem(kind), LENGTHS if padded else None

    def loss(weights, x):
        results = flat(run(kind, x, weights, lengths=lengths, bidirectional=True))
        return sum((result**2).sum() for result in results)

    def total(weights, x):
        return jax.lax.psum(loss(weights, x), "data")

    specs = (P(), P("data")) if split == "input" else (P("data"), P())
    gradient = jax.grad(total, argnums=(0, 1))
    gradient = jax.shard_map(
        gradient, mesh=make_mesh(), in_specs=specs, out_specs=specs
    )
    expected = jax.jit(jax.grad(loss, argnums=(0, 1)))(weights, x)
    assert_trees_match(jax.jit(gradient)(weights, x), expected)


@padded_and_packed
def test_inside_shard_map_dropout_may_differ_among_devices():
    x, weights = problem()

    def output(key):
        settings = {"bidirectional": True, "dropout": 0.5, "train": True}
        return gru(x, weights, lengths=LENGTHS, key=key, **settings)[0]

    def on_device(key):
        return output(jax.random.fold_in(key, jax.lax.axis_index("data")))

    key = jax.random.key(0)
    specs = {"in_specs": P(), "out_specs": P("data")}
    actual = jax.jit(jax.shard_map(on_device, mesh=make_mesh(), **specs))(key)
    assert_close(actual, jax.jit(output)(jax.random.fold_in(key, 0)))


@padded_and_packed
def test_inside_scan_and_forward_mode_agree_with_reverse_mode():
    x, weights = problem(layers=1)

    def scalar(x):
        output, _ = gru(x, weights, None, LENGTHS, bidirectional=True)
        return jnp.sin(output).sum()

    reverse = jax.jit(jax.grad(scalar))(x)
    assert_close(
        jax.jit(jax.jvp, static_argnums=0)(scalar, (x,), (x,))[1], (reverse * x).sum()
    )
    scanned = jax.jit(lambda xs: jax.lax.map(jax.grad(scalar), xs))(x[None])
    assert_close(scanned[0], reverse)


def along(function):
    """Forward mode: the derivative of a function of x and more, along a direction."""
    return lambda x, *rest: jax.jvp(
        lambda x: function(x, *rest), (x,), (jnp.asarray(random(x.shape, 7)),)
    )[1]


@padded_and_packed
@pytest.mark.parametrize("outer", [jax.grad, slow(along)])
@pytest.mark.parametrize("kind", GATED)
def test_second_derivatives_are_those_of_one_loop(kind, outer):
    def norm(x, weights):
        def scalar(x, weights):
            result = run(kind, x, weights, None, LENGTHS, bidirectional=True)
            return sum(jnp.sin(a).sum() for a in flat(result))

        gradients = jax.grad(scalar, (0, 1))(x, weights)
        return sum((g**2).sum() for g in jax.tree.leaves(gradients))

    x, weights = problem(kind, layers=1)
    actual = jax.jit(outer(norm))(x, weights)
    with as_defined(True):
        expected = jax.jit(outer(norm))(x, weights)
    assert_close(actual, expected)


@padded_and_packed
@pytest.mark.parametrize("kind", GATED)
@pytest.mark.parametrize(("dtype", "near"), [(jnp.float32, 1e-5), (jnp.bfloat16, 0.1)])
def test_narrow_dtypes_are_kept_and_near(kind, dtype, near):
    x, weights = problem(kind)
    weights = jax.tree.map(lambda w: 0.3 * w, weights)
    outputs = jax.jit(
        lambda x, weights: run(kind, x, weights, None, LENGTHS, bidirectional=True)
    )
    expected = outputs(x, weights)
    actual = outputs(*jax.tree.map(lambda a: a.astype(dtype), (x, weights)))
    for ours, exact in zip(flat(actual), flat(expected), strict=True):
        assert ours.dtype == dtype
        np.testing.assert_allclose(ours.astype(float), exact, atol=near, rtol=near)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
@pytest.mark.parametrize("packed", [True, False])
def test_gradients_of_many_steps_add_up(dtype, packed):
    """For the weights: in bfloat16, 256 + 1 is 256."""
    steps, batch = 400, 40
    x, weights = problem(layers=1, directions=1, shape=(steps, batch, 2))
    x, weights = jax.tree.map(lambda a: (0.3 * a).astype(dtype), (x, weights))
    lengths = jnp.full(batch, steps).at[0].set(steps - 1) if packed else None

    def gradient(x, weights):
        total = lambda w: gru(x, w, lengths=lengths)[0].astype(float).sum() / batch
        [of_layer] = jax.jit(jax.grad(total))(weights)
        return of_layer

    actual = gradient(x, weights)
    exact = gradient(*jax.tree.map(lambda a: a.astype(float), (x, weights)))
    for ours, wide in zip(actual, exact, strict=True):
        assert ours.dtype == dtype
        error = jnp.linalg.norm(ours.astype(float) - wide) / jnp.linalg.norm(wide)
        assert error < 4 * jnp.finfo(dtype).eps


@pytest.mark.filterwarnings("ignore:dropout option adds:UserWarning")
@pytest.mark.parametrize(("p", "layers"), [(0.0, 2), (1.0, 2), (1.0, 1)])
def test_no_dropout_and_full_dropout_equal_torch(p, layers):
    key = jax.random.key(0)
    assert_like_torch("gru", (4, 3, 2), layers=layers, dropout=p, train=True, key=key)


def test_dropout_is_off_in_evaluation():
    x, weights = problem()
    actual = gru(x, weights, bidirectional=True, dropout=0.9, train=False)
    jax.tree.map(assert_close, actual, gru(x, weights, bidirectional=True))


def layers_that_add(count, hidden):
    """Relu layers that each give (steps so far summed) what they are given."""
    zero = jnp.zeros((hidden, hidden))
    return [RecurrentWeights(jnp.eye(hidden), zero)] * count


def test_dropout_drops_and_scales_between_layers_independently():
    x = jnp.ones((10, 40, 25))
    dropped = lambda layers, key: rnn(
        x, layers_that_add(layers, 25), nonlinearity="relu", dropout=0.25, train=True,
        key=jax.random.key(key),
    )[0]  # fmt: skip
    assert_close(dropped(1, 0), x)
    once = dropped(2, 0)
    assert_close(once, jnp.where(once == 0, 0, 4 / 3))
    np.testing.assert_allclose((once == 0).mean(), 0.25, atol=0.02)
    np.testing.assert_allclose((dropped(3, 0) == 0).mean(), 1 - 0.75**2, atol=0.02)
    np.testing.assert_array_equal(once, dropped(2, 0))
    assert (once != dropped(2, 1)).any()


def test_a_sequence_is_multiplied_before_the_loop():
    """Inside of the scan there is one product, that of the state."""
    x, weights = problem(layers=1, directions=1)
    jaxpr = jax.make_jaxpr(lambda x: gru(x, weights))(x)
    [scan] = [e for e in jaxpr.eqns if e.primitive.name == "scan"]
    count = lambda jaxpr: str(jaxpr).count("dot_general")
    assert (count(jaxpr), count(scan.params["jaxpr"])) == (2, 1)


def ones(*shape, dtype=jnp.float32):
    return jnp.ones(shape, dtype)


GOOD = RecurrentWeights(ones(2, 9), ones(3, 9), ones(9), ones(9))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input": ones(2)}, r"input has shape \(2,\); expected \(time, features\)"),
        ({"input": ones(4, 5, 2, dtype=jnp.int32)}, "input has dtype int32"),
        ({"input": ones(0, 5, 2)}, "input has no time steps"),
        ({"input": ones(4, 5, 3)}, r"weight_ih has shape \(2, 9\); expected \(3, 9\)"),
        ({"weights": []}, "weights for 0 layers"),
        ({"bidirectional": True}, "weights for 1 layers and directions; expected 2"),
        ({"weights": [GOOD, GOOD]}, r"weight_ih has shape \(2, 9\); expected \(3, 9\)"),
        (
            {"weights": [GOOD, GOOD], "bidirectional": True, "hx": ones(2, 5, 2)},
            r"hx has shape \(2, 5, 2\); expected \(2, 5, 3\)",
        ),
        (
            {"weights": [GOOD, RecurrentWeights(ones(3, 12), ones(4, 12))]},
            "weights 1 have hidden size 4, the first 3",
        ),
        ({"weights": [GOOD._replace(weight_hh=ones(3, 12))]}, "weight_hh has shape"),
        ({"weights": [GOOD._replace(weight_hh=ones(9))]}, "expected"),
        (
            {"weights": [GOOD._replace(weight_ih=ones(2, 12), weight_hh=ones(3, 12))]},
            r"weight_ih has shape \(2, 12\); expected \(2, 9\)",
        ),
        ({"weights": [GOOD._replace(bias_ih=ones(3))]}, r"bias_ih has shape \(3,\)"),
        ({"weights": [GOOD._replace(bias_hh=ones(3))]}, r"bias_hh has shape \(3,\)"),
        (
            {"weights": [GOOD._replace(bias_hh=ones(9, dtype=jnp.float16))]},
            "bias_hh has dtype float16, input float32",
        ),
        ({"hx": ones(5, 3)}, r"hx has shape \(5, 3\); expected \(1, 5, 3\)"),
        ({"hx": ones(1, 5, 3, dtype=jnp.float16)}, "hx has dtype float16"),
        (
            {"input": ones(4, 2), "hx": ones(1, 1, 3)},
            r"hx has shape \(1, 1, 3\); expected \(1, 3\)",
        ),
        ({"input": ones(4, 2), "lengths": jnp.array([1])}, "input is one sequence"),
        ({"lengths": ones(5)}, "lengths have dtype float32"),
        ({"lengths": [1.0] * 5}, "lengths have dtype float64"),
        ({"lengths": jnp.array([4])}, r"lengths \(1,\) do not fit 5 sequences"),
        ({"lengths": [1, 2, 5, 4, 4]}, r"length 5 at .* outside of 1..4"),
        (
            {"lengths": jnp.array([1, 2, 5, 4, 4])},
            r"length 5 at .* outside of 1..4",
        ),
        (
            {"lengths": jnp.array([1, 0, 3, 4, 4])},
            r"length 0 at .* outside of 1..4",
        ),
        ({"input": PackedSequence(ones(9, 2), jnp.array([5, 4]))}, "give it padded"),
        ({"input": [[[1.0]]]}, r"input is a list; expected an array, \(time, feat"),
        ({"hx": (ones(1, 5, 3),) * 2}, "hx is a tuple; expected an array of shape"),
        ({"dropout": 1.5}, r"dropout=1.5 is not within \[0, 1\]"),
        ({"dropout": -0.1}, r"dropout=-0.1 is not within"),
        ({"dropout": 0.5}, "dropout=0.5 needs train=True or train=False"),
        ({"dropout": 0.5, "train": True}, "dropout=0.5 with train=True needs a key"),
    ],
)
def test_invalid_arguments_raise(changes, message, unchecked):
    arguments = {"input": ones(4, 5, 2), "weights": [GOOD]} | changes
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(gru)(**arguments)


def test_an_unknown_nonlinearity_raises():
    with pytest.raises(ValueError, match="nonlinearity='sin' is not 'tanh' or 'relu'"):
        inspect.unwrap(rnn)(ones(4, 5, 2), [GOOD], nonlinearity="sin")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input": ones(4, 5, 2)}, r"input has shape \(4, 5, 2\)"),
        ({"input": ones(5, 2, dtype=jnp.int32)}, "input has dtype int32"),
        ({"hx": ones(5, 2)}, r"hx has shape \(5, 2\); expected \(5, 3\)"),
        ({"hx": ones(4, 3)}, r"hx has shape \(4, 3\); expected \(5, 3\)"),
        ({"weight_ih": ones(3, 9)}, r"weight_ih has shape \(3, 9\); expected \(2, 9\)"),
        ({"bias_ih": ones(3)}, r"bias_ih has shape \(3,\)"),
    ],
)
def test_invalid_arguments_of_cells_raise(changes, message, unchecked):
    arguments = {"input": ones(5, 2), "hx": ones(5, 3), **GOOD._asdict()} | changes
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(cells.gru_cell)(**arguments)


@padded_and_packed
@pytest.mark.parametrize("dtype", [jnp.uint8, jnp.int8])
def test_lengths_of_small_integers_do_not_wrap(dtype, unchecked):
    weights = [RecurrentWeights(jnp.ones((1, 3)), jnp.ones((1, 3)))]
    x = jnp.ones((300, 1, 1))
    expected = gru(x, weights, lengths=jnp.array([100]))
    for run_ in gru, jax.jit(gru):
        found = run_(x, weights, lengths=jnp.array([100], dtype))
        assert_trees_match(found, expected)
