"""The rounds: every contender in turn, again and again, so that what slows the machine down slows all of them."""

from dataclasses import dataclass, field
from statistics import median

from .numerics import Agreement, check
from .programs import Failed, Programs, note

# The ratio to reach: our time by the better PyTorch's.
TARGETS = {
    "cnn": 0.50,
    "lstm": 0.75,
    "gpt-small": 0.45,
    "gpt-baby": 0.45,
    "dcgan": 0.50,
    "resnet18": 0.80,
    "unet": 0.50,
    "bigru": 0.45,
    "seq2seq": 0.45,
}
CONTENDERS = {"ours": "Glassbox", "eager": "PyTorch eager", "compile": "torch.compile", "burn": "Burn flex"}


@dataclass
class Outcome:
    """What was measured of one workload. A contender that failed has an error, and no results from then on."""

    workload: str
    agreement: Agreement
    rounds: list[dict[str, dict]] = field(default_factory=list)  # a result by contender
    errors: dict[str, str] = field(default_factory=dict)

    def milliseconds(self, contender: str) -> float | None:
        """The median over the rounds of the median step."""
        return self.middle(contender, "median_ms")

    def middle(self, contender: str, key: str) -> float | None:
        values = [results[contender][key] for results in self.rounds if results.get(contender, {}).get(key) is not None]
        return median(values) if values and contender not in self.errors else None

    def ratios(self, contender: str) -> list[float]:
        """The contender's time by that of the better PyTorch of the same round, for each round."""
        pairs = [(results.get(contender), better_pytorch(results)) for results in self.rounds]
        known = contender not in self.errors
        return [result["median_ms"] / better for result, better in pairs if known and result and better]

    def pytorch_memory(self) -> float | None:
        """The lower of the peaks of eager and compiled."""
        values = [self.middle(contender, "peak_rss_bytes") for contender in ("eager", "compile")]
        return min((value for value in values if value), default=None)

    def reached(self) -> bool:
        ratios = self.ratios("ours")
        return bool(ratios) and median(ratios) <= TARGETS[self.workload]


def better_pytorch(results: dict[str, dict]) -> float | None:
    times = [results[contender]["median_ms"] for contender in ("eager", "compile") if contender in results]
    return min(times, default=None)


def compare_workload(programs: Programs, workload: str, rounds: int, steps: int) -> Outcome:
    """Checks the numbers, and times the contenders only where they agree."""
    outcome = Outcome(workload, check(programs, workload))
    if not outcome.agreement.agrees:
        note(f"{workload}: does not agree with PyTorch, so it is not timed: {outcome.agreement.message}")
        return outcome
    for number in range(1, rounds + 1):
        results: dict[str, dict] = {}
        for contender in CONTENDERS:
            if contender not in outcome.errors:
                attempt(programs, outcome, results, contender, steps)
        outcome.rounds.append(results)
        times = [f"{contender} {result['median_ms']:.1f} ms" for contender, result in results.items()]
        note(f"{workload}, round {number} of {rounds}: {', '.join(times)}")
    return outcome


def attempt(programs: Programs, outcome: Outcome, results: dict, contender: str, steps: int) -> None:
    try:
        result = programs.time(contender, outcome.workload, steps)
        if not isinstance(result.get("median_ms"), (int, float)):
            raise Failed(f"the last line has no median_ms: {result}")
        results[contender] = result
    except Failed as failure:
        outcome.errors[contender] = str(failure)
        note(f"{outcome.workload}, {CONTENDERS[contender]} failed: {failure}")
