"""torch.optim's optimisers, schedules and clipping as optax transformations.

    optimizer = optax.chain(clip_grad_norm(1.0), sgd(step_lr(0.1, 30), momentum=0.9))
    state = jaxdl.training.init_state(params, optimizer)

Every learning rate is a number, also a traced one, or a schedule (count of steps) ->
number. All states are pytrees of arrays.
"""

from jaxdl.optimizers.adaptive import adagrad as adagrad
from jaxdl.optimizers.adaptive import adam as adam
from jaxdl.optimizers.adaptive import adamw as adamw
from jaxdl.optimizers.adaptive import rmsprop as rmsprop
from jaxdl.optimizers.averaging import average_of as average_of
from jaxdl.optimizers.averaging import track_average as track_average
from jaxdl.optimizers.clipping import clip_grad_norm as clip_grad_norm
from jaxdl.optimizers.clipping import clip_grad_value as clip_grad_value
from jaxdl.optimizers.groups import frozen as frozen
from jaxdl.optimizers.groups import param_groups as param_groups
from jaxdl.optimizers.schedules import cosine_annealing_lr as cosine_annealing_lr
from jaxdl.optimizers.schedules import exponential_lr as exponential_lr
from jaxdl.optimizers.schedules import linear_lr as linear_lr
from jaxdl.optimizers.schedules import multistep_lr as multistep_lr
from jaxdl.optimizers.schedules import sequential_lr as sequential_lr
from jaxdl.optimizers.schedules import step_lr as step_lr
from jaxdl.optimizers.sgd import sgd as sgd
