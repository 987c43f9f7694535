"""One side of one case in a process of its own: what a user waits for.

    python -m benchmarks.fresh softmax jaxdl

Imports, data, compilation, the training of one turn, and losses written to a file.
The last line printed is JSON: the seconds of each part, and the most memory that was
resident.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cases import BY_NAME, Case
from benchmarks.settings import compute_on

SIDES = ("jaxdl", "PyTorch", "PyTorch, DataLoader", "Flax")


def train(case: Case, side: str, device: str, parts: dict[str, float]) -> Any:
    """Trains one side, and notes what each part took."""
    last = time.perf_counter()

    def part(name):
        nonlocal last
        now = time.perf_counter()
        parts[name], last = now - last, now

    if side == "jaxdl":
        from benchmarks import jaxdl_side as module
    elif side == "Flax":
        from benchmarks import flax_side as module
    else:
        from benchmarks import torch_side as module
    part("imports")
    data = case.draw()
    part("data")
    settings = {"way": side, "kind": device} if side.startswith("PyTorch") else {}
    begin = module.build(case, data, **settings)
    part("setup")
    losses = begin()()
    part("training")
    return losses


def peak_mib(side: str, device: str) -> float:
    if device == "gpu" and side.startswith("PyTorch"):
        import torch

        return torch.cuda.max_memory_allocated() / 2**20
    if device == "gpu":
        import jax

        return jax.devices()[0].memory_stats()["peak_bytes_in_use"] / 2**20
    # Not getrusage, whose peak is the parent's where that was larger.
    status = Path("/proc/self/status").read_text()
    [line] = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 2**10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("case", choices=BY_NAME)
    parser.add_argument("side", choices=SIDES)
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    compute_on(arguments.device)
    case = BY_NAME[arguments.case]
    case = case.quick() if arguments.quick else case
    parts: dict[str, float] = {}
    losses = train(case, arguments.side, arguments.device, parts)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "losses.npy")
        np.save(file, losses)
    parts["peak_mib"] = peak_mib(arguments.side, arguments.device)
    print(json.dumps(parts))


if __name__ == "__main__":
    main()
