"""Bundles of a few kilobytes for tests: one as beyond2d packs them, one in the style of MONAI's model zoo."""

import copy
import hashlib
import json

import torch
import yaml
from monai.networks.nets import UNet

import beyond2d

NETWORK = {
    "_target_": "UNet",
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": 2,
    "channels": [4, 8],
    "strides": [2],
    "norm": "batch",
}
DATA = "$[{'image': path} for path in sorted(glob.glob(@dataset_dir + '/*.npy'))]"
LOADING = [
    {"_target_": "LoadImaged", "keys": "image"},
    {"_target_": "EnsureChannelFirstd", "keys": "image", "channel_dim": "no_channel"},
]
COMMON = {
    "imports": ["$import glob"],
    "bundle_root": ".",
    "dataset_dir": "/workspace/data",
    "output_dir": "$@bundle_root + '/eval'",
    "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
    "network_def": NETWORK,
    "network": "$@network_def.to(@device)",
}
INFERENCE = {
    **COMMON,
    "preprocessing": {"_target_": "Compose", "transforms": LOADING},
    "dataset": {"_target_": "Dataset", "data": DATA, "transform": "@preprocessing"},
    "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1, "num_workers": 0},
    "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [8, 8, 8]},
    "postprocessing": {
        "_target_": "Compose",
        "transforms": [{"_target_": "Activationsd", "keys": "pred", "softmax": True}],
    },
    "handlers": [
        {
            "_target_": "CheckpointLoader",
            "load_path": "$@bundle_root + '/models/model.pt'",
            "load_dict": {"model": "@network"},
        }
    ],
    "evaluator": {
        "_target_": "SupervisedEvaluator",
        "device": "@device",
        "val_data_loader": "@dataloader",
        "network": "@network",
        "inferer": "@inferer",
        "postprocessing": "@postprocessing",
        "val_handlers": "@handlers",
    },
    "initialize": ["$monai.utils.set_determinism(seed=0)"],
    "run": ["$@evaluator.run()"],
}
TRAIN = {
    **COMMON,
    "train": {
        "deterministic_transforms": LOADING,
        "preprocessing": {"_target_": "Compose", "transforms": "$@train#deterministic_transforms"},
        "dataset": {"_target_": "Dataset", "data": DATA, "transform": "@train#preprocessing"},
        "dataloader": {"_target_": "DataLoader", "dataset": "@train#dataset", "batch_size": 1, "shuffle": True},
        "inferer": {"_target_": "SimpleInferer"},
        "trainer": {
            "_target_": "SupervisedTrainer",
            "max_epochs": 2,
            "device": "@device",
            "train_data_loader": "@train#dataloader",
            "network": "@network",
            "loss_function": {"_target_": "DiceLoss", "sigmoid": True},
            "optimizer": {"_target_": "torch.optim.Adam", "params": "$@network.parameters()"},
            "inferer": "@train#inferer",
        },
    },
    "initialize": ["$monai.utils.set_determinism(seed=0)"],
    "run": ["$@train#trainer.run()"],
}
TENSOR = {
    "type": "image",
    "format": "segmentation",
    "num_channels": 2,
    "spatial_shape": ["8*n", "8*n", "8*n"],
    "dtype": "float32",
    "value_range": [0, 1],
    "channel_def": {"0": "background", "1": "vessel"},
}
METADATA = {
    "schema": "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json",
    "version": "0.1.0",
    "changelog": {"0.1.0": "first release"},
    "monai_version": "1.6.1",
    "pytorch_version": "2.13.0",
    "numpy_version": "2.4.6",
    "required_packages_version": {},
    "task": "nothing",
    "description": "nothing",
    "authors": "nobody",
    "copyright": "nobody",
    "data_source": "random numbers",
    "network_data_format": {"inputs": {"image": {**TENSOR, "num_channels": 1}}, "outputs": {"pred": TENSOR}},
}


def write_json(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def change_json(path, change):
    """Hand the content of a JSON file to a function that changes it."""
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    write_json(path, content)


def save_weights(path, **changes):
    """Weights of the bundles' network, or of one that differs from it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    arguments = {key: value for key, value in NETWORK.items() if key != "_target_"}
    torch.save(UNet(**{**arguments, **changes}).state_dict(), path)


def write_manifest(root, packed_by=beyond2d.__version__):
    """The hash of every file in the folder, as packing writes it."""
    (root / "manifest.json").unlink(missing_ok=True)
    hashes = {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }
    write_json(root / "manifest.json", {"beyond2d": packed_by, "files": hashes})


def write_texts(root, texts):
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")


def write_sound_bundle(root):
    """A bundle with everything that a check asks for, and a manifest."""
    for name, content in {"inference": INFERENCE, "train": TRAIN, "metadata": METADATA}.items():
        write_json(root / f"configs/{name}.json", content)
    write_texts(root, {"LICENSE": "free", "docs/README.md": "# Nothing", "docs/data_license.txt": "no conditions"})
    save_weights(root / "models/model.pt")
    write_manifest(root)


def write_zoo_bundle(root, ending):
    """A bundle as the model zoo has them: overlays beside train, code of its own, no manifest, weights not shipped."""
    inference, train = copy.deepcopy(INFERENCE), copy.deepcopy(TRAIN)
    inference["imports"] += ["$import os", "$from scripts.transforms import Halved"]
    inference["preprocessing"]["transforms"].append({"_target_": "scripts.transforms.Halved", "keys": "image"})
    train["validate"] = {"preprocessing": {"_target_": "Compose", "transforms": "%train#deterministic_transforms"}}
    multi_gpu = {
        "device": "$torch.device(f'cuda:{dist.get_rank()}')",
        "train#sampler": {"_target_": "DistributedSampler", "dataset": "@train#dataset", "shuffle": True},
        "train#dataloader#sampler": "@train#sampler",
        "initialize": ["$import torch.distributed as dist", "$dist.init_process_group(backend='nccl')"],
    }
    evaluate = {
        "validate#handlers": [{"_target_": "ignite.handlers.ProgressBar"}],
        "run": ["$@validate#evaluator.run()"],
    }
    parts = {"inference": inference, "train": train, "multi_gpu_train": multi_gpu, "evaluate": evaluate}
    for name, content in parts.items():
        text = json.dumps(content) if ending == "json" else yaml.safe_dump(content, sort_keys=False)
        write_texts(root, {f"configs/{name}.{ending}": text})
    write_json(root / "configs/metadata.json", METADATA)
    logging = "[loggers]\nkeys=root\n[handler_console]\nclass=StreamHandler\nargs=(sys.stdout,)\n"
    code = "from monai.transforms import MapTransform\n\n\nclass Halved(MapTransform):\n    pass\n"
    large = "large_files:\n- path: models/model.ts\n  url: https://example.org/model.ts\n"
    write_texts(
        root,
        {
            "LICENSE": "free",
            "docs/README.md": "# Nothing",
            "docs/data_license.txt": "no conditions",
            "configs/logging.conf": logging,
            "scripts/__init__.py": "",
            "scripts/transforms.py": code,
            "large_files.yml": large,
        },
    )
    save_weights(root / "models/model.pt")
