"""torch.optim's optimisers, schedules and clipping as optax transformations.

    optimizer = optax.chain(clip_grad_norm(1.0), sgd(step_lr(0.1, 30), momentum=0.9))
    state = jaxdl.training.init_state(params, optimizer)

Every learning rate is a number, also a traced one, or a schedule (count of steps) ->
number. All states are pytrees of arrays.
"""

from jaxdl.optimizers.adaptive import (
    adagrad as adagrad,
    adam as adam,
    adamw as adamw,
    rmsprop as rmsprop,
)
from jaxdl.optimizers.averaging import (
    average_of as average_of,
    track_average as track_average,
)
from jaxdl.optimizers.clipping import (
    clip_grad_norm as clip_grad_norm,
    clip_grad_value as clip_grad_value,
)
from jaxdl.optimizers.groups import frozen as frozen, param_groups as param_groups
from jaxdl.optimizers.schedules import (
    cosine_annealing_lr as cosine_annealing_lr,
    exponential_lr as exponential_lr,
    linear_lr as linear_lr,
    multistep_lr as multistep_lr,
    sequential_lr as sequential_lr,
    step_lr as step_lr,
)
from jaxdl.optimizers.sgd import sgd as sgd
