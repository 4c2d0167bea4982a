"""The list of a packed bundle's files: its name, and the hash that it holds of each."""

from __future__ import annotations

import hashlib
from pathlib import Path

MANIFEST = "manifest.json"


def file_sha256(path: str | Path) -> str:
    """The SHA-256 of a file in hex, read block by block, since weights may be larger than the memory."""
    content = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(2**20):
            content.update(block)
    return content.hexdigest()
