"""Time and memory of segmenting one CT-sized image with an untrained network, through the config, as a person does.

The plan is the one that a data set of such images gets, so the network sees every voxel of the image. The image is an
abdomen phantom with noise. The segmentation runs in a process of its own; memory is that process's peak (VmHWM),
libraries included.

    python scripts/bench_segmentation.py                                   # 512 x 512 x 300, overlap 0.5
    python scripts/bench_segmentation.py --size 256 256 150 --overlap 0.25
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from monai.bundle import ConfigParser

from beyond2d import __main__ as face
from beyond2d.phantoms import Organ, OrganSpec, centred_affine, organ_phantom
from beyond2d.planning import case_figures, make_plan
from beyond2d.readers import plan_text
from beyond2d.workflow import config_files
from beyond2d.writers import save_volume, write_bytes

KIB_PER_GIB = 2**20
COARSER = 4  # the phantom is drawn on a grid so much coarser


def main() -> None:
    arguments = parse_arguments()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plan = write_inputs(folder, arguments)
        print(f"patches of {' x '.join(map(str, plan['patch_size']))} voxels, {len(plan['labels'])} classes")
        options = ["--overlap", str(arguments.overlap), "--flips", str(arguments.flips)]
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            seconds, gib = pool.submit(measure, folder, options, arguments.threads).result()
    print(f"{' x '.join(map(str, arguments.size))}: {seconds:.0f} s, {gib:.2f} GiB at the peak")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size", type=int, nargs=3, default=[512, 512, 300], help="voxels (default: 512 512 300)")
    parser.add_argument("--spacing_mm", type=float, nargs=3, default=[0.8, 0.8, 1.0], help="(default: 0.8 0.8 1.0)")
    parser.add_argument("--plan_mm", type=float, nargs=3, help="voxels that the network sees (default: the image's)")
    parser.add_argument("--overlap", type=float, default=0.5, help="of neighbouring patches (default: 0.5)")
    parser.add_argument("--flips", action=argparse.BooleanOptionalAction, default=False, help="mirror left and right")
    parser.add_argument("--memory_gb", type=float, default=4.0, help="that the plan is made for (default: 4)")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (default: 2)")
    return parser.parse_args()


def write_inputs(folder: Path, arguments: argparse.Namespace) -> dict:
    """The image, and the plan and random weights for images like it."""
    coarse = tuple(-(-size // COARSER) for size in arguments.size)
    phantom = organ_phantom(0, OrganSpec(coarse, tuple(COARSER * mm for mm in arguments.spacing_mm)))
    figures = case_figures(phantom.volume[None], phantom.label, arguments.spacing_mm)
    figures = {**figures, "shape": tuple(arguments.size), "spacing_mm": tuple(arguments.spacing_mm)}
    if arguments.plan_mm:
        ratio = np.array(arguments.spacing_mm) / arguments.plan_mm
        figures |= {"shape": tuple(np.ceil(ratio * arguments.size).astype(int)), "spacing_mm": tuple(arguments.plan_mm)}
    labels = {0: "background", **{organ.value: organ.name.lower() for organ in Organ}}
    plan = make_plan([figures], ("CT",), labels, None, arguments.memory_gb)
    plan["mirror_axes"] = [0] if arguments.flips else []
    write_bytes(folder / "plan.yaml", plan_text(plan).encode())
    torch.save(new_network(folder / "plan.yaml").state_dict(), folder / "model.pt")
    fine = phantom.volume
    for axis, size in enumerate(arguments.size):
        fine = np.repeat(fine, COARSER, axis).take(range(size), axis)
    noise = np.random.default_rng(0).integers(-20, 20, fine.shape, dtype=np.int16)
    affine = centred_affine(arguments.size, arguments.spacing_mm)
    save_volume(folder / "image.nii.gz", fine.astype(np.int16) + noise, affine, np.int16)
    return plan


def new_network(plan_file: Path) -> torch.nn.Module:
    """An untrained network, as the config describes it for a plan."""
    parser = ConfigParser()
    parser.read_config(config_files("segmentation", "infer"))
    parser["plan_file"] = str(plan_file)
    torch.manual_seed(0)
    return parser.get_parsed_content("network_def")


def measure(folder: Path, options: list[str], threads: int) -> tuple[float, float]:
    """Seconds of `beyond2d segment` and this process's peak of memory."""
    torch.set_num_threads(threads)
    start = time.perf_counter()
    face.main(
        ["segment", str(folder / "image.nii.gz"), "--model_dir", str(folder), "--out", str(folder / "out"), *options]
    )
    return time.perf_counter() - start, peak_gib()


def peak_gib() -> float:
    """Of this process alone; the peak that `getrusage` knows starts at that of the process which began this one."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    (kib,) = (int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))
    return kib / KIB_PER_GIB


if __name__ == "__main__":
    main()
