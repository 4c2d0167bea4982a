"""Checks a MONAI bundle, a folder or a zip, ours or not, and lists what running it would execute.

What can be read is read without running anything of the bundle; see `running` for what cannot.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from .archives import opened
from .configs import check_properties, read_configs
from .contents import check_contents
from .execution import Execution, execution_of
from .findings import FAILED, LEFT_OUT, OK, Finding, all_printable, printable
from .manifest import check_manifest
from .metadata import check_metadata
from .running import METADATA, check_by_running, not_run
from .weights import check_weights

__all__ = ["FAILED", "LEFT_OUT", "OK", "Execution", "Finding", "Inspection", "inspect_bundle", "printable"]


class Inspection(NamedTuple):
    """Every finding on a bundle, and what running it would execute; None of a zip that was refused."""

    findings: list[Finding]
    execution: Execution | None

    def having(self, outcome: str) -> list[str]:
        """The names of the checks with an outcome."""
        return [finding.check for finding in self.findings if finding.outcome == outcome]

    def report(self) -> dict[str, Any]:
        """All of it in the words of JSON."""
        findings = [finding._asdict() for finding in self.findings]
        executes = self.execution._asdict() if self.execution is not None else {}
        content = {"passed": not self.having(FAILED), "findings": findings, "executes": executes}
        return {name: all_printable(part) for name, part in content.items()}


def inspect_bundle(bundle: str | Path, run: bool = False, dataset_dir: str | Path | None = None) -> Inspection:
    """Look through a bundle; with `run`, also by running its code, on its data where they are given."""
    with opened(bundle, copied=run) as (root, files, finding):
        if finding.outcome == FAILED and not files:  # a zip that was refused
            return Inspection([finding], None)
        configs, readable = read_configs(files)
        metadata = configs.get(METADATA)
        metadata = metadata if isinstance(metadata, Mapping) else None
        weights = check_weights(files)
        findings = [
            finding,
            *check_contents(files, metadata),
            readable,
            *check_metadata(metadata),
            *(check_properties(configs, kind) for kind in ("inference", "train")),
            weights,
            *check_manifest(files),
        ]
        if not run:
            findings += not_run()
        elif unsafe := [found.check for found in (finding, weights) if found.outcome == FAILED]:
            findings += not_run(f"not run: {' and '.join(unsafe)} failed")
        else:
            findings += check_by_running(root, configs, dataset_dir)
        return Inspection(findings, execution_of(files, configs))
