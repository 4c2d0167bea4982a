"""Time and memory of exact tiles against the whole volume, for the reconstruction network.

Each of the two runs in a process of its own, so that their peaks of memory do not mix. Times are medians of
`--repeats` predictions after a small one that warms up; beside the time on the wall stands that of the processor,
which other work on the machine disturbs less. Memory is what the predictions, their result included, add to the
process's peak. At 384 voxels the whole volume needs about 13 GiB.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from monai.inferers import Inferer, SimpleInferer

from beyond2d.inferers import ExactTileInferer
from beyond2d.networks import DenoisingAutoencoder

KIB_PER_GIB = 2**20


@dataclass(frozen=True)
class Measurement:
    """Medians of one way to predict, and the file with its last prediction."""

    wall_seconds: float
    cpu_seconds: float
    added_gib: float
    prediction: Path


def main() -> None:
    arguments = parse_arguments()
    with tempfile.TemporaryDirectory() as folder:
        whole = measure_apart(SimpleInferer(), arguments, Path(folder) / "whole.pt")
        tiled = measure_apart(ExactTileInferer(arguments.tile), arguments, Path(folder) / "tiled.pt")
        difference = (torch.load(whole.prediction) - torch.load(tiled.prediction)).abs().max()
    print(f"{'':16}{'time':>10}{'CPU time':>12}{'added memory':>16}")
    for name, measured in (("whole volume", whole), ("exact tiles", tiled)):
        times = f"{measured.wall_seconds:8.2f} s{measured.cpu_seconds:10.2f} s"
        print(f"{name:16}{times}{measured.added_gib:12.2f} GiB")
    wall_ratio, cpu_ratio = tiled.wall_seconds / whole.wall_seconds, tiled.cpu_seconds / whole.cpu_seconds
    print(f"{'tiles / whole':16}{wall_ratio:10.2f}{cpu_ratio:12.2f}{tiled.added_gib / whole.added_gib:16.2f}")
    print(f"greatest difference: {difference:.1e}")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size", type=int, default=384, help="voxels along each axis (default: 384)")
    parser.add_argument(
        "--tile", type=int, nargs="+", default=[192, 128, 96], help="one size or three (default: 192 128 96)"
    )
    parser.add_argument("--repeats", type=int, default=3, help="timed predictions each (default: 3)")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (default: 2)")
    arguments = parser.parse_args()
    arguments.tile = arguments.tile[0] if len(arguments.tile) == 1 else arguments.tile
    return arguments


def measure_apart(inferer: Inferer, arguments: argparse.Namespace, prediction: Path) -> Measurement:
    """`measure` in a fresh process."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=context) as pool:
        return pool.submit(measure, inferer, arguments, prediction).result()


def measure(inferer: Inferer, arguments: argparse.Namespace, prediction: Path) -> Measurement:
    """Predicts a random volume several times and keeps the last prediction in a file."""
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    network = DenoisingAutoencoder().eval()
    volume = torch.rand(1, 1, *[arguments.size] * 3)
    wall_seconds, cpu_seconds = [], []
    with torch.no_grad():
        output = inferer(volume[..., :32, :32, :32], network)
        before = peak_gib()
        for _ in range(arguments.repeats):
            del output  # or two results would be held at once
            wall_start, cpu_start = time.perf_counter(), time.process_time()
            output = inferer(volume, network)
            wall_seconds.append(time.perf_counter() - wall_start)
            cpu_seconds.append(time.process_time() - cpu_start)
    added_gib = peak_gib() - before
    torch.save(output, prediction)
    return Measurement(statistics.median(wall_seconds), statistics.median(cpu_seconds), added_gib, prediction)


def peak_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / KIB_PER_GIB


if __name__ == "__main__":
    main()
