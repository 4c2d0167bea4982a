"""A sound bundle passes, every planted defect fails by its own name, and nothing of a bundle runs unasked."""

import json
import os
import pickle
import shutil
import stat
import tempfile
import zipfile

import numpy as np
import pytest
import torch
from conftest import new_network
from monai.networks.nets import UNet
from small_bundles import (
    NETWORK,
    change_json,
    save_weights,
    write_manifest,
    write_sound_bundle,
    write_texts,
    write_zoo_bundle,
)

import beyond2d
from beyond2d.__main__ import main
from beyond2d.inspection import archives, configs, inspect_bundle
from beyond2d.inspection.running import CHECKS, run_here
from beyond2d.packing import pack_system
from beyond2d.workflow import SYSTEMS, home

METADATA, INFERENCE_CONFIG, TRAIN_CONFIG = (f"configs/{name}.json" for name in ("metadata", "inference", "train"))


@pytest.fixture(scope="session")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sound") / "small"
    write_sound_bundle(folder)
    return folder


@pytest.fixture
def sound(original, tmp_path):
    """A copy of a sound bundle, to be spoiled."""
    return shutil.copytree(original, tmp_path / "small")


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The folder in which temporary folders are made."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def zipped(folder, path):
    """A zip of a folder, under the folder's own name, as the model zoo has them."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, f"{folder.name}/{file.relative_to(folder).as_posix()}")
    return path


def failures(bundle):
    """What failed, by the name of its check."""
    return {finding.check: finding.line() for finding in inspect_bundle(bundle).findings if finding.outcome == "FAILED"}


def outcomes(findings):
    return {finding.check: finding.outcome for finding in findings}


# A sound bundle


def test_a_sound_bundle_passes(sound):
    found = outcomes(inspect_bundle(sound).findings)
    assert found == {check: "left out" if check in CHECKS else "ok" for check in found}
    assert set(CHECKS) < set(found)


def test_its_zip_passes_and_leaves_nothing_behind(sound, tmp_path, temporary):
    assert failures(zipped(sound, tmp_path / "small.zip")) == {}
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("ending", ["json", "yaml"])
def test_a_bundle_in_the_style_of_the_model_zoo_passes(ending, tmp_path):
    write_zoo_bundle(tmp_path / "zoo", ending)
    found = outcomes(inspect_bundle(tmp_path / "zoo").findings)
    assert [check for check, outcome in found.items() if outcome == "FAILED"] == []
    assert (found["hashes"], found["packed by"]) == ("left out", "left out")
    assert found["train properties"] == "ok"


# Planted defects, each with the check that finds it and words of its line


def unlink(name):
    return lambda root: (root / name).unlink()


def changed(name, change):
    return lambda root: change_json(root / name, change)


def without(*keys):
    """A change that takes a key away, however deep it stands."""

    def change(content):
        for key in keys[:-1]:
            content = content[key]
        del content[keys[-1]]

    return change


def with_value(value, *keys):
    def change(content):
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = value

    return change


def text(name, content):
    return lambda root: write_texts(root, {name: content})


DEFECTS = {
    "no licence": (unlink("LICENSE"), "LICENSE", "expected LICENSE, there is none"),
    "no readme": (unlink("docs/README.md"), "README", "expected docs/README.md"),
    "no data licence": (unlink("docs/data_license.txt"), "data licence", "names data (random numbers)"),
    "no weights": (unlink("models/model.pt"), "weights", "expected models/model.pt or models/model.ts"),
    "no inference config": (unlink(INFERENCE_CONFIG), "inference config", "configs/inference.yaml"),
    "no train config": (unlink(TRAIN_CONFIG), "train config", "expected configs/train*.json"),
    "no metadata": (unlink(METADATA), "metadata", "expected configs/metadata.json"),
    "no schema": (changed(METADATA, without("schema")), "schema", "expected metadata to name its schema"),
    "a key of the schema missing": (
        changed(METADATA, without("task")),
        "schema",
        "'task' is a required property",
    ),
    "a value against the schema": (
        changed(METADATA, with_value("two", "network_data_format", "outputs", "pred", "num_channels")),
        "schema",
        "network_data_format/outputs/pred/num_channels: 'two' is not of type 'integer'",
    ),
    "no changelog": (changed(METADATA, without("changelog")), "changelog", "expected metadata to have a changelog"),
    "version not in the changelog": (
        changed(METADATA, with_value("0.2.0", "version")),
        "changelog",
        "expected the version '0.2.0' in the changelog, got 0.1.0",
    ),
    "broken JSON": (text("configs/evaluate.json", '{"run": [}'), "configs", "configs/evaluate.json: expected JSON"),
    "JSON too deep": (text("configs/evaluate.json", "[" * 100_000), "configs", "configs/evaluate.json: expected JSON"),
    "a list in place of metadata": (
        text(METADATA, "[]"),
        "configs",
        "configs/metadata.json: expected JSON, got: list in place of keys and values",
    ),
    "nothing in place of a config": (
        lambda root: (root / TRAIN_CONFIG).rename(root / "configs/train.yaml").write_text("", encoding="utf-8"),
        "configs",
        "configs/train.yaml: expected YAML, got: NoneType in place of keys and values",
    ),
    "YAML with a list for a key": (
        text("configs/evaluate.yaml", "? [a, b]\n: c\n"),
        "configs",
        "configs/evaluate.yaml: expected YAML",
    ),
    "broken YAML": (text("configs/evaluate.yaml", "run: [\n"), "configs", "configs/evaluate.yaml: expected YAML"),
    "YAML that makes objects": (
        text("configs/evaluate.yaml", "run: !!python/object/apply:os.system ['touch marker']"),
        "configs",
        "could not determine a constructor",
    ),
    "a required id missing": (
        changed(INFERENCE_CONFIG, without("inferer")),
        "inference properties",
        "expected the id inferer (inferer), there is none",
    ),
    "a required id missing in train": (
        changed(TRAIN_CONFIG, without("train", "trainer", "max_epochs")),
        "train properties",
        "expected the id train#trainer#max_epochs (max_epochs), there is none",
    ),
    "a broken file of weights": (
        lambda root: (root / "models/model.pt").write_bytes(b"weights"),
        "weights load",
        "models/model.pt: expected weights as torch.save writes them",
    ),
    "weights without names": (
        lambda root: torch.save([torch.zeros(2)], root / "models/model.pt"),
        "weights load",
        "expected tensors by name, got list without any",
    ),
    "a link": (lambda root: (root / "models/other.pt").symlink_to("model.pt"), "folder", "the link models/other.pt"),
    "a pipe": (lambda root: os.mkfifo(root / "docs/pipe"), "folder", "docs/pipe, which is none"),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_defect_is_found_by_its_own_check(defect, sound):
    spoil, check, words = DEFECTS[defect]
    spoil(sound)
    write_manifest(sound)
    if check == "folder":  # hashed through the link, which the check does not follow
        change_json(sound / "manifest.json", lambda content: content["files"].pop("models/other.pt", None))
    found = failures(sound)
    assert set(found) == {check}
    assert words in found[check]


MANIFESTS = {
    "another content": (text("docs/README.md", "# Something"), "docs/README.md: expected SHA-256"),
    "a file too many": (text("scripts.py", "import os"), "scripts.py: not in manifest.json"),
    "a file too few": (unlink(TRAIN_CONFIG), "configs/train.json: in manifest.json, not in the bundle"),
    "no hashes": (text("manifest.json", "{}"), "manifest.json: expected JSON with the SHA-256 of every file"),
}


@pytest.mark.parametrize("defect", MANIFESTS)
def test_a_bundle_that_is_not_as_it_was_packed_is_found(defect, sound):
    spoil, words = MANIFESTS[defect]
    spoil(sound)
    assert words in failures(sound)["hashes"]


def test_what_hubs_and_file_managers_leave_is_no_defect(sound):
    write_texts(sound, {".gitattributes": "*.pt", ".cache/download.json": "{}", "docs/.DS_Store": ""})
    assert failures(sound) == {}


def test_what_python_compiles_is_not_taken_for_packed(sound):
    write_texts(sound, {"scripts/__pycache__/net.cpython-311.pyc": ""})
    assert "net.cpython-311.pyc: not in manifest.json" in failures(sound)["hashes"]


def test_a_newer_version_that_packed_is_named(sound):
    write_manifest(sound, packed_by="99.1.0")
    assert failures(sound) == {
        "packed by": f"packed by beyond2d 99.1.0, which is newer than this one, {beyond2d.__version__}: "
        "update to check or run it"
    }


def test_a_version_that_is_no_text_is_found(sound):
    change_json(sound / METADATA, with_value([0, 2], "version"))
    assert failures(sound).keys() == {"schema", "changelog", "hashes"}


def test_several_problems_are_one_line_and_whole_in_the_finding(sound):
    for name in ("LICENSE", "docs/README.md"):
        write_texts(sound, {name: "changed"})
    finding = next(finding for finding in inspect_bundle(sound).findings if finding.check == "hashes")
    assert len(finding.details) == 2
    assert finding.line().endswith("(and 1 more)")


def test_another_schema_is_left_to_monai(sound):
    change_json(sound / METADATA, with_value("https://example.org/meta_schema_20220324.json", "schema"))
    schema = next(finding for finding in inspect_bundle(sound).findings if finding.check == "schema")
    assert schema.outcome == "left out"
    assert "meta_schema_20220324.json" in schema.line()


def test_weights_that_are_to_be_downloaded_are_said_to_be_so(sound):
    (sound / "models/model.pt").unlink()
    write_texts(sound, {"large_files.yml": "large_files: []"})
    assert "large_files.yml says where to download it" in failures(sound)["weights"]


def test_a_macro_stands_for_what_it_brings_in(sound):
    change_json(sound / TRAIN_CONFIG, with_value("%configs/other.json#trainer", "train", "trainer"))
    assert "train properties" not in failures(sound)


def test_keys_that_reach_inside_are_put_there(sound):
    def reach(content):
        content["train#inferer"] = content["train"].pop("inferer")

    change_json(sound / TRAIN_CONFIG, reach)
    assert "train properties" not in failures(sound)
    change_json(sound / TRAIN_CONFIG, with_value(0, "nowhere#part"))
    assert "expected keys that MONAI can put together" in failures(sound)["train properties"]


def test_aliases_that_multiply_are_not_followed_forever(sound, monkeypatch):
    monkeypatch.setattr(configs, "MAX_VALUES", 10_000)
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]" for level in range(1, 9)]
    write_texts(sound, {"configs/evaluate.yaml": "\n".join(lines)})
    assert "configs/evaluate.yaml: expected YAML, got: more than 10000 values" in failures(sound)["configs"]


# Zips that are refused


def entry(name, content=b"x", mode=stat.S_IFREG | 0o644, flags=0):
    def add(archive):
        info = zipfile.ZipInfo(name)
        info.external_attr = mode << 16
        info.compress_type = zipfile.ZIP_DEFLATED
        archive.writestr(info, content)
        archive.infolist()[-1].flag_bits |= flags  # said by the directory of the zip, which is written last

    return add


def wrong_size(archive):
    archive.writestr("small/long.txt", b"0" * 100_000)
    archive.infolist()[-1].file_size = 10


ZIPS = {
    "above": (entry("small/../../evil.txt"), "expected paths inside the bundle, got 'small/../../evil.txt'"),
    "backslash": (entry("small\\..\\evil.txt"), "expected paths inside the bundle"),
    "absolute": (entry("/evil.txt"), "got the absolute path '/evil.txt'"),
    "drive": (entry("C:/evil.txt"), "got the absolute path 'C:/evil.txt'"),
    "link": (entry("small/link", b"/etc/passwd", stat.S_IFLNK | 0o777), "got the link 'small/link'"),
    "pipe": (entry("small/pipe", b"", stat.S_IFIFO | 0o644), "'small/pipe', which is none"),
    "twice": (entry("small/license"), "expected every name once, got 'small/license' twice"),
    "password": (entry("small/secret", flags=1), "'small/secret' under a password"),
    "file as a folder": (entry("small/LICENSE/more.txt"), "expected a zip that unpacks"),
    "bomb": (entry("small/zeros", bytes(20 * 2**20)), "expected to unpack to at most 100 times its size"),
    "lying about a size": (wrong_size, "expected a zip that unpacks"),
}


@pytest.mark.parametrize("kind", ZIPS)
def test_a_zip_that_cannot_be_trusted_is_refused(kind, sound, tmp_path, temporary):
    spoil, words = ZIPS[kind]
    path = zipped(sound, tmp_path / "small.zip")
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        spoil(archive)
    before = sorted(tmp_path.rglob("*"))
    inspection = inspect_bundle(path)
    (finding,) = inspection.findings
    assert (finding.check, finding.outcome, inspection.execution) == ("zip", "FAILED", None)
    assert words in finding.line()
    assert sorted(tmp_path.rglob("*")) == before


def test_a_zip_that_declares_too_much_is_refused(sound, tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MAX_UNPACKED_BYTES", 1000)
    monkeypatch.setattr(archives, "MAX_FILES", 3)
    (finding,) = inspect_bundle(zipped(sound, tmp_path / "small.zip")).findings
    assert [detail.split(",")[0] for detail in finding.details] == [
        "expected at most 3 entries",
        "expected at most 9.31323e-07 GiB unpacked",
    ]


def test_what_lies_beside_the_bundle_in_a_zip_is_found(sound, tmp_path):
    path = zipped(sound, tmp_path / "small.zip")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("__MACOSX/._small", "")
    assert failures(path) == {}
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("setup.py", "")
    assert failures(path) == {"zip": "expected all of the bundle in small, got setup.py beside it"}


def test_what_is_no_zip_is_refused(tmp_path):
    (tmp_path / "bundle.zip").write_bytes(b"no zip")
    assert "File is not a zip file" in failures(tmp_path / "bundle.zip")["zip"]


# Nothing runs unasked


class Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def test_a_pickle_that_would_run_code_is_named_and_not_run(sound, tmp_path):
    marker = tmp_path / "marker"
    torch.save({"weight": torch.zeros(2), "more": Touch(marker)}, sound / "models/model.pt")
    write_manifest(sound)
    (line,) = failures(sound).values()
    assert f"expected tensors alone, got a pickle that would run {os.system.__module__}.system" in line
    assert not marker.exists()
    torch.load(sound / "models/model.pt", weights_only=False)
    assert marker.exists()


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_bare_pickle_is_not_run_either(protocol, sound, tmp_path):
    (sound / "models/model.pt").write_bytes(pickle.dumps(Touch(tmp_path / "marker"), protocol))
    write_manifest(sound)
    ((check, line),) = failures(sound).items()
    assert check == "weights load"
    assert "expected weights as torch.save writes them, which load with weights_only=True, got: Unpickling" in line
    assert not (tmp_path / "marker").exists()


def test_weights_that_unpack_to_more_than_a_memory_holds_are_refused(sound):
    with zipfile.ZipFile(sound / "models/model.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(20 * 2**20))
    write_manifest(sound)
    assert "expected to unpack to at most 100 times its size" in failures(sound)["weights load"]


@pytest.fixture
def marking(sound, tmp_path):
    """A bundle that makes a file in every way in which a bundle runs code, and the folder for the files."""
    folder = tmp_path / "markers"
    folder.mkdir()
    touch = f"open('{folder}/{{}}', 'w').close()"
    write_texts(sound, {"marking/__init__.py": touch.format("imported")})
    change_json(sound / INFERENCE_CONFIG, with_value(["$import glob", "$import marking"], "imports"))
    change_json(sound / INFERENCE_CONFIG, with_value("$" + touch.format("expression"), "device"))
    kernel_size = {"_target_": "os.mkdir", "path": f"{folder}/target"}
    network = {"_target_": "torch.nn.ModuleList", "modules": ["$torch.nn.ReLU()"], "_requires_": [kernel_size]}
    change_json(sound / INFERENCE_CONFIG, with_value(network, "network_def"))
    change_json(sound / METADATA, with_value("$" + touch.format("metadata"), "description"))
    write_manifest(sound)
    return sound, folder


def test_nothing_of_a_bundle_runs_unasked(marking):
    bundle, folder = marking
    assert inspect_bundle(bundle).having("FAILED") == []
    assert list(folder.iterdir()) == []


@pytest.mark.slow
def test_what_is_asked_to_run_runs_on_a_copy(marking):
    bundle, folder = marking
    before = {path: path.stat().st_mtime_ns for path in bundle.rglob("*")}
    assert "network in and out" in inspect_bundle(bundle, run=True).having("FAILED")
    assert {path.name for path in folder.iterdir()} == {"imported", "target"}
    assert {path: path.stat().st_mtime_ns for path in bundle.rglob("*")} == before


def test_what_running_would_execute_is_listed(marking):
    bundle, folder = marking
    execution = inspect_bundle(bundle).execution
    assert execution.files == ["marking/__init__.py"]
    assert execution.modules["marking"] == "in the bundle"
    assert execution.modules["os"] == "installed"
    assert execution.targets["os.mkdir"] == ["configs/inference.json: network_def#_requires_#0#_target_"]
    assert "monai.engines.trainer.SupervisedTrainer" in execution.targets
    opened = {place for text, places in execution.expressions.items() if str(folder) in text for place in places}
    assert opened == {"configs/inference.json: device", "configs/metadata.json: description"}


def test_every_kind_of_execution_is_listed(sound):
    logging = "[handler_a]\nclass=handlers.SocketHandler\nargs=(__import__('os').getcwd(), 9)\n"
    write_texts(sound, {"configs/logging.conf": logging, "models/more.pkl": "", "glob.py": ""})
    config = {
        "a": {"_target_": "eval"},
        "b": "%/elsewhere/other.json#net",
        "c": ["%a", "@a", "text"],
        "d": {"e": [{"_disabled_": "$from nowhere_at_all.part import thing"}]},
        "f": {"_target_": "$@a"},
        "a#_target_": "shutil.rmtree",
        "b::_target_": "os.remove",
        "+c#_target_": "os.rmdir",
        "g": "$@train#trainer or importlib.import_module('secrets.more') or __import__('shelve')",
    }
    write_texts(sound, {"configs/other.json": json.dumps(config)})
    execution = inspect_bundle(sound).execution
    assert execution.files == ["glob.py", "models/more.pkl"]
    assert execution.targets["builtins.eval"] == ["configs/other.json: a#_target_"]
    assert execution.modules["glob"] == "in the bundle"  # it would hide Python's own
    assert execution.modules["nowhere_at_all"] == "not installed here"
    assert {"shutil.rmtree", "os.remove", "os.rmdir"} < set(execution.targets)
    assert {"secrets", "shelve"} < set(execution.modules)
    expected = {
        "%/elsewhere/other.json#net": "configs/other.json: b",
        "$from nowhere_at_all.part import thing": "configs/other.json: d#e#0#_disabled_",
        "$@a": "configs/other.json: f#_target_",
        "handlers.SocketHandler": "configs/logging.conf: handler_a#class",
        "(__import__('os').getcwd(), 9)": "configs/logging.conf: handler_a#args",
    }
    for text_, place in expected.items():
        assert execution.expressions[text_] == [place]
    assert not {"%a", "@a", "text"} & set(execution.expressions)


# With the bundle's code run


def run(sound, monkeypatch):
    """The findings by running, in this process: the bundle is the test's own."""
    monkeypatch.chdir(sound)
    return {finding.check: finding for finding in run_here(INFERENCE_CONFIG, TRAIN_CONFIG)}


def test_a_sound_network_fits_its_weights_and_metadata(sound, monkeypatch):
    found = outcomes(run(sound, monkeypatch).values())
    assert found == {"weights fit": "ok", "network in and out": "ok", **dict.fromkeys(CHECKS[2:], "left out")}


def test_weights_of_another_architecture_are_found(sound, monkeypatch):
    save_weights(sound / "models/model.pt", channels=[4, 16])
    assert failures(sound).keys() == {"hashes"}  # without running it, they are weights like any others
    finding = run(sound, monkeypatch)["weights fit"]
    assert finding.outcome == "FAILED"
    assert "expected weights of the config's network (18 tensors), got those of another" in finding.line()


def test_weights_among_other_objects_fit(sound, monkeypatch):
    state = torch.load(sound / "models/model.pt", weights_only=True)
    torch.save({"model": state, "optimizer": {"state": {}}}, sound / "models/model.pt")
    assert run(sound, monkeypatch)["weights fit"].outcome == "ok"


@pytest.mark.parametrize(
    ("side", "name", "words"),
    [
        (
            "outputs",
            "pred",
            "expected what the metadata says, got ValueError: output channel number `2` doesn't match: `3`",
        ),
        ("inputs", "image", "got 3 channels instead"),
    ],
)
def test_channels_other_than_the_metadata_says_are_found(side, name, words, sound, monkeypatch):
    change_json(sound / METADATA, with_value(3, "network_data_format", side, name, "num_channels"))
    finding = run(sound, monkeypatch)["network in and out"]
    assert finding.outcome == "FAILED"
    assert words in finding.line()


def test_a_script_of_torch_is_loaded(sound, monkeypatch):
    network = UNet(**{key: value for key, value in NETWORK.items() if key != "_target_"})
    torch.jit.script(network).save(sound / "models/model.ts")
    assert run(sound, monkeypatch)["TorchScript loads"].outcome == "ok"
    (sound / "models/model.ts").write_bytes(b"no script")
    assert run(sound, monkeypatch)["TorchScript loads"].outcome == "FAILED"


@pytest.mark.slow
def test_all_checks_pass_on_the_zip_of_a_sound_bundle(sound, tmp_path, temporary):
    data = tmp_path / "data"
    data.mkdir()
    np.save(data / "image.npy", np.zeros((8, 8, 8), np.float32))
    found = outcomes(inspect_bundle(zipped(sound, tmp_path / "small.zip"), run=True, dataset_dir=data).findings)
    assert found == {check: "left out" if check == "TorchScript loads" else "ok" for check in found}
    assert list(temporary.iterdir()) == []


@pytest.mark.slow
def test_code_that_ends_the_process_does_not_pass(sound):
    change_json(sound / INFERENCE_CONFIG, with_value("$sys.exit(0)", "network_def", "in_channels"))
    change_json(sound / INFERENCE_CONFIG, with_value(["$import glob", "$import sys"], "imports"))
    write_manifest(sound)
    (finding,) = [finding for finding in inspect_bundle(sound, run=True).findings if finding.outcome == "FAILED"]
    assert finding.check == "run"
    assert "it ended with 0" in finding.line()


def test_weights_that_are_a_pickle_are_not_run_where_running_is_asked_for(sound, tmp_path):
    torch.save({"more": Touch(tmp_path / "marker")}, sound / "models/model.pt")
    findings = inspect_bundle(sound, run=True).findings
    assert {finding.line() for finding in findings if finding.check in CHECKS} == {"not run: weights load failed"}
    assert not (tmp_path / "marker").exists()


@pytest.mark.slow
@pytest.mark.parametrize("system", SYSTEMS)
def test_every_packed_system_passes(system, request, tmp_path):
    weights = None
    if system == "infection":
        weights = request.getfixturevalue("lung_models")
    if system == "digits":
        weights = tmp_path / "model.pt"
        torch.save(new_network(system="digits").state_dict(), weights)
    name = pack_system(home(), system, tmp_path / "dist", weights).name
    found = outcomes(inspect_bundle(tmp_path / "dist" / f"{name}.zip", run=True).findings)
    assert found == {check: "left out" if check in CHECKS[2:] else "ok" for check in found}


# The command


def test_the_command_says_all_and_ends_well(sound, capsys, tmp_path):
    main(["check", str(sound), "--report", str(tmp_path / "report.json")])
    printed = capsys.readouterr().out
    assert "hashes                ok        7 files are as they were packed" in printed
    assert "weights fit           left out  runs the bundle's code: give --run if you trust it" in printed
    assert f"$@network.parameters()    [{TRAIN_CONFIG}: train#trainer#optimizer#params]" in printed
    assert f"{sound}: 16 checks passed, 5 left out, none failed" in printed
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["passed"] is True
    assert [finding["check"] for finding in report["findings"]][-5:] == list(CHECKS)
    assert report["executes"]["modules"] == {"glob": "installed", "monai": "installed", "torch": "installed"}


def test_the_command_ends_with_two_and_one_line_where_a_check_fails(sound, capsys, tmp_path):
    (sound / "LICENSE").unlink()
    with pytest.raises(SystemExit) as ended:
        main(["check", str(sound), "--report", str(tmp_path / "report.json")])
    assert ended.value.code == 2
    printed = capsys.readouterr()
    first = "expected LICENSE, there is none"
    assert printed.err == f"beyond2d: {sound}: 2 of 21 checks failed (LICENSE, hashes), first: {first}\n"
    assert "LICENSE               FAILED    expected LICENSE, there is none" in printed.out
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["passed"] is False
    assert report["findings"][1] == {
        "check": "LICENSE",
        "outcome": "FAILED",
        "details": ["expected LICENSE, there is none"],
    }


def test_a_strangers_words_cannot_steer_the_terminal(sound, capsys):
    change_json(sound / INFERENCE_CONFIG, with_value("$1 + \x1b[2J\n2\ud800", "extra\x1b[0m"))
    write_manifest(sound)
    main(["check", str(sound), "--report", str(sound.parent / "report.json")])
    text_, place = r"$1 + \x1b[2J\n2\ud800", rf"{INFERENCE_CONFIG}: extra\x1b[0m"
    assert f"{text_}    [{place}]" in capsys.readouterr().out
    report = json.loads((sound.parent / "report.json").read_text(encoding="utf-8"))
    assert report["executes"]["expressions"][text_] == [place]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "nowhere: expected a bundle, a folder or a zip; there is no such file"),
        ([".", "--report", "no/such/folder/report.json"], "report: expected a file in a folder that exists"),
        ([".", "--dataset_dir", "data"], "dataset_dir: is for the checks that run the bundle's code"),
    ],
)
def test_the_command_refuses(arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["check", *arguments])
    assert ended.value.code == 2
    assert words in capsys.readouterr().err
