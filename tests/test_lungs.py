"""Lungs found in bodies of ellipsoids, whose truth is known, and in real CTs."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import affine_transform

from beyond2d.checks import InputError
from beyond2d.lungs import LEFT, RIGHT, body_mask, lung_mask, lung_masks, padding_mask, split_lungs

# A slim torso, in mm: X to the right, Y to the front, Z to the head; the middle is at the origin.
SIZE_MM = (320.0, 240.0, 260.0)
BODY_RADII = (135.0, 90.0, 400.0)
LUNG_RADII, LUNG_X = (48.0, 62.0, 95.0), 65.0
GRID = (4.0, 4.0, 4.0)
AIR, LUNG, TISSUE, TABLE = -1000.0, -850.0, 40.0, 300.0


def places(spacing_mm, size_mm=SIZE_MM, middle=(0, 0, 0)):
    axes = []
    for side, length, shift in zip(spacing_mm, size_mm, middle, strict=True):
        axes.append((np.arange(round(length / side)) + 0.5) * side - length / 2 + shift)
    return np.meshgrid(*axes, indexing="ij", sparse=True)


def ellipsoid(grid, middle, radii):
    return sum(((axis - m) / r) ** 2 for axis, m, r in zip(grid, middle, radii, strict=True)) <= 1


def body(spacing_mm=GRID, sides=(1, -1), noise=15.0, extras=(), lung_x=LUNG_X, **options):
    """A CT and its true right and left lung. `extras` are (middle, radii, HU) of ellipsoids inside of the body."""
    grid = places(spacing_mm, **options)
    shape = np.broadcast_shapes(*(axis.shape for axis in grid))
    hu = np.full(shape, AIR, np.float32)
    hu[np.broadcast_to((np.abs(grid[1] + 104) < 4) & (np.abs(grid[0]) < 150), shape)] = TABLE
    hu[np.broadcast_to(ellipsoid((*grid[:2], 0 * grid[2]), (0, 0, 0), BODY_RADII), shape)] = TISSUE
    lungs = {}
    for side in sides:
        lungs[side] = ellipsoid(grid, (side * lung_x, 0, 0), LUNG_RADII)
        hu[lungs[side]] = LUNG
    windpipe = (grid[0] ** 2 + (grid[1] + 20) ** 2 <= 9**2) & (grid[2] > 10)
    if sides and lung_x == LUNG_X:
        hu[windpipe] = AIR
    for middle, radii, value in extras:
        hu[ellipsoid(grid, middle, radii)] = value
    hu += np.random.default_rng(0).normal(0, noise, shape).astype(np.float32)
    empty = np.zeros(shape, bool)
    return hu, lungs.get(1, empty), lungs.get(-1, empty)


def dice(one, other):
    return 2 * (one & other).sum() / (one.sum() + other.sum())


@pytest.mark.parametrize("spacing_mm", [(3.0, 3.0, 3.0), (1.8, 1.8, 5.0), (2.5, 3.0, 1.2), (4.0, 4.0, 8.0)])
def test_two_lungs_on_any_grid(spacing_mm):
    hu, right, left = body(spacing_mm)
    mask = lung_mask(hu, spacing_mm)
    assert (mask.shape, mask.dtype) == (hu.shape, bool)
    assert dice(mask, right | left) >= 0.97
    sides = split_lungs(mask, spacing_mm)
    assert dice(sides == RIGHT, right) >= 0.97
    assert dice(sides == LEFT, left) >= 0.97


@pytest.mark.parametrize(("one", "other"), [(0, 1), (0, 2), (1, 2)])
def test_a_patient_who_lies_askew_has_the_same_lungs(one, other):
    turn, cosine, sine = np.eye(3), np.cos(np.deg2rad(12)), np.sin(np.deg2rad(12))
    turn[[one, other], [one, other]], turn[one, other], turn[other, one] = cosine, -sine, sine
    hu, right, left = body(noise=0)
    middle = (np.array(hu.shape) - 1) / 2
    turned = [
        affine_transform(volume.astype(np.float32), turn, middle - turn @ middle, order=1, cval=filling)
        for volume, filling in ((hu, AIR), (right, 0), (left, 0))
    ]
    sides = split_lungs(lung_mask(turned[0], GRID), GRID)
    assert dice(sides == RIGHT, turned[1] > 0.5) >= 0.97
    assert dice(sides == LEFT, turned[2] > 0.5) >= 0.97


def test_slices_of_any_thickness_give_the_same_volume():
    volumes = []
    for thickness in (1.0, 2.5, 5.0):
        spacing_mm = (3.5, 3.5, thickness)
        volumes.append(lung_mask(body(spacing_mm)[0], spacing_mm).sum() * np.prod(spacing_mm) / 1000)
    truth_ml = 2 * 4 / 3 * np.pi * np.prod(LUNG_RADII) / 1000
    np.testing.assert_allclose(volumes, truth_ml, rtol=0.03)


@pytest.mark.parametrize("kind", [np.int16, np.float64])
def test_integers_and_doubles_are_volumes_too(kind):
    hu, right, left = body(GRID)
    assert dice(lung_mask(hu.astype(kind), GRID), right | left) >= 0.97


def test_the_body_has_its_lungs_but_no_table():
    hu, right, left = body()
    grid = places(GRID)
    truth = np.broadcast_to((grid[0] / BODY_RADII[0]) ** 2 + (grid[1] / BODY_RADII[1]) ** 2 <= 1, hu.shape)
    mask = body_mask(hu, GRID)
    assert dice(mask, truth) >= 0.98
    assert mask[right | left].all()
    assert not mask[:, :5].any()


def test_vessels_and_opacities_inside_belong_to_the_lung():
    inside = [((60, 0, 10), (15, 15, 15), 30.0), ((-60, 10, -20), (4, 4, 60), 40.0), ((-100, 0, 0), (9, 9, 9), 0.0)]
    hu, right, left = body(extras=inside)
    mask = lung_mask(hu, GRID)
    assert dice(mask, right | left) >= 0.97
    grid = places(GRID)
    for middle, radii, _ in inside[:2]:
        assert mask[ellipsoid(grid, middle, radii)].all()
    at_pleura = ellipsoid(grid, *inside[2][:2]) & left
    assert mask[at_pleura].mean() > 0.8


def test_windpipe_and_bronchi_are_no_lung():
    bronchus = ((30, -20, 20), (30, 6, 6), AIR)
    hu, right, left = body((2.5, 2.5, 2.5), extras=[bronchus])
    grid = places((2.5, 2.5, 2.5))
    mask = lung_mask(hu, (2.5, 2.5, 2.5))
    windpipe = np.broadcast_to((grid[0] ** 2 + (grid[1] + 20) ** 2 <= 9**2) & (grid[2] > 30), hu.shape)
    assert not mask[windpipe].any()
    between_lungs = np.broadcast_to(np.abs(grid[0]) < 14, hu.shape)
    assert not mask[between_lungs].any()
    assert dice(mask, right | left) >= 0.97


def test_gas_of_stomach_and_bowel_is_no_lung():
    gas = [((-50, 20, -112), (35, 30, 14), AIR), ((40, 40, -115), (60, 20, 12), AIR)]
    hu, right, left = body(extras=gas)
    mask = lung_mask(hu, GRID)
    assert dice(mask, right | left) >= 0.97
    grid = places(GRID)
    for middle, radii, _ in gas:
        free = ellipsoid(grid, middle, radii) & ~(right | left)
        assert mask[free].mean() < 0.1


def test_lungs_that_touch_are_split():
    hu, right, left = body(lung_x=48.0, extras=[((0, 40, 0), (25, 12, 40), LUNG), ((0, -40, 0), (25, 6, 30), LUNG)])
    mask = lung_mask(hu, GRID)
    sides = split_lungs(mask, GRID)
    assert dice(sides == RIGHT, right) >= 0.95
    assert dice(sides == LEFT, left) >= 0.95
    np.testing.assert_array_equal(sides > 0, mask)


@pytest.mark.parametrize(("side", "number"), [(1, RIGHT), (-1, LEFT)])
def test_a_single_lung_is_not_split(side, number):
    hu, right, left = body(sides=(side,))
    mask = lung_mask(hu, GRID)
    assert dice(mask, right | left) >= 0.97
    assert set(np.unique(split_lungs(mask, GRID))) == {0, number}


def test_one_lung_in_two_lobes_stays_one():
    hu, right, _ = body(sides=(1,), extras=[((65, 0, 0), (60, 70, 7), TISSUE)])
    assert set(np.unique(split_lungs(right & (hu < -320), GRID))) == {0, RIGHT}


# Where a volume ends inside of the lungs: its size in mm and its middle.
CUTS = {
    "top": ((320, 240, 130), (0, 0, -45)),
    "bottom": ((320, 240, 130), (0, 0, 60)),
    "right": ((240, 240, 260), (-40, 0, 0)),
    "left": ((240, 240, 260), (40, 0, 0)),
    "front": ((320, 150, 260), (0, -45, 0)),
    "back": ((320, 150, 260), (0, 45, 0)),
    "all but top and bottom": ((180, 100, 260), (0, 0, 0)),
}


@pytest.mark.parametrize("name", CUTS)
def test_lungs_cut_by_the_volumes_faces(name):
    size_mm, middle = CUTS[name]
    hu, right, left = body(size_mm=size_mm, middle=middle)
    assert dice(lung_mask(hu, GRID), right | left) >= 0.97


@pytest.mark.parametrize("filling", [-3024.0, -2000.0])
def test_lungs_cut_by_a_round_field(filling):
    hu, right, left = body()
    grid = places(GRID)
    beyond = np.broadcast_to(grid[0] ** 2 + grid[1] ** 2 > 100**2, hu.shape)
    hu[beyond] = filling
    np.testing.assert_array_equal(padding_mask(hu), beyond)
    mask = lung_mask(hu, GRID)
    assert not mask[beyond].any()
    assert dice(mask, (right | left) & ~beyond) >= 0.97


def test_a_minimum_that_fills_the_corners_is_padding():
    hu, _, _ = body()
    assert not padding_mask(hu).any()
    grid = places(GRID)
    beyond = np.broadcast_to(grid[0] ** 2 + grid[1] ** 2 > 110**2, hu.shape)
    hu[beyond] = -1100
    hu[40, 30, 30] = -1100  # a dark voxel of the body is measured
    np.testing.assert_array_equal(padding_mask(hu), beyond)


@pytest.mark.parametrize("filling", [AIR, 0.0, -3024.0])
def test_a_volume_of_one_value_has_no_lung(filling):
    assert not lung_mask(np.full((20, 21, 22), filling, np.float32), GRID).any()


def test_a_body_without_lungs_and_a_head_have_none():
    assert not lung_mask(body(sides=())[0], GRID).any()
    grid = places(GRID, (220, 240, 200))
    head = np.where(ellipsoid(grid, (0, 0, 0), (75, 95, 90)), TISSUE, AIR)
    for middle in ((20, 60, -30), (-20, 60, -30), (0, 75, 10), (0, 40, -45)):  # sinuses and nose
        head[ellipsoid(grid, middle, (14, 14, 16))] = AIR
    assert not lung_mask(head, GRID).any()
    assert not split_lungs(np.zeros((5, 6, 7), bool), GRID).any()


def test_one_voxel_and_one_slice_are_volumes():
    assert not lung_mask(np.zeros((1, 1, 1)), (1.0, 1.0, 1.0)).any()
    hu, right, left = body()
    middle = slice(32, 33)
    assert lung_mask(hu[:, :, middle], GRID).shape == hu[:, :, middle].shape
    thick = lung_mask(hu[:, :, middle], (3.0, 3.0, 10.0))
    assert dice(thick, (right | left)[:, :, middle]) >= 0.95


def test_masks_at_several_thresholds_are_those_at_each():
    hu = body(GRID)[0]
    for mask, threshold in zip(lung_masks(hu, GRID, [-700, -320]), [-700, -320], strict=True):
        np.testing.assert_array_equal(mask, lung_mask(hu, GRID, threshold))


def test_what_is_wrong_is_said():
    hu = np.zeros((4, 5, 6))
    with pytest.raises(InputError, match=r"hu: expected a 3D volume, got 2 dimensions \(4 x 5\)"):
        lung_mask(hu[..., 0], (1, 1, 1))
    with pytest.raises(InputError, match=r"spacing_mm must be three lengths above 0, got \(1, 0, 1\)"):
        lung_mask(hu, (1, 0, 1))
    with pytest.raises(InputError, match=r"threshold must be a number, got nan"):
        lung_mask(hu, (1, 1, 1), float("nan"))
    hu[0, 0, 0] = np.nan
    with pytest.raises(InputError, match=r"hu must be finite, got 1 voxels that are NaN or infinite"):
        body_mask(hu, (1, 1, 1))


def load(path):
    image = nib.as_closest_canonical(nib.load(path))
    return np.asarray(image.dataobj, dtype=np.float32), tuple(float(side) for side in image.header.get_zooms())


def volumes_ml(hu, spacing_mm):
    sides = split_lungs(lung_mask(hu, spacing_mm), spacing_mm)
    return np.bincount(sides.ravel(), minlength=3)[1:] * np.prod(spacing_mm) / 1000


@pytest.mark.real_data
def test_a_real_chest_has_a_shrunken_right_and_a_whole_left_lung(real_data):
    right, left = volumes_ml(*load(real_data / "chest" / "chest_ct_2p5mm.nii.gz"))
    assert 800 < right < 1200
    assert 1700 < left < 2200


@pytest.mark.real_data
def test_real_lungs_cut_by_the_field_of_view_are_found(real_data):
    right, left = volumes_ml(*load(real_data / "chest" / "cta_aorta_1p5mm.nii.gz"))
    assert 1200 < right < 1700
    assert 1200 < left < 1700


@pytest.mark.real_data
def test_real_bases_are_lung_but_bowel_gas_is_not(real_data):
    hu, spacing_mm = load(real_data / "abdomen" / "abdomen_pelvis_ct_3mm.nii.gz")
    mask = lung_mask(hu, spacing_mm)
    assert not mask[..., :92].any()
    assert 60 < mask.sum() * np.prod(spacing_mm) / 1000 < 200
    assert not lung_mask(hu[..., :98], spacing_mm).any()


@pytest.mark.real_data
def test_a_real_head_has_no_lung(real_data):
    assert not lung_mask(*load(real_data / "angiography" / "ct_avm.nii.gz")).any()
