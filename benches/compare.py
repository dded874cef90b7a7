"""Glassbox next to PyTorch and Burn, on this machine.

    python benches/compare.py                        all workloads; makes benches/.venv with PyTorch at the first call
    python benches/compare.py --workload cnn         one of them
    python benches/compare.py --mnist DIR            an epoch of MNIST as whole programs
    python benches/compare.py --loading MNIST CIFAR  data loading
    python benches/compare.py --scaling              time by batch size, sequence length and threads

For each workload, PyTorch's weights and batch go through three steps of both programs first; where the losses or the
gradients disagree, the workload is not timed, and the exit code is 1. Then come the rounds: Glassbox, PyTorch eager,
torch.compile, Burn, one after the other, each a process of its own. A contender that fails is shown as failed.

Each part writes a section of docs/performance.md; the workloads and --scaling draw a chart in docs/images too.
"""

import argparse
import dataclasses
import json
import sys
from pathlib import Path

from comparison import chart, document, measure, pipelines, scaling, table
from comparison.programs import BENCHES, ROOT, Failed, Programs, cargo_build, note, virtual_environment


# The load average from which a warning is due.
BUSY = 0.5


def at_least(least: int):
    """A reader of whole numbers, for argparse."""

    def whole_number(text: str) -> int:
        if int(text) < least:
            raise argparse.ArgumentTypeError(f"{text} is below {least}")
        return int(text)

    return whole_number


def path(text: str) -> Path:
    """Programs run in the root of the project, so a path must not depend on where this one was called."""
    return Path(text).absolute()


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    option = parser.add_argument
    option("--workload", action="append", choices=[*measure.TARGETS, "all"], default=[],
           help="compare this one, may be given several times (all, unless another part is asked for)")
    option("--rounds", type=at_least(1), default=5, help="times that every program runs (5; at most 3 for --scaling)")
    option("--steps", type=at_least(2), default=20, help="measured steps of a run (20; at most 10 for --scaling)")
    option("--threads", type=at_least(1), default=2, help="threads that a program may use (2)")
    option("--mnist", metavar="DIR", type=path, help="compare an epoch of MNIST; DIR holds the four IDX files")
    option("--loading", metavar=("MNIST", "CIFAR"), nargs=2, type=path,
           help="compare data loading: the folder of MNIST's IDX files, and that with CIFAR-10's train/CLASS/*.jpg")
    option("--scaling", action="store_true", help="compare sizes and threads")
    option("--docs", metavar="DIR", type=path, default=ROOT / "docs",
           help="where performance.md and images/ are written (docs)")
    option("--json-out", metavar="FILE", type=path, help="write all results there as they were read")
    option("--python", metavar="PATH", type=path, help="an interpreter that has torch, torchvision and safetensors")
    option("--ours", metavar="PATH", type=path, help="this program in place of building glassbox-bench")
    option("--burn", metavar="PATH", type=path, help="this program in place of building benches/burn")
    arguments = parser.parse_args()
    if not arguments.workload and not (arguments.mnist or arguments.loading or arguments.scaling):
        arguments.workload = ["all"]
    if "all" in arguments.workload:
        arguments.workload = list(measure.TARGETS)
    return arguments


def prepare(arguments: argparse.Namespace) -> Programs:
    """Builds what is needed and not given. Burn's program may be missing, ours and Python may not."""
    python = arguments.python or virtual_environment()
    ours, burn = arguments.ours, arguments.burn
    if ours is None and (arguments.workload or arguments.loading or arguments.scaling):
        ours = cargo_build(["-p", "glassbox-bench"])
    if burn is None and arguments.workload:
        try:
            burn = cargo_build([], BENCHES / "burn")
        except Failed as failure:
            note(f"Burn's program could not be built: {failure}")
    return Programs(python, ours, burn, arguments.threads)


def compare_workloads(arguments: argparse.Namespace, programs: Programs, about: dict) -> list[measure.Outcome]:
    rounds, steps = arguments.rounds, arguments.steps
    outcomes = [measure.compare_workload(programs, name, rounds, steps) for name in dict.fromkeys(arguments.workload)]
    publish(arguments, "compare", table.section(outcomes, about, rounds, steps))
    image = chart.bars(outcomes, arguments.threads, rounds)
    document.write_image(arguments.docs / "performance.md", "performance.svg", image)
    return outcomes


def publish(arguments: argparse.Namespace, name: str, text: str) -> None:
    print(f"{text}\n")
    document.write_section(arguments.docs / "performance.md", name, text)


def compare(arguments: argparse.Namespace) -> bool:
    """Runs the parts that were asked for; false where the numbers of a workload disagree."""
    if document.LOAD_AT_START > BUSY:
        note("warning: the machine is busy, which slows some programs far more than others")
    programs = prepare(arguments)
    about = document.describe(programs.python, arguments.threads)
    raw: dict = {"about": about}
    agree = True
    if arguments.workload:
        outcomes = compare_workloads(arguments, programs, about)
        raw["workloads"] = [dataclasses.asdict(outcome) for outcome in outcomes]
        agree = all(outcome.agreement.agrees for outcome in outcomes)
    if arguments.mnist:
        raw["mnist"] = pipelines.mnist(programs, arguments.mnist)
        publish(arguments, "mnist", pipelines.mnist_section(raw["mnist"], about))
    if arguments.loading:
        raw["loading"] = pipelines.loading(programs, *arguments.loading)
        publish(arguments, "loading", pipelines.loading_section(raw["loading"], about))
    if arguments.scaling:
        times = scaling.measure(programs, arguments.rounds, arguments.steps)
        raw["scaling"] = [[*key, time] for key, time in times.items()]
        publish(arguments, "scaling", scaling.section(times, about))
        document.write_image(arguments.docs / "performance.md", "scaling.svg", scaling.plot(times))
    if arguments.json_out:
        arguments.json_out.write_text(json.dumps(raw, indent=1) + "\n", encoding="utf-8")
    return agree


def main() -> int:
    try:
        return 0 if compare(parse()) else 1
    except Failed as failure:
        note(f"error: {failure}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
