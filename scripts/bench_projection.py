"""Times projection and back-projection against the literal scipy method and against the memory they must touch.

One run measures everything on the same volume: the median of several runs of each operator, one literal turn of
scipy.ndimage.rotate (order 1) per view, and one pass over the volume per view, which no method can go below. Added
peak memory is measured in a process of its own for each operator.
"""

from __future__ import annotations

import argparse
import multiprocessing
import re
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import rotate

from beyond2d.projection import back_project, project, view_angles


def literal_project(volume: np.ndarray, angles_deg: list[float]) -> np.ndarray:
    return np.stack([rotate(volume, a, axes=(0, 1), reshape=False, order=1).max(1) for a in angles_deg])


def literal_back_project(views: np.ndarray, angles_deg: list[float]) -> np.ndarray:
    total = np.zeros((views.shape[1], *views.shape[1:]), dtype=np.float32)
    for view, angle in zip(views, angles_deg, strict=True):
        smeared = np.repeat(view[:, None], views.shape[1], axis=1)
        total += rotate(smeared, -angle, axes=(0, 1), reshape=False, order=1)
    return total


def median_seconds(run: Callable[[], object], repeats: int) -> float:
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def added_memory(operator: str, size: int, num_views: int) -> float:
    """GiB that one call adds to the peak of the process it runs in."""
    angles = view_angles(num_views)
    array = torch.rand(size, size, size) if operator == "project" else torch.rand(num_views, size, size)
    before = peak_gib()
    (project if operator == "project" else back_project)(array, angles)
    return peak_gib() - before


def peak_gib() -> float:
    """Peak memory of this process, from Linux: `getrusage` would begin with the peak of the process's parent."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 2**20  # type: ignore[index]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=384, help="voxels along each axis")
    parser.add_argument("--num_views", type=int, default=10, help="views over 0 to 90 degrees")
    parser.add_argument("--repeats", type=int, default=7, help="runs of each operator; the median counts")
    parser.add_argument("--literal_repeats", type=int, default=1, help="runs of each literal method")
    options = parser.parse_args()
    angles = view_angles(options.num_views)
    volume = torch.rand(options.size, options.size, options.size, generator=torch.Generator().manual_seed(0))
    views = project(volume, angles)

    floor = options.num_views * median_seconds(volume.sum, options.repeats)
    print(
        f"{options.size}^3, {options.num_views} views, {torch.get_num_threads()} threads, medians of {options.repeats}"
    )
    print(f"floor: one pass over the volume per view {floor:.3f} s\n")
    print("operator      seconds  literal scipy  times faster  times the floor  added GiB  largest difference")
    for name, fast, literal in (
        ("project", lambda: project(volume, angles), lambda: literal_project(volume.numpy(), angles)),
        ("back_project", lambda: back_project(views, angles), lambda: literal_back_project(views.numpy(), angles)),
    ):
        fast()  # the tables are built once and kept
        seconds = median_seconds(fast, options.repeats)
        slow = median_seconds(literal, options.literal_repeats)
        difference = float(np.abs(fast().numpy() - literal()).max())
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            memory = pool.apply(added_memory, (name, options.size, options.num_views))
        print(
            f"{name:<12} {seconds:>8.3f} {slow:>14.1f} {slow / seconds:>13.0f} {seconds / floor:>16.2f}"
            f" {memory:>10.2f} {difference:>19.1e}"
        )


if __name__ == "__main__":
    main()
