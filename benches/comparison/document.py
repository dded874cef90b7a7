"""The page that holds the results, each between two marks of its own, and what every section says of its machine."""

import datetime
import os
import platform
import re
import shlex
import sys
from pathlib import Path

from .programs import BENCHES, Failed, note, run

# Before anything is built, which would count as load too.
LOAD_AT_START = os.getloadavg()[0]

HEADING = """# Speed

Written by `benches/compare.py`, which measures Glassbox next to PyTorch and Burn on one machine. The text between two
marks is replaced at the next run of the part it belongs to.
"""


def write_section(page: Path, name: str, text: str) -> None:
    """Puts the text between the marks of this name; the page and the marks are made where they are missing."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    section = f"{begin}\n{text.strip()}\n{end}"
    old = page.read_text(encoding="utf-8") if page.exists() else HEADING
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    new = pattern.sub(lambda _: section, old, count=1) if pattern.search(old) else f"{old.rstrip()}\n\n{section}\n"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(new, encoding="utf-8")
    note(f"wrote {page}")


def write_image(page: Path, name: str, svg: str) -> None:
    path = page.parent / "images" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(svg, encoding="utf-8")
    note(f"wrote {path}")


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table whose first column is text and whose others are numbers."""
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def describe(python: Path, threads: int) -> dict[str, str]:
    """The machine and the versions, as they stand under each result."""
    model, flags = processor()
    return {
        "processor": model,
        "cores": f"{os.cpu_count()} cores ({threads} threads used)",
        "flags": ", ".join(flag for flag in ("avx2", "avx512f", "neon") if flag in flags) or "no vector flags known",
        "memory": f"{memory()} of memory",
        "load": f"load average {LOAD_AT_START:.1f} at the start",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "glassbox": "Glassbox " + first_line(["git", "describe", "--always", "--dirty"]),
        "rust": first_line(["rustc", "--version"]),
        "pytorch": "PyTorch " + first_line([python, "-c", "import torch; print(torch.__version__)"]),
        "burn": "Burn " + burn_version(),
        "date": datetime.date.today().isoformat(),
        "command": command(sys.argv[1:]),
    }


def command(arguments: list[str]) -> str:
    """The command line as someone else would give it: folders by their part, and no option that only says where things lie."""
    words, rest = ["python", "benches/compare.py"], [part for word in arguments for part in word.split("=", 1)]
    while rest:
        word = rest.pop(0)
        if word in ("--python", "--ours", "--burn", "--docs", "--json-out"):
            rest.pop(0)
            continue
        words.append(word)
        folders = {"--mnist": ["MNIST"], "--loading": ["MNIST", "CIFAR"]}.get(word, [])
        words += folders
        del rest[: len(folders)]
    return shlex.join(words)


def description(about: dict[str, str]) -> str:
    """The same as text under a table."""
    facts = ", ".join(fact for name, fact in about.items() if name not in ("date", "command"))
    return f"Measured on {about['date']} by `{about['command']}`: {facts}."


def processor() -> tuple[str, set[str]]:
    """Its name and its flags."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        name = first_line(["sysctl", "-n", "machdep.cpu.brand_string"])
        return name, {"neon"} if platform.machine() == "arm64" else set()
    fields = dict(re.findall(r"^(.+?)\s*:\s*(.*)$", text, re.MULTILINE))
    flags = set(fields.get("flags", fields.get("Features", "")).split())
    if "asimd" in flags:
        flags.add("neon")
    return fields.get("model name", platform.machine()), flags


def memory() -> str:
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return "unknown"
    return f"{total / 2**30:.0f} GiB"


def first_line(command: list) -> str:
    try:
        return run(command).strip().splitlines()[0]
    except (Failed, IndexError):
        return "unknown"


def burn_version() -> str:
    lock = BENCHES / "burn" / "Cargo.lock"
    found = re.search(r'name = "burn"\nversion = "(.+?)"', lock.read_text(encoding="utf-8")) if lock.exists() else None
    return found.group(1) if found else "unknown"
