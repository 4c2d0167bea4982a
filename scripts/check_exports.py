"""Whether MONAI's own commands work on an unpacked bundle, and whether its exports agree with PyTorch.

    python scripts/check_exports.py checked/segmentation/unpacked/beyond2d_hippocampus_segmentation \\
        --input checked/segmentation/input.nii.gz

Needs what docs/README.md of the bundle lists, and onnx, onnxscript, onnxruntime and jsonschema; nothing of the project
but what is in the bundle. Runs verify_metadata and verify_net_in_out in the bundle's folder, and ckpt_export and
onnx_export with every file of its weights, for the shape of what inference on --input gives the network. Compares on
just that, in float32 on the CPU.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
import torch
from monai.bundle import ConfigWorkflow
from monai.utils import convert_to_tensor, set_determinism
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor

TOLERANCE = 1e-4
METADATA, INFERENCE = "configs/metadata.json", "configs/inference.json"


class Seen(NamedTuple):
    """A network, and the first image (1, C, ...) that inference gave it."""

    network: nn.Module
    image: torch.Tensor


class AllSeen(BaseException):
    """Every network has been given something; the rest of the inference would only take time.

    No `Exception`, since MONAI and ignite wrap those in others.
    """


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, help="folder of an unpacked bundle")
    parser.add_argument("--input", type=Path, required=True, help="file that its inference runs on")
    options = parser.parse_args()
    source = options.input.resolve()
    os.chdir(options.bundle)
    sys.path.insert(0, os.getcwd())  # where `python -m` looks as well
    with tempfile.TemporaryDirectory() as temporary:
        verify(Path(temporary))
        differences = [difference for weights in weights_by_config() for difference in check(*weights, source)]
    sys.exit(max(differences) > TOLERANCE)


def verify(folder: Path) -> None:
    (schema,) = Path().glob("beyond2d_*/inspection/meta_schema_20240725.json")
    (folder / "schema.json").write_bytes(schema.read_bytes())  # MONAI downloads it where it is not there
    monai("verify_metadata", "--meta_file", METADATA, "--filepath", folder / "schema.json")
    monai("verify_net_in_out", "network_def", "--meta_file", METADATA, "--config_file", INFERENCE, "--device", "cpu")


def weights_by_config() -> list[tuple[list[str], dict[str, str]]]:
    """The configs that belong together, each time with the bundle's weights for them: file and id of the network."""
    manifest = json.loads(Path("manifest.json").read_text(encoding="utf-8"))
    recipe = import_module(f"{manifest['package']}.packing").RECIPES[manifest["system"]]
    return [
        (
            [INFERENCE, *([f"configs/{Path(overlay).stem}.json"] if overlay else [])],
            {f"models/{weights.file}": weights.network for weights in recipe.weights if weights.overlay == overlay},
        )
        for overlay in dict.fromkeys(weights.overlay for weights in recipe.weights)
    ]


def check(configs: list[str], networks: Mapping[str, str], source: Path) -> list[float]:
    """How far the answers of every export lie from PyTorch's at most."""
    seen = seen_by(configs, {*networks.values()}, source)
    return [
        difference for weights, name in networks.items() for difference in compare(configs, weights, name, *seen[name])
    ]


def seen_by(configs: list[str], names: set[str], source: Path) -> dict[str, Seen]:
    """Each network by its id, with what inference gives it first."""
    seen: dict[str, Seen] = {}

    def keep(name: str, network: nn.Module, inputs: tuple[Any, ...]) -> None:
        if isinstance(inputs[0], FakeTensor):  # has a shape and no content: an inferer asks how far the network reaches
            return
        image = convert_to_tensor(inputs[0], track_meta=False)
        seen.setdefault(name, Seen(network, image[:1].clone(memory_format=torch.contiguous_format)))
        if len(seen) == len(names):
            raise AllSeen

    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        options = {"input": str(source), "output_dir": folder, "mixed_precision": False, "device": "cpu"}
        workflow = ConfigWorkflow(configs, workflow_type="inference", logging_file=False, **options)
        workflow.initialize()
        for name in names:
            network = workflow.parser.get_parsed_content(name)
            stack.enter_context(network.register_forward_pre_hook(partial(keep, name)))
        stack.enter_context(suppress(AllSeen))
        workflow.run()
    set_determinism(None)  # also turns off what MONAI turned on, for the exports
    return seen


def compare(configs: list[str], weights: str, name: str, network: nn.Module, image: torch.Tensor) -> list[float]:
    """Export a network with a file of weights in both ways, and ask both what PyTorch is asked."""
    network.load_state_dict(torch.load(weights, weights_only=True))
    with torch.no_grad(), tempfile.TemporaryDirectory() as temporary:
        expected = network.eval()(image).numpy()
        script, graph = (Path(temporary, f"model.{ending}") for ending in ("ts", "onnx"))
        export = [name, "--ckpt_file", weights, "--meta_file", METADATA, "--config_file", str(configs)]
        monai("ckpt_export", *export, "--filepath", script)
        shape = str(list(image.shape)).replace(" ", "")
        monai("onnx_export", *export, "--filepath", graph, "--input_shape", shape)
        scripted = torch.jit.load(script, map_location="cpu")(image).numpy()
        session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
        converted = session.run(None, {session.get_inputs()[0].name: image.numpy()})[0]
    differences = [float(np.abs(answer - expected).max()) for answer in (scripted, converted)]
    print(f"{name} with {weights} answers {tuple(image.shape)} with up to {np.abs(expected).max():.1f}")
    print("  differ at most: TorchScript {:.1e}, ONNX {:.1e}".format(*differences), flush=True)
    return differences


def monai(command: str, *arguments: Any) -> None:
    """One of MONAI's commands, as a person runs it in the bundle's folder."""
    line = [sys.executable, "-m", "monai.bundle", command, *map(str, arguments)]
    done = subprocess.run(line, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(line)} failed:\n{done.stderr[-4000:]}")
    print(f"{command:<18} ok", flush=True)


if __name__ == "__main__":
    main()
