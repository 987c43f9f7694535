"""Pure operations with PyTorch's semantics: one file per family."""

from jaxdl.functional.activations import (
    celu as celu,
)
from jaxdl.functional.activations import (
    elu as elu,
)
from jaxdl.functional.activations import (
    gelu as gelu,
)
from jaxdl.functional.activations import (
    glu as glu,
)
from jaxdl.functional.activations import (
    hardshrink as hardshrink,
)
from jaxdl.functional.activations import (
    hardsigmoid as hardsigmoid,
)
from jaxdl.functional.activations import (
    hardswish as hardswish,
)
from jaxdl.functional.activations import (
    hardtanh as hardtanh,
)
from jaxdl.functional.activations import (
    leaky_relu as leaky_relu,
)
from jaxdl.functional.activations import (
    log_softmax as log_softmax,
)
from jaxdl.functional.activations import (
    logsigmoid as logsigmoid,
)
from jaxdl.functional.activations import (
    mish as mish,
)
from jaxdl.functional.activations import (
    prelu as prelu,
)
from jaxdl.functional.activations import (
    relu as relu,
)
from jaxdl.functional.activations import (
    relu6 as relu6,
)
from jaxdl.functional.activations import (
    selu as selu,
)
from jaxdl.functional.activations import (
    sigmoid as sigmoid,
)
from jaxdl.functional.activations import (
    silu as silu,
)
from jaxdl.functional.activations import (
    softmax as softmax,
)
from jaxdl.functional.activations import (
    softplus as softplus,
)
from jaxdl.functional.activations import (
    softshrink as softshrink,
)
from jaxdl.functional.activations import (
    softsign as softsign,
)
from jaxdl.functional.activations import (
    tanh as tanh,
)
from jaxdl.functional.activations import (
    tanhshrink as tanhshrink,
)
from jaxdl.functional.activations import (
    threshold as threshold,
)
from jaxdl.functional.average_pooling import (
    adaptive_avg_pool2d as adaptive_avg_pool2d,
)
from jaxdl.functional.average_pooling import (
    avg_pool1d as avg_pool1d,
)
from jaxdl.functional.average_pooling import (
    avg_pool2d as avg_pool2d,
)
from jaxdl.functional.average_pooling import (
    avg_pool3d as avg_pool3d,
)
from jaxdl.functional.convolution import (
    conv1d as conv1d,
)
from jaxdl.functional.convolution import (
    conv2d as conv2d,
)
from jaxdl.functional.convolution import (
    conv3d as conv3d,
)
from jaxdl.functional.convolution import (
    corr2d as corr2d,
)
from jaxdl.functional.dropout import (
    dropout as dropout,
)
from jaxdl.functional.embedding import (
    embedding as embedding,
)
from jaxdl.functional.embedding import (
    one_hot as one_hot,
)
from jaxdl.functional.linear import (
    linear as linear,
)
from jaxdl.functional.losses import (
    cross_entropy as cross_entropy,
)
from jaxdl.functional.losses import (
    huber_loss as huber_loss,
)
from jaxdl.functional.losses import (
    l1_loss as l1_loss,
)
from jaxdl.functional.losses import (
    mse_loss as mse_loss,
)
from jaxdl.functional.losses import (
    nll_loss as nll_loss,
)
from jaxdl.functional.losses import (
    smooth_l1_loss as smooth_l1_loss,
)
from jaxdl.functional.max_pooling import (
    adaptive_max_pool2d as adaptive_max_pool2d,
)
from jaxdl.functional.max_pooling import (
    max_pool1d as max_pool1d,
)
from jaxdl.functional.max_pooling import (
    max_pool2d as max_pool2d,
)
from jaxdl.functional.max_pooling import (
    max_pool3d as max_pool3d,
)
from jaxdl.functional.max_pooling import (
    max_unpool2d as max_unpool2d,
)
from jaxdl.functional.normalization import (
    batch_norm as batch_norm,
)
from jaxdl.functional.normalization import (
    layer_norm as layer_norm,
)
from jaxdl.functional.packing import (
    PackedSequence as PackedSequence,
)
from jaxdl.functional.packing import (
    pack_padded_sequence as pack_padded_sequence,
)
from jaxdl.functional.packing import (
    pad_packed_sequence as pad_packed_sequence,
)
from jaxdl.functional.penalties import (
    l1_penalty as l1_penalty,
)
from jaxdl.functional.penalties import (
    l2_penalty as l2_penalty,
)
from jaxdl.functional.probability_losses import (
    binary_cross_entropy as binary_cross_entropy,
)
from jaxdl.functional.probability_losses import (
    binary_cross_entropy_with_logits as binary_cross_entropy_with_logits,
)
from jaxdl.functional.probability_losses import (
    kl_div as kl_div,
)
from jaxdl.functional.recurrent import (
    gru as gru,
)
from jaxdl.functional.recurrent import (
    lstm as lstm,
)
from jaxdl.functional.recurrent import (
    rnn as rnn,
)
from jaxdl.functional.recurrent_cells import (
    RecurrentWeights as RecurrentWeights,
)
from jaxdl.functional.recurrent_cells import (
    gru_cell as gru_cell,
)
from jaxdl.functional.recurrent_cells import (
    lstm_cell as lstm_cell,
)
from jaxdl.functional.recurrent_cells import (
    rnn_relu_cell as rnn_relu_cell,
)
from jaxdl.functional.recurrent_cells import (
    rnn_tanh_cell as rnn_tanh_cell,
)
from jaxdl.functional.windows import (
    Window as Window,
)
from jaxdl.functional.windows import (
    output_size as output_size,
)
from jaxdl.functional.windows import (
    receptive_field as receptive_field,
)
