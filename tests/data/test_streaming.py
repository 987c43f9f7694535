import gc
import json
import time
from itertools import islice
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, strategies as st
from PIL import Image

from jaxdl.data.image_files import image_folder
from jaxdl.data.streaming import Stream, prefetch
from jaxdl.training import init_state, make_eval_step, make_evaluation


def examples(n):
    return [{"x": np.array([i, -i], np.float32), "y": i % 3} for i in range(n)]


def key(seed=0):
    return jax.random.key(seed)


def assert_same(found, expected):
    found, expected = list(found), list(expected)
    assert len(found) == len(expected) > 0
    jax.tree.map(np.testing.assert_array_equal, found, expected)


# What a batch is


def test_without_a_key_examples_come_in_order():
    data = examples(5)
    batches = list(Stream(data, 2, remainder="mask").read(epochs=2))
    assert len(batches) == 6
    for (batch, mask), rows in zip(batches, [[0, 1], [2, 3], [4, 4]] * 2, strict=True):
        expected = jax.tree.map(lambda *x: np.stack(x), *[data[i] for i in rows])
        jax.tree.map(np.testing.assert_array_equal, batch, expected)
        assert batch["x"].dtype == np.float32
        np.testing.assert_array_equal(mask, [True, rows[0] != rows[1]])


@pytest.mark.parametrize(("n", "steps"), [(4, 2), (5, 2), (2, 1)])
def test_the_last_examples_may_be_dropped(n, steps):
    stream = Stream(range(n), 2, remainder="drop")
    batches = list(stream.read(epochs=1))
    assert len(batches) == stream.steps_per_epoch == steps
    assert all(mask.all() for _, mask in batches)
    np.testing.assert_array_equal([b for b, _ in batches], [[0, 1], [2, 3]][:steps])


def test_a_batch_may_exceed_the_source_where_a_mask_tells():
    ((batch, mask),) = Stream(range(2), 5, remainder="mask").read(epochs=1)
    assert batch.tolist() == [0, 1, 1, 1, 1]
    assert mask.tolist() == [True, True, False, False, False]


@given(
    n=st.integers(1, 30),
    size=st.integers(1, 9),
    hosts=st.integers(1, 3),
    epoch=st.integers(0, 4),
    seed=st.none() | st.integers(0, 2**32),
)
def test_an_epoch_has_every_example_once_on_whatever_hosts(n, size, hosts, epoch, seed):
    def stream(**options):
        k = None if seed is None else key(seed)
        return Stream(range(n), size * hosts, remainder="mask", key=k, **options)

    whole = stream()
    parts = [stream(shard=(index, hosts)) for index in range(hosts)]
    seen = []
    for step in range(whole.steps_per_epoch):
        position = epoch * whole.steps_per_epoch + step
        batch, mask = whole.batch(position)
        assert batch.shape == mask.shape == (size * hosts,)
        assert (np.diff(mask.astype(int)) <= 0).all()  # those that fill up come last
        seen += batch[mask].tolist()
        local = [part.batch(position) for part in parts]
        np.testing.assert_array_equal(np.concatenate([m for _, m in local]), mask)
        rows = np.concatenate([b for b, _ in local])
        np.testing.assert_array_equal(rows[mask], batch[mask])
    assert sorted(seen) == list(range(n))


def test_the_order_is_another_in_each_epoch_and_for_each_key():
    def order(seed, epoch):
        stream = Stream(range(50), 50, remainder="drop", key=key(seed))
        return tuple(stream.batch(epoch)[0].tolist())

    orders = {order(seed, epoch) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9
    assert order(1, 2) == order(1, 2)


def test_every_order_is_equally_likely():
    stream = Stream(range(3), 3, remainder="drop", key=key())
    orders = [tuple(stream.batch(epoch)[0].tolist()) for epoch in range(1200)]
    counts = np.unique(orders, axis=0, return_counts=True)[1]
    # A count is 200 ± 13.
    assert len(counts) == 6
    np.testing.assert_allclose(counts, 200, atol=65)


# The transform


def noisy(rng, example):
    return {"i": example, "noise": rng.random()}


def draws(stream, epoch):
    steps = stream.steps_per_epoch
    batches = [stream.batch(epoch * steps + step)[0] for step in range(steps)]
    pairs = [pair for b in batches for pair in zip(b["i"], b["noise"], strict=True)]
    return dict(pairs)


def test_an_example_draws_its_own_numbers_in_each_epoch():
    def stream(seed=0, batch_size=4, **options):
        return Stream(
            range(12), batch_size, remainder="drop", key=key(seed), transform=noisy,
            **options,
        )  # fmt: skip

    first = draws(stream(), 0)
    assert len(set(first.values())) == 12
    assert draws(stream(batch_size=3), 0) == first
    others = [draws(stream(), 1), draws(stream(1), 0)]
    assert len({*first.values(), *others[0].values(), *others[1].values()}) == 36
    half = draws(stream(shard=(1, 2)), 0)
    assert half.items() <= first.items()
    assert len(half) == 6


def test_without_a_key_nothing_is_drawn():
    stream = Stream(
        range(2), 2, remainder="drop", transform=lambda rng, x: (x, rng is None)
    )
    (_, none), _ = stream.batch(0)
    assert none.all()


# Positions


@pytest.mark.parametrize("remainder", ["mask", "drop"])
@pytest.mark.parametrize("start", [0, 1, 3, 4, 7])
def test_reading_on_is_reading_from_the_start(remainder, start):
    stream = Stream(examples(8), 3, remainder=remainder, key=key())
    whole = list(stream.read(epochs=4))
    assert_same(stream.read(epochs=4, start=start), whole[start:])
    assert_same(whole, (stream.batch(i) for i in range(len(whole))))


def test_reading_on_from_the_end_is_over():
    stream = Stream(range(4), 2, remainder="drop")
    assert list(stream.read(epochs=3, start=6)) == []


@pytest.mark.parametrize("seed", [None, 2**40])
def test_a_state_survives_json(seed):
    def stream(**options):
        k = None if seed is None else key(seed)
        return Stream(range(10), 4, remainder="mask", key=k, **options)

    state = json.loads(json.dumps(stream().state(7)))
    assert stream(shard=(1, 2), transform=noisy).position(state) == 7


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"batch_size": 2}, "batch_size=4, not 2$"),
        ({"key": key(1)}, r"seed=\[0, 0\], not \[0, 1\]$"),
        ({"key": None}, r"seed=\[0, 0\], not None$"),
        ({"source": range(11)}, "examples=10, not 11$"),
        ({"remainder": "drop"}, "remainder='mask', not 'drop'$"),
        ({"batch_size": 5, "source": range(9)}, "batch_size=4, not 5, examples=10, no"),
    ],
)
def test_a_position_in_another_stream_is_refused(other, message):
    settings = {
        "source": range(10), "batch_size": 4, "key": key(), "remainder": "mask",
    }  # fmt: skip
    state = Stream(**settings).state(2)
    with pytest.raises(ValueError, match=f"is that of another stream: {message}"):
        Stream(**settings | other).position(state)


@pytest.mark.parametrize("state", [{}, {"position": -1}, {"position": "3"}])
def test_a_state_without_a_position_is_refused(state):
    with pytest.raises(ValueError, match=r"position=.* is no number of batches"):
        Stream(range(3), 1, remainder="drop").position(state)


# Arguments


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"source": []}, "source holds no examples"),
        ({"source": {"x": np.ones(4), "y": np.ones(3)}}, "of different lengths"),
        ({"batch_size": 0}, "batch_size=0 is below 1"),
        ({"batch_size": 5}, "batch_size=5 exceeds the 4 examples"),
        ({"remainder": "keep"}, "remainder='keep' is not 'mask' or 'drop'"),
        ({"shard": (2, 2)}, r"shard=\(2, 2\) is not \(index, count\)"),
        ({"shard": (-1, 2)}, r"shard=\(-1, 2\) is not"),
        ({"shard": (0, 3)}, "batch_size=2 does not split over 3"),
    ],
)
def test_a_stream_that_cannot_be_is_refused(unchecked, arguments, message):
    with pytest.raises(ValueError, match=message):
        Stream(**{"source": range(4), "batch_size": 2, "remainder": "drop"} | arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epochs": 0}, "epochs=0 is below 1"),
        ({"start": 5}, "start=5, but 2 epochs have 4 batches"),
        ({"start": -1}, "start=-1, but"),
        ({"workers": -1}, "workers=-1 is below 0"),
    ],
)
def test_a_reading_that_cannot_be_is_refused_at_once(arguments, message):
    with pytest.raises(ValueError, match=message):
        Stream(range(4), 2, remainder="drop").read(**{"epochs": 2} | arguments)


def test_a_mapping_of_arrays_is_read_by_its_rows():
    arrays = {"x": jnp.arange(10.0).reshape(5, 2), "label": np.arange(5)}
    rows = [{"x": arrays["x"][i], "label": i} for i in range(5)]
    (batch, mask), (expected, _) = (
        Stream(source, 5, remainder="drop", key=key()).batch(0)
        for source in (arrays, rows)
    )
    assert mask.all()
    jax.tree.map(np.testing.assert_array_equal, batch, expected)


# What fails while it is read


class Failing:
    def __init__(self, error):
        self.error = error

    def __len__(self):
        return 6

    def __getitem__(self, index):
        if index == 3:
            raise self.error
        return index


class LocalError(Exception):
    """No other process can import it."""

    def __reduce__(self):
        raise TypeError("not to be pickled")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (StopIteration("end"), "example 3: StopIteration: end"),
        (LocalError("mine"), "example 3: LocalError: mine"),
    ],
)
def test_an_error_that_would_not_arrive_is_told_by_one_that_does(error, message):
    batches = Stream(Failing(error), 2, remainder="drop").read(epochs=1)
    assert next(batches)[0].tolist() == [0, 1]
    with pytest.raises(RuntimeError, match=message) as raised:
        next(batches)
    assert raised.value.__cause__ is error


def test_an_error_tells_its_example():
    error = FileNotFoundError(2, "No such file", "cat.jpg")
    batches = Stream(Failing(error), 6, remainder="drop").read(epochs=1)
    with pytest.raises(FileNotFoundError, match=r"cat\.jpg") as raised:
        next(batches)
    assert raised.value.__notes__[0] == "This was example 3 of the source."


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([np.zeros((2, 3)), np.zeros((3, 2))], r"float64\[2, 3\] and float64\[3, 2\]"),
        ([np.zeros(2), np.zeros(2, np.float32)], r"float64\[2\] and float32\[2\]"),
        ([{"x": 1}, {"y": 1}], r"{'x': 'int64\[\]'} and {'y': 'int64\[\]'}"),
    ],
)
def test_examples_that_differ_cannot_be_stacked(data, message):
    message = f"examples of one batch differ: {message}; let `transform` give them one"
    with pytest.raises(ValueError, match=message):
        Stream(data, 2, remainder="drop").batch(0)


# In other processes. Each test takes the seconds in which they start.


@pytest.fixture
def no_shared_memory_left():
    def blocks():
        return {path.name for path in Path("/dev/shm").glob("psm_*")}

    before = blocks()
    gc.disable()  # or it might find, in its own time, what was left to it
    yield
    for _ in range(50):  # a thread of Grain's gives it back
        if blocks() <= before:
            break
        time.sleep(0.1)
    gc.enable()
    assert blocks() <= before


def test_workers_change_nothing_and_start_no_jax(no_shared_memory_left):
    def transform(rng, example):
        from jax._src import xla_bridge

        started = xla_bridge.backends_are_initialized()
        return {**example, "noise": rng.random(), "started": started}

    stream = Stream(examples(7), 2, remainder="mask", key=key(), transform=transform)
    with_started = list(stream.read(epochs=2, start=1, workers=2))
    found = [({**b, "started": None}, mask) for b, mask in with_started]
    expected = [({**b, "started": None}, mask) for b, mask in stream.read(epochs=2)]
    assert_same(found, expected[1:])
    assert {type(leaf) for leaf in jax.tree.leaves(with_started)} == {np.ndarray}
    assert not any(batch["started"].any() for batch, _ in with_started)


@pytest.mark.slow
def test_an_image_that_is_damaged_is_named_by_workers_too(tmp_path):
    (tmp_path / "a").mkdir()
    for i in range(5):
        Image.new("RGB", (4, 4)).save(tmp_path / "a" / f"{i}.png")
    (tmp_path / "a" / "3.png").write_bytes(b"no image")
    stream = Stream(image_folder(tmp_path), 1, remainder="drop")
    messages = []
    for workers in (0, 1):
        with pytest.raises(ValueError, match=r"a/3\.png cannot be decoded") as raised:
            list(stream.read(epochs=1, workers=workers))
        messages.append((str(raised.value), *raised.value.__notes__[:1]))
    assert messages[0] == messages[1]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 3])
def test_any_number_of_workers_reads_on_the_same(workers):
    stream = Stream(examples(11), 2, remainder="mask", key=key())
    whole = list(stream.read(epochs=2))
    assert_same(stream.read(epochs=2, start=5, workers=workers), whole[5:])


# On the device


@pytest.mark.parametrize("n", [0, 1, 2, 5])
def test_a_batch_is_put_while_the_one_before_is_used(n):
    put = []

    def record(batch):
        put.append(batch)
        return 10 * batch

    used = []
    for batch in prefetch(range(n), record):
        used.append(batch)
        assert len(put) == min(len(used) + 1, n)
    assert used == [10 * i for i in range(n)]


def test_prefetched_batches_are_arrays_on_the_device():
    stream = Stream(examples(5), 2, remainder="mask", key=key())
    batches = list(prefetch(stream.read(epochs=2)))
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(batches))
    assert_same(batches, stream.read(epochs=2))


def test_a_masked_stream_is_evaluated_as_arrays_are(rng):
    data = {"x": rng.normal(size=(11, 3)).astype(np.float32)}

    def eval_fn(params, model_state, batch):
        return {"value": batch["x"] @ params}

    import optax

    state = init_state(jnp.array([1.0, -2.0, 0.5]), optax.sgd(1.0))
    step = jax.jit(make_eval_step(eval_fn))
    rows = [{"x": x} for x in data["x"]]
    stream = Stream(rows, 4, remainder="mask", key=key())
    sums = [step(state, *batch)["value"] for batch in prefetch(stream.read(epochs=1))]
    expected = make_evaluation(make_eval_step(eval_fn), 4)(state, data)["value"]
    np.testing.assert_allclose(sum(sums) / 11, expected, rtol=1e-6)


def test_a_set_of_tensorflow_datasets_is_a_source(tfds_dir):
    import tensorflow_datasets as tfds

    source = tfds.data_source("mnist", split="test", data_dir=tfds_dir, download=False)
    stream = Stream(source, 8, remainder="mask")
    (batch, mask), *_ = islice(stream.read(epochs=1, start=1249), 2)
    assert batch["image"].shape == (8, 28, 28, 1)
    np.testing.assert_array_equal(batch["image"][5], source[9997]["image"])
    assert mask.all()
