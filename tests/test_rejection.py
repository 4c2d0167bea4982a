"""False candidates are taken from a prediction, and several answers to one question are kept apart."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from torch import nn

from beyond2d.checks import InputError
from beyond2d.inferers import (
    CandidateRejection,
    EstimatesInferer,
    RejectingInferer,
    estimate_names,
    patches_of,
    scores_of,
)
from beyond2d.phantoms import ChestSpec, chest_phantom
from beyond2d.transforms import BodyMaskd, HounsfieldUnitsd, SplitEstimatesd, SplitPredictionsd


class BrightPatches(nn.Module):
    """Believes in candidates on a bright ground: the image in the region's middle, as a logit."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, patches):
        middle = patches.shape[-1] // 2
        return 20 * (patches[:, 1:2, middle, middle] - 0.5) + self.bias


def prediction_of_two(size=24):
    """An image (1, 1, X, Y, Z), dark but for one bright square, and a prediction that marks that and a dark square."""
    image = torch.zeros(1, 1, size, size, 3)
    shares = torch.zeros(1, 3, size, size, 3)
    shares[:, 1] = 0.7
    shares[:, 0] = 0.3
    for start, value in ((3, 255.0), (14, 10.0)):
        square = slice(start, start + 6), slice(start, start + 6), 1
        image[0, 0][square] = value
        shares[0, 1][square], shares[0, 0][square] = 0.1, 0.0
        shares[0, 2][square] = 0.9
    return image, shares


def always(shares):
    return lambda inputs, network: shares.clone()


def test_a_rejected_candidate_becomes_healthy_lung():
    image, shares = prediction_of_two()
    found = CandidateRejection(BrightPatches(), threshold=0.5)(image, shares)
    expected = shares.clone()
    expected[0, 1, 14:20, 14:20, 1], expected[0, 2, 14:20, 14:20, 1] = 1.0, 0.0
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(1, 24, 24, 3))


@pytest.mark.parametrize(("threshold", "left"), [(0.0, 2), (0.5, 1), (1.1, 0)])
def test_the_threshold_decides_how_many_stay(threshold, left):
    image, shares = prediction_of_two()
    found = CandidateRejection(BrightPatches(), threshold=threshold)(image, shares)
    assert int((found.argmax(dim=1) == 2).sum()) == left * 36


def test_the_original_stands_behind_what_is_left():
    image, shares = prediction_of_two()
    found = RejectingInferer(always(shares), CandidateRejection(BrightPatches(), threshold=1.1))(image, None)
    assert found.shape[1] == 6
    torch.testing.assert_close(found[:, 3:], shares)
    assert float(found[:, 2].max()) == 0


def test_without_a_rejection_or_a_candidate_nothing_changes():
    image, shares = prediction_of_two()
    torch.testing.assert_close(RejectingInferer(always(shares))(image, None), shares)
    empty = torch.stack([torch.ones(1, 8, 8, 2), torch.zeros(1, 8, 8, 2), torch.zeros(1, 8, 8, 2)], dim=1)
    found = CandidateRejection(BrightPatches(), threshold=1.1)(image[..., :8, :8, :2], empty)
    torch.testing.assert_close(found, empty)


def test_another_number_of_classes_is_refused():
    with pytest.raises(InputError, match="expected probabilities of 3 classes"):
        CandidateRejection(BrightPatches())(torch.zeros(1, 1, 4, 4, 4), torch.zeros(1, 2, 4, 4, 4))


def test_scores_do_not_depend_on_the_batch():
    from beyond2d.candidates import candidates_of

    image, shares = prediction_of_two()
    candidates = candidates_of((shares[0].argmax(dim=0) == 2).numpy())
    patches = patches_of(image[0, 0], shares[0, 2], candidates, size=16, margin=2)
    assert patches.shape == (2, 4, 16, 16)
    np.testing.assert_allclose(patches[:, 3, 8, 8], 0.9, atol=1e-6)  # how sure the segmenter is
    assert patches.min() >= 0
    assert patches.max() <= 1
    scores = [scores_of(BrightPatches(), patches, batch_size) for batch_size in (1, 2, 64)]
    np.testing.assert_allclose(scores[0], scores[1])
    np.testing.assert_allclose(scores[0], scores[2])
    assert scores[0][0] > 0.9 > 0.1 > scores[0][1]
    assert scores_of(BrightPatches(), patches[:0]).shape == (0,)


class Sided(nn.Module):
    """Calls infected whatever lies in the first half along X."""

    def forward(self, volume):
        first = torch.zeros_like(volume[:, :1])
        first[:, :, : volume.shape[2] // 2] = 1
        return torch.cat([0 * first, 1 - first, first], dim=1)


def test_estimates_are_of_the_volume_and_its_mirror_image():
    volume = torch.rand(2, 1, 6, 4, 3)

    def simple(inputs, network):
        return network(inputs)

    found = EstimatesInferer(simple, {"other": (simple, Sided())})(volume, Sided())
    assert found.shape == (2, 3 + 4, 6, 4, 3)
    torch.testing.assert_close(found[:, 1:3], torch.full((2, 2, 6, 4, 3), 0.5))  # the mean of both halves
    plain, mirrored = found[:, 3], found[:, 4]
    assert (plain[:, :3] == 2).all()
    assert (plain[:, 3:] == 1).all()
    torch.testing.assert_close(mirrored, plain.flip(1))
    torch.testing.assert_close(found[:, 5:], found[:, 3:5])
    healed = EstimatesInferer(simple, finish=lambda inputs, shares: shares.flip(1))(volume, Sided())
    assert not (healed[:, 3:] == 2).any()
    torch.testing.assert_close(healed[:, :3], found[:, :3].flip(1))
    names = estimate_names("slab", ["other"])
    assert names == ["slab", "slab, mirrored", "other", "other, mirrored"]


def test_estimates_are_parted_by_name():
    shares = torch.rand(3, 5, 4, 2).softmax(dim=0)
    classes = torch.zeros(2, 5, 4, 2)
    classes[0, :2], classes[0, 0] = 1, 2  # half of the lung infected
    image = MetaTensor(torch.cat([shares, classes]), affine=torch.diag(torch.tensor([2.0, 3, 4, 1])))
    everywhere = torch.ones(1, 5, 4, 2, dtype=torch.bool)
    item = SplitEstimatesd("pred", ["one", "none"])({"pred": image, "body": everywhere})
    torch.testing.assert_close(item["pred"].softmax(dim=0).as_tensor(), shares, atol=1e-5, rtol=0)
    torch.testing.assert_close(item["pred"].affine, image.affine)
    assert item["estimates"][0] == {"name": "one", "proportion": 0.5}
    assert math.isnan(item["estimates"][1]["proportion"])
    with pytest.raises(InputError, match="expected one for each of 2 answers, got 1"):
        SplitEstimatesd("pred", ["one"])({"pred": image, "body": everywhere})


def test_predictions_are_parted_by_name():
    shares = torch.rand(2, 3, 5, 4, 2).softmax(dim=1)
    item = {"pred": MetaTensor(shares.flatten(0, 1)), "body": torch.ones(1, 5, 4, 2, dtype=torch.bool)}
    item = SplitPredictionsd("pred", ["after", "before"])(item)
    assert set(item) == {"after", "before", "body"}
    for name, expected in zip(("after", "before"), shares, strict=True):
        torch.testing.assert_close(item[name].softmax(dim=0).as_tensor(), expected, atol=1e-5, rtol=0)


def test_nothing_outside_of_the_body_is_lung():
    body = torch.zeros(1, 5, 4, 2, dtype=torch.bool)
    body[:, 1:] = True
    answers = torch.full((4, 5, 4, 2), 0.25)
    answers[2], answers[3, :2], answers[3, 2:] = 0.5, 2, 1
    item = {"pred": MetaTensor(answers), "body": body}
    estimates = SplitEstimatesd("pred", ["one"])(item)
    assert estimates["estimates"][0]["proportion"] == 0.25  # the row around the body is not counted
    predictions = SplitPredictionsd("pred", ["one"])({**item, "pred": item["pred"][:3]})
    for logits in (estimates["pred"], predictions["one"]):
        assert (logits.argmax(dim=0)[0] == 0).all()
        assert (logits.argmax(dim=0)[1:] == 2).all()


def test_a_blanket_is_not_in_the_body():
    chest = ChestSpec((64, 64, 24), (6.0, 6.0, 6.0))
    drawn = chest_phantom(0, chest)
    hu = drawn.volume.copy()
    hu[20:44, -7:-1, :] = -850  # as dense as a lung
    hu[20:44, -7, :] = hu[20:44, -1, :] = -100
    image = MetaTensor(torch.as_tensor((hu.clip(-1200, 600) + 1200) / 1800 * 255)[None], affine=np.diag([6.0, 6, 6, 1]))
    body = BodyMaskd("image", (-1200, 600))({"image": image})["body"]
    assert body.shape == image.shape
    assert not body[0, 20:44, -7:].any()
    lung = torch.as_tensor(drawn.label > 0)
    assert body[0][lung].float().mean() > 0.99


def ct(air=-1000.0, lung=-850.0, water=0.0, bone=700.0):
    """A scan (1, X, Y, Z) that is half air, and the rest lung, water and a little bone."""
    volume = torch.full((1, 20, 20, 10), air)
    volume[:, 10:] = water
    volume[:, 12:14] = lung
    volume[:, 18:, 18:] = bone
    return MetaTensor(volume, meta={"filename_or_obj": "scan.nii.gz"})


def test_hounsfield_units_pass_and_are_mended():
    torch.testing.assert_close(HounsfieldUnitsd("image")({"image": ct()})["image"], ct())
    shifted = ct() + 1024
    mended = HounsfieldUnitsd("image", offset=-1024)({"image": shifted})["image"]
    torch.testing.assert_close(mended.as_tensor(), ct().as_tensor())
    assert mended.meta["filename_or_obj"] == "scan.nii.gz"


@pytest.mark.parametrize(
    ("volume", "complaint"),
    [
        (ct(24, 174, 1024, 1700), "air near 24 and water near 1024: the intercept is missing; give --hu_offset -1024"),
        (ct(0, 60, 400, 1200), "got values from 0 to 1200; an MR image, or a picture of a CT"),
        (ct(64536, 64700, 0, 700), "got values up to 64700: negative HU were stored as unsigned numbers"),
        (ct(0, 0.1, 0.5, 1), "got values from 0 to 1;"),
        (ct(-2024, -1874, -1024, -324), "got values from -2024 to -324;"),
    ],
    ids=["no intercept", "MR", "unsigned", "scaled", "intercept twice"],
)
def test_what_is_not_in_hounsfield_units_is_refused(volume, complaint):
    with pytest.raises(InputError, match=r"scan\.nii\.gz: expected a CT in HU, with air near -1000 and water") as error:
        HounsfieldUnitsd("image")({"image": volume})
    assert complaint in str(error.value)
