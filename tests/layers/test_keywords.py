"""PyTorch's positional spelling, its input size first, does not make other layers."""

import pytest

from jaxdl import layers


@pytest.mark.parametrize(
    ("layer", "sizes"),
    [
        ("Linear", (4, 5)),
        ("Conv", (3, 6, 3)),
        ("BatchNorm", (64,)),
        ("Embedding", (5, 3, 0)),
        ("Dropout", (0.5, True)),
        ("Sequential", ((), ())),
        *((name, (10, 20)) for name in ["RNN", "GRU", "LSTM"]),
        *((name, (4, 3)) for name in ["RNNCell", "GRUCell", "LSTMCell"]),
    ],
    ids=str,
)
def test_settings_after_the_sizes_are_keywords(layer, sizes):
    with pytest.raises(TypeError, match="positional argument"):
        getattr(layers, layer)(*sizes)
