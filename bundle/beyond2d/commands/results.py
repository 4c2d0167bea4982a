"""What several commands take out of a workflow that has run."""

from __future__ import annotations

from typing import Any

from monai.bundle import ConfigWorkflow


def result_of(workflow: ConfigWorkflow) -> dict[str, Any]:
    """What an inference says of its one case."""
    result: dict[str, Any] = workflow.parser.get_parsed_content("evaluator").state.output[0]["result"]
    return result
