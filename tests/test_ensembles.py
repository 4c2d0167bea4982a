"""Networks of several folds in one folder: half precision, weights with two names, and what does not fit."""

from __future__ import annotations

import pytest
import torch
from monai.networks.nets import DynUNet
from test_plans import PLAN

from beyond2d.checks import InputError
from beyond2d.ensembles import write_ensemble
from beyond2d.networks import ensemble_of
from beyond2d.readers import plan_text, read_plan

TRAINED = {**PLAN, "num_members": 1, "keep_largest": []}


def network(seed=0):
    """A network whose heads of deep supervision have two names for some weights."""
    torch.manual_seed(seed)
    sizes = {"kernel_size": [3, 3, 3], "strides": [1, 2, 2], "upsample_kernel_size": [2, 2], "filters": [4, 6, 8]}
    return DynUNet(3, 1, 2, **sizes, norm_name="instance", deep_supervision=True, deep_supr_num=1)


def training(folder, seed=0, plan=TRAINED):
    """A folder as a training leaves it."""
    folder.mkdir(parents=True)
    torch.save(network(seed).state_dict(), folder / "model.pt")
    if plan is not None:
        (folder / "plan.yaml").write_text(plan_text(plan))
    return folder


def test_an_ensembles_file_holds_every_network_in_half_precision(tmp_path):
    folders = [training(tmp_path / f"fold_{seed}", seed) for seed in range(3)]
    assert write_ensemble(folders, tmp_path / "out", keep_largest=[2]) == tmp_path / "out"
    assert read_plan(tmp_path / "out" / "plan.yaml") == {**TRAINED, "num_members": 3, "keep_largest": [2]}
    state = torch.load(tmp_path / "out" / "model.pt", weights_only=True)
    assert {tensor.dtype for tensor in state.values()} == {torch.float16}
    together = ensemble_of(network(), 3)
    together.load_state_dict(state)
    for seed, member in enumerate(together.members):
        for name, tensor in network(seed).state_dict().items():
            assert torch.equal(member.state_dict()[name], tensor.half().float()), name


def test_an_ensemble_of_one_keeps_the_names_of_its_network(tmp_path):
    write_ensemble([training(tmp_path / "only")], tmp_path / "out")
    state = torch.load(tmp_path / "out" / "model.pt", weights_only=True)
    assert list(state) == list(network().state_dict())
    assert read_plan(tmp_path / "out" / "plan.yaml") == TRAINED


def test_a_weight_with_two_names_is_stored_once(tmp_path):
    state = network().state_dict()
    pointers = {tensor.data_ptr(): tensor.numel() for tensor in state.values()}
    assert len(pointers) < len(state)
    folders = [training(tmp_path / f"fold_{seed}", seed) for seed in range(2)]
    write_ensemble(folders, tmp_path / "out")
    halves = torch.load(tmp_path / "out" / "model.pt", weights_only=True)
    stored = {tensor.data_ptr(): tensor.numel() for tensor in halves.values()}
    assert sum(stored.values()) == 2 * sum(pointers.values())


def test_whole_numbers_stay_what_they_are(tmp_path):
    folder = training(tmp_path / "fold_0")
    state = {"weight": torch.tensor([1.5, 65504.0]), "num_batches_tracked": torch.tensor(70001)}
    torch.save(state, folder / "model.pt")
    write_ensemble([folder], tmp_path / "out")
    halves = torch.load(tmp_path / "out" / "model.pt", weights_only=True)
    assert (halves["num_batches_tracked"].dtype, int(halves["num_batches_tracked"])) == (torch.int64, 70001)
    assert halves["weight"].tolist() == [1.5, 65504.0]


def test_a_plan_may_lie_one_folder_above_its_trainings(tmp_path):
    folders = [training(tmp_path / "runs" / name, plan=None) for name in ("a", "b")]
    (tmp_path / "runs" / "plan.yaml").write_text(plan_text(TRAINED))
    write_ensemble(folders, tmp_path / "out")
    assert read_plan(tmp_path / "out" / "plan.yaml")["num_members"] == 2


def test_networks_that_are_no_ensemble_are_refused_and_nothing_is_written(tmp_path):
    out = tmp_path / "out"
    with pytest.raises(InputError, match=r"^folders must name at least one training, got none$"):
        write_ensemble([], out)
    one = training(tmp_path / "one")
    other = training(tmp_path / "other", plan={**TRAINED, "batch_size": 1})
    with pytest.raises(InputError, match=rf"^{other}: expected the plan of {one}, got another$"):
        write_ensemble([one, other], out)
    planless = training(tmp_path / "planless", plan=None)
    with pytest.raises(InputError, match=rf"^{tmp_path}/plan\.yaml: expected a plan, there is no such file"):
        write_ensemble([one, planless], out)
    line = r"^keep_largest must be label values of the plan, 0, 2, 7, got 3$"
    with pytest.raises(InputError, match=line):
        write_ensemble([one], out, keep_largest=[2, 3])
    together = training(tmp_path / "together", plan={**TRAINED, "num_members": 2})
    with pytest.raises(InputError, match=rf"^{together}: expected a training of one network, got an ensemble already$"):
        write_ensemble([together], out)
    stranger = training(tmp_path / "stranger")
    torch.save({"weight": torch.zeros(3)}, stranger / "model.pt")
    with pytest.raises(InputError, match=rf"^{stranger}: expected the network of {one}, got another$"):
        write_ensemble([one, stranger], out)
    (one / "model.pt").unlink()
    with pytest.raises(InputError, match=rf"^{one}/model\.pt: expected a file of weights, there is no such file$"):
        write_ensemble([one], out)
    assert not out.exists()
