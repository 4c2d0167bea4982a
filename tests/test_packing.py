"""Packing: what is in a bundle, that it runs as the source tree does and without it, and what is refused."""

import ast
import json
import pickle
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
import yaml
from bundles import open_config, raw
from conftest import new_network
from monai.bundle import ConfigParser, ConfigWorkflow, verify_net_in_out

import beyond2d
from beyond2d.__main__ import main
from beyond2d.packing import RECIPES, put_together
from beyond2d.packing.code import package_files, package_name
from beyond2d.packing.configs import key_notes, renamed
from beyond2d.packing.manifests import sha256
from beyond2d.readers import MANIFEST, read_plan
from beyond2d.workflow import SYSTEMS, home

PACKAGE = package_name(package_files())
# Runs a bundle's inference where nothing can import the project.
ALONE = """
import sys
sys.modules["beyond2d"] = None
from monai.bundle.scripts import run
run(config_file="configs/inference.json", input=sys.argv[1], output_dir=sys.argv[2], device="cpu")
"""


@pytest.fixture(scope="module")
def digits_weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("digits") / "model.pt"
    torch.save(new_network(system="digits").state_dict(), path)
    return path


@pytest.fixture(scope="module")
def bundles(tmp_path_factory, segmenter, lung_models, digits_weights):
    """The folder of every system's bundle; only reconstruction's has the shipped weights."""
    given = {"segmentation": segmenter, "infection": lung_models, "digits": digits_weights, "reconstruction": None}
    folder = tmp_path_factory.mktemp("dist")
    made = {}
    for system, weights in given.items():
        options = [] if weights is None else ["--weights", str(weights)]
        main(["pack", system, *options, "--out", str(folder)])
        made[system] = folder / RECIPES[system].name
    return made


def content_of(folder, place):
    return json.loads((folder / place).read_text(encoding="utf-8"))


def files_of(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def refused(capsys, *arguments):
    """What `pack` says, in one line, to something that it refuses."""
    with pytest.raises(SystemExit) as end:
        main(["pack", *map(str, arguments)])
    assert end.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_every_system_has_a_recipe():
    assert set(RECIPES) == set(SYSTEMS)


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_bundle_holds_what_its_manifest_lists_and_what_monai_asks_for(bundles, system):
    folder = bundles[system]
    manifest = content_of(folder, MANIFEST)
    assert sorted([*manifest["files"], MANIFEST]) == files_of(folder)
    for place, expected in manifest["files"].items():
        assert sha256((folder / place).read_bytes()) == expected, place
    named = (manifest["beyond2d"], manifest["name"], manifest["system"], manifest["package"])
    assert named == (beyond2d.__version__, folder.name, system, PACKAGE)
    pages = {"LICENSE", "docs/README.md", "docs/data_license.txt"}
    configs = {f"configs/{path.stem}.json" for path in (home() / "configs" / system).glob("*.yaml")}
    models = {f"models/{name}" for name in RECIPES[system].files}
    assert pages | configs | models | {"configs/metadata.json", "configs/logging.conf"} <= set(files_of(folder))


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_zip_is_the_folder(bundles, system):
    folder = bundles[system]
    with zipfile.ZipFile(f"{folder}.zip") as archive:
        assert sorted(archive.namelist()) == [f"{folder.name}/{place}" for place in files_of(folder)]
        for entry in archive.infolist():
            assert archive.read(entry) == (folder.parent / entry.filename).read_bytes()
            assert (entry.date_time, entry.external_attr >> 16) == ((1980, 1, 1, 0, 0, 0), 0o100644)


def test_packed_again_it_is_the_same_to_the_byte(bundles, segmenter, tmp_path):
    main(["pack", "segmentation", "--weights", str(segmenter), "--out", str(tmp_path)])
    first, again = bundles["segmentation"], tmp_path / bundles["segmentation"].name
    assert Path(f"{first}.zip").read_bytes() == Path(f"{again}.zip").read_bytes()
    assert files_of(first) == files_of(again)
    assert all((first / place).read_bytes() == (again / place).read_bytes() for place in files_of(first))


def test_the_packages_name_is_that_of_its_content():
    code = package_files()
    assert re.fullmatch(r"beyond2d_[0-9a-f]{8}", package_name(code))
    assert {"__init__.py", "py.typed", "report/page.css", "readers/weights.py"} <= set(code)
    assert not [place for place in code if "__pycache__" in place or place.startswith("systems/")]
    changed = {**code, "checks.py": code["checks.py"] + b"\n"}
    moved = {**{place: text for place, text in code.items() if place != "lean.py"}, "meagre.py": code["lean.py"]}
    assert len({package_name(code), package_name(changed), package_name(moved)}) == 3


@pytest.mark.parametrize(
    "path", sorted((home() / "configs").glob("*/*.yaml")), ids=lambda path: f"{path.parent.name}/{path.stem}"
)
def test_a_packed_config_is_the_source_by_another_name(bundles, path):
    system, source = path.parent.name, ConfigParser.load_config_file(path)
    packed = content_of(bundles[system], f"configs/{path.stem}.json")
    assert list(packed) == list(source)
    changes = {
        "digits/inference": {"load_path": "$@bundle_root + '/models/model.pt'"},
        "segmentation/inference": {"task": "own"},
    }.get(f"{system}/{path.stem}", {})
    changes |= {"models_dir": "$@bundle_root + '/models'"} if "models_dir" in source else {}
    assert json.loads(json.dumps(packed).replace(PACKAGE, "beyond2d")) == {**source, **changes}
    assert "beyond2d." not in json.dumps(packed)


def test_expressions_and_targets_are_renamed_and_words_are_not():
    config = {
        "_target_": "beyond2d.readers.read_plan",
        "imports": ["$import beyond2d", "$from beyond2d.tiling import tile"],
        "size": "$beyond2d.tiling.tile(@beyond2d_size)",
        "title": "beyond2d.readers",
    }
    assert renamed(config, "other") == {
        "_target_": "other.readers.read_plan",
        "imports": ["$import other", "$from other.tiling import tile"],
        "size": "$other.tiling.tile(@beyond2d_size)",
        "title": "beyond2d.readers",
    }


@pytest.mark.parametrize("system", SYSTEMS)
def test_links_lead_to_files_of_the_bundle(bundles, system):
    for page in (bundles[system] / "docs").glob("*.md"):
        targets = re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8"))
        missing = [target for target in targets if "://" not in target and not (page.parent / target).is_file()]
        assert not missing, page


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_readme_says_how_to_run_it_and_what_may_be_changed(bundles, system):
    folder = bundles[system]
    text = (folder / "docs" / "README.md").read_text(encoding="utf-8")
    header = yaml.safe_load(text.split("---\n")[1])
    assert (header["license"], header["library_name"], "monai" in header["tags"]) == ("apache-2.0", "monai", True)
    assert f"cd {folder.name}\npython -m monai.bundle run --config_file configs/inference.json --input" in text
    assert text.index("## Run this bundle") < text.index("## Task")
    sections = dict(re.findall(r"^### (\w+)\.json\n(.*?)(?=^### |\Z)", text, re.M | re.S))
    for path in (home() / "configs" / system).glob("*.yaml"):
        config = content_of(folder, f"configs/{path.stem}.json")
        rows = re.findall(r"^\| `([\w#]+)` \| `(.*?)` \| (.*) \|$", sections[path.stem], re.M)
        assert {key for key, _, _ in rows} <= set(config)
        numbers = {key: value for key, value in config.items() if isinstance(value, int | float) and "#" not in key}
        listed = {key: value for key, value, _ in rows}
        assert {key: listed.get(key) for key in numbers} == {key: json.dumps(value) for key, value in numbers.items()}


def test_a_keys_comment_is_found_behind_any_value():
    text = (
        "# top\nseed: 0\na#b: 1\nc: '#1'    # the first\nd: \"$@a#b\"   # made\ne:    # parts\n  f: 1  # inner\ng: $1\n"
    )
    notes = key_notes(text, yaml.safe_load(text))
    assert notes == [("seed", ""), ("c", "the first"), ("d", "made"), ("e", "parts")]


@pytest.mark.parametrize("system", SYSTEMS)
def test_metadata_names_the_exact_versions_of_all_that_is_imported(system):
    metadata = raw(system, "metadata.json")
    lines = (home() / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = dict(line.split("==") for line in lines if "==" in line)
    core = {"monai": "monai_version", "torch": "pytorch_version", "numpy": "numpy_version"}
    versions = {name: metadata[key] for name, key in core.items()} | metadata["required_packages_version"]
    assert versions == {name: pinned[name] for name in versions}
    # What only the command line and the checks of bundles import, a bundle does not need.
    tools = {"__main__.py", "commands", "inspection", "packing"}
    code = [
        ast.parse(text)
        for place, text in package_files().items()
        if place.endswith(".py") and place.split("/")[0] not in tools
    ]
    modules = {name.split(".")[0] for tree in code for name in absolute_imports(tree)} - set(sys.stdlib_module_names)
    known = packages_distributions()
    assert {known[module][0].lower() for module in modules} <= {name.lower() for name in versions}


def absolute_imports(tree):
    for node in tree.body:  # what is imported inside of functions is for some inputs only
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module


def test_the_shipped_segmentations_metadata_is_what_its_plan_says():
    plan = read_plan(home() / "models" / "segmentation" / "hippocampus" / "plan.yaml")
    data_format = raw("segmentation", "metadata.json")["network_data_format"]
    image, prediction = data_format["inputs"]["image"], data_format["outputs"]["pred"]
    assert (image["num_channels"], image["spatial_shape"]) == (len(plan["channels"]), plan["patch_size"])
    assert list(prediction["channel_def"].values()) == list(plan["labels"].values())


def test_own_weights_bring_their_own_metadata(bundles, segmenter, monkeypatch):
    folder, plan = bundles["segmentation"], read_plan(segmenter / "plan.yaml")
    metadata = content_of(folder, "configs/metadata.json")
    prediction = metadata["network_data_format"]["outputs"]["pred"]
    assert prediction["channel_def"] == {"0": "background", "1": "liver", "2": "spleen", "3": "kidneys"}
    assert (prediction["num_channels"], prediction["spatial_shape"]) == (4, plan["patch_size"])
    assert metadata["data_source"] == "not the project's, see docs/data_license.txt"
    assert content_of(folder, "configs/inference.json")["task"] == "own"
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    verify_net_in_out("network_def", "configs/metadata.json", "configs/inference.json", device="cpu")


def test_the_data_license_says_whose_weights_these_are(bundles, segmenter, weights, tmp_path):
    shipped = (bundles["reconstruction"] / "docs" / "data_license.txt").read_text(encoding="utf-8")
    assert "synthetic cerebral vessel trees" in shipped
    assert "Not the project's" not in shipped
    own = (bundles["segmentation"] / "docs" / "data_license.txt").read_text(encoding="utf-8")
    assert own.startswith("Not the project's: model.pt, plan.yaml.")
    assert "has not said" in own
    (tmp_path / "said.txt").write_text("Ten organs of mine, CC0.", encoding="utf-8")
    said = put_together(home(), "segmentation", segmenter, tmp_path / "said.txt").files["docs/data_license.txt"]
    assert said == b"Not the project's: model.pt, plan.yaml.\n\nTen organs of mine, CC0.\n"
    mixed = put_together(home(), "reconstruction", weights).files["docs/data_license.txt"].decode()
    assert "Not the project's: model.pt.\n" in mixed
    assert "The project's weights (model_sum.pt, autoencoder/views_02.pt" in mixed


def test_one_file_of_weights_takes_the_place_of_the_shipped_one(weights):
    bundle = put_together(home(), "reconstruction", weights)
    shipped = home() / "models" / "reconstruction"
    assert bundle.own == ["model.pt"]
    assert bundle.files["models/model.pt"] == weights.read_bytes()
    assert bundle.files["models/model_sum.pt"] == (shipped / "model_sum.pt").read_bytes()
    # Of the record of the shipped weights only what predictions need is left.
    record = json.loads(bundle.files["models/record.json"])
    assert record == {"thresholds": json.loads((shipped / "record.json").read_text(encoding="utf-8"))["thresholds"]}
    assert "models/cases.csv" not in bundle.files


def test_weights_over_25_mb_are_listed(bundles):
    folder = bundles["digits"]
    (entry,) = yaml.safe_load((folder / "large_files.yml").read_text(encoding="utf-8"))["large_files"]
    digest = sha256((folder / "models" / "model.pt").read_bytes())
    assert entry == {"path": "models/model.pt", "url": "", "hash_val": digest, "hash_type": "sha256"}
    assert not (bundles["reconstruction"] / "large_files.yml").exists()


def test_packing_again_removes_what_it_left_before_and_nothing_else(segmenter, tmp_path):
    arguments = ["pack", "segmentation", "--weights", str(segmenter), "--out", str(tmp_path)]
    main(arguments)
    folder = tmp_path / "beyond2d_segmentation"
    before = files_of(folder)
    manifest = content_of(folder, MANIFEST)
    for place in ("beyond2d_00000000/old.py", "../outside.txt"):
        (folder / place).parent.mkdir(exist_ok=True)
        (folder / place).write_text("old", encoding="utf-8")
        manifest["files"][place] = "0"
    (folder / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    (folder / "models" / "model.ts").write_text("mine", encoding="utf-8")
    main(arguments)
    assert files_of(folder) == sorted([*before, "models/model.ts"])
    assert not (folder / "beyond2d_00000000").exists()
    assert (tmp_path / "outside.txt").exists()


class Harm:
    """What a pickle from a stranger may do."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def placed(folder, *files, **contents):
    """The folder with copies of files in it, and others with the contents given by their name without ending."""
    for file in files:
        shutil.copy(file, folder)
    for name, content in contents.items():
        (folder / f"{name}.json").write_text(content, encoding="utf-8")
    return folder


def harmful(folder, save):
    """A file of weights that makes another file when it is read as any pickle is."""
    save({"harm": Harm(folder / "harmed")}, folder / "model.pt")
    return folder / "model.pt"


def pickled(content, path):
    path.write_bytes(pickle.dumps(content))


HIPPOCAMPUS = home() / "models" / "segmentation" / "hippocampus" / "plan.yaml"
# What `pack` gets, from an empty folder and from sound weights of a segmentation and of digits, and what it says.
REFUSED = {
    "no weights": (lambda folder, organs, digits: ["digits"], "weights: digits has none of its own"),
    "no such folder": (
        lambda folder, organs, digits: ["infection", "--weights", folder / "nowhere"],
        "weights: expected a file of weights or the folder of a training, there is none at",
    ),
    "no model in the folder": (
        lambda folder, organs, digits: ["infection", "--weights", folder],
        "weights: expected model.pt in",
    ),
    "another network": (
        lambda folder, organs, digits: ["digits", "--weights", organs / "model.pt"],
        "model.pt: expected weights of the config's network",
    ),
    "no plan": (
        lambda folder, organs, digits: ["segmentation", "--weights", placed(folder, organs / "model.pt")],
        "plan.yaml, there is no such file",
    ),
    "the plan of another network": (
        lambda folder, organs, digits: ["segmentation", "--weights", placed(folder, organs / "model.pt", HIPPOCAMPUS)],
        "model.pt: expected weights of the config's network",
    ),
    "a pickle that runs code": (
        lambda folder, organs, digits: ["digits", "--weights", harmful(folder, pickled)],
        "model.pt: expected weights as torch.save writes them",
    ),
    "weights that run code": (
        lambda folder, organs, digits: ["digits", "--weights", harmful(folder, torch.save)],
        "model.pt: expected weights as torch.save writes them",
    ),
    "a broken figure": (
        lambda folder, organs, digits: [
            "infection",
            "--weights",
            placed(folder, digits, judgement="{}", interval='{"level": 0.9, "reach": 0.02}'),
        ],
        "judgement.json: expected JSON with the number 'threshold'",
    ),
    "no such system": (
        lambda folder, organs, digits: ["lungs"],
        "system must be one of reconstruction, segmentation, digits, infection",
    ),
    "a license that is no text": (
        lambda folder, organs, digits: ["digits", "--weights", digits, "--data_license", folder],
        "data_license: expected a text file",
    ),
    "a license of the shipped weights' data": (
        lambda folder, organs, digits: ["reconstruction", "--data_license", HIPPOCAMPUS],
        "data_license: is about weights of one's own",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_packed_is_said_in_one_line(case, segmenter, digits_weights, tmp_path, capsys):
    arguments, expected = REFUSED[case]
    given, out = tmp_path / "given", tmp_path / "dist"
    given.mkdir()
    assert expected in refused(capsys, *arguments(given, segmenter, digits_weights), "--out", out)
    assert not out.exists()
    assert not (given / "harmed").exists()


def test_a_refused_packing_leaves_the_earlier_one(segmenter, digits_weights, tmp_path, capsys):
    main(["pack", "segmentation", "--weights", str(segmenter), "--out", str(tmp_path)])
    earlier = {place: (tmp_path / place).read_bytes() for place in files_of(tmp_path)}
    shutil.copy(segmenter / "plan.yaml", digits_weights.parent)
    capsys.readouterr()
    refused(capsys, "segmentation", "--weights", digits_weights, "--out", tmp_path)
    assert {place: (tmp_path / place).read_bytes() for place in files_of(tmp_path)} == earlier


@pytest.mark.parametrize("task", ["train", "inference"])
@pytest.mark.parametrize("system", SYSTEMS)
def test_no_property_is_missing(system, task, bundles, request, monkeypatch, tmp_path):
    data = {"reconstruction": "vessels", "segmentation": "organs", "infection": "chests"}
    if system == "digits":
        dataset_dir = tmp_path / "digits"
        main(["phantom", "digits", "--cases", "40", "--out", str(dataset_dir)])
    else:
        dataset_dir = request.getfixturevalue(data[system])
    folder = bundles[system]
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    options = {"ckpt_dir": str(tmp_path / "run"), "num_folds": 2} if task == "train" else {}
    options |= {"dataset_dir": str(dataset_dir), "logging_file": False, "workflow_type": task}
    workflow = ConfigWorkflow(f"configs/{task}.json", **options)
    workflow.initialize()
    assert workflow.check_properties() == []


@pytest.mark.slow
def test_without_the_project_a_bundle_gives_the_same_mask(bundles, segmenter, organs, tmp_path):
    image = next((organs / "imagesTr").glob("*.nii.gz"))
    options = {"input": str(image), "models_dir": str(segmenter), "device": "cpu"}
    open_config("segmentation", "infer", output_dir=str(tmp_path / "source"), **options).run()
    command = [sys.executable, "-c", ALONE, str(image), str(tmp_path / "alone")]
    done = subprocess.run(command, cwd=bundles["segmentation"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    masks = [nib.load(tmp_path / folder / "mask.nii.gz") for folder in ("source", "alone")]
    np.testing.assert_array_equal(*(np.asarray(mask.dataobj) for mask in masks))
    assert np.asarray(masks[0].dataobj).any()
