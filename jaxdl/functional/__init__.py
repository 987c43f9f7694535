"""Pure operations with PyTorch's semantics: one file per family."""

from jaxdl.functional.activations import (
    celu as celu,
    elu as elu,
    gelu as gelu,
    glu as glu,
    hardshrink as hardshrink,
    hardsigmoid as hardsigmoid,
    hardswish as hardswish,
    hardtanh as hardtanh,
    leaky_relu as leaky_relu,
    log_softmax as log_softmax,
    logsigmoid as logsigmoid,
    mish as mish,
    prelu as prelu,
    relu as relu,
    relu6 as relu6,
    selu as selu,
    sigmoid as sigmoid,
    silu as silu,
    softmax as softmax,
    softplus as softplus,
    softshrink as softshrink,
    softsign as softsign,
    tanh as tanh,
    tanhshrink as tanhshrink,
    threshold as threshold,
)
from jaxdl.functional.average_pooling import (
    adaptive_avg_pool2d as adaptive_avg_pool2d,
    avg_pool1d as avg_pool1d,
    avg_pool2d as avg_pool2d,
    avg_pool3d as avg_pool3d,
)
from jaxdl.functional.convolution import (
    conv1d as conv1d,
    conv2d as conv2d,
    conv3d as conv3d,
    corr2d as corr2d,
)
from jaxdl.functional.dropout import dropout as dropout
from jaxdl.functional.embedding import (
    embedding as embedding,
    one_hot as one_hot,
)
from jaxdl.functional.linear import linear as linear
from jaxdl.functional.losses import (
    cross_entropy as cross_entropy,
    huber_loss as huber_loss,
    l1_loss as l1_loss,
    mse_loss as mse_loss,
    nll_loss as nll_loss,
    smooth_l1_loss as smooth_l1_loss,
)
from jaxdl.functional.max_pooling import (
    adaptive_max_pool2d as adaptive_max_pool2d,
    max_pool1d as max_pool1d,
    max_pool2d as max_pool2d,
    max_pool3d as max_pool3d,
    max_unpool2d as max_unpool2d,
)
from jaxdl.functional.normalization import (
    batch_norm as batch_norm,
    layer_norm as layer_norm,
)
from jaxdl.functional.packing import (
    PackedSequence as PackedSequence,
    pack_padded_sequence as pack_padded_sequence,
    pad_packed_sequence as pad_packed_sequence,
)
from jaxdl.functional.penalties import (
    l1_penalty as l1_penalty,
    l2_penalty as l2_penalty,
)
from jaxdl.functional.probability_losses import (
    binary_cross_entropy as binary_cross_entropy,
    binary_cross_entropy_with_logits as binary_cross_entropy_with_logits,
    kl_div as kl_div,
)
from jaxdl.functional.recurrent import (
    gru as gru,
    lstm as lstm,
    rnn as rnn,
)
from jaxdl.functional.recurrent_cells import (
    RecurrentWeights as RecurrentWeights,
    gru_cell as gru_cell,
    lstm_cell as lstm_cell,
    rnn_relu_cell as rnn_relu_cell,
    rnn_tanh_cell as rnn_tanh_cell,
)
from jaxdl.functional.windows import (
    Window as Window,
    output_size as output_size,
    receptive_field as receptive_field,
)
