"""The bar chart: each contender's time relative to the better PyTorch, one group of bars a workload."""

from statistics import median

from . import svg
from .measure import CONTENDERS, TARGETS, Outcome
from .table import number

LEFT, RIGHT, TOP = 104, 676, 92
BAR, GAP, BETWEEN = 13, 2, 18
GROUP = len(CONTENDERS) * (BAR + GAP) + BETWEEN
LONGEST = 3.0  # the scale ends here; a longer bar is cut, and says so by an arrow and its number


def bars(outcomes: list[Outcome], threads: int, rounds: int) -> str:
    end = scale_end(outcomes)
    bottom = TOP + GROUP * len(outcomes)
    one = across(1, end)
    parts = [*heading(threads, rounds), *axis(end, bottom), svg.line(one, TOP, one, bottom, "strong", 1.5)]
    for place, outcome in enumerate(outcomes):
        parts += group(outcome, TOP + BETWEEN / 2 + place * GROUP, end)
    return svg.document(bottom + 54, "Time of a training step relative to PyTorch's", parts)


def scale_end(outcomes: list[Outcome]) -> float:
    """The end of the scale: a multiple of one half."""
    longest = [max(ratios) for outcome in outcomes for name in CONTENDERS if (ratios := outcome.ratios(name))]
    return min(LONGEST, max(1.5, -(-max(longest, default=1.0) // 0.5) * 0.5))


def across(value: float, end: float) -> float:
    return LEFT + (RIGHT - LEFT) * min(value, end) / end


def heading(threads: int, rounds: int) -> list[str]:
    many = "thread" if threads == 1 else "threads"
    parts = [
        svg.text(20, 30, "Time of a training step, relative to PyTorch", "text title"),
        svg.text(20, 50, f"CPU, {threads} {many}, median of {rounds} rounds; the bar of {CONTENDERS['ours']} has its "
                         "lowest and highest round; shorter is better", "faint small"),
    ]
    x = 20.0
    for name, label in CONTENDERS.items():
        parts += [svg.rectangle(x, 64, 12, 12, name), svg.text(x + 17, 74.5, label, "text small")]
        x += 42 + 7 * len(label)
    parts += [svg.line(x + 5, 62, x + 5, 78, "mark", 2), svg.text(x + 14, 74.5, "to reach", "text small")]
    return parts


def axis(end: float, bottom: float) -> list[str]:
    parts = []
    for step in range(int(end / 0.5) + 1):
        x = across(step * 0.5, end)
        parts.append(svg.line(x, TOP, x, bottom, "grid"))
        parts.append(svg.text(x, bottom + 17, f"{step * 0.5:g}", "faint small", "middle"))
    label = "time per step ÷ time of the faster of PyTorch eager and torch.compile"
    return [*parts, svg.text((LEFT + RIGHT) / 2, bottom + 38, label, "faint small", "middle")]


def group(outcome: Outcome, top: float, end: float) -> list[str]:
    middle = top + (GROUP - BETWEEN) / 2
    parts = [svg.text(LEFT - 10, middle + 4, outcome.workload, "text name", "end")]
    if not outcome.agreement.agrees:
        return [*parts, svg.text(LEFT + 8, middle + 4, "numerics disagree: not timed", "faint small halo")]
    for place, contender in enumerate(CONTENDERS):
        parts += bar(outcome, contender, top + place * (BAR + GAP), end)
    return [*parts, *target(outcome, top, end)]


def bar(outcome: Outcome, contender: str, top: float, end: float) -> list[str]:
    ratios, milliseconds = outcome.ratios(contender), outcome.milliseconds(contender)
    baseline = top + BAR - 2.5
    if not ratios or milliseconds is None:
        return [svg.text(LEFT + 6, baseline, "failed", "faint small")]
    ratio = median(ratios)
    value = f"{ratio:.2f} · {number(milliseconds)} ms"
    tip = f"{outcome.workload}, {CONTENDERS[contender]}: {value}"
    parts = [svg.rectangle(LEFT, top, across(ratio, end) - LEFT, BAR, contender, tip)]
    after = across(ratio, end)
    if contender == "ours" and len(ratios) > 1:
        low, high = across(min(ratios), end), across(max(ratios), end)
        parts += [svg.line(low, top + BAR / 2, high, top + BAR / 2, "mark", 1.2)]
        parts += [svg.line(x, top + 3.5, x, top + BAR - 3.5, "mark", 1.2) for x in (low, high)]
        after = max(after, high)
    after = max(after, target_place(outcome, end) + 2) if contender == "ours" else after
    arrow = "→ " if ratio > end else ""
    weight = "text small halo name" if contender == "ours" else "text small halo"
    return [*parts, svg.text(after + 6, baseline, arrow + value, weight)]


def target_place(outcome: Outcome, end: float) -> float:
    return across(TARGETS[outcome.workload], end)


def target(outcome: Outcome, top: float, end: float) -> list[str]:
    """A mark over our bar where it should end at the latest."""
    x = target_place(outcome, end)
    return [svg.line(x, top - 3, x, top + BAR + 3, "mark", 2)]
