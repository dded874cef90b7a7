"""Whether our program computes what PyTorch does: the losses and the gradients of three steps from the same weights."""

import math
import tempfile
from dataclasses import dataclass
from pathlib import Path

from .programs import Failed, Programs, last_object, run

TOLERANCE = {"losses": 1e-4, "gradient_norms": 1e-3}

# Where PyTorch's own single precision is further from the exact values than the tolerance allows, a program may be so
# many times as far from PyTorch as PyTorch is from them.
ROUNDING_ALLOWANCE = 4.0


@dataclass
class Agreement:
    """The largest relative difference of each kind, and whether all are within what is allowed."""

    agrees: bool
    differences: dict[str, float]
    allowed: dict[str, float]
    message: str = ""


def check(programs: Programs, workload: str) -> Agreement:
    """Runs both programs on the weights and the batch that PyTorch exports."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{workload}.safetensors"
            arguments = ["--workload", workload, "--threads", programs.threads]
            theirs = programs.pytorch("pytorch_workloads.py", *arguments, "--export", path)
            output = run([programs.ours, *arguments, "--check", path, "--json"], programs.threads)
            return compare(last_object(output, "glassbox-bench --check"), theirs)
    except Failed as failure:
        return Agreement(False, {}, {}, str(failure))


def compare(ours: dict, theirs: dict) -> Agreement:
    differences, allowed, problems = {}, {}, []
    for kind, tolerance in TOLERANCE.items():
        ours_values, theirs_values, exact = (
            flat(values) for values in (ours.get(kind, []), theirs[kind], theirs[f"exact_{kind}"])
        )
        if len(ours_values) != len(theirs_values):
            problems.append(f"{kind}: {len(ours_values)} values, and PyTorch has {len(theirs_values)}")
            continue
        differences[kind], allowed[kind] = 0.0, tolerance
        for place, (value, expected, true) in enumerate(zip(ours_values, theirs_values, exact)):
            limit = max(tolerance, ROUNDING_ALLOWANCE * relative(expected, true))
            difference = relative(value, expected)
            if math.isfinite(difference):
                differences[kind] = max(differences[kind], difference)
            allowed[kind] = max(allowed[kind], limit)
            if not difference <= limit:
                problems.append(f"{kind}[{place}]: {value:.7g}, and PyTorch has {expected:.7g}")
    return Agreement(not problems, differences, allowed, "; ".join(problems))


def relative(value: float, expected: float) -> float:
    return abs(value - expected) / max(abs(expected), 1e-12)


def flat(values: list) -> list[float]:
    """The numbers of a list that may hold lists, as where a step has two losses; what is not a number is NaN."""
    nested = [flat(value) if isinstance(value, list) else [math.nan if value is None else value] for value in values]
    return [number for part in nested for number in part]
