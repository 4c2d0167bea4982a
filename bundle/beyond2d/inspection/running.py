"""Checks that run a bundle's code, in a process of their own.

A stranger's code may print, end the process or change what it imports from; the process keeps that apart from the
check that waits for it. It is no sandbox: the code may do whatever the person who starts it may do.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser, ConfigWorkflow, verify_net_in_out

from ..checks import InputError, check_tensors, one_line
from ..writers import write_json
from .configs import config_of
from .findings import FAILED, OK, Finding, left_out
from .weights import MODEL, read_weights, tensors_in

METADATA, SCRIPT = "configs/metadata.json", "models/model.ts"
CHECKS = ("weights fit", "network in and out", "TorchScript loads", "inference resolves", "train resolves")
HOW = "runs the bundle's code: give --run if you trust it"
WITH_DATA = "runs the bundle's code on data: give --run and --dataset_dir if you trust it"


def not_run(reason: str | None = None) -> list[Finding]:
    """The findings where the bundle's code is not run: for a reason, or as nobody asked for it."""
    return [left_out(check, reason or (WITH_DATA if "resolves" in check else HOW)) for check in CHECKS]


def check_by_running(root: Path, configs: Mapping[str, Any], dataset_dir: str | Path | None) -> list[Finding]:
    """Build the bundle's network, load its weights and run it, and with data resolve all that MONAI asks for."""
    inference, train = (config_of(configs, kind) or "" for kind in ("inference", "train"))
    if not inference or METADATA not in configs:
        return not_run(f"there is no configs/inference, or no {METADATA}, that can be read")
    data = str(Path(dataset_dir).resolve()) if dataset_dir is not None else ""
    with tempfile.TemporaryDirectory(prefix="beyond2d-check-") as temporary:
        found = Path(temporary) / "findings.json"
        done = _in_a_process(temporary, str(found), str(root.resolve()), inference, train, data)
        if not found.is_file():
            last = one_line(done.stderr.strip().rpartition("\n")[2]) or "nothing"
            problem = f"expected the process to end by itself, it ended with {done.returncode} and said: {last}"
            return [Finding("run", FAILED, [problem])]
        return [Finding(*fields) for fields in json.loads(found.read_text(encoding="utf-8"))["findings"]]


def _in_a_process(folder: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Call `main` where modules are found that this process finds; the bundle's own come in later."""
    command = [sys.executable, "-c", f"from {__package__} import running; running.main()", *arguments]
    places = os.pathsep.join(str(Path(place).resolve()) for place in sys.path)
    environment = {**os.environ, "PYTHONPATH": places, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, errors="replace")


def main() -> None:
    """What the process does; the bundle's folder comes before all other places of modules, as when MONAI runs it."""
    found, root, inference, train, dataset_dir = sys.argv[1:]
    os.chdir(root)
    sys.path.insert(0, root)
    write_json(found, {"findings": run_here(inference, train, dataset_dir)})


def run_here(inference: str, train: str = "", dataset_dir: str = "") -> list[Finding]:
    """The findings on the bundle in the current folder; an empty word stands for what there is not."""
    weights, network, script, *resolved = CHECKS
    configs = (inference, train)
    findings = [
        _attempt(weights, "weights that fit", partial(_fit, inference), MODEL),
        _attempt(network, "what the metadata says", partial(_run_network, inference), inference),
        _attempt(script, "a script that loads", _load_script, SCRIPT),
    ]
    for check, kind, config in zip(resolved, ("inference", "train"), configs, strict=True):
        resolve = partial(_resolve, config, kind, dataset_dir)
        found = _attempt(check, "all that it names", resolve, config) if dataset_dir else left_out(check, WITH_DATA)
        findings.append(found)
    return findings


def _attempt(check: str, expected: str, run: Callable[[], str], needed: str) -> Finding:
    """The finding of a check that says what is there, or fails; left out where the file that it needs is not there."""
    if not Path(needed).is_file():
        return left_out(check, f"there is no {needed}" if needed else "there is no such config that can be read")
    try:
        return Finding(check, OK, [run()])
    except Exception as error:  # whatever the bundle's code raises
        cause: BaseException = error
        while cause.__cause__ is not None:  # MONAI wraps what is raised inside of it
            cause = cause.__cause__
        known = isinstance(cause, InputError)
        detail = str(cause) if known else f"expected {expected}, got {type(cause).__name__}: {cause}"
        return Finding(check, FAILED, [one_line(detail, limit=300)])


def _fit(inference: str) -> str:
    parser = ConfigParser()
    parser.read_config(inference)
    parser.read_meta(METADATA)
    parser.update({"bundle_root": "."})
    wanted = parser.get_parsed_content("network_def").state_dict()
    check_tensors(MODEL, tensors_in(read_weights(Path(MODEL))), wanted)
    return f"{len(wanted)} tensors of network_def"


def _run_network(inference: str) -> str:
    """MONAI's own check: channels and type of what comes out for random numbers of the shape in the metadata."""
    verify_net_in_out("network_def", meta_file=METADATA, config_file=inference, bundle_root=".")
    return "channels and types as the metadata says"


def _load_script() -> str:
    torch.jit.load(SCRIPT, map_location="cpu")
    return SCRIPT


def _resolve(config: str, kind: str, dataset_dir: str) -> str:
    workflow = ConfigWorkflow(
        config, METADATA, logging_file=False, workflow_type=kind, bundle_root=".", dataset_dir=dataset_dir
    )
    workflow.initialize()
    if wrong := workflow.check_properties():
        raise InputError(f"{config}: expected what MONAI's check_properties asks for, it misses {', '.join(wrong)}")
    return f"{config} with {dataset_dir}"
