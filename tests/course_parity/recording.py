"""Runs a lesson in float64 and keeps what each of its trainings began with and met.

Nothing of the lesson is told again: its own `main` runs, with its own data, models and
steps. What it trains with (`fit`, `scan_steps`, `make_run`, sweeps, or a loop of its
own) is replaced in its module by the same thing that also keeps initial parameters, the
order of examples, and the loss of every step.
"""

import contextlib
import io
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from importlib import import_module
from typing import Any
from unittest.mock import patch

import jax
import numpy as np

from jaxdl import classification, loop, sweep, training
from jaxdl.feeds import open_feed
from jaxdl.run import Run
from jaxdl.sweep import members
from jaxdl.sweep.settings import as_points
from tests.course_parity.own_loops import OWN_LOOPS
from tests.course_parity.trainings import (
    EnoughSeen,
    Training,
    batches_of,
    float64,
    in_float64,
)


class Recorder:
    """Collects the trainings of a lesson, each cut to `limit` steps where there is one.

    With a `limit` the lesson ends when it has trained `enough` models by `fit` or a
    sweep, and measures nothing.
    """

    def __init__(self, limit: int | None = None, enough: int | None = None):
        self.limit, self.enough = limit, enough
        self.trainings: list[Training] = []
        self._members: dict[Any, dict[str, Any]] = {}
        self._member: tuple[dict[str, Any], Any] | None = None
        self._batch_size = 0

    def add(self, *parts: Any, **more: Any) -> None:
        found = jax.tree.map(np.asarray, parts[:3])
        self.trainings.append(Training(*found, *parts[3:], **more))

    def stop_if_enough(self) -> None:
        if self.limit and self.enough and len(self.trainings) >= self.enough:
            raise EnoughSeen

    # -- what replaces the names of a lesson's module

    def fit(self, state, train_step, data, key, **settings):
        state, losses = float64(state), {}
        if self.limit:
            settings = self._cut(data, settings)

        def opened(*given, **options):
            feed = open_feed(*given, **options)

            def parts(*where):
                for part in feed.parts(*where):

                    def kept(state, part=part):
                        first = int(state.step)
                        state, metrics = part(state)
                        for i, loss in enumerate(np.asarray(metrics["loss"])):
                            losses[first + i] = loss
                        return state, metrics

                    yield kept

            return feed._replace(parts=parts)

        start = jax.tree.map(np.asarray, state)
        with patch.object(loop, "open_feed", opened):
            result = loop.fit(state, in_float64(train_step), data, key, **settings)
        total = int(result[0].step)
        data, rows = batches_of(data, key, settings, total)
        first, step_key = min(losses), jax.random.split(key)[1]
        losses = np.array([losses[step] for step in range(first, total)])
        start = start.params, start.model_state, data
        name = settings.get("name", "")
        self.add(*start, rows, losses, step_key, first=first, name=name)
        self.stop_if_enough()
        if self.limit:  # what was not measured
            state, history = result
            result = state, defaultdict(lambda: np.full(1, np.nan), history)
        return result

    def _cut(self, data, settings):
        settings = dict(settings)
        if settings.get("epochs") is not None:
            _, length = loop._sizes(data, settings.get("batch_size"), False)
            settings["steps"] = settings.pop("epochs") * length
        settings["steps"] = min(self.limit, settings["steps"])
        settings |= {"held_out": {}, "eval_step": None, "callbacks": (), "show": False}
        return settings | {"driver": "scan"}

    def init_state(self, params, optimizer, model_state=()):
        state = training.init_state(
            float64(params), optimizer, model_state=float64(model_state)
        )
        if self._member is not None:
            found = *self._member, state.params, state.model_state
            jax.debug.callback(self._note_start, *found)
        return state

    def init_model(self, *given):
        return float64(classification.init_model(*given))

    def scan_steps(self, step):
        steps = training.scan_steps(in_float64(step))

        def note(params, model_state, data, rows, losses):
            rows = [*np.asarray(rows)]
            self.add(params, model_state, data, rows, np.asarray(losses), None)

        def recorded(state, data, batches, key):
            batches = batches[: self.limit]
            after, metrics = steps(state, data, batches, key)
            found = state.params, state.model_state, data, batches, metrics["loss"]
            jax.debug.callback(note, *found)
            return after, metrics

        return recorded

    def make_epoch(self, step, batch_size, **options):
        epoch = training.make_epoch(in_float64(step), batch_size, **options)
        self._batch_size = batch_size

        def recorded(state, data, key):
            after, metrics = epoch(state, data, key)
            if self._member is not None:
                found = state.step, jax.random.key_data(key), metrics["loss"]
                jax.debug.callback(self._note_epoch, *self._member, *found)
            return after, metrics

        return recorded

    def make_run(self, epoch, epochs):
        epochs = min(epochs, self.limit or epochs)
        run = training.make_run(epoch, epochs)

        def note(params, model_state, data, key, losses):
            key = jax.random.wrap_key_data(key)
            given = {"batch_size": self._batch_size}
            data, rows = batches_of(data, key, given, losses.size)
            step_key = jax.random.split(key)[1]
            losses = np.asarray(losses).ravel()
            self.add(params, model_state, data, rows, losses, step_key)

        def recorded(state, data, key):
            after, metrics = run(state, data, key)
            found = jax.random.key_data(key), metrics["loss"]
            jax.debug.callback(note, state.params, state.model_state, data, *found)
            return after, metrics

        return recorded

    def make_train_step(self, loss_fn, optimizer):
        """For a lesson with a loop of its own, which gives every step one batch."""
        step, met = training.make_train_step(loss_fn, optimizer), []

        def note(params, model_state, batch, loss):
            if not met:
                data, rows = {"x": batch}, []
                self.add(params, model_state, data, rows, np.zeros(0), None)
            met.append(float(loss))
            self.trainings[-1].rows.append(np.arange(len(batch)))
            self.trainings[-1] = self.trainings[-1]._replace(losses=np.array(met))

        def recorded(state, batch, key):
            after, metrics = step(state, batch, key)
            found = state.params, state.model_state, batch, metrics["loss"]
            jax.debug.callback(note, *found, ordered=True)
            return after, metrics

        return recorded

    def search(self, train, points, data, *given, **options):
        found = self._sweep(sweep.search, train, points, data, *given, **options)
        every, n = as_points(points)
        order = {
            _settings({name: every[name][i] for name in every}): i for i in range(n)
        }
        self._collect(data, lambda member: order[_settings(member["settings"])])
        return found

    def cross_validate(self, train, points, data, folds, *given, **options):
        found = self._sweep(
            sweep.cross_validate, train, points, data, folds, *given, **options
        )
        held_out = np.asarray(folds.validation)

        def fold_of(member):
            apart = [not set(fold) & set(member["rows"]) for fold in held_out.tolist()]
            return apart.index(True)

        self._collect(data, fold_of)
        return found

    def refit(self, train, points, data, *given, **options):
        found = self._sweep(sweep.refit, train, points, data, *given, **options)
        self._collect(data, lambda member: 0)
        return found

    def _sweep(self, run, train, points, data, *given, **options):
        """Rows go along as a part of the data, so that a member tells which it had."""
        numbered = data | {"row": np.arange(training.num_examples(data))}

        def recorded(settings, key, part):
            self._member = settings, part["row"]
            try:
                return train(settings, key, part)
            finally:
                self._member = None

        def unrecorded(run, members):
            with patch.object(jax.debug, "callback", lambda *given, **options: None):
                return choose(run, members)

        choose = members.choose_how
        with patch.object(members, "choose_how", unrecorded):
            found = run(recorded, points, numbered, *given, **options)
        jax.effects_barrier()
        return found

    def _found(self, settings, rows):
        rows = np.asarray(rows)
        empty = {"settings": settings, "rows": rows.tolist(), "epochs": {}}
        return self._members.setdefault((_settings(settings), rows.tobytes()), empty)

    def _note_start(self, settings, rows, *start):
        self._found(settings, rows)["start"] = jax.tree.map(np.asarray, start)

    def _note_epoch(self, settings, rows, step, key, losses):
        member = self._found(settings, rows)
        member["key"] = np.asarray(key)
        member["epochs"][int(step)] = np.asarray(losses)

    def _collect(self, data, place):
        for member in sorted(self._members.values(), key=place):
            losses = np.concatenate([v for _, v in sorted(member["epochs"].items())])
            part = {name: values[member["rows"]] for name, values in data.items()}
            key = jax.random.wrap_key_data(member["key"])
            given = {"batch_size": self._batch_size}
            part, rows = batches_of(part, key, given, len(losses))
            step_key = jax.random.split(key)[1]
            values = {name: float(v) for name, v in member["settings"].items()}
            self.add(*member["start"], part, rows, losses, step_key, settings=values)
        self._members.clear()
        self.stop_if_enough()


def _settings(values: Mapping[str, Any]) -> tuple[tuple[str, float], ...]:
    return tuple(sorted((name, float(value)) for name, value in values.items()))


DRIVERS = ("fit", "scan_steps", "make_epoch", "make_run")
SWEEPS = ("search", "cross_validate", "refit")


def record(
    lesson: str,
    config: Mapping[str, Any],
    *,
    limit: int | None = None,
    enough: int | None = None,
) -> list[Training]:
    """Runs a lesson with these settings, in float64, and returns its trainings.

    `jax_enable_x64` has to be on. With a `limit` no training is longer, and the lesson
    may end early: see `Recorder`.
    """
    module, recorder = import_module(f"experiments.{lesson}"), Recorder(limit, enough)
    names = [name for name in (*DRIVERS, *SWEEPS) if hasattr(module, name)]
    if not names and hasattr(module, "make_train_step"):
        names = ["make_train_step"]
    names += [n for n in ("init_model", "init_state") if hasattr(module, n)]
    replaced = {name: getattr(recorder, name) for name in names}
    if lesson in OWN_LOOPS:
        replaced |= OWN_LOOPS[lesson](recorder, module)
    graphs = patch.object(Run, "log_graph", lambda *given: None)
    with (
        graphs if limit else contextlib.nullcontext(),
        tempfile.TemporaryDirectory() as folder,
        patch.multiple(module, **replaced),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.suppress(EnoughSeen),
    ):
        module.main(module.Config(run_dir=f"{folder}/run", **config))
    jax.effects_barrier()
    return recorder.trainings
