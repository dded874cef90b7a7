"""Whole programs: an epoch of MNIST from start to end, and an epoch of data loading."""

import gzip
import shutil
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Callable

from . import document
from .programs import BENCHES, Failed, Programs, cargo_build, last_object, note, run

ROUNDS = 3
MNIST_TARGET = 0.50  # ours by PyTorch's
LOADING_TARGET = 2.0  # times torchvision's samples a second
BATCH = 256
WORKERS = 2
MNIST_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def lay_out_mnist(source: Path, folder: Path) -> Path:
    """The four files as torchvision wants them, unpacked under MNIST/raw of the folder; both programs read these."""
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in MNIST_FILES:
        plain, packed = source / name, source / f"{name}.gz"
        if plain.is_file():
            (raw / name).symlink_to(plain.resolve())
        elif packed.is_file():
            with gzip.open(packed) as compressed, open(raw / name, "wb") as file:
                shutil.copyfileobj(compressed, file)
        else:
            raise Failed(f"{source}: no file {name} or {name}.gz")
    return raw


def in_turn(contenders: dict[str, Callable[[], dict]]) -> dict[str, list[dict]]:
    """Runs all of them in each round. One that failed is not run again, and has no results."""
    results: dict[str, list[dict]] = {name: [] for name in contenders}
    failed = set()
    for number in range(1, ROUNDS + 1):
        for name, program in contenders.items():
            if name in failed:
                continue
            try:
                results[name].append(program())
                note(f"round {number} of {ROUNDS}: {name}: {results[name][-1]}")
            except Failed as failure:
                failed.add(name)
                results[name] = []
                note(f"{name} failed: {failure}")
    return results


def timed(command: list, threads: int) -> dict:
    """The wall time of a whole program, and the scores on its last line."""
    start = time.perf_counter()
    output = run(command, threads)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "accuracy": last_object(output, str(command[0])).get("accuracy")}


def mnist(programs: Programs, data: Path) -> dict[str, list[dict]]:
    """An epoch of the example cnn_mnist as whole programs."""
    example = cargo_build(["-p", "glassbox", "--example", "cnn_mnist"])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        raw = lay_out_mnist(data, folder)
        script = BENCHES / "pytorch_mnist.py"

        def ours() -> dict:
            with tempfile.TemporaryDirectory() as out:
                return timed([example, "--data", raw, "--out", out, "--quiet"], programs.threads)

        def theirs() -> dict:
            return timed([programs.python, script, "--data", folder, "--threads", programs.threads], programs.threads)

        return in_turn({"Glassbox": ours, "PyTorch": theirs})


def mnist_section(results: dict[str, list[dict]], about: dict[str, str]) -> str:
    rows = [[name, *mnist_cells(runs)] for name, runs in results.items()]
    ratios = paired(results["Glassbox"], results["PyTorch"], "seconds")
    judged = verdict(ratios, lambda ratio: ratio <= MNIST_TARGET, f"≤ {MNIST_TARGET:.2f}")
    header = ["Program", "seconds, whole process (lowest–highest)", "accuracy on the test images"]
    return "\n\n".join([
        "## One epoch of MNIST",
        document.table(header, rows),
        f"Ratio Glassbox / PyTorch: {judged} The example `cnn_mnist` and `benches/pytorch_mnist.py`, which is the same "
        "network, optimizer, schedule and batch with torchvision's `MNIST` and a `DataLoader` of "
        f"{WORKERS} workers. From the start of the process to its end, {ROUNDS} rounds in turn; both read the same "
        "unpacked files.",
        document.description(about),
    ])


def mnist_cells(runs: list[dict]) -> list[str]:
    if not runs:
        return ["failed", "–"]
    seconds = [result["seconds"] for result in runs]
    accuracies = [result["accuracy"] for result in runs if result["accuracy"] is not None]
    accuracy = f"{100 * sum(accuracies) / len(accuracies):.2f} %" if accuracies else "–"
    return [f"{median(seconds):.1f} ({min(seconds):.1f}–{max(seconds):.1f})", accuracy]


def loading(programs: Programs, mnist_data: Path, cifar_data: Path) -> dict[str, dict[str, list[dict]]]:
    """An epoch through the data loaders, by data set and program."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        places = {"mnist": (lay_out_mnist(mnist_data, folder), folder), "cifar": (cifar_data, cifar_data)}
        results = {}
        for data, (for_ours, for_theirs) in places.items():
            note(f"loading {data}")

            def ours() -> dict:
                arguments = ["--loading", data, "--data", for_ours, "--threads", programs.threads, "--json"]
                return last_object(run([programs.ours, *arguments], programs.threads), "glassbox-bench --loading")

            def theirs() -> dict:
                arguments = ["--loading", data, "--data", for_theirs, "--batch", BATCH, "--workers", WORKERS]
                return programs.pytorch("pytorch_loading.py", *arguments)

            results[data] = in_turn({"Glassbox": ours, "torchvision": theirs})
    return results


def loading_section(results: dict[str, dict[str, list[dict]]], about: dict[str, str]) -> str:
    rows = []
    for data, by_program in results.items():
        cells = [rate(runs) for runs in by_program.values()]
        times = paired(by_program["Glassbox"], by_program["torchvision"], "samples_per_second")
        judged = verdict(times, lambda ratio: ratio >= LOADING_TARGET, f"≥ {LOADING_TARGET:g}")
        rows.append([LOADED[data], *cells, judged])
    return "\n\n".join([
        "## Loading data",
        document.table(["Data", "Glassbox, samples a second", "torchvision, samples a second", "times as fast"], rows),
        f"One epoch of the training part in shuffled batches of {BATCH}, flipped at random, cropped at random from a "
        "border of 4, and normalised; the clock runs from the opening of the files to the last batch. torchvision's "
        f"`DataLoader` has {WORKERS} workers. {ROUNDS} rounds in turn, medians.",
        document.description(about),
    ])


LOADED = {"mnist": "MNIST, IDX files", "cifar": "CIFAR-10, a folder of JPEG images"}


def rate(runs: list[dict]) -> str:
    return f"{median(result['samples_per_second'] for result in runs):,.0f}" if runs else "failed"


def paired(ours: list[dict], theirs: list[dict], key: str) -> list[float]:
    """Ours by theirs, round by round."""
    return [mine[key] / other[key] for mine, other in zip(ours, theirs)]


def verdict(ratios: list[float], reaches: Callable[[float], bool], target: str) -> str:
    if not ratios:
        return "not measured."
    reached = "reached" if reaches(median(ratios)) else "not reached"
    return f"**{median(ratios):.2f}** ({min(ratios):.2f}–{max(ratios):.2f}); to reach {target}: {reached}."
