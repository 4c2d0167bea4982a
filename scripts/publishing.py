"""What the scripts that make weights share: tables in a page between marks, and what a record tells of a machine."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
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
