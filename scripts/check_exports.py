"""Whether MONAI's own commands work on an unpacked bundle, and whether its exports agree with PyTorch.

    python scripts/check_exports.py checked/segmentation/unpacked/beyond2d_hippocampus_segmentation \\
        --input checked/segmentation/input.nii.gz

Needs what docs/README.md of the bundle lists, and onnx, onnxscript, onnxruntime and jsonschema; nothing of the project.
Runs verify_metadata, verify_net_in_out, ckpt_export and onnx_export in the bundle's folder, for the shape of what
inference gives the network for --input, and compares on just that, in float32 on the CPU.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from monai.bundle import ConfigWorkflow
from monai.utils import set_determinism

TOLERANCE = 1e-4
FILES = ["--meta_file", "configs/metadata.json", "--config_file", "configs/inference.json"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, help="folder of an unpacked bundle")
    parser.add_argument("--input", type=Path, required=True, help="file that its inference runs on")
    options = parser.parse_args()
    source = options.input.resolve()
    os.chdir(options.bundle)
    sys.path.insert(0, os.getcwd())  # where `python -m` looks as well
    with tempfile.TemporaryDirectory() as temporary:
        differences = check(source, Path(temporary))
    for name, difference in differences.items():
        print(f"{name:<18} differs by {difference:.1e} at most")
    sys.exit(max(differences.values()) > TOLERANCE)


def check(source: Path, folder: Path) -> dict[str, float]:
    """Run every command; how far each export's answer lies from PyTorch's at most."""
    (schema,) = Path().glob("beyond2d_*/inspection/meta_schema_20240725.json")
    (folder / "schema.json").write_bytes(schema.read_bytes())  # MONAI downloads it where it is not there
    monai("verify_metadata", *FILES[:2], "--filepath", folder / "schema.json")
    monai("verify_net_in_out", "network_def", *FILES, "--device", "cpu")
    image, expected = seen_by_the_network(source, folder)
    export = ["network_def", "--ckpt_file", "models/model.pt", *FILES]
    monai("ckpt_export", *export, "--filepath", folder / "model.ts")
    shape = str(list(image.shape)).replace(" ", "")
    monai("onnx_export", *export, "--filepath", folder / "model.onnx", "--input_shape", shape)
    with torch.no_grad():
        scripted = torch.jit.load(folder / "model.ts", map_location="cpu")(image).numpy()
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    converted = session.run(None, {session.get_inputs()[0].name: image.numpy()})[0]
    print(f"{'PyTorch':<18} answers {tuple(image.shape)} with up to {np.abs(expected).max():.1f}")
    answers = {"TorchScript": scripted, "ONNX": converted}
    return {name: float(np.abs(answer - expected).max()) for name, answer in answers.items()}


def seen_by_the_network(source: Path, out: Path) -> tuple[torch.Tensor, np.ndarray]:
    """The first image (1, C, ...) that inference gives the network, and what the network answers."""
    seen: list[Any] = []
    options = {"input": str(source), "output_dir": str(out / "result"), "mixed_precision": False, "device": "cpu"}
    workflow = ConfigWorkflow("configs/inference.json", workflow_type="inference", logging_file=False, **options)
    workflow.initialize()
    network = workflow.parser.get_parsed_content("network")
    network.register_forward_hook(lambda _, inputs, output: seen.append((inputs[0], output)) if not seen else None)
    workflow.run()
    set_determinism(None)  # also turns off what MONAI turned on, for the exports
    image = torch.as_tensor(seen[0][0])[:1].contiguous()
    with torch.no_grad():
        return image, network.eval()(image).numpy()


def monai(command: str, *arguments: Any) -> None:
    """One of MONAI's commands, as a person runs it in the bundle's folder."""
    line = [sys.executable, "-m", "monai.bundle", command, *map(str, arguments)]
    done = subprocess.run(line, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(line)} failed:\n{done.stderr[-4000:]}")
    print(f"{command:<18} ok")


if __name__ == "__main__":
    main()
