"""A directory that holds one run: configuration, logs, figures and parameters."""

import os
from dataclasses import asdict
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import PyTree

from jaxdl import checkpoint
from jaxdl.config import RunConfig

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RUNS = Path("runs")


class Run:
    """An open run: writes below its directory, and says at its end where things are.

    The directory holds `config.yaml`, a TensorBoard log for each split, and what
    `save` is given.
    """

    def __init__(self, directory: Path):
        self.directory = directory
        self._writers: dict[str, Any] = {}

    def log(self, epoch: int, state: Any, record: dict[str, Any]) -> None:
        """Writes an epoch's numbers to TensorBoard: a callback for `jaxdl.loop.fit`.

        Each split is a TensorBoard run of its own and shares its tags with the others,
        which puts "train/loss" and "test/loss" into one chart.
        """
        for name, value in record.items():
            split, tag = name.split("/", 1)
            if np.ndim(value) == 0:
                self._writer(split).add_scalar(tag, value, epoch)

    def save(self, params: PyTree, **figures: "Figure") -> None:
        """Writes the parameters to `params` with orbax, and each figure as a PNG."""
        checkpoint.save(self.directory / "params", params)
        for name, figure in figures.items():
            figure.savefig(self.directory / f"{name}.png", dpi=150)

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, error_type: type | None, *rest: Any) -> None:
        for writer in self._writers.values():
            writer.close()
        if error_type is not None:
            self._remove_if_bare()
        else:
            print(f"Figures, parameters and log: {self.directory}")
            root = RUNS if self.directory.is_relative_to(RUNS) else self.directory
            print(f"Curves: tensorboard --logdir {root}")

    def _remove_if_bare(self) -> None:
        """Takes back a run that failed before there was anything to keep."""
        configuration = self.directory / "config.yaml"
        if list(self.directory.iterdir()) == [configuration]:
            configuration.unlink()
            self.directory.rmdir()

    def _writer(self, split: str) -> Any:
        from tensorboardX import SummaryWriter

        if split not in self._writers:
            directory = self.directory / split
            # A log opened twice within a second would overwrite itself.
            self._writers[split] = SummaryWriter(
                str(directory), filename_suffix=f".{os.getpid()}"
            )
        return self._writers[split]


def open_run(name: str, config: RunConfig) -> Run:
    """Makes the directory of a run and writes its configuration there.

    Raises:
      ValueError: the directory that `config` names holds something already.
      OSError: it cannot be written; the message names it.
    """
    import yaml

    directory = RUNS / name if config.run_dir is None else Path(config.run_dir)
    try:
        if config.run_dir is None:
            directory = _make_stamped(directory)
        else:
            directory.mkdir(parents=True, exist_ok=True)
        if any(directory.iterdir()):
            raise ValueError(f"--run-dir {directory} is not empty: name another")
        text = yaml.safe_dump(asdict(config), sort_keys=False)
        (directory / "config.yaml").write_text(text)
    except OSError as error:
        reason = f"cannot write the run to {directory}: {error.strerror}"
        raise type(error)(reason) from error
    return Run(directory)


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
