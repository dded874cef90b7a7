"""How the time of a step grows with the batch, the length of a sequence and the threads, next to PyTorch eager."""

import math
from dataclasses import dataclass, replace
from statistics import median

from . import document, svg
from .measure import CONTENDERS
from .programs import Failed, Programs, note
from .table import number

ROUNDS = 3
STEPS = 10
THREADS = (1, 2)
COMPARED = ("ours", "eager")

# x of a panel, y of its plot
PANEL, PLOT_LEFT, PLOT_WIDTH, TOP, HEIGHT = 262, 50, 186, 112, 250


@dataclass(frozen=True)
class Sweep:
    """One panel: a workload and the option that grows. `fixed` is the rest of the command line."""

    workload: str
    option: str
    values: tuple[int, ...]
    fixed: tuple = ()

    @property
    def title(self) -> str:
        return self.workload + (f", batch {self.fixed[1]}" if self.fixed else "")

    @property
    def axis(self) -> str:
        return {"--batch": "batch size", "--length": "sequence length"}[self.option]


SWEEPS = (
    Sweep("cnn", "--batch", (1, 4, 16, 64, 256)),
    Sweep("gpt-small", "--length", (64, 256, 1024, 4096), ("--batch", 1)),
    Sweep("lstm", "--length", (64, 256, 1024, 4096), ("--batch", 4)),
)

# The time in milliseconds by workload, value of the option, contender and threads.
Times = dict[tuple[str, int, str, int], float]


def measure(programs: Programs, rounds: int, steps: int) -> Times:
    """A contender that fails at one size is without a point there."""
    times: Times = {}
    for sweep in SWEEPS:
        for value in sweep.values:
            for threads in THREADS:
                point(replace(programs, threads=threads), sweep, value, min(rounds, ROUNDS), min(steps, STEPS), times)
    return times


def point(programs: Programs, sweep: Sweep, value: int, rounds: int, steps: int, times: Times) -> None:
    found: dict[str, list[float]] = {contender: [] for contender in COMPARED}
    for _ in range(rounds):
        for contender in COMPARED:
            try:
                result = programs.time(contender, sweep.workload, steps, sweep.option, value, *sweep.fixed)
                found[contender].append(result["median_ms"])
            except Failed as failure:
                note(f"{sweep.title}, {sweep.axis} {value}, {CONTENDERS[contender]} failed: {failure}")
    for contender, values in found.items():
        if values:
            times[sweep.workload, value, contender, programs.threads] = median(values)
    note(f"{sweep.title}, {sweep.axis} {value}, {programs.threads} threads: {found}")


def section(times: Times, about: dict[str, str]) -> str:
    rows = [
        [f"`{sweep.title}`", f"{sweep.axis} {value}", *cells(times, sweep.workload, value)]
        for sweep in SWEEPS
        for value in sweep.values
    ]
    header = ["Workload", "size"]
    for threads in THREADS:
        on = f"{threads} thread" + ("s" if threads > 1 else "")
        header += [f"{CONTENDERS[contender]}, ms, {on}" for contender in COMPARED] + [f"ratio, {on}"]
    return "\n\n".join([
        "## Scaling",
        "![Time of a training step by batch size and sequence length](images/scaling.svg)",
        document.table(header, rows),
        "The ratio is Glassbox's time by PyTorch eager's: below 1 is faster.",
        document.description(about),
    ])


def cells(times: Times, workload: str, value: int) -> list[str]:
    result = []
    for threads in THREADS:
        ours, theirs = (times.get((workload, value, contender, threads)) for contender in COMPARED)
        result += ["failed" if time is None else number(time) for time in (ours, theirs)]
        result.append(f"{ours / theirs:.2f}" if ours and theirs else "–")
    return result


def plot(times: Times) -> str:
    parts = [svg.text(20, 30, "Time of a training step as the work grows", "text title"), *legend()]
    for place, sweep in enumerate(SWEEPS):
        parts += panel(times, sweep, 12 + PLOT_LEFT + place * PANEL)
    return svg.document(TOP + HEIGHT + 60, "Time of a training step by batch size and sequence length", parts)


def legend() -> list[str]:
    parts, x = [], 20.0
    for contender in COMPARED:
        for threads in reversed(THREADS):
            label = f"{CONTENDERS[contender]}, {threads} thread" + ("s" if threads > 1 else "")
            parts.append(svg.line(x, 56, x + 26, 56, f"{contender}-line", 2.2, dash(threads)))
            parts.append(svg.text(x + 32, 60.5, label, "text small"))
            x += 52 + 6.4 * len(label)
    return parts


def dash(threads: int) -> str:
    return "" if threads == max(THREADS) else "5 4"


def panel(times: Times, sweep: Sweep, left: float) -> list[str]:
    own = {key: time for key, time in times.items() if key[0] == sweep.workload}
    low, high = decades(list(own.values()))
    first, last = math.log(sweep.values[0]), math.log(sweep.values[-1])

    def x(value: float) -> float:
        return left + PLOT_WIDTH * (math.log(value) - first) / (last - first)

    def y(time: float) -> float:
        return TOP + HEIGHT * (high - math.log10(time)) / (high - low)

    parts = [svg.text(left, TOP - 14, f"{sweep.title}", "text name")]
    for exponent in range(low, high + 1):
        at = y(10.0**exponent)
        parts.append(svg.line(left, at, left + PLOT_WIDTH, at, "grid"))
        parts.append(svg.text(left - 6, at + 4, power(exponent), "faint small", "end"))
    for value in sweep.values:
        parts.append(svg.line(x(value), TOP, x(value), TOP + HEIGHT, "grid"))
        parts.append(svg.text(x(value), TOP + HEIGHT + 17, str(value), "faint small", "middle"))
    parts.append(svg.text(left + PLOT_WIDTH / 2, TOP + HEIGHT + 38, sweep.axis, "faint small", "middle"))
    parts.append(svg.text(left - 40, TOP + HEIGHT / 2, "ms per step", "faint small", "middle", turn=True))
    for contender in COMPARED:
        for threads in THREADS:
            points = [
                (x(value), y(own[sweep.workload, value, contender, threads]))
                for value in sweep.values
                if (sweep.workload, value, contender, threads) in own
            ]
            parts += curve(points, contender, threads)
    return parts


def decades(times: list[float]) -> tuple[int, int]:
    """The powers of ten around the times."""
    if not times:
        return 0, 1
    low, high = math.floor(math.log10(min(times))), math.ceil(math.log10(max(times)))
    return low, max(high, low + 1)


def power(exponent: int) -> str:
    return f"{10**exponent:,}" if exponent >= 0 else f"{10.0**exponent:g}"


def curve(points: list[tuple[float, float]], contender: str, threads: int) -> list[str]:
    if not points:
        return []
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dashed = f' stroke-dasharray="{dash(threads)}"' if dash(threads) else ""
    circles = [f'<circle class="{contender}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in points]
    return [f'<polyline class="{contender}-line" points="{path}" stroke-width="2"{dashed}/>', *circles]
