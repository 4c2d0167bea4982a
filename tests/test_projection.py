"""The operators against the literal scipy code, and as operators."""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import rotate

from beyond2d.checks import InputError
from beyond2d.projection import (
    back_project,
    detect,
    project,
    sample_views,
    scale_to_unit,
    subtract,
    view_angles,
    view_statistics,
)

SHAPES = [(16, 9), (17, 20), (33, 5), (8, 1)]
ANGLES = [
    [0.0, 90.0],
    [0.0, 22.75, 45.0, 69.8, 90.0],
    [13.37, 89.9, 120.0, 180.0, 270.0, -30.0],
]


def literal_project(volume, angles_deg, mode):
    turned = [rotate(volume, angle, axes=(0, 1), reshape=False, order=1) for angle in angles_deg]
    return np.stack([getattr(np, mode)(one, axis=1) for one in turned])


def literal_back_project(images, angles_deg, fuse):
    size = images.shape[1]
    smeared = [
        rotate(np.repeat(image[:, None], size, axis=1), -angle, axes=(0, 1), reshape=False, order=1)
        for image, angle in zip(images, angles_deg, strict=True)
    ]
    return getattr(np, fuse)(np.stack(smeared), axis=0)


def random_array(*shape, seed=0):
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


@pytest.mark.parametrize(
    ("num_views", "expected"),
    [
        (90, list(range(90))),
        (46, [*range(0, 89, 2), 89]),
        (24, [*range(0, 89, 4), 89]),
        (10, [*range(0, 81, 10), 89]),
        (5, [0, 23, 46, 69, 89]),
        (3, [0, 45, 89]),
        (2, [0, 89]),
    ],
)
def test_the_papers_samples(num_views, expected):
    assert sample_views(num_views) == expected


def test_any_number_of_views_is_distinct_and_holds_both_ends():
    for num_views in range(2, 91):
        indices = sample_views(num_views)
        assert len(set(indices)) == num_views == len(indices)
        assert indices == sorted(indices)
        assert (indices[0], indices[-1]) == (0, 89)


def test_where_the_rule_misses_the_views_are_even():
    steps = np.diff(sample_views(60))
    assert set(steps) == {1, 2}


def test_view_angles_reach_from_zero_to_the_span():
    assert view_angles(2) == [0.0, 90.0]
    angles = view_angles(7, total=181, span_deg=180.0)
    assert angles == [0.0, 30.0, 60.0, 90.0, 120.0, 150.0, 180.0]


@pytest.mark.parametrize("bad", [0, 1, 91, -3, "two", 2.0, True, None])
def test_num_views_is_refused(bad):
    with pytest.raises(InputError, match=r"num_views must be .*got"):
        sample_views(bad)


@pytest.mark.parametrize("angles_deg", ANGLES)
@pytest.mark.parametrize(("size", "depth"), SHAPES)
@pytest.mark.parametrize("mode", ["max", "sum"])
def test_project_equals_scipy(size, depth, angles_deg, mode):
    volume = random_array(size, size, depth) - 0.5
    expected = literal_project(volume, angles_deg, mode)
    found = project(torch.from_numpy(volume), angles_deg, mode).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("angles_deg", ANGLES)
@pytest.mark.parametrize(("size", "depth"), SHAPES)
@pytest.mark.parametrize("fuse", ["sum", "mean", "min", "max"])
def test_back_project_equals_scipy(size, depth, angles_deg, fuse):
    images = random_array(len(angles_deg), size, depth) - 0.5
    expected = literal_back_project(images, angles_deg, fuse)
    found = back_project(torch.from_numpy(images), angles_deg, fuse).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_many_views_are_summed_in_groups():
    angles = view_angles(40)
    images = random_array(40, 12, 3)
    expected = literal_back_project(images, angles, "sum")
    np.testing.assert_allclose(back_project(torch.from_numpy(images), angles).numpy(), expected, atol=1e-4)


def test_leading_axes_are_kept():
    volumes = torch.from_numpy(random_array(2, 3, 12, 12, 4))
    views = project(volumes, [0.0, 30.0])
    assert views.shape == (2, 3, 2, 12, 4)
    assert torch.equal(views[1, 2], project(volumes[1, 2], [0.0, 30.0]))
    smeared = back_project(views, [0.0, 30.0])
    assert smeared.shape == volumes.shape
    assert torch.equal(smeared[1, 2], back_project(views[1, 2], [0.0, 30.0]))


def test_a_view_at_zero_is_the_plain_projection():
    volume = torch.from_numpy(random_array(15, 15, 6))
    assert torch.allclose(project(volume, [0.0])[0], volume.amax(1))
    assert torch.allclose(project(volume, [0.0], mode="sum")[0], volume.sum(1), rtol=1e-5)


def test_the_minimum_of_exact_views_is_a_hull():
    volume = torch.zeros(32, 32, 8)
    volume[12:18, 10:22, 2:6] = 1
    angles = view_angles(10)
    hull = back_project(project(volume, angles), angles, "min")
    assert torch.allclose(hull[13:17, 11:21, 2:6], torch.ones(4, 10, 4))  # interpolation dims the outermost voxels
    assert (hull > 0.7).sum() < 3 * volume.sum()


@pytest.mark.parametrize("mode", ["max", "sum"])
def test_project_has_the_right_gradient(mode):
    volume = torch.rand(6, 6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: project(v, [0.0, 20.0, 90.0], mode), (volume,), atol=1e-6)


@pytest.mark.parametrize("fuse", ["sum", "mean", "min", "max"])
def test_back_project_has_the_right_gradient(fuse):
    views = torch.rand(3, 6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: back_project(v, [0.0, 20.0, 90.0], fuse), (views,), atol=1e-6)


def test_the_gradient_of_the_sum_is_its_adjoint():
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(10, 10, 3, dtype=torch.float64, generator=generator).requires_grad_()
    y = torch.rand(4, 10, 3, dtype=torch.float64, generator=generator)
    angles = view_angles(4)
    (adjoint,) = torch.autograd.grad((project(x, angles, "sum") * y).sum(), x)
    assert math.isclose((project(x, angles, "sum") * y).sum().item(), (adjoint * x).sum().item(), rel_tol=1e-10)


def test_scale_to_unit():
    volume = torch.from_numpy(random_array(2, 4, 4, 4)) * 7 - 3
    scaled = scale_to_unit(volume)
    assert torch.equal(scaled.amin((1, 2, 3)), torch.zeros(2))
    assert torch.equal(scaled.amax((1, 2, 3)), torch.ones(2))
    assert torch.equal(scale_to_unit(torch.full((4, 4, 4), 5.0)), torch.zeros(4, 4, 4))


def test_detector_noise_is_unbiased_and_grows_with_density():
    views = torch.tensor([0.0, 1.0]).reshape(2, 1, 1).expand(2, 200, 200)
    noisy = detect(views, photons=2000, absorbance=2.0, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(noisy.mean((1, 2)), torch.tensor([0.0, 1.0]), atol=2e-3)
    # Poisson: the standard deviation of the logarithm of a count is one over the root of the count.
    expected = torch.tensor([2000.0, 2000 * math.exp(-2)]).rsqrt() / 2
    assert torch.allclose(noisy.std((1, 2)), expected, rtol=0.05)


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: project(torch.zeros(4, 5, 3), [0.0]), r"volume must be .* X = Y .* got \(4, 5, 3\)"),
        (lambda: project(torch.zeros(4, 4), [0.0]), r"volume must be .* got \(4, 4\)"),
        (lambda: project(torch.zeros(4, 4, 3), []), "at least one angle"),
        (lambda: project(torch.zeros(4, 4, 3), [float("nan")]), "finite"),
        (lambda: project(torch.zeros(4, 4, 3), [0.0], mode="mean"), "mode must be one of max, sum, got 'mean'"),
        (lambda: back_project(torch.zeros(2, 4, 3), [0.0]), "2 views, got 1 angles"),
        (lambda: back_project(torch.zeros(4, 3), [0.0]), "views of shape"),
        (lambda: back_project(torch.zeros(1, 4, 3), [0.0], fuse="median"), "fuse must be one of"),
    ],
)
def test_bad_arguments(call, line):
    with pytest.raises(InputError, match=line):
        call()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_gpu_gives_the_same():
    volume = torch.from_numpy(random_array(24, 24, 7))
    angles = view_angles(5)
    views = project(volume, angles)
    assert torch.allclose(project(volume.cuda(), angles).cpu(), views, atol=1e-5)
    assert torch.allclose(back_project(views.cuda(), angles).cpu(), back_project(views, angles), atol=1e-5)


@pytest.mark.parametrize("num_views", [2, 3, 10, 40])
def test_statistics_are_those_of_the_single_back_projections(num_views):
    angles = np.sort(np.random.default_rng(num_views).uniform(0, 180, num_views)).tolist()
    views = torch.rand(num_views, 24, 15, generator=torch.Generator().manual_seed(0))
    single = torch.stack([back_project(views[i : i + 1], angles[i : i + 1]) for i in range(num_views)])
    mean, smallest, second, spread = view_statistics(views, angles)
    torch.testing.assert_close(mean, single.mean(0), rtol=0, atol=1e-6)
    assert torch.equal(smallest, single.amin(0))
    torch.testing.assert_close(second, single.sort(0).values[1], rtol=0, atol=0)
    torch.testing.assert_close(spread, single.std(0, unbiased=False), rtol=0, atol=2e-3)


def test_statistics_do_not_depend_on_the_order_of_the_views():
    angles, views = view_angles(6), torch.rand(6, 16, 8)
    order = [3, 0, 5, 1, 4, 2]
    turned = view_statistics(views[order], [angles[i] for i in order])
    torch.testing.assert_close(turned, view_statistics(views, angles), rtol=0, atol=1e-3)


def test_statistics_refuse_what_they_cannot_tell():
    with pytest.raises(InputError, match="at least 2 views"):
        view_statistics(torch.rand(1, 8, 8), [0.0])
    with pytest.raises(InputError, match="one stack of views"):
        view_statistics(torch.rand(1, 3, 8, 8), [0.0, 1.0, 2.0])


def test_subtraction_gives_the_vessels_with_the_noise_of_two_exposures():
    """By Beer and Lambert's law the variance of the logarithm of a count is one over the count."""
    shape = (1, 400, 400)
    vessels, tissue = torch.full(shape, 0.5), torch.full(shape, 1.0)
    found = subtract(vessels, tissue, 10_000, 2.0, 1.5, torch.Generator().manual_seed(0))
    behind_tissue = 10_000 * np.exp(-1.5)
    spread = np.sqrt(1 / behind_tissue + 1 / (behind_tissue * np.exp(-2.0 * 0.5))) / 2.0
    assert abs(float(found.mean()) - 0.5) < 1e-3
    assert abs(float(found.std()) / spread - 1) < 0.02
    thicker = subtract(vessels, 2 * tissue, 10_000, 2.0, 1.5, torch.Generator().manual_seed(0))
    assert thicker.std() > 1.5 * found.std()
