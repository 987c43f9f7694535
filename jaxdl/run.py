"""A directory that holds one run: configuration, logs, checkpoints and figures."""

import io
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import PyTree

from jaxdl import checkpoint
from jaxdl.config import RunConfig
from jaxdl.files import is_part, saying, write_whole
from jaxdl.graph import to_graph_def, trace
from jaxdl.params import paths
from jaxdl.tensorboard import EventLog

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RUNS = Path("runs")
# What may change when a run goes on: it ends later, or shows more.
CHANGEABLE = {"epochs", "debug", "run_dir", "predict", "ask"}


class Run:
    """An open run: writes below its directory, and says at its end where things are.

    The directory holds `config.yaml`; a TensorBoard log for each split and one,
    `about`, of the configuration, graphs and figures; `checkpoints` if training is told
    to save there; and what `save` is given.
    """

    def __init__(self, directory: Path, lock: int, before: str | None = None):
        """`before` is the configuration that the call before this left, if any."""
        self.directory = directory
        self.checkpoints = directory / "checkpoints"
        self._logs: dict[str, EventLog] = {}
        self._logged: set[str] = set()
        self._lock = lock
        self._before = before

    def log(self, epoch: int, state: Any, record: dict[str, Any]) -> None:
        """Writes an epoch's numbers to TensorBoard: a callback for `jaxdl.loop.fit`.

        Each split is a TensorBoard run of its own and shares its tags with the others,
        which puts "train/loss" and "test/loss" into one chart.
        """
        self._write(epoch, record)

    def log_as(self, model: str) -> Callable[[int, Any, dict[str, Any]], None]:
        """Returns the `log` of one of several models that a run trains.

        "train/loss" is then the number "loss" of the TensorBoard run "<model>/train":
        one chart shows the losses of all models.
        """
        return lambda epoch, state, record: self._write(epoch, record, f"{model}/")

    def _write(self, epoch: int, record: dict[str, Any], parent: str = "") -> None:
        for name, value in record.items():
            split, tag = name.split("/", 1)
            if np.ndim(value) == 0:
                self.events(parent + split, epoch).scalar(tag, float(value), epoch)
                self._logged.add("curves")

    def log_parameters(self, epoch: int, state: Any, record: dict[str, Any]) -> None:
        """Writes a histogram of each parameter: another callback for `fit`."""
        for path, values in paths(state.params).items():
            self.events("train", epoch).histogram(path, np.asarray(values), epoch)
            self._logged.add("histograms")

    def log_graph(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Writes a function's operations for TensorBoard's Graphs tab.

        It is traced with the arguments, as `jax.jit` does, and not computed.
        """
        self.events("about").graph(to_graph_def(trace(function, *arguments)))
        self._logged.add("graph")

    def events(self, split: str, first_step: int = 0) -> EventLog:
        """Returns the TensorBoard log of a split, opened at its first use."""
        if split not in self._logs:
            self._logs[split] = EventLog(self.directory / split, first_step)
        return self._logs[split]

    def save(self, params: PyTree = None, **figures: "Figure") -> None:
        """Writes parameters, if any, to `params` with orbax, and figures as PNGs.

        TensorBoard's Images tab shows the figures too.

        A run that had ended and was called again has the same parameters, or more
        epochs than it had.
        """
        if params is not None:
            checkpoint.replace(self.directory / "params", params)
        for name, figure in figures.items():
            file = self.directory / f"{name}.png"
            drawn = io.BytesIO()
            figure.savefig(drawn, dpi=150)
            write_whole(file, drawn.getvalue())
            self.events("about").png(name, drawn.getvalue(), 0)
            self._logged.add("figures")

    def __enter__(self) -> "Run":
        config = (self.directory / "config.yaml").read_text()
        self.events("about").text("config", f"```yaml\n{config}```")
        return self

    def __exit__(self, error_type: type | None, *rest: Any) -> None:
        for log in self._logs.values():
            log.close()
        if error_type is not None:
            if self._before is not None and issubclass(error_type, ValueError):
                # Refused, as too few epochs are: the run is what it was.
                write_whole(self.directory / "config.yaml", self._before)
            if issubclass(error_type, KeyboardInterrupt) and self.checkpoints.exists():
                print(f"The same with --run-dir {self.directory} goes on")
            self._remove_if_bare()
        else:
            print(f"Figures, log and what was saved: {self.directory}")
            root = RUNS if self.directory.is_relative_to(RUNS) else self.directory
            if self._logged:
                logged = ", ".join(sorted(self._logged)).capitalize()
                print(f"{logged}: tensorboard --logdir {root}")
        os.close(self._lock)

    def _remove_if_bare(self) -> None:
        """Takes back a run that failed before there was anything to keep."""
        bare = {self.directory / "config.yaml", self.directory / ".lock"}
        about, saved = self.directory / "about", self.checkpoints
        left = (path for path in saved.rglob("*") if path.is_file())
        if {path.name for path in left} <= {".lock"}:
            shutil.rmtree(saved, ignore_errors=True)
        if set(self.directory.iterdir()) <= {*bare, about}:
            shutil.rmtree(about, ignore_errors=True)
            for file in bare:
                file.unlink(missing_ok=True)
            self.directory.rmdir()


def open_run(name: str, config: RunConfig) -> Run:
    """Makes the directory of a run and writes its configuration there, or goes on.

    A directory that `config` names may hold a run of the same configuration: one that
    was killed, or one that ended and may get more epochs.

    Raises:
      ValueError: the directory holds something else, a run of another configuration, or
        one that is going on in another process.
      OSError: it cannot be written; the message names it.
    """
    directory = RUNS / name if config.run_dir is None else Path(config.run_dir)
    with saying(f"cannot write the run to {directory}"):
        if config.run_dir is None:
            directory = _make_stamped(directory)
        else:
            directory.mkdir(parents=True, exist_ok=True)
        found = {path.name for path in directory.iterdir()}
        others = {name for name in found if name != ".lock" and not is_part(name)}
        if others and "config.yaml" not in others:
            raise ValueError(f"--run-dir {directory} is not empty: name another")
        lock = checkpoint.lock(directory, f"--run-dir {directory}")
        try:
            for part in filter(is_part, found):  # what a kill left
                (directory / part).unlink()
            before = _write_config(directory / "config.yaml", name, config)
        except BaseException:
            os.close(lock)
            raise
    return Run(directory, lock, before)


def _write_config(path: Path, name: str, config: RunConfig) -> str | None:
    """Writes the configuration, and returns the one that was there."""
    import yaml

    settings = {"lesson": name, **asdict(config)}
    del settings["config"]
    text = yaml.safe_dump(settings, sort_keys=False)
    before = None
    if path.exists():
        _check_same(path, yaml.safe_load(text))
        before = path.read_text()
    write_whole(path, text)
    return before


def _check_same(path: Path, wanted: dict[str, Any]) -> None:
    import yaml

    try:
        found = yaml.safe_load(path.read_text())
        found.setdefault("lesson", wanted["lesson"])  # older runs do not name it
        differences = [
            f"  {name}: was {found.get(name)}, is {wanted.get(name)}"
            for name in sorted(found | wanted)
            if found.get(name) != wanted.get(name) and name not in CHANGEABLE
        ]
    except (yaml.YAMLError, TypeError, AttributeError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path} is no configuration of a run: name another"
        ) from error
    if differences:
        raise ValueError(
            "\n".join([f"{path.parent} holds a run of other settings:", *differences])
        )


def _make_stamped(parent: Path) -> Path:
    """Makes a directory named by the time, and by a number if that name is taken."""
    parent.mkdir(parents=True, exist_ok=True)
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    for number in count(1):
        directory = parent / (stamp if number == 1 else f"{stamp}-{number}")
        try:
            directory.mkdir()
        except FileExistsError:
            continue
        return directory
    raise AssertionError("unreachable")
