"""The order of an epoch's examples, found on the host.

`epoch_batches` sorts pairs, which XLA's CPU backend does slowly: it takes 22 ms for
60,000 examples, and as much as training a linear model on some of them. NumPy sorts the
same random bits, packed with the numbers of the examples, in one.
"""

import math
from functools import partial

import jax
import numpy as np
from jaxtyping import Int, PRNGKeyArray

from jaxdl.training import check_batch_size, cut_order


def shuffled_batches(
    key: PRNGKeyArray, epoch: int, n: int, batch_size: int
) -> tuple[Int[np.ndarray, "steps batch"], Int[np.ndarray, " last"]]:
    """Returns what `training.epoch_batches` does, to the bit.

    Raises ValueError as it does.
    """
    check_batch_size(batch_size, n)
    order, numbers = np.arange(n, dtype=np.int32), np.arange(n, dtype=np.uint64)
    for bits in jax.device_get(_random_bits(key, epoch, n)):
        packed = (bits.astype(np.uint64) << np.uint64(32)) | numbers
        packed.sort()
        order = order[packed.astype(np.uint32)]
    return cut_order(order, batch_size)


@partial(jax.jit, static_argnums=2)
def _random_bits(key, epoch, n: int):
    """What `jax.random.permutation` sorts by, round after round."""
    key, rounds = jax.random.fold_in(key, epoch), []
    for _ in range(math.ceil(3 * math.log(max(1, n)) / math.log(2**32 - 1))):
        key, round_key = jax.random.split(key)
        rounds.append(jax.random.bits(round_key, (n,), "uint32"))
    return rounds
