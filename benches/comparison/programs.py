"""The programs that are compared: how each is built, called and read."""

import json
import os
import shlex
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

BENCHES = Path(__file__).resolve().parents[1]
ROOT = BENCHES.parent
CPU_WHEELS = "https://download.pytorch.org/whl/cpu"
TIME_LIMIT_S = 1800


class Failed(Exception):
    """A program could not be run, or did not end as it should; the message is short."""


def note(text: str) -> None:
    """Progress goes to standard error, so that standard output has the tables alone."""
    print(text, file=sys.stderr, flush=True)


def shortened(text: str, lines: int = 12, width: int = 200) -> str:
    """The last lines of an output, where the reason of a failure stands."""
    kept = [line[:width] for line in text.strip().splitlines()]
    return "\n".join((["..."] if len(kept) > lines else []) + kept[-lines:])


def run(command: list, threads: int | None = None) -> str:
    """The standard output of a program that ends well."""
    environment = dict(os.environ)
    if threads is not None:
        environment |= {"RAYON_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
    command = [str(part) for part in command]
    try:
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=TIME_LIMIT_S)
    except FileNotFoundError:
        raise Failed(f"{command[0]}: no such program") from None
    except subprocess.TimeoutExpired:
        raise Failed(f"{shlex.join(command)}: not done after {TIME_LIMIT_S} s") from None
    if done.returncode != 0:
        raise Failed(f"{shlex.join(command)}: exit code {done.returncode}\n{shortened(done.stderr)}")
    return done.stdout


def last_object(output: str, name: str) -> dict:
    """The JSON object on the last line of an output; text before it on that line is skipped."""
    last = (output.strip().splitlines() or [""])[-1]
    try:
        value = json.loads(last[last.index("{"):])
    except ValueError:
        raise Failed(f"{name}: the last line is not a JSON object: {last[:200]!r}") from None
    return value


def cargo_build(arguments: list[str], folder: Path = ROOT) -> Path:
    """Builds with cargo in release mode and gives the path of the executable."""
    note(f"building: cargo build --release {shlex.join(arguments)}" + ("" if folder == ROOT else f"  (in {folder})"))
    manifest = ["--manifest-path", folder / "Cargo.toml"]
    output = run(["cargo", "build", "--release", "--message-format=json-render-diagnostics", *manifest, *arguments])
    messages = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    built = [Path(message["executable"]) for message in messages if message.get("executable")]
    if not built:
        raise Failed(f"cargo build {shlex.join(arguments)}: made no executable")
    return built[-1]


def virtual_environment() -> Path:
    """The interpreter of benches/.venv, which is made and filled at the first call."""
    folder = BENCHES / ".venv"
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    complete = folder / "complete"
    if not complete.exists():
        note(f"making {folder} with PyTorch: 200 MB, or several GB where only PyPI's build for CUDA can be reached")
        venv.create(folder, clear=True, with_pip=True)
        # Where the index of CPU builds cannot be reached, pip goes on with PyPI's.
        run([python, "-m", "pip", "install", "--quiet", "--retries", "2", "--extra-index-url", CPU_WHEELS,
             "torch>=2.11", "torchvision", "safetensors", "numpy"])
        complete.touch()
    return python


@dataclass
class Programs:
    """The executables, as far as they were built, and the number of threads that each may use."""

    python: Path
    ours: Path | None
    burn: Path | None
    threads: int

    def pytorch(self, script: str, *arguments) -> dict:
        output = run([self.python, BENCHES / script, *arguments], self.threads)
        return last_object(output, script)

    def time(self, contender: str, workload: str, steps: int, *size) -> dict:
        """One fresh process that times a workload; `size` is more of the command line."""
        arguments = ["--workload", workload, "--steps", steps, "--threads", self.threads, *size]
        if contender == "ours":
            return last_object(run([self.ours, *arguments, "--json"], self.threads), "glassbox-bench")
        if contender == "burn":
            if self.burn is None:
                raise Failed("Burn's program was not built")
            return last_object(run([self.burn, *arguments, "--json"], self.threads), "burn-workloads")
        return self.pytorch("pytorch_workloads.py", *arguments, *(["--compile"] if contender == "compile" else []))
