"""Flax modules with PyTorch's parameters, defaults and default initialisation.

Parameters are float32; inputs and parameters are promoted to the wider of their types.
Input sizes come from the input, and all settings but sizes are keywords, so that
PyTorch's `Linear(4, 5)` raises TypeError.
"""

from jaxdl.layers.convolution import Conv as Conv
from jaxdl.layers.dense import Linear as Linear
from jaxdl.layers.dropout import Dropout as Dropout
from jaxdl.layers.embedding import Embedding as Embedding
from jaxdl.layers.normalization import BatchNorm as BatchNorm, LayerNorm as LayerNorm
from jaxdl.layers.recurrent import (
    GRU as GRU,
    LSTM as LSTM,
    RNN as RNN,
    GRUCell as GRUCell,
    LSTMCell as LSTMCell,
    RNNCell as RNNCell,
)
from jaxdl.layers.sequential import Sequential as Sequential
