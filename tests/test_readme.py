"""The README names only what exists, and runs."""

import inspect
import re
from pathlib import Path

import pytest
from monai.bundle import ConfigParser

import beyond2d
from beyond2d import commands
from beyond2d.workflow import TASKS, home

ROOT = home()
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    line.split("#")[0].strip() for block in re.findall(r"```sh\n(.*?)```", README, re.S) for line in block.splitlines()
]
COMMANDS = [line for line in COMMANDS if line]
SYSTEM_OF = {
    "reconstruct": "reconstruction",
    "project": "reconstruction",
    "segment": "segmentation",
    "quantify": "infection",
}
TASK_OF = {"train": "train", "evaluate": "evaluate", **dict.fromkeys(SYSTEM_OF, "infer")}


def known_keys(words):
    """The config keys of a command's system; `train` and `evaluate` name theirs."""
    system, task = SYSTEM_OF.get(words[1], words[2]), TASK_OF[words[1]]
    parser = ConfigParser()
    parser.read_config([str(ROOT / "configs" / system / name) for name in TASKS[task][0]])
    return {"model", *parser.get()}


def test_the_two_commands_come_first():
    assert [line.split()[:2] for line in COMMANDS[:2]] == [["make", "demo"], ["make", "test"]]


@pytest.mark.parametrize("command", [line for line in COMMANDS if line.startswith("make ")])
def test_make_targets_exist(command):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(rf"^{command.split()[1]}:", makefile, re.M)


@pytest.mark.parametrize("command", [line for line in COMMANDS if line.startswith("beyond2d ")])
def test_commands_and_options_exist(command):
    words = command.split()
    function = getattr(commands, words[1].replace("-", "_"))
    options = {word[2:] for word in words if word.startswith("--")}
    known = set(inspect.signature(function).parameters)
    if words[1] in TASK_OF:
        known |= known_keys(words)
    assert options <= known


@pytest.mark.parametrize("command", [line for line in COMMANDS if "monai.bundle" in line])
def test_bundle_commands_name_configs_and_keys(command):
    files = re.findall(r"configs/[\w/]+\.yaml", command)
    parser = ConfigParser()
    parser.read_config([str(ROOT / name) for name in files])
    options = set(re.findall(r"--(\w+)", command.split("monai.bundle run")[1])) - {"config_file"}
    assert options <= set(parser.get())


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda p: p.name
)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert target.startswith("http") or (page.parent / target).exists(), target


def test_the_python_example_runs():
    (example,) = re.findall(r"```python\n(.*?)```", README, re.S)
    names = {}
    exec(example, names)
    assert names["hull"].shape == (128, 128, 96)


def test_version_and_changelog_agree():
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)[1]
    versions = {ConfigParser.load_config_file(str(path))["version"] for path in ROOT.glob("configs/*/metadata.json")}
    assert {newest, beyond2d.__version__} == versions


def test_nothing_but_the_house_is_visible():
    allowed = {"bundle", "configs", "models", "scripts", "docs", "tests", "label", "LICENSE", "README.md",
               "CHANGELOG.md", "CONTRIBUTING.md", "Makefile", "pyproject.toml", "constraints.txt"}  # fmt: skip
    made_here = {"demo", "runs", "data", "build", "dist"}
    visible = {path.name for path in Path(ROOT).iterdir() if not path.name.startswith(".")}
    assert visible - made_here == allowed


def test_its_figures_are_those_of_the_cards():
    cards = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md"))
    figures = re.findall(r"\d\.\d+ \[[^\]]+\]", README)
    assert figures
    assert [figure for figure in figures if figure not in cards] == []
