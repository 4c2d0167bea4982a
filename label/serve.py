"""Starts MONAI Label's server on 127.0.0.1, with packed bundles in MONAI Label's own `monaibundle` app.

    python label/serve.py                                           # every system of the project
    python label/serve.py dist/beyond2d_infection_segmentation      # bundles that are packed already

Needs the environment that `make label` builds, and no network.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"
PROJECT = Path(__file__).resolve().parents[1]
# Each system, and where weights of one's own lie that are packed in place of shipped ones, if they are there.
SYSTEMS = {"reconstruction": None, "segmentation": None, "infection": None, "digits": PROJECT / "runs/digits/vgg13"}
# What a server wants otherwise than a person at a command line, where a config has the key.
KEYS = {
    "inference": {"output_dir": None},  # answers instead of files
    "train": {  # changes the app's own weights, by the labels of the studies folder
        "ckpt_dir": "$@bundle_root + '/training'",
        "best_file": "$@bundle_root + '/models/model.pt'",
        "plan_file": "$@bundle_root + '/models/plan.yaml'",
        "check_data": False,
        "val_interval": 1,
        "schedule_epochs": "@train#trainer#max_epochs",
        "mixed_precision": "$torch.cuda.is_available()",
    },
}
# Nothing is sent or fetched.
SILENT = {"MONAI_LABEL_TRACKING_ENABLED": "false", "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}


class RefusedError(ValueError):
    """Something a person gave that cannot be used, in one line."""


def main() -> None:
    options = parser().parse_args()
    try:
        check_port(options.port)
        studies = check_studies(options.studies)
        bundles = [check_bundle(Path(bundle)) for bundle in options.bundles] or packed()
        app = app_folder(Path(options.app))
        models = [model for bundle in bundles for model in place(bundle, app / "model", options.renew)]
    except RefusedError as refusal:
        print(f"label: {refusal}", file=sys.stderr)
        sys.exit(2)
    print(f"Models      {', '.join(models)}")
    print(f"Server      http://{HOST}:{options.port}, studies in {studies}; Ctrl-C stops it", flush=True)
    os.chdir(app)
    os.execve(sys.executable, command(app, studies, options.port, models), environment(app))


def parser() -> argparse.ArgumentParser:
    built = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    built.add_argument(
        "bundles",
        nargs="*",
        metavar="BUNDLE",
        help="folder of a packed bundle (default: every system, packed into dist)",
    )
    built.add_argument("--studies", default="studies", help="folder with NIfTI images, or a DICOMweb address")
    built.add_argument("--port", type=int, default=8000, help=f"on {HOST} (default 8000)")
    built.add_argument("--app", default="runs/label", help="where the app is put, and what is trained is kept")
    built.add_argument("--renew", action="store_true", help="replace models that the app has already; those are kept")
    return built


def check_port(port: int) -> None:
    """A port that a server can be started on."""
    if not 0 < port < 2**16:
        raise RefusedError(f"port: expected a number from 1 to 65535, got {port}")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # one that was left a moment ago is free
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise RefusedError(f"port: expected a free port on {HOST}, got {port} ({error.strerror})") from error


def check_studies(studies: str) -> str:
    """A folder, or the address of a DICOMweb server."""
    if studies.startswith(("http://", "https://")):
        return studies
    if not Path(studies).is_dir():
        raise RefusedError(f"studies: expected a folder with NIfTI images, there is none at {studies}")
    return str(Path(studies).resolve())


def check_bundle(bundle: Path) -> Path:
    """A folder with what MONAI Label reads of a bundle."""
    for name in ("configs/inference.json", "configs/metadata.json", "models/model.pt"):
        if not (bundle / name).is_file():
            raise RefusedError(f"bundle: expected {name} in {bundle}, there is none")
    return bundle


def packed() -> list[Path]:
    """Every system of the project as a bundle in its folder `dist`."""
    sys.path.insert(0, str(PROJECT / "bundle"))
    from beyond2d.checks import InputError
    from beyond2d.packing import pack_system

    bundles = []
    for system, own in SYSTEMS.items():
        if own is not None and not (own / "model.pt").is_file():
            print(f"Left out    {system}: no weights are shipped, and `beyond2d train {system}` has left none in {own}")
            continue
        try:
            bundles.append(PROJECT / "dist" / pack_system(PROJECT, system, PROJECT / "dist", own).name)
        except InputError as error:
            raise RefusedError(f"{system}: {error}") from error
    return bundles


def app_folder(app: Path) -> Path:
    """MONAI Label's own app for bundles, copied to `app` where it is not there yet."""
    if not (app / "main.py").is_file():
        shutil.copytree(
            Path(sys.prefix) / "monailabel/sample-apps/monaibundle",
            app,
            ignore=shutil.ignore_patterns("__pycache__"),
            dirs_exist_ok=True,
        )
    (app / "model").mkdir(exist_ok=True)
    return app.resolve()


def place(bundle: Path, models: Path, renew: bool = False) -> list[str]:
    """Copy a bundle among an app's models, and its variant for projections where it has one; their names."""
    names = [bundle.name]
    put(bundle, models / bundle.name, [], renew)
    if (bundle / "configs/views.json").is_file():
        names.append(f"{bundle.name}_views")
        put(bundle, models / names[-1], ["views.json"], renew)
    return names


def put(bundle: Path, target: Path, overlays: Sequence[str], renew: bool) -> None:
    """A copy of a bundle, fit for a server; one that is there already may have been trained, and is never lost."""
    if target.exists() and not renew:
        print(f"Kept        {target}, as it is; --renew replaces it")
        return
    staging = Path(tempfile.mkdtemp(prefix=".placing-", dir=target.parent))
    try:
        shutil.copytree(bundle, staging / "new")
        adapt(staging / "new" / "configs", overlays)
        if target.exists():
            kept = set_aside(target)
            print(f"Replaced    {target}; what was there is in {kept}")
        (staging / "new").rename(target)
    finally:
        shutil.rmtree(staging)


def set_aside(folder: Path) -> Path:
    """Move a model out of the app's models, under a name that is free."""
    shelf = folder.parents[1] / "replaced"
    shelf.mkdir(exist_ok=True)
    number = 1
    while (shelf / f"{folder.name}_{number}").exists():
        number += 1
    return folder.rename(shelf / f"{folder.name}_{number}")


def adapt(configs: Path, overlays: Sequence[str]) -> None:
    """Merge overlays into inference.json, the one config that MONAI Label reads, and set `KEYS`.

    With overlays the bundle takes another input than the one that it trains on: it is for inference alone.
    """
    for task, keys in KEYS.items():
        path = configs / f"{task}.json"
        if not path.is_file():
            continue
        if task == "train" and overlays:
            path.unlink()
            continue
        config = merged([path, *(configs / name for name in overlays)])
        config |= {key: value for key, value in keys.items() if key in config}
        path.write_text(json.dumps(config, indent=4), encoding="utf-8")


def merged(paths: Sequence[Path]) -> dict[str, Any]:
    """Configs laid over one another as MONAI does it: a key such as `dataset#data` changes a part of another."""
    result: dict[str, Any] = {}
    for path in paths:
        for key, value in json.loads(path.read_text(encoding="utf-8")).items():
            *parents, last = key.split("#")
            part: Any = result
            for parent in parents:
                part = part[parent]
            part[last] = value
    return result


def command(app: Path, studies: str, port: int, models: Sequence[str]) -> list[str]:
    """What starts the server. `ngc` names a source of models that is not asked, since all of them are there."""
    conf = {"models": ",".join(models), "zoo_source": "ngc", "sam2": "false"}
    where = ["--app", str(app), "--studies", studies, "--host", HOST, "--port", str(port)]
    settings = [word for key, value in conf.items() for word in ("--conf", key, value)]
    return [sys.executable, "-m", "monailabel.main", "start_server", "--uvicorn_app", "closed:app", *where, *settings]


def environment(app: Path) -> Mapping[str, str]:
    """The server's environment: quiet, its tools on the path, and of the project's code `closed.py` alone."""
    return {
        **os.environ,
        **SILENT,
        "PYTHONPATH": str(Path(__file__).resolve().parent),
        "MONAI_LABEL_DATASTORE_FILE_EXT": json.dumps(["*.nii.gz", "*.nii"]),
        "MONAI_LABEL_SESSION_PATH": str(app / "sessions"),
        "MONAI_LABEL_DICOMWEB_CACHE_PATH": str(app / "dicom"),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
    }


if __name__ == "__main__":
    main()
