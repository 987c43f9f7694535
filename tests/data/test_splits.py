import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from jaxdl.data import k_folds, random_split


@pytest.mark.parametrize(
    "lengths",
    [
        [7, 3],
        [0, 10],
        [10],
        [0.8, 0.2],
        [0.5, 0.25, 0.25],
        [0.29, 0.29, 0.42],
        [1 / 3, 1 / 3, 1 / 3],
        [0.7, 0.2, 0.1],
        [1.0],
    ],
    ids=str,
)
def test_lengths_are_those_of_torch(lengths):
    parts = random_split(jax.random.key(0), np.arange(10), lengths)
    expected = torch.utils.data.random_split(range(10), lengths)
    assert [len(part) for part in parts] == [len(part) for part in expected]


@pytest.mark.parametrize("n", [10, 12, 101])
def test_parts_are_disjoint_and_complete(n):
    parts = random_split(jax.random.key(1), np.arange(n), [0.6, 0.3, 0.1])
    assert sorted(np.concatenate(parts)) == list(range(n))


def test_an_example_keeps_its_leaves_together():
    data = {
        "x": np.arange(20),
        "y": (10 * jnp.arange(20.0), np.arange(40).reshape(20, 2)),
    }
    for part in random_split(jax.random.key(0), data, [12, 8]):
        np.testing.assert_array_equal(part["y"][0], 10 * part["x"])
        np.testing.assert_array_equal(part["y"][1][:, 0], 2 * part["x"])


@pytest.mark.parametrize("module", [np, jnp], ids=["numpy", "jax"])
def test_arrays_stay_of_their_kind(module):
    first, second = random_split(jax.random.key(0), module.arange(6), [4, 2])
    kind = type(module.arange(6))
    assert type(first) is type(second) is kind


def test_parts_are_copies():
    data = np.arange(6)
    (part,) = random_split(jax.random.key(0), data, [6])
    part[:] = -1
    np.testing.assert_array_equal(data, np.arange(6))


def test_the_split_is_random():
    first, _ = random_split(jax.random.key(0), np.arange(100), [50, 50])
    assert (np.diff(first) < 0).any()


def test_the_same_key_splits_alike():
    a, b = (random_split(jax.random.key(3), np.arange(100), [50, 50]) for _ in "ab")
    np.testing.assert_array_equal(a, b)


def test_another_key_splits_otherwise():
    a, b = (
        random_split(jax.random.key(seed), np.arange(100), [50, 50]) for seed in (3, 4)
    )
    assert not np.array_equal(a, b)


def test_it_compiles():
    def split(key, data):
        return random_split(key, data, [0.7, 0.3])

    key, data = jax.random.key(0), jnp.arange(10)
    for compiled, plain in zip(
        jax.jit(split)(key, data), split(key, data), strict=True
    ):
        np.testing.assert_array_equal(compiled, plain)


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ([7, 4], r"lengths=\[7, 4\] sum to 11, not to the 10 examples"),
        ([1], r"lengths=\[1\] sum to 1, not to the 10 examples"),
        ([0.99, 0.01], r"fraction 0\.01 of .* gets none of the 10 examples given"),
        ([0.5, 0.4], r"lengths=\[0.5, 0.4\] sum to 0.9, not to 1"),
        ([7.0, 3.0], r"sum to 10.0, not to 1"),
        ([11, -1], r"lengths=\[11, -1\] must be .* at least 0"),
        ([], r"lengths=\[\] must be one or more"),
    ],
)
def test_lengths_that_do_not_fit_are_refused(lengths, message):
    with pytest.raises(ValueError, match=message):
        random_split(jax.random.key(0), np.arange(10), lengths)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"x": np.zeros(3), "y": np.zeros(4)}, r"different lengths: \[3, 4\]"),
        ({"x": np.zeros(3), "y": 1.0}, "no leading axis"),
        ({}, "no leading axis"),
    ],
    ids=["lengths", "scalar", "empty"],
)
def test_data_without_one_leading_axis_is_refused(data, message):
    with pytest.raises(ValueError, match=message):
        random_split(jax.random.key(0), data, [1.0])


LABELS = np.repeat([3, 0, 7, 1], [50, 31, 2, 9])


@pytest.mark.parametrize("lengths", [[60, 32], [0.8, 0.2], [1, 91], [0, 92], [92]])
def test_each_part_has_its_share_of_every_label(lengths):
    parts = random_split(jax.random.key(3), LABELS, lengths, stratify=LABELS)
    plain = random_split(jax.random.key(3), LABELS, lengths)
    assert [len(part) for part in parts] == [len(part) for part in plain]
    for part in parts:
        for label, count in zip(*np.unique(LABELS, return_counts=True), strict=True):
            share = count * len(part) / len(LABELS)
            assert abs((part == label).sum() - share) < 1


def test_stratified_parts_are_random_disjoint_and_complete():
    rows = np.arange(92)
    first, again, other = (
        random_split(jax.random.key(seed), rows, [0.5, 0.3, 0.2], stratify=LABELS)
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(np.sort(np.concatenate(first)), rows)
    np.testing.assert_array_equal(np.concatenate(first), np.concatenate(again))
    assert set(first[1]) != set(other[1])


@pytest.mark.parametrize("stratify", [None, LABELS], ids=["plain", "stratified"])
@pytest.mark.parametrize("k", [2, 3, 5, 92])
def test_masked_folds_hold_every_example_out_once(k, stratify):
    folds = k_folds(jax.random.key(0), 92, k, masked=True, stratify=stratify)
    assert folds.validation.shape == (k, -(-92 // k))
    for train, validation in zip(*folds, strict=True):
        both = np.concatenate([train[train < 92], validation[validation < 92]])
        np.testing.assert_array_equal(np.sort(both), np.arange(92))
    held_out = np.sort(folds.validation.ravel())
    np.testing.assert_array_equal(held_out[:92], np.arange(92))
    assert set(held_out[92:]) <= {92}


@pytest.mark.parametrize("k", [2, 3, 5, 60])
def test_equal_folds_leave_the_rest_out(k):
    folds = k_folds(jax.random.key(0), 92, k)
    size = 92 // k
    assert folds.train.shape == (k, (k - 1) * size)
    assert folds.validation.shape == (k, size)
    everything = np.sort(folds.validation.ravel())
    assert len(set(everything.tolist())) == k * size
    assert everything.max() < 92
    for train, validation in zip(*folds, strict=True):
        both = np.sort(np.concatenate([train, validation]))
        np.testing.assert_array_equal(both, everything)


def test_folds_share_every_label():
    folds = k_folds(jax.random.key(0), 92, 4, masked=True, stratify=LABELS)
    counts = [
        [(LABELS[rows[rows < 92]] == label).sum() for rows in folds.validation]
        for label in np.unique(LABELS)
    ]
    assert np.ptp(counts, axis=1).max() <= 1


def test_folds_follow_their_key():
    first, again, other = (k_folds(jax.random.key(s), 92, 4) for s in (0, 0, 1))
    np.testing.assert_array_equal(first.train, again.train)
    assert set(first.validation[0].tolist()) != set(other.validation[0].tolist())


@pytest.mark.parametrize("k", [-1, 0, 1, 11])
def test_impossible_folds(k):
    with pytest.raises(ValueError, match=rf"k={k} is not within 2\.\.10"):
        k_folds(jax.random.key(0), 10, k)


def test_labels_that_do_not_fit():
    for split in (
        lambda labels: k_folds(jax.random.key(0), 10, 2, stratify=labels),
        lambda labels: random_split(
            jax.random.key(0), np.arange(10), [5, 5], stratify=labels
        ),
    ):
        with pytest.raises(ValueError, match=r"stratify has shape \(9,\)"):
            split(np.zeros(9))
