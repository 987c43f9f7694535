from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.metrics import accuracy, confusion_matrix, goal_of, top_k_accuracy


@pytest.mark.parametrize("shape", [(7, 4), (2, 3, 5)])
def test_accuracy_is_the_share_of_right_answers(rng, shape):
    logits, labels = rng.normal(size=shape), rng.integers(shape[-1], size=shape[:-1])
    hits = logits.argmax(-1) == labels
    logits, labels = jnp.asarray(logits, jnp.float32), jnp.asarray(labels)
    np.testing.assert_allclose(accuracy(logits, labels), hits.mean(), rtol=1e-6)
    np.testing.assert_array_equal(accuracy(logits, labels, reduction="none"), hits)


@pytest.mark.parametrize("shape", [(50, 7), (5, 9, 4)])
def test_top_k_accuracy_counts_ranks_below_k(rng, shape):
    """A label's rank: how many logits are larger, or as large and before it."""
    logits, labels = (
        rng.integers(4, size=shape),
        rng.integers(shape[-1], size=shape[:-1]),
    )
    own = np.take_along_axis(logits, labels[..., None], -1)
    before = np.arange(shape[-1]) < labels[..., None]
    ranks = ((logits > own) | ((logits == own) & before)).sum(-1)
    logits, labels = jnp.asarray(logits, jnp.float32), jnp.asarray(labels)
    for k in range(1, shape[-1] + 1):
        hits = top_k_accuracy(logits, labels, k, reduction="none")
        np.testing.assert_array_equal(hits, ranks < k)
        share = jax.jit(top_k_accuracy, static_argnums=2)(logits, labels, k)
        np.testing.assert_allclose(share, (ranks < k).mean(), rtol=1e-6)
    first = top_k_accuracy(logits, labels, 1, reduction="none")
    np.testing.assert_array_equal(first, accuracy(logits, labels, reduction="none"))


@pytest.mark.parametrize("k", [0, 5])
def test_k_has_to_be_a_number_of_classes(k):
    with pytest.raises(ValueError, match=rf"k={k} is not within 1\.\.4, the classes"):
        top_k_accuracy(jnp.eye(4), jnp.arange(4), k)


def test_top_k_accuracy_does_not_broadcast(unchecked):
    with pytest.raises(ValueError, match=r"labels \(4, 1\) do not fit logits \(4, 4\)"):
        top_k_accuracy(jnp.eye(4), jnp.arange(4)[:, None], 2)


def test_one_class_is_always_right():
    with pytest.raises(ValueError, match=r"logits \(4, 1\) are of one class"):
        accuracy(jnp.ones((4, 1)), jnp.array([0, 1, 0, 1]))


def test_the_first_of_equal_logits_wins():
    assert accuracy(jnp.zeros((1, 3)), jnp.array([0])) == 1


def test_accuracy_of_half_precision_counts_exactly():
    logits = jnp.zeros((3000, 2), jnp.bfloat16)
    labels = jnp.asarray(np.arange(3000) >= 2997, jnp.int32)
    np.testing.assert_allclose(accuracy(logits, labels), 0.999, rtol=1e-6)


def test_accuracy_does_not_broadcast(unchecked):
    with pytest.raises(ValueError, match=r"labels \(4, 1\) do not fit logits \(4, 4\)"):
        accuracy(jnp.eye(4), jnp.arange(4)[:, None])


def test_a_confusion_matrix_counts_pairs(rng):
    labels, predictions = rng.integers(4, size=(2, 50))
    expected = np.zeros((4, 4), int)
    np.add.at(expected, (labels, predictions), 1)
    ours = jax.jit(confusion_matrix, static_argnums=2)(labels, predictions, 4)
    np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize("shape", [(3, 1), (1, 3), (2,), ()])
def test_predictions_of_another_shape_are_refused(shape, unchecked):
    labels, predictions = jnp.array([0, 1, 1]), jnp.zeros(shape, int)
    with pytest.raises(ValueError, match=r"labels \(3,\) and predictions \("):
        confusion_matrix(labels, predictions, 2)


def test_classes_outside_are_refused_and_under_jit_not_counted():
    labels, predictions = jnp.array([-1, 0, 2, 1]), jnp.array([0, -1, 0, 2])
    inside = jnp.zeros(4, int)
    with pytest.raises(ValueError, match=r"label -1 at \(0,\) lies outside of 0\.\.1"):
        confusion_matrix(labels, inside, 2)
    with pytest.raises(ValueError, match=r"prediction -1 at \(1,\) lies outside of 0"):
        confusion_matrix(inside, predictions, 2)
    compiled = jax.jit(confusion_matrix, static_argnums=2)
    assert not compiled(labels, predictions, 2).any()


def test_small_integers_do_not_wrap(unchecked):
    compiled = jax.jit(confusion_matrix, static_argnums=2)
    labels = jnp.array([3, 200], jnp.uint8)
    counts = compiled(labels, jnp.array([-1, 44], jnp.int16), 256)
    assert counts.sum() == 1
    assert counts[200, 44] == 1
    assert compiled(labels, jnp.array([300, 300], jnp.int16), 256).sum() == 0


@pytest.mark.parametrize("metric", [accuracy, partial(top_k_accuracy, k=1)])
def test_impossible_arguments_are_refused(metric, unchecked):
    logits = jnp.ones((2, 3))
    with pytest.raises(ValueError, match="reduction='sum' is not 'none' or 'mean'"):
        metric(logits, jnp.array([0, 1]), reduction="sum")
    with pytest.raises(ValueError, match="labels have dtype float32"):
        metric(logits, jnp.array([0.4, 1.0]))


def test_only_a_loss_is_known_to_be_best_where_it_is_smallest():
    assert goal_of("test/loss", None) == "min"
    assert goal_of("test/accuracy", "max") == "max"
    with pytest.raises(
        ValueError, match="goal=None of 'test/accuracy' is not 'min' or"
    ):
        goal_of("test/accuracy", None)


def test_classes_are_integers_in_arrays(unchecked):
    labels = jnp.array([0, 1])
    with pytest.raises(ValueError, match="predictions have dtype float32; expected in"):
        confusion_matrix(labels, jnp.ones(2), 2)
    with pytest.raises(ValueError, match="labels is a list: expected an array"):
        confusion_matrix([0, 1], labels, 2)
    with pytest.raises(ValueError, match="logits is a list: expected an array"):
        accuracy([[1.0, 2.0]], labels)
