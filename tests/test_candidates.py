"""Candidate regions, held to a flood fill pixel by pixel and to squares drawn by hand."""

from __future__ import annotations

import numpy as np
import pytest

from beyond2d.candidates import Candidate, candidates_of, patch_of, true_voxels, truth_of, without
from beyond2d.checks import InputError

RNG = np.random.default_rng(0)
SPECKLED = RNG.random((23, 17, 6)) < 0.35
SPECKLED[:, :, 2] = False
SPECKLED[:, :, 4] = True


def filled(mask):
    """For each slice the regions as sets of pixels, by walking from pixel to pixel over sides and corners."""
    regions = []
    for z in range(mask.shape[2]):
        left = {(int(x), int(y)) for x, y in np.argwhere(mask[:, :, z])}
        while left:
            region, edge = set(), {min(left)}
            while edge:
                region |= edge
                around = {(x + i, y + j) for x, y in edge for i in (-1, 0, 1) for j in (-1, 0, 1)}
                edge = around & left - region
            left -= region
            regions.append((z, frozenset(region)))
    return regions


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("min_voxels", [1, 4, 30, 10_000])
def test_regions_are_those_of_a_flood_fill(min_voxels, order):
    mask = np.asarray(SPECKLED, order=order)
    before = mask.copy()
    labels, regions = candidates_of(mask, min_voxels)
    assert np.array_equal(mask, before)
    assert (labels.shape, labels.dtype) == (mask.shape, np.int32)
    found = set()
    for number, region in enumerate(regions, start=1):
        pixels = np.argwhere(labels == number)
        assert (region.number, region.area, {region.slice_index}) == (number, len(pixels), set(pixels[:, 2].tolist()))
        found.add((region.slice_index, frozenset(map(tuple, pixels[:, :2].tolist()))))
    assert found == {(z, pixels) for z, pixels in filled(mask) if len(pixels) >= min_voxels}
    assert labels.max() == len(regions)
    slices = [region.slice_index for region in regions]
    assert slices == sorted(slices)


def test_squares_are_the_smallest_and_inside_the_slice():
    for region in candidates_of(SPECKLED).regions[:-1]:
        pixels = np.argwhere(candidates_of(SPECKLED).labels == region.number)[:, :2]
        low, high = pixels.min(axis=0), pixels.max(axis=0) + 1
        corner = np.array(region.corner)
        assert region.side == (high - low).max()
        if region.side <= 17:
            assert (corner >= 0).all()
            assert (corner + region.side <= SPECKLED.shape[:2]).all()
            assert (corner <= low).all()
            assert (corner + region.side >= high).all()


def boxed(*box, shape=(10, 8, 3)):
    mask = np.zeros(shape, dtype=bool)
    mask[box] = True
    return mask


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        (boxed(4, 5, 1), Candidate(1, 1, 1, (4, 5), 1)),
        (boxed(slice(2, 7), slice(3, 4), 0), Candidate(1, 0, 5, (2, 1), 5)),
        (boxed(slice(2, 6), slice(3, 6), 2), Candidate(1, 2, 12, (2, 3), 4)),
        # Touching a border: the square is shifted into the slice.
        (boxed(slice(0, 5), slice(0, 1), 0), Candidate(1, 0, 5, (0, 0), 5)),
        (boxed(slice(5, 10), slice(7, 8), 0), Candidate(1, 0, 5, (5, 3), 5)),
        # Larger than the slice along Y: centred, beyond both sides of it.
        (boxed(slice(None), slice(None), 1), Candidate(1, 1, 80, (0, -1), 10)),
        (boxed(slice(0, 10), slice(7, 8), 1), Candidate(1, 1, 10, (0, -1), 10)),
    ],
)
def test_squares_drawn_by_hand(mask, expected):
    assert candidates_of(mask).regions == [expected]


def test_an_empty_mask_has_no_candidate():
    empty = np.zeros((5, 6, 7), np.uint8)
    candidates = candidates_of(empty, 3)
    assert candidates.regions == []
    assert not candidates.labels.any()
    assert truth_of(candidates, empty).shape == (0,)
    assert not without(empty, candidates.labels, []).any()


@pytest.mark.parametrize("share", [0.2, 0.5, 1.0])
def test_truth_is_counted_region_by_region(share):
    truth = RNG.random(SPECKLED.shape) < 0.5
    truth[:, :, 1] = True
    candidates = candidates_of(SPECKLED, 2)
    counts = [int((truth & (candidates.labels == region.number)).sum()) for region in candidates.regions]
    assert true_voxels(candidates, truth).tolist() == counts
    real = [count / region.area >= share for count, region in zip(counts, candidates.regions, strict=True)]
    assert truth_of(candidates, truth.astype(np.uint8), share).tolist() == real
    assert any(real)
    assert not all(real)


def test_half_is_enough():
    candidates = candidates_of(boxed(slice(0, 4), slice(0, 1), 0))
    assert truth_of(candidates, boxed(slice(0, 2), slice(0, 1), 0)).tolist() == [True]
    assert truth_of(candidates, boxed(slice(0, 1), slice(0, 1), 0)).tolist() == [False]
    assert truth_of(candidates, boxed(slice(0, 4), slice(0, 1), 1)).tolist() == [False]


@pytest.mark.parametrize("margin", [0, 2, 15])
def test_a_patch_of_its_own_size_is_a_crop_with_repeated_edges(margin):
    volume = RNG.normal(size=SPECKLED.shape).astype(np.float32)
    labels, regions = candidates_of(SPECKLED, 3)
    for region in regions:
        size = region.side + 2 * margin
        far = 40  # more than any margin
        image = np.pad(volume[:, :, region.slice_index], far, mode="edge")
        inside = np.pad(labels[:, :, region.slice_index] == region.number, far, mode="edge")
        box = tuple(slice(far + start - margin, far + start - margin + size) for start in region.corner)
        patch = patch_of(volume, labels, region, size, margin)
        assert (patch.shape, patch.dtype) == ((2, size, size), np.float32)
        np.testing.assert_allclose(patch, [image[box], inside[box]], atol=1e-5)


def test_a_patch_shows_the_neighbouring_slices_and_how_sure_the_region_is():
    volume, shares = RNG.normal(size=SPECKLED.shape), RNG.uniform(size=SPECKLED.shape)
    labels, regions = candidates_of(SPECKLED, 3)
    inside = [region for region in regions if region.side <= min(volume.shape[:2])]
    assert inside
    for region in inside:
        patch = patch_of(volume, labels, region, region.side, num_slices=3, shares=shares)
        box = tuple(slice(start, start + region.side) for start in region.corner)
        heights = np.clip(region.slice_index + np.array([-1, 0, 1]), 0, volume.shape[2] - 1)
        sure = np.where(labels[(*box, region.slice_index)] == region.number, shares[(*box, region.slice_index)], 0)
        np.testing.assert_allclose(patch, [*(volume[(*box, height)] for height in heights), sure], atol=1e-5)


def test_a_patch_keeps_what_lies_where():
    """A ramp along X stays a ramp along the patch's first axis; only the candidate's own region is marked."""
    volume = np.broadcast_to(np.arange(40.0)[:, None, None], (40, 40, 2)).astype(np.float32)
    mask = boxed(slice(10, 20), slice(10, 20), 1, shape=(40, 40, 2))
    mask[22:24, 10:20, 1] = True
    labels, regions = candidates_of(mask)
    image, region = patch_of(volume, labels, regions[0], size=56, margin=2)  # 14 voxels in 56 pixels
    np.testing.assert_allclose(image[2:-2, 0], 8 + (np.arange(2, 54) + 0.5) / 4 - 0.5, atol=1e-4)
    np.testing.assert_allclose(image, np.broadcast_to(image[:, :1], image.shape), atol=1e-4)
    assert (region[12:-12, 12:-12] == 1).all()
    assert (region[:4] == 0).all()
    assert (region[-4:] == 0).all()


def test_shrinking_averages_and_one_pixel_grows():
    volume = RNG.normal(100, 20, (64, 64, 1)).astype(np.float32)
    labels, regions = candidates_of(np.ones_like(volume))
    small = patch_of(volume, labels, regions[0], size=8)
    assert small[0].std() < 4  # of single pixels 20, of two by two 10
    assert small[0].mean() == pytest.approx(100, abs=3)
    labels, regions = candidates_of(boxed(3, 4, 0, shape=volume.shape))
    grown = patch_of(volume, labels, regions[0], size=16)
    np.testing.assert_allclose(grown[0], volume[3, 4, 0], rtol=1e-5)
    assert (grown[1] == 1).all()


def test_rejected_regions_go_and_all_else_stays():
    labels, regions = candidates_of(SPECKLED, 4)
    rejected = [region.number for region in regions[::2]]
    before = SPECKLED.copy()
    kept = without(SPECKLED, labels, rejected)
    assert np.array_equal(SPECKLED, before)
    assert np.array_equal(kept, SPECKLED & ~np.isin(labels, rejected))
    assert (SPECKLED & (labels == 0)).any()  # too small to be candidates: they stay
    assert np.array_equal(without(SPECKLED, labels, []), SPECKLED)
    assert np.array_equal(without(SPECKLED, labels, range(1, len(regions) + 1)), SPECKLED & (labels == 0))


CANDIDATES = candidates_of(boxed(4, 5, 1))
ELSEWHERE = np.zeros((10, 8, 4), dtype=bool)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: candidates_of(ELSEWHERE[0]), "mask: expected a 3D volume, got 2 dimensions (8 x 4)"),
        (lambda: candidates_of(ELSEWHERE, 0), "min_voxels must be a whole number of at least 1, got 0"),
        (
            lambda: truth_of(CANDIDATES, ELSEWHERE),
            "truth must have the shape of the candidates' labels, 10 x 8 x 3, got 10 x 8 x 4",
        ),
        (lambda: truth_of(CANDIDATES, boxed(0, 0, 0), 0), "share must be above 0 and at most 1, got 0"),
        (
            lambda: patch_of(ELSEWHERE, *CANDIDATES[:1], CANDIDATES.regions[0]),
            "volume must have the shape of the candidates' labels, 10 x 8 x 3, got 10 x 8 x 4",
        ),
        (
            lambda: patch_of(boxed(0, 0, 0), CANDIDATES.labels, CANDIDATES.regions[0], 0),
            "size must be a whole number of at least 1, got 0",
        ),
        (
            lambda: patch_of(boxed(0, 0, 0), CANDIDATES.labels, CANDIDATES.regions[0], 8, -1),
            "margin must be a whole number of at least 0, got -1",
        ),
        (
            lambda: without(ELSEWHERE, CANDIDATES.labels, []),
            "mask must have the shape of the candidates' labels, 10 x 8 x 3, got 10 x 8 x 4",
        ),
        (
            lambda: without(boxed(4, 5, 1), CANDIDATES.labels, [0]),
            "rejected must be numbers of candidates, which begin at 1, got 0",
        ),
    ],
)
def test_refuses_what_does_not_fit(call, words):
    with pytest.raises(InputError) as caught:
        call()
    assert str(caught.value) == words
