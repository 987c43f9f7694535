import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.metrics import accuracy, confusion_matrix


@pytest.mark.parametrize("shape", [(7, 4), (2, 3, 5)])
def test_accuracy_is_the_share_of_right_answers(rng, shape):
    logits, labels = rng.normal(size=shape), rng.integers(shape[-1], size=shape[:-1])
    hits = logits.argmax(-1) == labels
    logits, labels = jnp.asarray(logits, jnp.float32), jnp.asarray(labels)
    np.testing.assert_allclose(accuracy(logits, labels), hits.mean(), rtol=1e-6)
    np.testing.assert_array_equal(accuracy(logits, labels, reduction="none"), hits)


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


def test_classes_outside_are_not_counted():
    labels, predictions = jnp.array([-1, 0, 2, 1]), jnp.array([0, -1, 0, 2])
    assert not confusion_matrix(labels, predictions, 2).any()
