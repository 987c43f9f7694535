"""Many trainings as one compiled program: searches, cross-validation, ensembles.

All of them train with a function of the user's, pure and uncompiled:

    train(settings, key, data) -> TrainState

`settings` holds a number for each hyperparameter, by name; everything random comes from
`key`; `data` are the examples to train on. Optimisers take traced numbers as any other:
`optax.sgd(settings["learning_rate"])`.
"""

from jaxdl.sweep.ensembles import ensemble, refit
from jaxdl.sweep.members import run_members
from jaxdl.sweep.results import Sweep
from jaxdl.sweep.searches import cross_validate, search
from jaxdl.sweep.settings import grid, log_uniform, random_search, uniform

__all__ = [
    "Sweep",
    "cross_validate",
    "ensemble",
    "grid",
    "log_uniform",
    "random_search",
    "refit",
    "run_members",
    "search",
    "uniform",
]
