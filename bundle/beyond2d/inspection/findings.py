"""What a check of a bundle says: one line a check, and the whole of it for a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

OK, FAILED, LEFT_OUT = "ok", "FAILED", "left out"


class Finding(NamedTuple):
    """The outcome of one check and, a line each, what was expected and what is there."""

    check: str
    outcome: str
    details: Sequence[str]

    def line(self) -> str:
        """The details as one line; the report holds those that it only counts."""
        first, *others = self.details
        return printable(f"{first} (and {len(others)} more)" if others else first)


def judged(check: str, problems: Sequence[str], sound: str) -> Finding:
    """FAILED with its problems where there are any, else ok with one line about what is there."""
    return Finding(check, FAILED, list(problems)) if problems else Finding(check, OK, [sound])


def left_out(check: str, reason: str) -> Finding:
    """A check that was not done, and how to have it."""
    return Finding(check, LEFT_OUT, [reason])


def printable(text: str) -> str:
    """A stranger's text on one line that any terminal and file takes: what is no letter or sign is spelled out."""
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)


def all_printable(content: Any) -> Any:
    """The same for every text in lists and dictionaries."""
    if isinstance(content, Mapping):
        return {printable(key): all_printable(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [all_printable(value) for value in content]
    return printable(content) if isinstance(content, str) else content
