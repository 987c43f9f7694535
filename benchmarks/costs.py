"""Counts of each case's step that do not depend on the machine.

    python -m benchmarks.costs            # beside those that are kept
    python -m benchmarks.costs --write    # keeps them: results/costs.json

Operations and bytes as XLA estimates them for the program before its own passes, loops,
and calls of the host. `tests/test_costs.py` holds every step to what is kept.
"""

import argparse
import json
import re
from pathlib import Path
from typing import Any

import jax

from benchmarks import jaxdl_side
from benchmarks.cases import CASES, Case
from jaxdl.training import init_state

KEPT = Path(__file__).parent / "results" / "costs.json"
TRAINED = [case for case in CASES if (case.kind, case.device) == ("train", "any")]
HOST = re.compile(r"callback|infeed|outfeed|stablehlo\.(?:send|recv)")


def count(case: Case) -> dict[str, Any]:
    """Returns the counts of one step of jaxdl's at the case's sizes, for a CPU."""
    batch = case.data(case.batch_size)
    step, optimizer = jaxdl_side.make_step(case), jaxdl_side.make_optimizer(case, 0.1)

    def start():
        params, model_state = jaxdl_side.initial(case, batch)
        return init_state(params, optimizer, model_state)

    state = jax.eval_shape(start)
    traced = jax.jit(step).trace(state, batch, jax.random.key(0))
    lowered = traced.lower()
    cost: Any = lowered.cost_analysis()
    text = lowered.as_text()
    return {
        "flops": round(cost["flops"]),
        "bytes": round(cost["bytes accessed"]),
        "loops": text.count("stablehlo.while"),
        "convolutions": text.count("stablehlo.convolution"),
        "products": text.count("stablehlo.dot_general"),
        "host": len(HOST.findall(text)),
        "effects": len(traced.jaxpr.effects),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="keep what is counted")
    write = parser.parse_args().write
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    found = {case.name: count(case) for case in TRAINED}
    for name, counts in found.items():
        print(name, counts, "kept" if counts == kept.get(name) else kept.get(name))
    if write:
        KEPT.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    jax.config.update("jax_platforms", "cpu")
    main()
