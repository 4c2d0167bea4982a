"""How tests open the configs of a system, and run them as a person does."""

import subprocess
import sys

from monai.bundle import ConfigParser, ConfigWorkflow

from beyond2d.workflow import TASKS, config_files, home


def raw(system, name):
    """One config file as it is written."""
    return ConfigParser.load_config_file(str(home() / "configs" / system / name))


def open_config(system, task, model=None, overlays=(), **overrides):
    """The workflow of a task, initialized; `overlays` are further config files behind the task's own."""
    files = [*config_files(system, task, model), *(str(home() / "configs" / system / name) for name in overlays)]
    common = {"bundle_root": str(home()), "workflow_type": TASKS[task][1], "logging_file": False}
    workflow = ConfigWorkflow(files, **common, **overrides)
    workflow.initialize()
    return workflow


def run_monai(files, *options, processes=1):
    """`python -m monai.bundle run`, or torchrun of it with several processes; a failure shows what it printed."""
    launcher = ["torch.distributed.run", "--standalone", "--nproc_per_node", str(processes), "-m"]
    command = [sys.executable, "-m", *(launcher if processes > 1 else []), "monai.bundle", "run"]
    config_files = ["--config_file", str([str(file) for file in files])]
    done = subprocess.run([*command, *config_files, *map(str, options)], cwd=home(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
