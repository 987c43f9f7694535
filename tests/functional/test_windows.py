"""The arithmetic of windows against what PyTorch's layers do."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

from jaxdl.functional import Window, output_size, receptive_field
from jaxdl.functional.windows import as_sizes
from jaxdl.layers import Conv

windows = st.builds(
    Window,
    kernel_size=st.integers(1, 4),
    stride=st.integers(1, 3),
    padding=st.integers(0, 2),
    dilation=st.integers(1, 3),
)


def layers(stack):
    return [torch.nn.Conv1d(1, 1, *w, bias=False).double() for w in stack]


@given(st.lists(windows, max_size=4), st.integers(40, 60))
def test_output_size_is_torchs(stack, size):
    x = torch.zeros(1, 1, size, dtype=torch.float64)
    try:
        for layer in layers(stack):
            x = layer(x)
    except RuntimeError:  # a kernel larger than what is left
        with pytest.raises(ValueError, match="leaves sizes"):
            output_size(size, stack)
    else:
        assert output_size(size, stack) == x.shape[-1]


@given(st.lists(windows, min_size=1, max_size=3))
def test_receptive_field_is_where_the_gradient_reaches(stack):
    """From the first to the last input that an output in the middle depends on."""
    x = torch.zeros(1, 1, 400, dtype=torch.float64, requires_grad=True)
    y = x
    for layer in layers(stack):
        torch.nn.init.ones_(layer.weight)
        y = layer(y)
    y[0, 0, y.shape[-1] // 2].backward()
    reached = x.grad[0, 0].nonzero()
    assert receptive_field(stack) == reached.max() - reached.min() + 1


def test_axes_may_differ():
    stack = [Window((3, 5), stride=(2, 1), padding=(1, 0)), Window(2, dilation=(1, 3))]
    assert output_size((9, 12), stack) == (4, 5)
    assert receptive_field(stack) == (5, 8)


def test_one_axis_in_tuples_gives_tuples():
    stack = [Window((5,)), Window(2, stride=2), Window((5,))]
    assert output_size((28,), stack) == (8,)
    assert receptive_field(stack) == (14,)


def test_integers_of_numpy_are_integers():
    stack = [Window(5)._replace(kernel_size=np.int64(5)), Window(2, stride=2)]
    assert inspect.unwrap(output_size)(np.int64(28), stack) == 12
    assert receptive_field(stack) == 6


def test_same_and_valid_padding():
    assert output_size(9, [Window(4, padding="same"), Window(4, padding="valid")]) == 6


def test_layers_say_what_their_windows_are():
    stack = [Conv(6, 5, stride=2, padding=1), Conv(8, (3, 2), dilation=2)]
    images = jnp.zeros((1, 20, 17, 1))
    for layer in stack:
        images, _ = layer.init_with_output(jax.random.key(0), images)
    assert output_size((20, 17), stack) == images.shape[1:3]
    assert receptive_field(stack) == (13, 9)


def test_no_layers_change_nothing():
    assert output_size(7, []) == 7
    assert receptive_field([]) == 1


@pytest.mark.parametrize(
    ("value", "axes", "message"),
    [
        (1.5, 1, "x=1.5 must be an integer of at least 1, or one in a tuple"),
        ((1, 2, 3), 2, r"x=\(1, 2, 3\) must be .*, or a pair of them"),
        ((1, 2), 3, r"x=\(1, 2\) must be .*, or three of them"),
        ("same", 2, "x='same' must be"),
        (0, 2, "x=0 must be"),
        ((2, -1), 2, r"x=\(2, -1\) must be"),
    ],
)
def test_sizes_that_are_none(value, axes, message):
    with pytest.raises(ValueError, match=message):
        as_sizes("x", value, axes)


def test_windows_that_do_not_fit_name_the_layer():
    with pytest.raises(ValueError, match=r"layer 1, Window.* leaves sizes \(0,\) of 5"):
        inspect.unwrap(output_size)(5, [Window(3), Window(4)])
