from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from skimage.filters import threshold_otsu

from beyond2d.checks import InputError
from beyond2d.phantoms import (
    Phantom,
    VesselGraph,
    VesselKind,
    VesselSpec,
    centred_affine,
    grow_arteries,
    render_vessels,
    vessel_phantom,
)

HEAD_MM = np.array([70.0, 80.0, 75.0])
SPEC = VesselSpec(size=(64, 64, 64), spacing_mm=(2.0, 2.0, 2.0))


def cubic(size: int, spacing_mm: float, **options: object) -> VesselSpec:
    return VesselSpec(size=(size,) * 3, spacing_mm=(spacing_mm,) * 3, **options)


def straight_vessel(start_mm: list[float], end_mm: list[float], radius_mm: float) -> VesselGraph:
    return VesselGraph(
        points_mm=np.array([start_mm, end_mm], dtype=float),
        radii_mm=np.full(2, radius_mm),
        parents=np.array([-1, 0]),
        contrast_hu=np.full(2, 1000.0),
        kinds=np.zeros(2, dtype=np.int64),
    )


def literal_fraction(
    graph: VesselGraph, size: tuple[int, int, int], spacing_mm: tuple[float, float, float], splits: int = 5
) -> np.ndarray:
    """Share of splits^3 points in each voxel whose distance to some edge is less than its radius."""
    axes = [((np.arange(n * splits) + 0.5) / splits - n / 2) * s for n, s in zip(size, spacing_mm, strict=True)]
    places = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    inside = np.zeros(places.shape[:3], dtype=bool)
    for point in range(len(graph.parents)):
        end = graph.points_mm[point]
        start = graph.points_mm[graph.parents[point]] if graph.parents[point] >= 0 else end
        way = end - start
        along = np.clip((places - start) @ way / max(way @ way, 1e-12), 0, 1)
        distance = np.linalg.norm(places - start - along[..., None] * way, axis=-1)
        inside |= distance < graph.radii_mm[point]
    x, y, z = size
    return inside.reshape(x, splits, y, splits, z, splits).mean(axis=(1, 3, 5))


@pytest.fixture(scope="module")
def arteries() -> VesselGraph:
    return grow_arteries(np.random.default_rng(0), HEAD_MM)


def test_murrays_law_holds_at_every_bifurcation(arteries: VesselGraph) -> None:
    forks = arteries.bifurcations()
    children_cubed = np.bincount(
        arteries.parents[arteries.parents >= 0],
        weights=arteries.radii_mm[arteries.parents >= 0] ** 3,
        minlength=len(arteries.parents),
    )
    assert len(forks) > 1000
    np.testing.assert_allclose(children_cubed[forks], arteries.radii_mm[forks] ** 3, rtol=1e-9)


def test_vessels_keep_their_width_between_bifurcations(arteries: VesselGraph) -> None:
    has_parent = arteries.parents >= 0
    only_child = has_parent & ~np.isin(arteries.parents, arteries.bifurcations())
    assert (arteries.radii_mm[only_child] == arteries.radii_mm[arteries.parents[only_child]]).all()


@pytest.mark.parametrize("seed", range(6))
def test_feeding_arteries_are_wide_and_enter_from_below(seed: int) -> None:
    graph = grow_arteries(np.random.default_rng(seed), HEAD_MM)
    roots = graph.parents < 0
    widest = graph.radii_mm[roots].max()
    assert 3 <= roots.sum() <= 5
    assert 2.0 < widest < 3.2
    assert graph.radii_mm.min() < 0.1 * widest
    assert graph.points_mm[roots, 2].max() < -0.9 * HEAD_MM[2]
    assert graph.points_mm[:, 2].max() > 0.8 * HEAD_MM[2]


def test_graph_is_a_forest_without_gaps(arteries: VesselGraph) -> None:
    has_parent = arteries.parents >= 0
    parents = arteries.parents[has_parent]
    steps = np.linalg.norm(arteries.points_mm[has_parent] - arteries.points_mm[parents], axis=1)
    assert (parents < np.flatnonzero(has_parent)).all()
    assert steps.max() < 6.0


def test_branches_are_curved_but_not_kinked(arteries: VesselGraph) -> None:
    """Wide vessels turn on the way, a little at a time."""
    grandparents = arteries.parents[arteries.parents]
    middle = (arteries.parents >= 0) & (grandparents >= 0) & (arteries.radii_mm > 1.0)
    middle &= ~np.isin(arteries.parents, arteries.bifurcations())
    after = arteries.points_mm[middle] - arteries.points_mm[arteries.parents[middle]]
    before = arteries.points_mm[arteries.parents[middle]] - arteries.points_mm[grandparents[middle]]
    lengths = np.linalg.norm(after, axis=1) * np.linalg.norm(before, axis=1)
    turns_deg = np.rad2deg(np.arccos(np.clip((after * before).sum(axis=1) / lengths, -1, 1)))
    assert np.median(turns_deg) > 2
    assert np.percentile(turns_deg, 95) < 45


@pytest.mark.parametrize("seed", range(3))
def test_vessels_lie_inside_the_volume(seed: int) -> None:
    spec = VesselSpec(size=(48, 40, 56), spacing_mm=(3.0, 3.0, 3.0), nidus=True, num_aneurysms=2)
    graph = vessel_phantom(seed, spec).graph
    half_mm = np.array(spec.size) * spec.spacing_mm / 2
    assert (np.abs(graph.points_mm) + 0.5 * graph.radii_mm[:, None] < half_mm).all()


def test_contrast_varies_between_and_along_vessels(arteries: VesselGraph) -> None:
    assert np.unique(arteries.contrast_hu[arteries.parents < 0]).size >= 3
    assert arteries.contrast_hu.min() >= 600
    assert arteries.contrast_hu.max() <= 1500
    assert np.std(arteries.contrast_hu) > 50


def fingerprint(phantom: Phantom) -> str:
    return hashlib.sha256(phantom.volume.tobytes() + phantom.label.tobytes()).hexdigest()


def test_same_seed_same_phantom_in_another_process() -> None:
    code = (
        "from beyond2d.phantoms import VesselSpec, vessel_phantom; from test_phantoms import fingerprint\n"
        f"print(fingerprint(vessel_phantom(5, {SPEC!r})))"
    )
    run = [sys.executable, "-c", code]
    other = subprocess.run(run, capture_output=True, text=True, check=True, cwd=Path(__file__).parent).stdout
    assert other.strip() == fingerprint(vessel_phantom(5, SPEC))


def test_every_seed_gives_another_tree() -> None:
    labels = [vessel_phantom(seed, SPEC).label.astype(bool) for seed in range(3)]
    for i in range(3):
        for j in range(i):
            overlap = 2 * (labels[i] & labels[j]).sum() / (labels[i].sum() + labels[j].sum())
            assert overlap < 0.3


def test_tree_does_not_depend_on_the_voxel_size() -> None:
    coarse = vessel_phantom(1, cubic(32, 4.0)).graph
    fine = vessel_phantom(1, cubic(64, 2.0)).graph
    np.testing.assert_array_equal(coarse.points_mm, fine.points_mm)


QUICK_GRIDS = [(96, 1.4, 0), (128, 1.0, 3), (128, 1.5, 5)]
MORE_GRIDS = [(96, 1.4, 1), (96, 1.4, 2), (128, 1.0, 4), (128, 1.5, 6), (256, 0.75, 7)]


@pytest.mark.parametrize(
    ("size", "spacing_mm", "seed"),
    [*QUICK_GRIDS, *(pytest.param(*grid, marks=pytest.mark.slow) for grid in MORE_GRIDS)],
)
def test_foreground_and_otsu(size: int, spacing_mm: float, seed: int) -> None:
    phantom = vessel_phantom(seed, cubic(size, spacing_mm))
    label = phantom.label.astype(bool)
    bright = phantom.volume > threshold_otsu(phantom.volume)
    assert 0.002 <= label.mean() <= 0.015
    assert 2 * (bright & label).sum() / (bright.sum() + label.sum()) > 0.78
    assert phantom.volume.dtype == np.float32
    assert phantom.label.dtype == np.uint8
    assert np.abs(phantom.volume).max() < 2000


@pytest.mark.parametrize("radius_voxels", [0.3, 0.45, 0.58, 0.8, 1.0, 1.7, 3.0])
@pytest.mark.parametrize("spacing_mm", [(0.7, 0.7, 0.7), (0.6, 0.7, 1.8)])
def test_straight_vessel_has_its_cross_section(radius_voxels: float, spacing_mm: tuple[float, float, float]) -> None:
    radius_mm = radius_voxels * 0.7
    size = (60, 60, 30)
    graph = straight_vessel([-13.1, -11.7, -5.2], [12.3, 14.2, 6.1], radius_mm)
    fraction, vessels = render_vessels(graph, size, spacing_mm)
    length = np.linalg.norm(graph.points_mm[1] - graph.points_mm[0])
    expected = np.pi * radius_mm**2 * length + 4 / 3 * np.pi * radius_mm**3
    assert fraction.sum() * np.prod(spacing_mm) == pytest.approx(expected, rel=0.03)
    np.testing.assert_allclose(vessels, 1000 * fraction, rtol=1e-5)


@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), (0.5, 0.5, 1.5)])
def test_rendering_equals_the_literal_share_of_subvoxels(spacing_mm: tuple[float, float, float]) -> None:
    size = (24, 24, 14)
    graph = VesselGraph(
        points_mm=np.array([[-4, -4, -5], [-1, 1, 0.5], [4, 3, 5], [3, -4, 3.0]]),
        radii_mm=np.array([1.6, 1.6, 1.1, 0.7]),
        parents=np.array([-1, 0, 1, 1]),
        contrast_hu=np.full(4, 1000.0),
        kinds=np.zeros(4, dtype=np.int64),
    )
    fraction, _ = render_vessels(graph, size, spacing_mm)
    truth = literal_fraction(graph, size, spacing_mm)
    assert np.abs(fraction - truth).max() < 0.25
    assert np.abs(fraction - truth)[truth > 0].mean() < 0.04
    label, exact = fraction >= 0.5, truth >= 0.5
    assert 2 * (label & exact).sum() / (label.sum() + exact.sum()) > 0.96


def test_vessels_thinner_than_a_voxel_fade_with_their_cross_section() -> None:
    def brightest(radius_mm: float) -> float:
        return float(render_vessels(straight_vessel([-5, 0, 0], [5, 0, 0], radius_mm), (17,) * 3, (1.0,) * 3)[0].max())

    assert brightest(0.4) == pytest.approx(4 * brightest(0.2), rel=0.01)
    assert brightest(0.2) == pytest.approx(np.pi * 0.2**2, rel=0.1)
    assert brightest(1.5) == 1.0


def test_anisotropic_voxels_show_the_same_shape() -> None:
    options = {"noise_hu": 0.0, "tissue_hu": 0.0}
    fine = vessel_phantom(2, cubic(96, 1.5, **options))
    flat = vessel_phantom(2, VesselSpec((96, 96, 32), (1.5, 1.5, 4.5), **options))
    pooled = fine.volume.reshape(96, 96, 32, 3).mean(axis=-1)
    assert np.abs(flat.volume - pooled).max() < 1.0
    assert flat.volume.shape == flat.label.shape == (96, 96, 32)


@pytest.mark.parametrize("size", [(96, 80, 112), (17, 31, 64)])
def test_any_size(size: tuple[int, int, int]) -> None:
    phantom = vessel_phantom(0, VesselSpec(size, (1.3, 1.4, 1.5)))
    assert phantom.volume.shape == phantom.label.shape == size
    assert phantom.label.any()


def test_lesions_are_drawn_from_the_seed_or_asked_for() -> None:
    def counts(seed: int, **options: object) -> np.ndarray:
        return np.bincount(vessel_phantom(seed, cubic(16, 8.0, **options)).graph.kinds, minlength=4)

    drawn = np.array([counts(seed) for seed in range(6)])
    for kind in (VesselKind.ANEURYSM, VesselKind.NIDUS):
        assert 0 < (drawn[:, kind] > 0).sum() < 6
    plain, rich = counts(0, num_aneurysms=0, nidus=False), counts(0, num_aneurysms=3, nidus=True)
    assert plain[1:].sum() == 0
    assert rich[VesselKind.ANEURYSM] == 3 * 2
    assert rich[VesselKind.NIDUS] > 200
    assert rich[VesselKind.VEIN] > 10


def test_an_aneurysm_is_wider_than_its_vessel_and_sits_on_a_bifurcation() -> None:
    graph = vessel_phantom(0, cubic(16, 8.0, num_aneurysms=2, nidus=False)).graph
    necks = np.flatnonzero((graph.kinds == VesselKind.ANEURYSM) & (graph.kinds[graph.parents] == VesselKind.ARTERY))
    assert np.isin(graph.parents[necks], graph.bifurcations()).all()
    assert (graph.radii_mm[necks + 1] > 1.3 * graph.radii_mm[graph.parents[necks]]).all()


def test_skull_is_a_bright_shell_that_the_label_leaves_out() -> None:
    bare, skull = (vessel_phantom(0, cubic(64, 3.0, skull=on)) for on in (False, True))
    assert (skull.volume > 500).sum() > 5 * (bare.volume > 500).sum()
    np.testing.assert_array_equal(bare.label, skull.label)


def test_affine_puts_the_origin_in_the_middle() -> None:
    affine = centred_affine((5, 8, 3), (1.0, 2.0, 3.0))
    np.testing.assert_array_equal(affine @ [2, 3.5, 1, 1], [0, 0, 0, 1])
    np.testing.assert_array_equal(affine[:3, :3], np.diag([1, 2, 3]))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: cubic(4, 1.0), "size must be a whole number of at least 16, got 4"),
        (lambda: VesselSpec((32, 32), (1.0,) * 3), r"size must be three numbers of voxels, got \(32, 32\)"),
        (lambda: cubic(32, 0.0), r"spacing_mm must be three lengths above 0, got \(0.0, 0.0, 0.0\)"),
        (lambda: cubic(32, float("nan")), "spacing_mm must be three lengths above 0"),
        (lambda: cubic(32, "two"), "spacing_mm must be three lengths above 0"),
        (lambda: cubic(32, 1.0, num_aneurysms=-1), "num_aneurysms must be a whole number of at least 0, got -1"),
        (lambda: cubic(32, 1.0, noise_hu=-1.0), "noise_hu must be 0 or more, got -1.0"),
        (lambda: vessel_phantom(-1, SPEC), "seed must be a whole number of at least 0, got -1"),
    ],
)
def test_bad_input(make, words: str) -> None:
    with pytest.raises(InputError, match=words):
        make()
