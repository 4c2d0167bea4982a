"""What the scripts that make weights share: their steps, tables in a page between marks, what a record tells."""

from __future__ import annotations

import argparse
import csv
import hashlib
import platform
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from beyond2d.report.tables import Table
from beyond2d.writers import write_bytes


def fill_marks(page: Path, tables: Mapping[str, Table]) -> None:
    """Put each table between its marks in a Markdown page; a table without marks is not shown."""
    text = page.read_text(encoding="utf-8")
    for name, table in tables.items():
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        if begin in text:
            head, rest = text.split(begin)
            text = f"{head}{begin}\n\n{table.markdown()}\n\n{end}{rest.split(end)[1]}"
    write_bytes(page, text.encode())


def machine() -> str:
    """What a figure was measured with."""
    device = f"{torch.cuda.get_device_name(0)}, " if torch.cuda.is_available() else ""
    return f"{device}{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_history(folder: Path) -> list[dict[str, float]]:
    path = folder / "history.csv"
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def run_steps(steps: Mapping[str, Callable[[argparse.Namespace], None]], options: argparse.Namespace) -> None:
    """The steps that were chosen, in their own order."""
    for name, step in steps.items():
        if name in options.steps:
            step(options)
