"""Starts the server with every system, two versions of one among them, and checks by REST what it answers.

    python label/test_server.py

Real images are taken from ../shared/data where that is; elsewhere the project's phantoms stand in. Everything is done
in a temporary folder, and the server is stopped in the end, whatever happens.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import Any

import nibabel as nib
import numpy as np
import psutil
import requests
import SimpleITK
import yaml
from requests_toolbelt.multipart.decoder import MultipartDecoder
from serve import HOST, PROJECT
from studies import Studies, beyond2d, write_studies

SERVE = PROJECT / "label/serve.py"
SEGMENTER, OTHER = "beyond2d_hippocampus_segmentation", "other_version_segmentation"
LUNGS, VESSELS, DIGITS = "beyond2d_infection_segmentation", "beyond2d_reconstruction", "beyond2d_digits_classification"
OTHER_VERSION = "0.0.1+other"
TRAINING_CASES = 3
# Beside the figures of the system, every answer holds these.
OF_MONAI_LABEL = ("label_names", "latencies", "centroids")


def main() -> None:
    options = parser().parse_args()
    signal.signal(signal.SIGALRM, out_of_time)
    signal.alarm(60 * options.minutes)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    with tempfile.TemporaryDirectory(prefix="label-") as folder:
        work = Path(folder)
        print("Images and bundles are being made", flush=True)
        studies = write_studies(work, Path(options.data))
        bundles = pack(work)
        refuses_bad_input(bundles[0], studies.folder)
        with running(bundles, studies.folder, work) as server:
            answers_to_all(server, studies, work)
            answers_of_two_versions(server, studies, work)
            training_changes_the_apps_own_model(server, studies, work)
            print(f"      memory of the server and its training: at most {server.most_gb:.1f} GB")
    print("Everything answered as it should; the server is stopped")


def parser() -> argparse.ArgumentParser:
    built = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    built.add_argument("--data", default=PROJECT.parent / "shared/data", help="folder of real images, if there is one")
    built.add_argument("--minutes", type=int, default=60, help="give up after so long")
    return built


class Server:
    """A running server, asked by REST."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, app: Path) -> None:
        self.process = process
        self.url = f"http://{HOST}:{port}"
        self.models = app / "model"
        self.most_gb = 0.0

    def infer(self, model: str, image: str, target: Path, **params: Any) -> dict[str, Any]:
        """The figures that a model gives of an image; its label map, where there is one, goes into `target`."""
        question = {"image": image, "output": "all"}
        answer = requests.post(f"{self.url}/infer/{model}", params=question, data={"params": json.dumps(params)})
        show(answer.status_code == 200, f"POST /infer/{model}?image={image}: status {answer.status_code}")
        if answer.headers["content-type"].startswith("application/json"):
            return dict(answer.json())
        figures, volume = MultipartDecoder.from_response(answer).parts
        target.write_bytes(volume.content)
        return dict(json.loads(figures.content))

    def get(self, place: str) -> Any:
        answer = requests.get(f"{self.url}{place}")
        answer.raise_for_status()
        return answer.json()

    def submit(self, image: str, label: Path) -> None:
        with label.open("rb") as file:
            answer = requests.put(f"{self.url}/datastore/label", params={"image": image}, files={"label": file})
        show(answer.status_code == 200, f"PUT /datastore/label?image={image}: status {answer.status_code}")

    def train(self, model: str, **params: Any) -> dict[str, Any]:
        """Train to the end; the task as it then is."""
        answer = requests.post(f"{self.url}/train/{model}", json=params)
        show(answer.status_code == 200, f"POST /train/{model} {params}: status {answer.status_code}")
        while (task := self.get("/train/"))["status"] in ("SUBMITTED", "RUNNING"):
            time.sleep(1)
        return dict(task)


@contextmanager
def running(bundles: Sequence[Path], studies: Path, work: Path) -> Iterator[Server]:
    """A server for the time of the block; its log is shown where the block fails."""
    port, app, log = free_port(), work / "app", work / "server.log"
    command = [sys.executable, SERVE, *bundles, "--studies", studies, "--port", port, "--app", app]
    with log.open("wb") as file:
        process = subprocess.Popen(list(map(str, command)), stdout=file, stderr=file, start_new_session=True)
    server = Server(process, port, app)
    Thread(target=watch_memory, args=[server], daemon=True).start()
    try:
        wait_for(server)
        yield server
    except BaseException:
        print(log.read_text(encoding="utf-8", errors="replace")[-6000:])
        raise
    finally:
        stop(process)


def wait_for(server: Server) -> None:
    while True:
        try:
            models = server.get("/info/")["models"]
            break
        except requests.ConnectionError:
            if server.process.poll() is not None:
                raise RuntimeError("the server ended before it answered") from None
            time.sleep(1)
    for name, model in models.items():
        print(f"      {name}: {model['type']}, labels {model['labels']}")
    expected = {SEGMENTER, OTHER, LUNGS, VESSELS, f"{VESSELS}_views", DIGITS}
    show(set(models) == expected, f"one server holds all {len(expected)} models")
    stranger = requests.get(f"{server.url}/info/", headers={"Origin": "http://example.org"})
    show("access-control-allow-origin" not in stranger.headers, "pages of other origins may not read answers")


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a server and whatever it started."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):  # nothing is left
            os.killpg(process.pid, sign)
        with suppress(subprocess.TimeoutExpired):
            process.wait(20)


def pack(work: Path) -> list[Path]:
    """Every system as a bundle, and the segmentation once more by code that calls itself another version."""
    dist = work / "dist"
    for system in ("reconstruction", "segmentation", "infection"):
        beyond2d("pack", system, "--out", dist)
    beyond2d("pack", "digits", "--weights", digit_weights(work), "--out", dist)
    beyond2d("pack", "segmentation", "--out", work / "other", package=other_code(work))
    (work / "other" / SEGMENTER).rename(dist / OTHER)
    return [dist / name for name in (SEGMENTER, OTHER, LUNGS, VESSELS, DIGITS)]


def digit_weights(work: Path) -> Path:
    """Weights that somebody trained, or, since none are shipped, untrained ones."""
    trained = PROJECT / "runs/digits/vgg13/model.pt"
    if trained.is_file():
        return trained
    print("      digits: no trained weights in runs/digits/vgg13, so untrained ones answer")
    path = work / "untrained" / "model.pt"
    path.parent.mkdir()
    torch, network = digit_network()
    torch.manual_seed(0)
    torch.save(network.state_dict(), path)
    return path


def digit_network() -> tuple[Any, Any]:
    """Torch, and the network of digits as the project has it."""
    sys.path.insert(0, str(PROJECT / "bundle"))
    import torch

    from beyond2d.networks import VolumetricVGG13

    return torch, VolumetricVGG13()


def other_code(work: Path) -> Path:
    """A copy of the project's code with another version number."""
    house = work / "house"
    shutil.copytree(PROJECT / "bundle", house / "bundle", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("configs", "models", "docs", "LICENSE"):
        (house / name).symlink_to(PROJECT / name)
    (house / "bundle/beyond2d/__init__.py").write_text(f'__version__ = "{OTHER_VERSION}"\n', encoding="utf-8")
    return house / "bundle"


def refuses_bad_input(bundle: Path, studies: Path) -> None:
    """A port in use and studies that are missing: one line each, exit code 2."""
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused([bundle, "--studies", studies, "--port", port], f"port: expected a free port on {HOST}, got {port}")
    refused([bundle, "--studies", studies / "none", "--port", free_port()], "studies: expected a folder with NIfTI")


def refused(arguments: Sequence[object], line: str) -> None:
    done = subprocess.run([sys.executable, SERVE, *map(str, arguments)], capture_output=True, text=True)
    lines = done.stderr.splitlines()
    show(
        done.returncode == 2 and len(lines) == 1 and line in lines[0], f"exit {done.returncode}: {done.stderr.strip()}"
    )


def answers_to_all(server: Server, studies: Studies, work: Path) -> None:
    crop, map_file = studies.crops[0], work / "map.nii.gz"
    figures = server.infer(SEGMENTER, crop, map_file)
    on_its_image(map_file, studies.path(crop), figures, {0, 1, 2})
    overlap = dice(map_file, studies.labels[crop])
    show(overlap > 0.7 or studies.is_phantom(crop), f"Dice with the label: {overlap:.2f}")
    as_slicer_asks(server, crop, studies.path(crop), work / "map.nrrd")

    figures = server.infer(LUNGS, studies.chest, map_file)
    values = on_its_image(map_file, studies.path(studies.chest), figures, {0, 1, 2})
    share = (values == 2).sum() / max(1, (values > 0).sum())
    agrees = figures["proportion"] is not None and abs(figures["proportion"] - share) < 0.001
    show(agrees, f"proportion {figures['proportion']}: of the map's lung voxels {share:.4f} are infected")

    figures = server.infer(VESSELS, studies.vessels, map_file, num_views=7)
    on_its_image(map_file, studies.path(studies.vessels), figures, {0, 1})
    show(figures["num_views"] == 7, "the number of views is the one that was asked for")

    figures = server.infer(f"{VESSELS}_views", studies.views, map_file)
    on_its_own_grid(map_file, studies.path(studies.views), figures)

    figures = server.infer(DIGITS, studies.digit, work / "none.nii.gz")
    show(not (work / "none.nii.gz").exists(), "a class and no label map")
    are_the_networks_own(figures["prediction"], studies.path(studies.digit), work)


def on_its_image(
    label_map: Path, image: Path, figures: Mapping[str, Any], values: set[int], may_be_empty: bool = False
) -> np.ndarray:
    """A label map with these values on the grid of its image; its voxels."""
    found, source = nib.load(label_map), nib.load(image)
    same = found.shape == source.shape and np.allclose(found.affine, source.affine, atol=1e-3)
    show(same, f"{found.shape}, the image's own grid")
    return has_labels(label_map, figures, values, may_be_empty)


def as_slicer_asks(server: Server, image: str, source: Path, label_map: Path) -> None:
    """Slicer's module wants NRRD in bytes, and reads it by ITK's axes."""
    server.infer(SEGMENTER, image, label_map, result_extension=".nrrd", result_dtype="uint8")
    grids = []
    for path in (label_map, source):
        volume = SimpleITK.ReadImage(str(path))
        grids.append([*volume.GetSize(), *volume.GetOrigin(), *volume.GetSpacing(), *volume.GetDirection()])
    in_bytes = SimpleITK.ReadImage(str(label_map)).GetPixelID() == SimpleITK.sitkUInt8
    show(in_bytes and np.allclose(*grids, atol=1e-3), "asked as 3D Slicer does: NRRD in bytes, on the image's own grid")


def on_its_own_grid(label_map: Path, stack: Path, figures: Mapping[str, Any]) -> None:
    """A volume where its angles file says, though its input was a stack of views (X, Z, V)."""
    width, height, num_views = nib.load(stack).shape
    affine = yaml.safe_load(stack.with_name("views.yaml").read_text(encoding="utf-8"))["affine"]
    found = nib.load(label_map)
    own = found.shape == (width, width, height) and np.allclose(found.affine, affine, atol=1e-3)
    show(own, f"{found.shape}, the grid of the volume, from views of {width} x {height} x {num_views}")
    show(figures["num_views"] == num_views, f"the angles beside the views were taken, threshold {figures['threshold']}")
    has_labels(label_map, figures, {0, 1})


def has_labels(label_map: Path, figures: Mapping[str, Any], values: set[int], may_be_empty: bool = False) -> np.ndarray:
    voxels = np.asarray(nib.load(label_map).dataobj)
    found, counts = np.unique(voxels, return_counts=True)
    told = dict(zip(found.astype(int).tolist(), counts.tolist(), strict=True))
    show(set(told) <= values and (len(told) > 1 or may_be_empty), f"voxels by label {told}")
    shown = {name: value for name, value in figures.items() if name not in OF_MONAI_LABEL}
    print(f"      answer: {json.dumps(shown)[:1500]}")
    return voxels


def are_the_networks_own(prediction: Sequence[Mapping[str, Any]], image: Path, work: Path) -> None:
    """The probability of each digit, as the network itself gives them."""
    torch, network = digit_network()
    network.load_state_dict(torch.load(work / "dist" / DIGITS / "models/model.pt", weights_only=True))
    voxels = torch.as_tensor(np.asarray(nib.load(image).dataobj, np.float32))
    expected = network.eval()(voxels[None, None] / 255).softmax(dim=1)[0].tolist()
    print(f"      answer: {json.dumps(list(prediction))[:1500]}")
    names = [entry["label"] for entry in prediction]
    near = np.allclose([entry["score"] for entry in prediction], expected, atol=1e-4)
    show(near and names == [str(digit) for digit in range(10)], "a probability for each digit, the network's own")


def answers_of_two_versions(server: Server, studies: Studies, work: Path) -> None:
    """Asked in turn, each answers by its own code."""
    own = (PROJECT / "bundle/beyond2d/__init__.py").read_text(encoding="utf-8").split('"')[-2]
    for model, version in ((OTHER, OTHER_VERSION), (SEGMENTER, own), (OTHER, OTHER_VERSION), (SEGMENTER, own)):
        figures = server.infer(model, studies.crops[1], work / "map.nii.gz")
        show(figures["beyond2d_version"] == version, f"{model} answers by code {figures['beyond2d_version']}")


def training_changes_the_apps_own_model(server: Server, studies: Studies, work: Path) -> None:
    for crop in studies.crops[:TRAINING_CASES]:
        server.submit(crop, studies.labels[crop])
    known = server.get("/datastore/?output=train")
    show(len(known) == TRAINING_CASES, f"GET /datastore/?output=train: {len(known)} images with labels")
    packed, placed = work / "dist" / SEGMENTER / "models/model.pt", server.models / SEGMENTER / "models/model.pt"
    other = server.models / OTHER / "models/model.pt"
    before = [sha256(path) for path in (packed, placed, other)]
    task = server.train(SEGMENTER, max_epochs=1, val_split=0.34)
    show(task["status"] == "DONE", f"training {task['status']}; last words: {list(task['details'])[-1][:200]}")
    changed = [sha256(path) != earlier for path, earlier in zip((packed, placed, other), before, strict=True)]
    show(changed == [False, True, False], "the app's own weights are others now; the packed bundle's are as they were")
    last, map_file = studies.crops[-1], work / "map.nii.gz"
    figures = server.infer(SEGMENTER, last, map_file)
    on_its_image(map_file, studies.path(last), figures, {0, 1, 2}, may_be_empty=studies.is_phantom(last))
    show(figures["weights_sha256"] == sha256(placed), "the answer comes from the new weights")
    print(f"      Dice with a label that was not submitted: {dice(map_file, studies.labels[last]):.2f}")


def show(holds: bool, what: str) -> None:
    print(f"{'ok' if holds else 'WRONG':<6}{what}", flush=True)
    if not holds:
        raise AssertionError(what)


def dice(*label_maps: Path) -> float:
    """Overlap of everything that is labelled in two files."""
    found, truth = (np.asarray(nib.load(path).dataobj) > 0 for path in label_maps)
    return float(2 * (found & truth).sum() / (found.sum() + truth.sum()))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def watch_memory(server: Server) -> None:
    """Note the most that a server and its training hold at a time."""
    while server.process.poll() is None:
        server.most_gb = max(server.most_gb, memory_gb(server.process.pid))
        time.sleep(0.5)


def memory_gb(pid: int) -> float:
    """What a process and those it started hold; any of them may end meanwhile."""
    held = 0
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for part in (process, *process.children(recursive=True)):
            held += part.memory_info().rss
    return held / 1e9


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def out_of_time(*_: object) -> None:
    raise TimeoutError("the test took longer than --minutes allows")


if __name__ == "__main__":
    main()
