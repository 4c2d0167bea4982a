"""Agreement with the views: what it measures, and that refinement increases it."""

import numpy as np
import pytest
import torch

from beyond2d.consistency import refine, reprojection_error, within_hull
from beyond2d.projection import back_project, project, view_angles


@pytest.fixture(scope="module")
def tree():
    """A few rods of different brightness (32, 32, 24), 0..1."""
    volume = torch.zeros(32, 32, 24)
    volume[10:13, 8:11] = 1.0
    volume[20:22, 14:25, 12:14] = 0.7
    volume[8:24, 22:24, 5:7] = 0.8
    return volume


@pytest.mark.parametrize("mode", ["max", "sum"])
def test_a_gap_disagrees_with_the_views(tree, mode):
    angles = view_angles(6)
    views = project(tree, angles, mode)
    views = views / views.max()
    truth = (tree > 0).float()
    gap = truth.clone()
    gap[10:13, 8:11, 8:16] = 0
    error = reprojection_error(truth, views, angles, mode)
    assert reprojection_error(gap, views, angles, mode) > 1.2 * error


@pytest.mark.parametrize("mode", ["max", "sum"])
def test_refinement_lowers_the_error_and_keeps_to_probabilities(tree, mode):
    angles = view_angles(5)
    views = project(tree, angles, mode)
    views = views / views.max()
    unsure = 0.2 + 0.5 * (tree > 0).float()
    refined = refine(unsure, views, angles, steps=8, mode=mode)
    assert reprojection_error(refined, views, angles, mode) < 0.9 * reprojection_error(unsure, views, angles, mode)
    assert refined.min() >= 0
    assert refined.max() <= 1
    assert not refined.requires_grad


def test_no_steps_change_nothing_and_each_step_is_told(tree):
    angles = view_angles(3)
    views = project(tree, angles)
    probability = 0.1 + 0.8 * (tree > 0).float()
    torch.testing.assert_close(refine(probability, views, angles, steps=0), probability, rtol=0, atol=1e-5)
    told = []
    refine(probability, views, angles, steps=3, after_step=lambda: told.append(1))
    assert len(told) == 3


def test_gradients_are_taken_view_by_view_as_if_at_once(tree):
    """One step of plain autograd over all views together moves every voxel the same way."""
    angles = view_angles(4)
    views = project(tree, angles)
    probability = 0.3 + 0.4 * (tree > 0).float()
    logits = torch.logit(probability).requires_grad_()
    ceiling = back_project(views, angles, "min").clamp(min=0)
    shown = project(logits.sigmoid() * ceiling, angles)
    (views * (shown - views).square()).mean().backward()
    refined = torch.logit(refine(probability, views, angles, steps=1, learning_rate=0.1))
    moved = logits.grad.abs() > 1e-9
    signs = np.sign((refined - logits.detach())[moved].numpy())
    np.testing.assert_array_equal(signs, -np.sign(logits.grad[moved].numpy()))


def test_what_one_view_rules_out_is_taken_away(tree):
    angles = view_angles(4)
    kept = within_hull(torch.ones_like(tree), project(tree, angles), angles, level=0.3)
    assert kept[tree > 0].min() == 1
    assert kept.mean() < 0.3
