"""What labels alone tell: the mean label against literal counts, and slices filled in between drawn ones."""

from __future__ import annotations

import numpy as np
import pytest

from beyond2d.baselines import GRID, between_slices, fit_label, mean_label
from beyond2d.checks import IGNORED


def halves(size, share=0.5):
    """Class 1 beyond a share of X, the background before it."""
    label = np.zeros((size, size, size), np.uint8)
    label[int(share * size) :] = 1
    return label


def test_the_mean_label_counts_classes_place_by_place_whatever_the_sizes():
    shares = mean_label([halves(96), halves(24), halves(48, 0.25)], 2)
    assert shares.shape == (2, GRID, GRID, GRID)
    np.testing.assert_allclose(shares.sum(axis=0), 1)
    expected = np.select([np.arange(GRID) < 12, np.arange(GRID) < 24], [0, 1 / 3], 1)
    np.testing.assert_allclose(shares[1], np.broadcast_to(expected[:, None, None], shares[1].shape), atol=1e-6)


def test_voxels_that_nobody_labelled_count_for_nothing():
    partly = halves(48)
    partly[:, :24] = IGNORED
    shares = mean_label([partly, np.zeros((48, 48, 48), np.uint8)], 2)
    assert (shares[1, 24:, :24] == 0).all()
    assert (shares[1, 24:, 24:] == 0.5).all()
    nowhere = mean_label([np.full((8, 8, 8), IGNORED, np.uint8)], 2)
    assert (nowhere == 0).all()
    assert (fit_label(nowhere, (5, 6, 7)) == 0).all()


def test_the_most_frequent_class_is_fitted_to_a_volume():
    shares = mean_label([halves(24, 0.25), halves(24, 0.5), halves(24, 0.75)], 2)
    for shape in [(24, 12, 16), (100, 5, 30), (48, 48, 48)]:
        fitted = fit_label(shares, shape)
        assert (fitted.shape, fitted.dtype) == (shape, np.uint8)
        np.testing.assert_array_equal(fitted[: shape[0] // 2], 0)
        np.testing.assert_array_equal(fitted[shape[0] // 2 :], 1)


def test_a_label_of_the_grids_size_is_its_own_mean():
    label = np.random.default_rng(0).integers(0, 4, (GRID,) * 3).astype(np.uint8)
    np.testing.assert_array_equal(fit_label(mean_label([label], 4), label.shape), label)


def disc(radius, size=41):
    x, y = np.indices((size, size)) - size // 2
    return (x**2 + y**2 <= radius**2).astype(np.uint8)


def drawn_on(slices, depth, axis=0):
    """A label that only has the given slices."""
    size = next(iter(slices.values())).shape
    label = np.full((depth, *size), IGNORED, np.uint8)
    for index, image in slices.items():
        label[index] = image
    return np.moveaxis(label, 0, axis)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_between_two_discs_lies_a_cone(axis):
    label = drawn_on({3: disc(4), 15: disc(16)}, 20, axis)
    filled = between_slices(label, 2, axis)
    assert (filled.shape, filled.dtype) == (label.shape, np.uint8)
    areas = np.moveaxis(filled, axis, 0).sum(axis=(1, 2))
    radii = np.sqrt(areas / np.pi)
    np.testing.assert_allclose(radii[3:16], np.linspace(4, 16, 13), atol=0.6)
    cone = np.stack([disc(radius) for radius in range(4, 17)])
    assert (np.moveaxis(filled, axis, 0)[3:16] != cone).mean() < 0.01


def test_drawn_slices_stay_and_beyond_them_they_are_repeated():
    slices = {4: disc(6) + disc(2), 9: disc(10), 11: disc(3)}
    filled = between_slices(drawn_on(slices, 16), 3, 0)
    for index, image in slices.items():
        np.testing.assert_array_equal(filled[index], image)
    for index in range(16):
        if not 4 <= index <= 11:
            np.testing.assert_array_equal(filled[index], slices[4 if index < 4 else 11])


def test_a_moved_disc_is_half_way_in_the_middle():
    slices = {0: np.roll(disc(8), -4, axis=0), 8: np.roll(disc(8), 4, axis=0)}
    middle = between_slices(drawn_on(slices, 9), 2, 0)[4]
    centre = np.argwhere(middle).mean(axis=0)
    np.testing.assert_allclose(centre, [20, 20], atol=0.01)


def test_one_drawn_slice_is_repeated_everywhere():
    filled = between_slices(drawn_on({5: disc(7)}, 9), 2, 0)
    assert (filled == disc(7)).all()


def test_a_class_of_one_slice_only_is_gone_at_the_other():
    filled = between_slices(drawn_on({0: disc(9), 10: 2 * disc(9)}, 11), 3, 0)
    np.testing.assert_array_equal(filled[0], disc(9))
    np.testing.assert_array_equal(filled[10], 2 * disc(9))
    shares = [(filled == 1).sum(axis=(1, 2)), (filled == 2).sum(axis=(1, 2))[::-1]]
    for share in shares:
        assert (np.diff(share) <= 0).all()


def test_full_and_empty_slices_have_depths_too():
    full, empty = np.ones((5, 5), np.uint8), np.zeros((5, 5), np.uint8)
    filled = between_slices(drawn_on({0: full, 10: empty}, 11), 2, 0)
    assert (filled[:5] == 1).all()
    assert (filled[6:] == 0).all()


def test_where_no_slice_is_drawn_all_is_background():
    assert (between_slices(np.full((4, 5, 6), IGNORED, np.uint8), 2, 1) == 0).all()
