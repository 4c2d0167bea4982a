"""Pushing to and pulling from the Hugging Face Hub, with a stand-in for it that keeps repositories in memory."""

import fnmatch
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import yaml
from monai.bundle import scripts

from beyond2d.__main__ import main


class Repository:
    """The files of a branch after its last commit, and what tags name."""

    def __init__(self):
        self.files, self.tags, self.commits = {}, {}, 0

    def commit(self, folder, ignore_patterns, delete_patterns):
        """What `upload_folder` does: patterns of the first kind do not go up, files of the second go first."""
        kept = {place: text for place, text in self.files.items() if not matches(place, delete_patterns)}
        self.files = {
            **kept,
            **{place: text for place, text in read(folder).items() if not matches(place, ignore_patterns)},
        }
        self.commits += 1


def matches(place, patterns):
    return any(fnmatch.fnmatch(place, pattern) for pattern in patterns or [])


def read(folder):
    paths = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@pytest.fixture
def hub(monkeypatch):
    """The repositories by name; MONAI and the project find the stand-in where they look for huggingface_hub."""
    repositories = {}
    errors = ModuleType("huggingface_hub.errors")
    errors.HTTPError = type("HTTPError", (Exception,), {})
    errors.HFValidationError = type("HFValidationError", (ValueError,), {})

    class HfApi:
        def __init__(self, token=None):
            assert token is None  # the one that is stored

        def create_repo(self, repo_id, private, exist_ok):
            if repo_id.startswith("others/"):
                raise errors.HTTPError("403 Forbidden:\n you may not write here")
            repositories.setdefault(repo_id, Repository()).private = private

        def upload_folder(self, repo_id, folder_path, ignore_patterns=None, delete_patterns=None):
            repositories[repo_id].commit(folder_path, ignore_patterns, delete_patterns)

        def create_tag(self, repo_id, tag, exist_ok):
            repositories[repo_id].tags.setdefault(tag, dict(repositories[repo_id].files))

    def snapshot_download(repo_id, revision, local_dir):
        if repo_id not in repositories:
            raise errors.HTTPError(f"404: no repository {repo_id}")
        repository = repositories[repo_id]
        files = repository.files if revision == "main" else repository.tags[revision]
        for place, content in {**files, ".gitattributes": b"*.pt", ".cache/huggingface/x": b""}.items():
            Path(local_dir, place).parent.mkdir(parents=True, exist_ok=True)
            Path(local_dir, place).write_bytes(content)

    module = ModuleType("huggingface_hub")
    module.__spec__ = SimpleNamespace(name="huggingface_hub")
    module.HfApi, module.snapshot_download, module.errors = HfApi, snapshot_download, errors
    module.repo_exists = repositories.__contains__
    module.list_repo_refs = lambda repo: SimpleNamespace(
        tags=[SimpleNamespace(name=n) for n in repositories[repo].tags]
    )
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    monkeypatch.setitem(sys.modules, "huggingface_hub.errors", errors)
    monkeypatch.setattr(scripts, "huggingface_hub", module)
    return repositories


@pytest.fixture
def bundle(segmenter, tmp_path):
    main(["pack", "segmentation", "--weights", str(segmenter), "--out", str(tmp_path / "dist")])
    return tmp_path / "dist" / "beyond2d_segmentation"


def complaint(capsys, *arguments):
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        main(list(map(str, arguments)))
    assert end.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_what_is_pushed_comes_back_to_the_byte(hub, bundle, tmp_path):
    packed = read(bundle)
    (bundle / "notes.txt").write_text("mine", encoding="utf-8")
    main(["push", str(bundle), "me/organs", "--tag", "0.4.0"])
    assert read(bundle) == {**packed, "notes.txt": b"mine"}  # nothing is written beside what is pushed
    repository = hub["me/organs"]
    assert repository.private
    assert {place: text for place, text in repository.files.items() if place != "README.md"} == packed
    assert repository.tags == {"0.4.0": repository.files}
    for revision in ("main", "0.4.0"):
        main(["pull", "me/organs", "--revision", revision, "--out", str(tmp_path / revision)])
        assert read(tmp_path / revision) == {f"organs/{place}": content for place, content in packed.items()}


def test_the_hubs_page_has_one_header_and_links_that_lead_somewhere(hub, bundle):
    main(["push", str(bundle), "me/organs", "--private", "False"])
    files = hub["me/organs"].files
    assert not hub["me/organs"].private
    page = files["README.md"].decode()
    _, header, text = page.split("---\n", 2)
    assert yaml.safe_load(header)["library_name"] == "monai"
    assert not text.lstrip().startswith("---")
    assert "](docs/data_license.txt)" in text
    assert "](docs/segmentation_minutes.png)" in text
    assert {"docs/data_license.txt", "docs/segmentation_minutes.png"} <= set(files)


def test_a_second_push_leaves_no_code_of_the_first(hub, bundle):
    main(["push", str(bundle), "me/organs"])
    hub["me/organs"].files["beyond2d_00000000/old.py"] = b""
    hub["me/organs"].files["notes.txt"] = b""
    main(["push", str(bundle), "me/organs"])
    assert set(hub["me/organs"].files) == {*read(bundle), "README.md", "notes.txt"}


def test_what_is_not_as_it_was_packed_is_not_pushed(hub, bundle, tmp_path, capsys):
    (bundle / "LICENSE").write_text("mine", encoding="utf-8")
    assert "LICENSE: expected the file that was packed" in complaint(capsys, "push", bundle, "me/organs")
    (bundle / "LICENSE").unlink()
    assert "LICENSE: expected a file that manifest.json lists" in complaint(capsys, "push", bundle, "me/organs")
    assert "expected a folder that `beyond2d pack` wrote" in complaint(capsys, "push", tmp_path, "me/organs")
    assert not hub


def test_a_tag_is_not_given_twice(hub, bundle, capsys):
    main(["push", str(bundle), "me/organs", "--tag", "first"])
    assert "me/organs has 'first' already" in complaint(capsys, "push", bundle, "me/organs", "--tag", "first")
    assert hub["me/organs"].commits == 2


def test_a_damaged_bundle_is_not_kept_and_an_earlier_one_is(hub, bundle, tmp_path, capsys):
    main(["push", str(bundle), "me/organs"])
    out = tmp_path / "pulled"
    main(["pull", "me/organs", "--out", str(out)])
    earlier = read(out)
    hub["me/organs"].files["configs/train.json"] = b"{}"
    assert "train.json: expected the file that was packed" in complaint(capsys, "pull", "me/organs", "--out", out)
    assert read(out) == earlier


def test_a_bundle_of_others_is_taken_as_it_is(hub, tmp_path):
    hub["them/spleen"] = Repository()
    hub["them/spleen"].files = {"configs/metadata.json": b"{}", "README.md": b"theirs"}
    main(["pull", "them/spleen", "--out", str(tmp_path)])
    assert set(read(tmp_path / "spleen")) == {"configs/metadata.json", "README.md", ".gitattributes"}


def test_pulling_again_removes_what_is_no_longer_there(hub, bundle, tmp_path):
    main(["push", str(bundle), "me/organs"])
    main(["pull", "me/organs", "--out", str(tmp_path / "pulled")])
    (tmp_path / "pulled" / "organs" / "notes.txt").write_text("mine", encoding="utf-8")
    hub["me/organs"].files = {"LICENSE": b"other", "configs/metadata.json": b"{}"}
    main(["pull", "me/organs", "--out", str(tmp_path / "pulled")])
    left = {"LICENSE", "configs/metadata.json", "notes.txt", ".gitattributes"}
    assert set(read(tmp_path / "pulled" / "organs")) == left


def test_a_repository_without_a_bundle_is_said_to_be_none(hub, tmp_path, capsys):
    hub["them/poems"] = Repository()
    assert "them/poems: expected a MONAI bundle" in complaint(
        capsys, "pull", "them/poems", "--out", tmp_path / "pulled"
    )
    assert not (tmp_path / "pulled").exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["pull", "organs"], "repo: expected OWNER/NAME on the Hugging Face Hub, got 'organs'"),
        (["pull", "me/../organs"], "repo: expected OWNER/NAME"),
        (["pull", "me/nothing"], "me/nothing: the Hugging Face Hub refused, or could not be reached: 404"),
        (
            ["push", "BUNDLE", "others/organs"],
            "could not be reached: 403 Forbidden: you may not write here",
        ),
    ],
)
def test_what_the_hub_refuses_is_said_in_one_line(hub, bundle, tmp_path, capsys, monkeypatch, arguments, expected):
    monkeypatch.chdir(tmp_path)
    given = [str(bundle) if argument == "BUNDLE" else argument for argument in arguments]
    assert expected in complaint(capsys, *given)
    assert not (tmp_path / "pulled").exists()


@pytest.mark.parametrize("arguments", [["pull", "me/organs"], ["push", "BUNDLE", "me/organs"]])
def test_without_the_hubs_package_it_is_named(bundle, capsys, monkeypatch, arguments):
    monkeypatch.setattr("beyond2d.packing.hub.find_spec", lambda name: None)
    given = [str(bundle) if argument == "BUNDLE" else argument for argument in arguments]
    assert "expected the package huggingface_hub" in complaint(capsys, *given)
