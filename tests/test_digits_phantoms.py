"""Digits in space: drawings, slabs, poses."""

import numpy as np
import pytest

from beyond2d.checks import InputError
from beyond2d.phantoms import DigitPose, DigitSpec, draw_digit, draw_pose, extrude


def drawing(digit=2, seed=0):
    return draw_digit(digit, np.random.default_rng(seed))


def test_a_drawing_is_seeded_and_different_for_each_seed_and_digit():
    drawings = [drawing(digit, seed) for digit in range(10) for seed in (0, 1)]
    assert all(image.shape == (28, 28) and image.dtype == np.uint8 and image.max() == 255 for image in drawings)
    assert len({image.tobytes() for image in drawings}) == 20
    np.testing.assert_array_equal(drawing(7, 3), drawing(7, 3))


def test_a_drawing_lies_inside_its_picture():
    for digit in range(10):
        for seed in range(20):
            image = drawing(digit, seed)
            assert not image[[0, -1]].any()
            assert not image[:, [0, -1]].any()
            assert 30 < (image > 127).sum() < 250


def test_drawings_of_one_digit_are_more_alike_than_those_of_others():
    def mean(digit, seeds):
        return np.mean([drawing(digit, seed).astype(float) for seed in seeds], axis=0).ravel()

    one, other = (np.stack([mean(digit, seeds) for digit in range(10)]) for seeds in (range(30), range(30, 60)))
    distances = np.linalg.norm(one[:, None] - other, axis=-1)
    np.testing.assert_array_equal(distances.argmin(axis=1), np.arange(10))


def test_an_upright_digit_is_seen_from_the_front():
    image = np.zeros((28, 28), dtype=np.uint8)
    image[3:6, 22:25] = 255  # upper right
    volume = extrude(image, DigitPose(thickness=4.0))
    assert volume.shape == (16, 16, 16)
    assert volume.dtype == np.float32
    x, y, z = (np.average(np.arange(16), weights=volume.sum(axis=others)) for others in ((1, 2), (0, 2), (0, 1)))
    # Pixel 23 of 28 is 9.5 right of the middle, 5.4 voxels; row 4 as much above it.
    assert (x, y, z) == pytest.approx((7.5 + 9.5 * 16 / 28, 7.5, 7.5 + 9.5 * 16 / 28), abs=0.05)


def test_thickness_is_the_slabs_in_voxels():
    image = np.full((28, 28), 255, dtype=np.uint8)
    for thickness in (2.0, 2.7, 4.0):
        volume = extrude(image, DigitPose(thickness=thickness))
        assert volume[8, :, 8].sum() == pytest.approx(thickness, abs=1e-4)


@pytest.mark.parametrize(("axis", "plane"), [(0, (1, 2)), (1, (2, 0)), (2, (0, 1))])
def test_a_quarter_turn_is_the_turned_volume(axis, plane):
    angles = [0.0, 0.0, 0.0]
    angles[axis] = 90.0
    upright, turned = extrude(drawing(), DigitPose()), extrude(drawing(), DigitPose(angles_deg=tuple(angles)))
    np.testing.assert_allclose(turned, np.rot90(upright, 1, plane), atol=1e-5)
    assert np.abs(turned - upright).max() > 0.5


def test_turns_are_about_y_then_x_then_z():
    upright = extrude(drawing(), DigitPose())
    about_y = np.rot90(upright, 1, (2, 0))
    expected = np.rot90(np.rot90(about_y, 1, (1, 2)), 1, (0, 1))
    np.testing.assert_allclose(extrude(drawing(), DigitPose(angles_deg=(90.0, 90.0, 90.0))), expected, atol=1e-5)


def test_a_shift_is_in_voxels():
    moved = extrude(drawing(), DigitPose(shift=(1.0, -2.0, 0.0)))
    expected = np.roll(extrude(drawing(), DigitPose()), (1, -2), axis=(0, 1))
    np.testing.assert_allclose(moved, expected, atol=1e-5)


def test_noise_has_its_size_and_its_seed():
    grey = np.full((28, 28), 128, dtype=np.uint8)
    clean, noisy = (extrude(grey, DigitPose(thickness=16.0, noise=noise)) for noise in (0.0, 0.05))
    assert (noisy - clean)[2:-2, 2:-2, 2:-2].std() == pytest.approx(0.05, rel=0.1)
    other = extrude(grey, DigitPose(thickness=16.0, noise=0.05, noise_seed=1))
    assert not np.array_equal(noisy, other)
    assert noisy.min() >= 0
    assert noisy.max() <= 1


def test_poses_fill_their_limits_and_keep_within_them():
    spec = DigitSpec(max_angle_deg=30.0, thickness=(1.0, 3.0), max_shift=0.5, noise=0.2)
    poses = [draw_pose(np.random.default_rng(seed), spec) for seed in range(200)]
    angles, shifts = np.array([pose.angles_deg for pose in poses]), np.array([pose.shift for pose in poses])
    assert 28 < np.abs(angles).max() <= 30
    assert 0.48 < np.abs(shifts).max() <= 0.5
    assert all(1 <= pose.thickness <= 3 and pose.noise == 0.2 for pose in poses)
    assert len({pose.noise_seed for pose in poses}) == 200


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ({"max_angle_deg": 120.0}, "max_angle_deg must be between 0 and 90, got 120.0"),
        ({"noise": -0.1}, "noise must be between 0 and 1, got -0.1"),
        ({"max_shift": float("nan")}, "max_shift must be a number, got nan"),
        ({"thickness": (3.0, 2.0)}, "thickness must be two numbers of voxels, the lower first, got (3.0, 2.0)"),
    ],
)
def test_impossible_specs_are_refused(spec, complaint):
    with pytest.raises(InputError) as refused:
        DigitSpec(**spec)
    assert str(refused.value) == complaint


def test_what_is_no_digit_is_refused():
    with pytest.raises(InputError, match=r"^digit must be between 0 and 9, got 10$"):
        drawing(10)
    with pytest.raises(InputError, match=r"^image must be 28 x 28 uint8, got \(28, 27\) of uint8$"):
        extrude(drawing()[:, 1:], DigitPose())
