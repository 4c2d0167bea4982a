"""How tests open the configs of a system."""

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
