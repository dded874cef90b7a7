"""The table of ratios."""

from statistics import median

from . import document
from .measure import CONTENDERS, TARGETS, Outcome

HEADER = [
    "Workload",
    *(f"{name}, ms" for name in CONTENDERS.values()),
    "ratio to the better PyTorch (lowest–highest)",
    "to reach",
    "reached",
    "share of the peak",
    "peak memory: Glassbox / PyTorch, MB",
]


def section(outcomes: list[Outcome], about: dict[str, str], rounds: int, steps: int) -> str:
    """Everything that the page says of the workloads."""
    return "\n\n".join([
        "## Training steps",
        "![Time of a training step relative to PyTorch's](images/performance.svg)",
        document.table(HEADER, [row(outcome) for outcome in outcomes]),
        explanation(rounds, steps),
        numerics(outcomes),
        failures(outcomes),
        document.description(about),
    ]).replace("\n\n\n\n", "\n\n")


def explanation(rounds: int, steps: int) -> str:
    return (
        f"A step is forward, loss, backward and AdamW in single precision. Each of {rounds} rounds runs every program "
        f"once, one after the other, as a process of its own, and takes the median of {steps} steps; the table has the "
        "medians of the rounds. The ratio is Glassbox's time by that of the faster of PyTorch's two in the same round: "
        "below 1 is faster than PyTorch. The share of the peak is that of the multiply-adds which this machine was "
        "measured to do. Memory is the most that the process had resident, for PyTorch the lower of its two. Burn has "
        "the allocator and the AVX-512 products that Glassbox has."
    )


def row(outcome: Outcome) -> list[str]:
    if not outcome.agreement.agrees:
        return [f"`{outcome.workload}`", "disagrees", *["–"] * (len(HEADER) - 2)]
    return [
        f"`{outcome.workload}`",
        *(time(outcome, contender) for contender in CONTENDERS),
        spread(outcome.ratios("ours")),
        f"≤ {TARGETS[outcome.workload]:.2f}",
        "yes" if outcome.reached() else "no",
        share(outcome.middle("ours", "peak_share")),
        memory(outcome),
    ]


def time(outcome: Outcome, contender: str) -> str:
    milliseconds = outcome.milliseconds(contender)
    return "failed" if milliseconds is None else number(milliseconds)


def number(value: float) -> str:
    """Three significant digits, none behind the point from 100 on."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def spread(ratios: list[float]) -> str:
    if not ratios:
        return "–"
    return f"**{median(ratios):.2f}** ({min(ratios):.2f}–{max(ratios):.2f})"


def share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.0f} %"


def memory(outcome: Outcome) -> str:
    ours, theirs = outcome.middle("ours", "peak_rss_bytes"), outcome.pytorch_memory()
    if not ours or not theirs:
        return "–"
    return f"{ours / 1e6:.0f} / {theirs / 1e6:.0f} = {ours / theirs:.2f}"


def numerics(outcomes: list[Outcome]) -> str:
    """How far the numbers are from PyTorch's, and what was allowed."""
    lines = []
    for outcome in outcomes:
        agreement = outcome.agreement
        parts = [
            f"{kind.replace('_', ' ')} {difference:.0e} (allowed {agreement.allowed[kind]:.0e})"
            for kind, difference in agreement.differences.items()
        ]
        text = "; ".join(parts) or "not compared"
        problem = "" if agreement.agrees else f" **Disagrees:** {one_line(agreement.message)}"
        lines.append(f"- `{outcome.workload}`: {text}.{problem}")
    return (
        "Largest relative differences from PyTorch over three steps from the same weights on the same batch. What is "
        "allowed is 1e-4 for losses and 1e-3 for gradient norms, or four times PyTorch's own distance from its result "
        "in double precision where that is more:\n\n" + "\n".join(lines)
    )


def failures(outcomes: list[Outcome]) -> str:
    lines = [
        f"- `{outcome.workload}`, {CONTENDERS[contender]}: {one_line(error)}"
        for outcome in outcomes
        for contender, error in outcome.errors.items()
    ]
    return "Failed:\n\n" + "\n".join(lines) if lines else ""


def one_line(text: str, width: int = 160) -> str:
    """The beginning and the end of a message, without what Markdown would read as its own."""
    text = " ".join(text.replace("`", "'").replace("|", "/").replace("<", "(").replace(">", ")").split())
    return text if len(text) <= width else f"{text[: width // 2]} ... {text[-width // 2 :]}"
