"""Grids in world space."""

import numpy as np
import pytest

from beyond2d.geometry import is_isotropic, is_upright, isotropic_grid, spacing_of, square_padding, upright_grid


def test_spacing_is_the_length_of_the_columns():
    turn = np.deg2rad(30)
    affine = np.eye(4)
    affine[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    affine[:3, :3] = affine[:3, :3] @ np.diag([0.5, -0.7, 2.0])
    assert spacing_of(affine) == pytest.approx((0.5, 0.7, 2.0))
    assert not is_isotropic(affine)
    assert is_isotropic(np.diag([-2.0, 2.0, 2.0, 1.0]))


def test_the_isotropic_grid_covers_the_same_box():
    affine = np.diag([0.5, 0.5, 2.0, 1.0])
    affine[:3, 3] = [10, -5, 3]
    shape, cubes = isotropic_grid((8, 6, 5), affine, 0.5)
    assert shape == (8, 6, 20)
    for grid_shape, grid in (((8, 6, 5), affine), (shape, cubes)):
        low, high = grid @ [-0.5, -0.5, -0.5, 1], grid @ [*(np.array(grid_shape) - 0.5), 1]
        np.testing.assert_allclose(low[:3], [9.75, -5.25, 2.0])
        np.testing.assert_allclose(high[:3], [13.75, -2.25, 12.0])


@pytest.mark.parametrize("shape", [(8, 8, 8), (7, 12, 9), (30, 5, 1), (16, 17, 24)])
def test_square_padding_is_even_and_divisible(shape):
    padding = square_padding(shape, 8)
    x, y, z = (size + before + after for size, (before, after) in zip(shape, padding, strict=True))
    assert x == y >= max(shape[:2])
    assert x % 8 == z % 8 == 0
    assert x - max(shape[:2]) < 8
    assert all(0 <= after - before <= 1 for before, after in padding)


def test_the_upright_grid_covers_every_voxel_and_lies_on_whole_multiples():
    turn = np.deg2rad(25)
    affine = np.eye(4)
    affine[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    affine[:3, :3] = affine[:3, :3] @ np.diag([-0.6, 0.8, 2.5])
    affine[:3, 3] = [7.3, -11.1, 4.9]
    spacing, shape = np.array([1.0, 1.2, 1.5]), (30, 20, 11)
    size, grid = upright_grid(shape, affine, spacing)
    np.testing.assert_allclose(grid[:3, :3], np.diag(spacing))
    np.testing.assert_allclose(grid[:3, 3] / spacing, np.round(grid[:3, 3] / spacing), atol=1e-9)
    voxels = np.indices(shape).reshape(3, -1)
    places = (affine[:3, :3] @ voxels + affine[:3, 3:] - grid[:3, 3:]) / spacing[:, None]
    assert (places.min(1) >= -0.011).all()
    assert (places.max(1) <= np.array(size) - 1 + 0.011).all()
    assert (places.min(1) < 1).all()
    assert (places.max(1) > np.array(size) - 2).all()


def test_a_grid_is_upright_only_along_ras():
    assert is_upright(np.diag([1.0, 2.0, 3.0, 1.0]), (1, 2, 3))
    assert not is_upright(np.diag([-1.0, 2.0, 3.0, 1.0]), (1, 2, 3))
    assert not is_upright(np.diag([1.0, 2.0, 3.1, 1.0]), (1, 2, 3))
