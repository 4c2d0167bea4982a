"""The command about bundles, ours or not: whether one is sound, and what running it would execute."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ..checks import InputError
from ..inspection import FAILED, LEFT_OUT, OK, Execution, inspect_bundle, printable
from ..report.tables import Table
from ..writers import write_json

MANY_FILES = 10


def check(bundle: str, *, run: bool = False, dataset_dir: str | None = None, report: str | None = None) -> None:
    """Check a MONAI bundle: its files, metadata, configs, weights and hashes, and list what running it would execute.

    Nothing of the bundle is run unless --run is given: then its network is built, loaded and run as well. Give it only
    for a bundle from someone you trust, or in a machine that has nothing to lose.

    Args:
        bundle: a folder or a zip.
        run: run the bundle's code for the checks that need it.
        dataset_dir: data in the bundle's own layout, for the checks of --run that need data.
        report: JSON file for the findings whole.
    """
    if report is not None and not Path(report).absolute().parent.is_dir():
        raise InputError(f"report: expected a file in a folder that exists, got {report}")
    if dataset_dir is not None and not run:
        raise InputError("dataset_dir: is for the checks that run the bundle's code; give --run if you trust it")
    inspection = inspect_bundle(str(bundle), run=run, dataset_dir=dataset_dir)
    rows = [(finding.check, finding.outcome, finding.line()) for finding in inspection.findings]
    print(Table(("Check", "Outcome", "What is there"), rows, "lll").text())
    if inspection.execution is not None:
        print("\nRunning this bundle would execute\n" + "\n".join(_lines(inspection.execution)))
    if report is not None:
        write_json(report, inspection.report())
    failed, passed = inspection.having(FAILED), inspection.having(OK)
    if failed:
        first = next(finding.line() for finding in inspection.findings if finding.outcome == FAILED)
        raise InputError(f"{bundle}: {len(failed)} of {len(rows)} checks failed ({', '.join(failed)}), first: {first}")
    print(f"\n{bundle}: {len(passed)} checks passed, {len(inspection.having(LEFT_OUT))} left out, none failed")


def _lines(execution: Execution) -> Iterator[str]:
    """Every module, file, class and expression, one a line, under its heading."""
    parts = {
        "modules": [f"{module} ({origin})" for module, origin in execution.modules.items()],
        "code in the bundle": _by_folder(execution.files),
        "classes and functions": [*execution.targets],
        "expressions": [f"{text}    [{_places(places)}]" for text, places in execution.expressions.items()],
    }
    for heading, entries in parts.items():
        yield f"  {heading}:{'' if entries else ' none'}"
        yield from (f"    {printable(entry)}" for entry in entries)


def _by_folder(files: list[str]) -> list[str]:
    """Files by name, but for a folder of many, which is one line; the report has them all."""
    tops = [file.partition("/")[0] for file in files]
    many = {top: count for top, count in Counter(tops).items() if count > MANY_FILES}
    few = [file for file, top in zip(files, tops, strict=True) if top not in many]
    return [*few, *(f"{top}/ ({count} files)" for top, count in many.items())]


def _places(places: list[str]) -> str:
    return places[0] if len(places) == 1 else f"{places[0]} and {len(places) - 1} more"
