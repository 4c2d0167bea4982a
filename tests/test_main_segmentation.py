"""The command line of the segmentation: what it writes, and what it says to bad input."""

import hashlib
import json
import os
import pickle
import shutil
import tarfile

import nibabel as nib
import numpy as np
import pytest
import torch
import yaml
from conftest import PLAN, new_network
from monai.apps import DecathlonDataset

from beyond2d import commands
from beyond2d.__main__ import main
from beyond2d.datasets import decathlon_folder
from beyond2d.readers import plan_text, read_plan
from beyond2d.report.segmentation import RESULT_FILES

TASK = "Task04_Hippocampus"
QUICK = ["--fold", "None", "--max_epochs", "1", "--mixed_precision", "False"]


@pytest.fixture
def case(organs, segmenter, tmp_path):
    """A folder with one image, its label, a model and a result of earlier."""
    datalist = json.loads((organs / "dataset.json").read_text(encoding="utf-8"))["test"][0]
    shutil.copy(organs / datalist["image"], tmp_path / "image.nii.gz")
    shutil.copy(organs / datalist["label"], tmp_path / "label.nii.gz")
    shutil.copytree(segmenter, tmp_path / "model")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "result.json").write_text("of earlier")
    return tmp_path


@pytest.fixture
def data(organs, segmenter, tmp_path):
    """A data set of its own, to be spoilt, and a plan for it."""
    shutil.copytree(organs, tmp_path / "data")
    shutil.copy(segmenter / "plan.yaml", tmp_path / "plan.yaml")
    return tmp_path


def segment(folder, *more):
    main(["segment", str(folder / "image.nii.gz"), "--model_dir", str(folder / "model"), "--out", str(folder / "out"),
          *more])  # fmt: skip


def refusal(arguments, capsys):
    """The one line on stderr that a command ends with."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("beyond2d: ")]
    return line.removeprefix("beyond2d: ")


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def save(path, voxels, affine=None):
    nib.save(nib.Nifti1Image(np.asarray(voxels), np.diag([11.25, 11.25, 22.5, 1]) if affine is None else affine), path)


def test_an_image_is_segmented_on_its_own_grid(case, capsys):
    segment(case, "--label", str(case / "label.nii.gz"))
    assert sorted(path.name for path in (case / "out").iterdir()) == sorted(RESULT_FILES)
    image, mask = nib.load(case / "image.nii.gz"), nib.load(case / "out" / "mask.nii.gz")
    assert mask.shape == image.shape
    np.testing.assert_allclose(mask.affine, image.affine, atol=1e-5)
    result = json.loads((case / "out" / "result.json").read_text(encoding="utf-8"))
    printed = capsys.readouterr().out
    for name in ("liver", "spleen", "kidneys"):
        (line,) = [line for line in printed.splitlines() if line.split()[:1] == [name]]
        assert f"{result['scores'][name]['dice']:.3f}" in line
        assert f"{result['volumes_ml'][name]:.3f}" in line


def test_an_image_smaller_than_the_patch_is_segmented_without_a_label(case, capsys):
    save(case / "image.nii.gz", np.random.default_rng(0).normal(80, 60, (9, 7, 5)))
    segment(case)
    assert nib.load(case / "out" / "mask.nii.gz").shape == (9, 7, 5)
    assert "Dice" not in capsys.readouterr().out


def test_an_ensemble_segments_like_its_only_member(case, segmenter, tmp_path, capsys):
    segment(case)
    alone = np.asarray(nib.load(case / "out" / "mask.nii.gz").dataobj)
    main(["ensemble", str(segmenter), str(segmenter), "--out", str(tmp_path / "both"), "--keep_largest", "1"])
    assert f"--model_dir {tmp_path / 'both'}" in capsys.readouterr().out
    plan = read_plan(tmp_path / "both" / "plan.yaml")
    assert (plan["num_members"], plan["keep_largest"]) == (2, [1])
    segment(case, "--model_dir", str(tmp_path / "both"))
    together = np.asarray(nib.load(case / "out" / "mask.nii.gz").dataobj)
    same = (together == alone)[(together != 1) & (alone != 1)]
    assert same.mean() > 0.99  # float16


def test_train_evaluate_and_segment(organs, segmenter, case, tmp_path, capsys):
    shutil.copytree(organs, tmp_path / "tasks" / "Task500_Organs")
    common = ["--dataset_dir", str(tmp_path / "tasks"), "--ckpt_dir", str(tmp_path / "run")]
    plan = ["--plan_file", str(segmenter / "plan.yaml")]
    main(["train", "segmentation", "--task", "Task500_Organs", *common, *plan, *QUICK])
    assert f"beyond2d evaluate segmentation --ckpt_dir {tmp_path / 'run'}" in capsys.readouterr().out
    options = ["--dataset_dir", str(organs), "--ckpt_dir", str(tmp_path / "run"), "--fold", "None"]
    main(["evaluate", "segmentation", *options, *plan, "--output_dir", str(tmp_path / "scores")])
    printed = capsys.readouterr().out
    assert "planned" in printed
    assert "mean label" in printed
    assert (tmp_path / "scores" / "cases.csv").is_file()
    shutil.copy(segmenter / "plan.yaml", tmp_path / "run")
    segment(case, "--model_dir", str(tmp_path / "run"))


def test_sound_data_is_said_to_be_sound(organs, capsys):
    main(["check-data", str(organs)])
    assert f"{organs}: every listed file is sound" in capsys.readouterr().out


def test_findings_are_a_table_and_an_exit_code(data, capsys):
    label = nib.load(data / "data" / "labelsTr" / "organs_000.nii.gz")
    save(data / "data" / "labelsTr" / "organs_000.nii.gz", np.asarray(label.dataobj) * 7, label.affine)
    os.remove(data / "data" / "imagesTr" / "organs_001.nii.gz")
    with pytest.raises(SystemExit) as ended:
        main(["check-data", str(data / "data")])
    assert ended.value.code == 2
    printed = capsys.readouterr()
    assert printed.err.splitlines()[-1] == f"beyond2d: {data / 'data'}: 2 problems found"
    assert printed.out.split()[:2] == ["File", "Problem"]
    for file in ("labelsTr/organs_000.nii.gz", "imagesTr/organs_001.nii.gz"):
        assert sum(line.split()[0] == file for line in printed.out.splitlines() if line.strip()) == 1


def test_a_plan_is_written_and_never_overwritten(organs, tmp_path, capsys):
    path = tmp_path / "new" / "plan.yaml"
    main(["plan", str(organs), "--out", str(path), "--memory_gb", "0.01"])
    assert f"--plan_file {path}" in capsys.readouterr().out
    assert read_plan(path)["labels"] == PLAN["labels"]
    before = contents(tmp_path)
    line = refusal(["plan", str(organs), "--out", str(path)], capsys)
    assert line == f"out: {path} is there already; choose another name or move it away"
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("kind", "system"), [("organs", "segmentation"), ("chests", "infection"), ("digits", "digits")]
)
def test_phantoms_for_every_system(kind, system, tmp_path, capsys):
    size = {"organs": ["--size", "16"], "chests": ["--size", "32"]}.get(kind, [])
    main(["phantom", kind, "--out", str(tmp_path / "data"), "--cases", "20" if kind == "digits" else "6", *size])
    assert f"beyond2d train {system} --dataset_dir {tmp_path / 'data'}" in capsys.readouterr().out
    assert (tmp_path / "data" / "dataset.json").is_file()


def test_bodies_vary_in_their_grids_if_asked(tmp_path):
    for name, more in (("alike", []), ("varied", ["--varied", "True"])):
        main(["phantom", "organs", "--out", str(tmp_path / name), "--cases", "6", "--size", "16", *more])
    grids = {name: {nib.load(path).shape for path in (tmp_path / name / "labelsTr").iterdir()}
             for name in ("alike", "varied")}  # fmt: skip
    assert len(grids["alike"]) == 1 < len(grids["varied"])


@pytest.mark.parametrize("command", ["segment", "check-data", "draft-labels", "plan", "ensemble"])
def test_help_teaches(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    printed = capsys.readouterr()
    text = getattr(commands, command.replace("-", "_")).__doc__.split("\n")[0].rstrip(".")
    assert text in printed.out + printed.err


# The download of a task of the decathlon, from a local archive


def offer(folder, monkeypatch, members, md5=None):
    """An archive at the place of the decathlon's."""
    archive = folder / "offered" / f"{TASK}.tar"
    archive.parent.mkdir()
    with tarfile.open(archive, "w") as tar:
        for name, source in members.items():
            tar.add(source, name)
    url = archive.as_uri()
    monkeypatch.setitem(DecathlonDataset.resource, TASK, url)
    monkeypatch.setitem(DecathlonDataset.md5, TASK, md5 or hashlib.md5(archive.read_bytes()).hexdigest())
    return url


def fetch_and_train(folder, *more):
    return ["train", "segmentation", "--task", TASK, "--dataset_dir", str(folder / "data"), "--ckpt_dir",
            str(folder / "run"), *more]  # fmt: skip


def test_a_task_is_downloaded_once(organs, segmenter, tmp_path, monkeypatch):
    offer(tmp_path, monkeypatch, {TASK: organs})
    arguments = fetch_and_train(tmp_path, "--plan_file", str(segmenter / "plan.yaml"), *QUICK)
    main(arguments)
    assert (tmp_path / "run" / "model.pt").is_file()
    assert contents(tmp_path / "data" / TASK).keys() == {
        tmp_path / "data" / TASK / path.relative_to(organs) for path in contents(organs)
    }
    monkeypatch.setitem(DecathlonDataset.resource, TASK, "file:///nowhere.tar")
    assert decathlon_folder(tmp_path / "data", TASK) == tmp_path / "data" / TASK


@pytest.mark.parametrize(
    ("members", "md5", "reason"),
    [
        (
            {f"{TASK}/dataset.json": "dataset.json", "../outside.json": "dataset.json"},
            None,
            "Unsafe path detected in archive: ../outside.json",
        ),
        ({"Task01/dataset.json": "dataset.json"}, None, "{folder}/data/Task04_Hippocampus.tar holds no "
         "Task04_Hippocampus/dataset.json"),
        ({f"{TASK}/dataset.json": "dataset.json"}, "0" * 32, "md5 hash check of downloaded file failed"),
        (None, None, "<urlopen error [Errno 2] No such file or directory: '{folder}/offered/Task04_Hippocampus.tar'>"),
    ],
    ids=["a member outside", "another task", "another checksum", "no such address"],
)  # fmt: skip
def test_a_bad_download_leaves_nothing_of_the_task(members, md5, reason, organs, tmp_path, monkeypatch, capsys):
    url = offer(tmp_path, monkeypatch, {name: organs / file for name, file in (members or {}).items()}, md5)
    if members is None:
        shutil.rmtree(tmp_path / "offered")
    line = refusal(fetch_and_train(tmp_path), capsys)
    expected = (
        f"task: expected {tmp_path / 'data' / TASK} with dataset.json, there is none, and downloading it failed ("
    )
    assert line.startswith(expected + reason.format(folder=tmp_path)[:100])
    assert line.endswith(f"); fetch {url} and unpack it in {tmp_path / 'data'}")
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert left <= {f"data/{TASK}.tar", f"offered/{TASK}.tar"}


# Bad input. Each row: what is wrong, how to make it so, the arguments behind the command, and the line


def good(folder):
    del folder


def image(change, name="image.nii.gz"):
    """Change the voxels of a file."""

    def make(folder):
        old = nib.load(folder / name)
        save(folder / name, change(np.asarray(old.dataobj, np.float32)), old.affine)

    return make


def first_voxels(value):
    def change(voxels):
        voxels[:3, 0, 0] = value
        return voxels

    return change


def spacing(value):
    """Write a voxel size past nibabel's own repairs."""

    def make(folder):
        old = nib.load(folder / "image.nii.gz")
        nib.save(old, folder / "plain.nii")
        content = bytearray((folder / "plain.nii").read_bytes())
        content[80:84] = np.float32(value).tobytes()
        with nib.openers.Opener(str(folder / "image.nii.gz"), "wb") as file:
            file.write(bytes(content))
        (folder / "plain.nii").unlink()

    return make


def cut_short(name):
    def make(folder):
        (folder / name).write_bytes((folder / name).read_bytes()[:-40])

    return make


def label_elsewhere(folder):
    label = nib.load(folder / "label.nii.gz")
    moved = nib.affines.from_matvec(np.eye(3), [50, 0, 0]) @ label.affine
    save(folder / "label.nii.gz", np.asarray(label.dataobj), moved)


def removed(name):
    return lambda folder: (folder / name).unlink()


def text_as(name, text):
    return lambda folder: (folder / name).write_text(text)


def plan(**changes):
    """Edit the plan; the weights stay."""
    return lambda folder: (folder / "model" / "plan.yaml").write_text(plan_text(PLAN | changes))


def two_channels(folder):
    """A plan and weights for images of two channels."""
    path = folder / "model" / "plan.yaml"
    path.write_text(plan_text({**PLAN, "channels": ["T1", "T2"], "intensity": [{"scheme": "zscore"}] * 2}))
    network = new_network(system="segmentation", plan_file=str(path))
    torch.save(network.state_dict(), folder / "model" / "model.pt")


def unknown_key(folder):
    content = yaml.safe_load((folder / "model" / "plan.yaml").read_text())
    (folder / "model" / "plan.yaml").write_text(yaml.safe_dump({**content, "patchsize": [16, 16, 8]}))


def weights_with_other_classes(folder):
    other = folder / "other.yaml"
    other.write_text(plan_text({**PLAN, "labels": {0: "background", 1: "liver"}}))
    torch.save(new_network(system="segmentation", plan_file=str(other)).state_dict(), folder / "model" / "model.pt")
    other.unlink()


def weights_of_another_network(folder):
    torch.save(torch.nn.Conv3d(1, 2, 3).state_dict(), folder / "model" / "model.pt")


class Harmful:
    def __reduce__(self):
        return os.system, (f"touch {os.path.expanduser(self.path)}",)


def code_as_weights(folder):
    harmful = Harmful()
    harmful.path = folder / "model" / "ran"
    with (folder / "model" / "model.pt").open("wb") as file:
        pickle.dump(harmful, file)


def out_is_a_file(folder):
    shutil.rmtree(folder / "out")
    (folder / "out").write_text("mine")


LABEL = ("--label", "{folder}/label.nii.gz")
NOT_WEIGHTS = "{folder}/model/model.pt: expected weights as torch.save writes them, cannot read the file"
OTHER_WEIGHTS = "{folder}/model/model.pt: expected weights of the config's network (74 tensors), got those of another: "
BAD_IMAGES = [
    ("label of another shape", image(lambda old: old[:5, :5, :5], "label.nii.gz"), LABEL,
     "label: expected the image's shape (32, 32, 16), got (5, 5, 5)"),
    ("label elsewhere", label_elsewhere, LABEL,
     "label: expected the image's place in the world, got a grid up to 50 mm away"),
    ("undeclared label", image(first_voxels(7), "label.nii.gz"), LABEL,
     "{folder}/label.nii.gz: expected the label values 0, 1, 2, 3, got 7 as well"),
    ("fractions in the label", image(first_voxels(0.5), "label.nii.gz"), LABEL,
     "{folder}/label.nii.gz: expected a label map of whole numbers, got 3 voxels with fractions such as 0.5"),
    ("no label", removed("label.nii.gz"), LABEL, "{folder}/label.nii.gz: no such file or folder; expected a NIfTI "
     "file (.nii or .nii.gz) or a folder with one DICOM series"),
    ("no image", removed("image.nii.gz"), (), "{folder}/image.nii.gz: no such file or folder; expected a NIfTI file "
     "(.nii or .nii.gz) or a folder with one DICOM series"),
    ("cut short", cut_short("image.nii.gz"), (), "{folder}/image.nii.gz: NIfTI file is damaged or cut short "
     "(Compressed file ended before the end-of-stream marker was reached)"),
    ("zero spacing", spacing(0), (),
     "{folder}/image.nii.gz: expected positive voxel sizes in mm, got 0 x 11.25 x 22.5"),
    ("negative spacing", spacing(-2), (),
     "{folder}/image.nii.gz: expected positive voxel sizes in mm, got -2 x 11.25 x 22.5"),
    ("2D", image(lambda old: old[:, :, 0]), (),
     "{folder}/image.nii.gz: expected a 3D volume, got 2 dimensions (32 x 32)"),
    ("two channels", image(lambda old: np.stack([old, old], -1)), (),
     "{folder}/image.nii.gz: expected a 3D volume, got 4 dimensions (32 x 32 x 16 x 2)"),
    ("fewer channels than the plan", two_channels, (),
     "{folder}/image.nii.gz: expected a 3D volume with 2 channels, got 32 x 32 x 16"),
    ("constant", image(lambda old: old * 0 + 3), (),
     "{folder}/image.nii.gz: expected an image, got the same value 3 in every voxel"),
    ("NaN", image(first_voxels(np.nan)), (),
     "{folder}/image.nii.gz: expected finite voxels, got 3 that are NaN or infinite"),
    ("weights of other classes", weights_with_other_classes, (), OTHER_WEIGHTS + "6 of 74 tensors differ, first "
     "deep_supervision_heads.0.conv.conv.bias (expected 4, got 2)"),
    ("weights of another network", weights_of_another_network, (), OTHER_WEIGHTS + "76 of 76 tensors differ, first "
     "bias"),
    ("text as weights", text_as("model/model.pt", "no weights"), (), NOT_WEIGHTS),
    ("code as weights", code_as_weights, (), NOT_WEIGHTS),
    ("torn weights", cut_short("model/model.pt"), (), NOT_WEIGHTS),
    ("no weights", removed("model/model.pt"), (),
     "{folder}/model/model.pt: expected a file of weights, there is no such file"),
    ("no plan", removed("model/plan.yaml"), (), "{folder}/model/plan.yaml: expected a plan, there is no such file; "
     "`beyond2d plan` and training make one"),
    ("plan of prose", text_as("model/plan.yaml", "once upon a time"), (),
     "{folder}/model/plan.yaml: expected a plan in YAML, got once upon a time"),
    ("plan that is no YAML", text_as("model/plan.yaml", "labels: {0"), (),
     "{folder}/model/plan.yaml: expected a plan in YAML, cannot read it (while parsing a flow mapping in "
     "\"<unicode string>\", line 1, column 9: labels: {{0 ^ expected ',' or '}}', but got '<str...)"),
    ("unknown key", unknown_key, (), "{folder}/model/plan.yaml: unknown key 'patchsize'; did you mean patch_size?"),
    ("levels of different numbers", plan(features=[4, 8]), (), "{folder}/model/plan.yaml: expected kernel_size, "
     "strides and features of one length of 3 or more, got {{'kernel_size': 3, 'strides': 3, 'features': 2}}"),
    ("odd patch", plan(patch_size=[16, 18, 8]), (),
     "{folder}/model/plan.yaml: expected patch_size in multiples of [4, 4, 2], got [16, 18, 8]"),
    ("parts of an unknown label", plan(keep_largest=[9]), (),
     "{folder}/model/plan.yaml: expected keep_largest of the label values 0, 1, 2, 3, got [9]"),
    ("misspelt option", good, ("--overlp", "0.25"), "--overlp: no such key in the config; did you mean overlap?"),
    ("whole overlap", good, ("--overlap", "1"), "overlap must be at least 0 and below 1, got 1"),
    ("overlap of words", good, ("--overlap", "much"), "overlap must be a number, got 'much'"),
    ("unknown network", good, ("--model", "network3"),
     "model must be one of planned, network1, network2, got 'network3'"),
    ("out is a file", out_is_a_file, (), "out: cannot write into {folder}/out: it is a file"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "more", "line"), [row[1:] for row in BAD_IMAGES], ids=[row[0] for row in BAD_IMAGES])
def test_a_bad_image_gets_one_line_and_leaves_everything(make, more, line, case, capsys):
    make(case)
    before = contents(case)
    arguments = ["segment", str(case / "image.nii.gz"), "--model_dir", str(case / "model"), "--out", str(case / "out")]
    found = refusal([*arguments, *(word.format(folder=case) for word in more)], capsys)
    print(found)
    assert found == line.format(folder=case)
    assert contents(case) == before


def test_an_unknown_task_is_answered_with_the_known(case, monkeypatch, capsys):
    arguments = ["segment", str(case / "image.nii.gz"), "--task", "Task99_Brain", "--out", str(case / "new")]
    monkeypatch.setattr("beyond2d.commands.volumes.home", lambda: case)
    shipped = case / "models" / "segmentation"
    line = f"task: expected shipped weights in {shipped}, there are none; give --model_dir"
    assert refusal(arguments, capsys) == line
    shutil.copytree(case / "model", shipped / "hippocampus")
    assert refusal(arguments, capsys) == "task must be one of hippocampus, got 'Task99_Brain'"
    assert not (case / "new").exists()


def listed(**changes):
    """Change what dataset.json says."""

    def make(folder):
        path = folder / "data" / "dataset.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return make


MISSING = [{"image": f"imagesTr/{name}.nii.gz", "label": f"labelsTr/{name}.nii.gz"} for name in ("ghost", "spook")]
EXAMPLE = "{folder}/data cannot be used, first "
ALL = "; `beyond2d check-data {folder}/data` lists them all"
FIRST = "organs_000.nii.gz"
BAD_DATA = [
    ("no data", lambda folder: shutil.rmtree(folder / "data"), (),
     "dataset_dir: expected a folder with dataset.json, there is no folder at {folder}/data"),
    ("missing files", listed(training=MISSING), (), "2 of 4 cases in " + EXAMPLE + "imagesTr/ghost.nii.gz: no such "
     "file or folder; expected a NIfTI file (.nii or .nii.gz) or a folder with one DICOM series" + ALL),
    ("one cut short among many", cut_short(f"data/imagesTr/{FIRST}"), (), "1 of 6 cases in " + EXAMPLE +
     f"imagesTr/{FIRST}: NIfTI file is damaged or cut short (Compressed file ended before the end-of-stream marker "
     "was reached)" + ALL),
    ("an empty mask", image(lambda old: old * 0, f"data/labelsTr/{FIRST}"), (), "1 of 6 cases in " + EXAMPLE +
     f"labelsTr/{FIRST}: expected at least one voxel of a label, got an empty label map" + ALL),
    ("another grid", image(lambda old: old[:, :, 1:], f"data/labelsTr/{FIRST}"), (), "1 of 6 cases in " + EXAMPLE +
     f"labelsTr/{FIRST}: expected the image's shape (32, 32, 16), got (32, 32, 15)" + ALL),
    ("an undeclared label", image(first_voxels(7), f"data/labelsTr/{FIRST}"), (), "1 of 6 cases in " + EXAMPLE +
     f"labelsTr/{FIRST}: expected the labels 0, 1, 2, 3 of the list, got 7 (3 voxels)" + ALL),
    ("fold too high", good, ("--fold", "5"), "fold must be 0 to 4, got 5"),
    ("fold below zero", good, ("--fold", "-1"), "fold must be a whole number of at least 0, got -1"),
    ("more folds than patients", good, ("--fold", "0"), "num_folds must be at most the number of patients, 4, got 5"),
    ("no labels", good, ("--labelled_fraction", "0"), "labelled_fraction must be above 0 and at most 1, got 0"),
    ("no cases", good, ("--num_cases", "0"), "num_cases must be a whole number of at least 1, got 0"),
    ("plan for two channels", lambda folder: (folder / "plan.yaml").write_text(
        plan_text({**PLAN, "channels": ["T1", "T2"], "intensity": [{"scheme": "zscore"}] * 2})), (),
     "{folder}/data/imagesTr/organs_000.nii.gz: expected a 3D volume with 2 channels, got 32 x 32 x 16"),
    ("unknown part", good, ("--part", "tset"), "part must be one of training, validation, test, got 'tset'"),
    ("unknown task", good, ("--task", "Task99_Brain"),
     f"task must be one of {', '.join(DecathlonDataset.resource)}, got 'Task99_Brain'"),
    ("misspelt option", good, ("--labeled_fraction", "0.5"),
     "--labeled_fraction: no such key in the config; did you mean labelled_fraction?"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "more", "line"), [row[1:] for row in BAD_DATA], ids=[row[0] for row in BAD_DATA])
def test_bad_data_gets_one_line_and_starts_no_training(make, more, line, data, capsys):
    make(data)
    before = contents(data)
    command = "evaluate" if "--part" in more else "train"
    common = [
        "--dataset_dir",
        str(data / "data"),
        "--ckpt_dir",
        str(data / "run"),
        "--plan_file",
        str(data / "plan.yaml"),
    ]
    found = refusal([command, "segmentation", *common, *QUICK, *more], capsys)
    print(found)
    assert found == line.format(folder=data)
    assert contents(data) == before


def test_evaluating_what_was_never_trained_makes_no_plan(organs, tmp_path, capsys):
    options = ["--dataset_dir", str(organs), "--ckpt_dir", str(tmp_path / "x"), "--fold", "None"]
    line = refusal(["evaluate", "segmentation", *options], capsys)
    assert line.startswith(f"{tmp_path / 'x' / 'plan.yaml'}: expected a plan, there is no such file")
    assert list(tmp_path.iterdir()) == []


def test_bad_ensembles(segmenter, case, capsys):
    out = ["--out", str(case / "new")]
    other = case / "model"
    assert refusal(["ensemble", *out], capsys) == "folders must name at least one training, got none"
    line = "keep_largest must be label values of the plan, 0, 1, 2, 3, got 9"
    assert refusal(["ensemble", str(segmenter), *out, "--keep_largest", "9"], capsys) == line
    (other / "plan.yaml").write_text(plan_text({**PLAN, "batch_size": 1}))
    line = f"{other}: expected the plan of {segmenter}, got another"
    assert refusal(["ensemble", str(segmenter), str(other), *out], capsys) == line
    (other / "model.pt").unlink()
    line = f"{other}/model.pt: expected a file of weights, there is no such file"
    assert refusal(["ensemble", str(other), *out], capsys) == line
    assert not (case / "new").exists()
