from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from monai.data import MetaTensor
from monai.networks.nets import AttentionUnet, BasicUNet, DynUNet, UNet
from torch import nn

from beyond2d.checks import InputError
from beyond2d.inferers import ExactTileInferer, MirrorInferer, MixedPrecisionInferer, derive_reach

VOLUME = torch.rand(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0))


def randomized(network: nn.Module) -> nn.Module:
    """Random statistics and weights of the batch norms too, whose defaults would hide faults; ready to predict."""
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
            module.reset_parameters()
        if isinstance(module, nn.BatchNorm3d):
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
    return network.eval()


def autoencoder(*channels: int) -> nn.Sequential:
    """The reconstruction network's layers; with fewer channels it reads the same and is quick."""
    down, up = [], []
    for before, after in zip((1, *channels), channels, strict=False):
        down += [nn.Conv3d(before, after, 3, padding=1), nn.BatchNorm3d(after), nn.ReLU(inplace=True), nn.MaxPool3d(2)]
    for before, after in zip(channels[:0:-1], channels[-2::-1], strict=True):
        up += [nn.ConvTranspose3d(before, after, 2, stride=2), nn.BatchNorm3d(after), nn.ReLU(inplace=True)]
    return nn.Sequential(*down, *up, nn.ConvTranspose3d(channels[0], 1, 2, stride=2))


class Calls(nn.Module):
    """A network without weights of its own besides those of `layers`, given as a function."""

    def __init__(self, function: Callable[..., torch.Tensor], *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.function = function

    def forward(self, x: torch.Tensor, **kwargs: float) -> torch.Tensor:
        return self.function(x, *self.layers, **kwargs)


def conv(channels_in: int = 1, channels_out: int = 1, kernel: int = 3) -> nn.Conv3d:
    return nn.Conv3d(channels_in, channels_out, kernel, padding=kernel // 2)


def self_attention(x: torch.Tensor) -> torch.Tensor:
    tokens = x.flatten(2).transpose(1, 2)
    return F.scaled_dot_product_attention(tokens, tokens, tokens).transpose(1, 2).reshape(x.shape)


def with_unpooling(x: torch.Tensor) -> torch.Tensor:
    return F.max_unpool3d(*F.max_pool3d(x, 2, return_indices=True), 2)


TWO_SIDED = nn.Conv3d(1, 1, (5, 3, 1), padding=(2, 1, 0))
# Each with its grid and halo as counted by hand, which the test below confirms by experiment.
BOUNDED = {
    "autoencoder": (autoencoder(4, 6, 8), (8, 8, 8), (8, 8, 8)),
    "identity": (nn.Identity(), (1, 1, 1), (0, 0, 0)),
    "anisotropic kernel": (TWO_SIDED, (1, 1, 1), (2, 1, 0)),
    "dilation": (nn.Sequential(nn.Conv3d(1, 2, 3, padding=3, dilation=3), conv(2)), (1, 1, 1), (4, 4, 4)),
    "strides": (
        nn.Sequential(nn.Conv3d(1, 2, 3, 2, 1), nn.PReLU(2), nn.ConvTranspose3d(2, 1, 3, 2, 1, output_padding=1)),
        (2, 2, 2),
        (2, 2, 2),
    ),
    "pooling by three": (
        nn.Sequential(nn.AvgPool3d(3), conv(1, 2, 5), nn.ConvTranspose3d(2, 2, 3, 3), nn.Softmax(dim=1)),
        (3, 3, 3),
        (6, 6, 6),
    ),
    "mixed pooling": (
        nn.Sequential(conv(), nn.MaxPool3d((2, 4, 1)), conv(), nn.Upsample(scale_factor=(2, 4, 1))),
        (2, 4, 1),
        (4, 8, 2),
    ),
    "overlapping pooling": (nn.Sequential(nn.MaxPool3d(3, 2, 1), nn.Upsample(scale_factor=2)), (2, 2, 2), (2, 2, 2)),
    "linear upsampling": (
        nn.Sequential(nn.MaxPool3d(2), nn.Upsample(scale_factor=2, mode="trilinear")),
        (2, 2, 2),
        (2, 2, 2),
    ),
    "skip by adding": (Calls(lambda x, a, b: F.relu(a(x)) + b(x), conv(), conv(1, 1, 7)), (1, 1, 1), (3, 3, 3)),
    "skip by joining": (
        Calls(
            lambda x, a, b: b(torch.cat([x, F.interpolate(F.max_pool3d(a(x), 2), scale_factor=2.0)], dim=1)),
            conv(),
            conv(2),
        ),
        (2, 2, 2),
        (4, 4, 4),
    ),
    "gate": (Calls(lambda x, a: x * torch.sigmoid(a(x)), conv()), (1, 1, 1), (1, 1, 1)),
    "monai UNet": (UNet(3, 1, 2, (2, 4), (2,), norm="batch"), (2, 2, 2), (4, 4, 4)),
}


@pytest.fixture(params=BOUNDED)
def bounded(request):
    network, grid, halo = BOUNDED[request.param]
    return randomized(network), grid, halo


def poisoned_halo(network: nn.Module, grid: tuple[int, ...], axis: int) -> int:
    """How far beyond one grid cell of the output a NaN in the input still reaches it, rounded up to the grid."""
    step = grid[axis]
    num_cells = 24 // step
    size = [max(4 // step, 1) * step for step in grid]
    size[axis] = (2 * num_cells + 1) * step
    first, last = num_cells * step, (num_cells + 1) * step - 1
    distances = [0]
    for position in range(size[axis]):
        volume = torch.zeros(1, 1, *size)
        volume.select(axis + 2, position).fill_(torch.nan)
        if network(volume).narrow(axis + 2, first, step).isnan().any():
            distances.append(max(first - position, position - last))
    assert max(distances) < first, "the volume is too small to tell"
    return -(-max(distances) // step) * step


@torch.no_grad()
def test_derived_reach_is_what_a_poisoned_voxel_shows(bounded):
    network, grid, halo = bounded
    reach = derive_reach(network, VOLUME)
    assert (reach.grid, reach.halo) == (grid, halo)
    assert tuple(poisoned_halo(network, grid, axis) for axis in range(3)) == halo


@torch.no_grad()
@pytest.mark.parametrize("cells", [(5, 3, 4), (2, 7, 1)])
def test_tiles_equal_the_whole(bounded, cells):
    network, grid, _ = bounded
    step = max(4 // max(grid), 1)
    shape = [count * size * step for count, size in zip(cells, grid, strict=True)]
    volume = torch.rand(2, 1, *shape)
    whole = network(volume)
    for num_cells in (1, 3):
        tile_size = [num_cells * size * step for size in grid]
        tiled = ExactTileInferer(tile_size)(volume, network)
        assert tiled.shape == whole.shape
        torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize(
    ("network", "size", "tile_size"),
    [
        (UNet(3, 1, 2, (2, 4, 6), (2, 2), num_res_units=2, norm="batch"), (64, 16, 24), (16, 8, 8)),
        (UNet(3, 1, 2, (2, 4, 6), (2, 2), norm=None, act="mish"), (64, 16, 24), (16, 8, 8)),
        (DynUNet(3, 1, 2, (3, 3, 3), (1, 2, 2), (2, 2), norm_name="batch", filters=(2, 4, 6)), (80, 16, 16), 16),
        (BasicUNet(3, 1, 2, (2, 2, 2, 2, 2, 2), norm="batch"), (272, 16, 16), (32, 16, 16)),
        (AttentionUnet(3, 1, 2, (2, 4), (2,)), (40, 12, 12), (8, 12, 4)),
    ],
    ids=["residual UNet", "UNet without norm", "DynUNet", "BasicUNet", "AttentionUnet"],
)
def test_networks_of_monai(network, size, tile_size):
    randomized(network)
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.InstanceNorm3d):
            network.set_submodule(name, nn.Identity())
    volume = torch.rand(1, 1, *size)
    reach = derive_reach(network, VOLUME)
    assert reach.halo[0] * 2 < size[0], "the volume is too small to need tiles"
    torch.testing.assert_close(ExactTileInferer(tile_size)(volume, network), network(volume), rtol=0, atol=1e-5)


@torch.no_grad()
def test_full_autoencoder():
    network = randomized(autoencoder(32, 64, 128))
    volume = torch.rand(1, 1, 48, 40, 56)
    torch.testing.assert_close(ExactTileInferer((24, 16, 32))(volume, network), network(volume), rtol=0, atol=1e-6)


@torch.no_grad()
def test_a_smaller_halo_would_not_be_exact():
    network = randomized(autoencoder(4, 6, 8))
    volume = torch.rand(1, 1, 32, 8, 8)
    without_halo = torch.cat([network(part) for part in volume.split(16, dim=2)], dim=2)
    assert (without_halo - network(volume)).abs().max() > 1e-4


@torch.no_grad()
def test_the_network_sees_only_tiles_and_halos():
    network = randomized(autoencoder(4, 6, 8))
    seen: list[tuple[int, ...]] = []
    network.register_forward_pre_hook(lambda module, inputs: seen.append(tuple(inputs[0].shape[2:])))
    ExactTileInferer(16)(torch.rand(1, 1, 64, 48, 32), network)
    tiles = seen[1:]  # the first is the volume without data that the reach is derived from
    assert len(tiles) == 4 * 3 * 2
    assert max(tiles) == (32, 32, 24)


def leading_to(layer: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), layer, nn.Conv3d(4, 1, 1))


REFUSED = {
    "instance norm": (leading_to(nn.InstanceNorm3d(4)), "InstanceNorm3d at Sequential.1 reads the whole volume"),
    "group norm": (leading_to(nn.GroupNorm(2, 4)), "GroupNorm at Sequential.1 reads the whole volume"),
    "layer norm": (nn.LayerNorm(11520), "LayerNorm at LayerNorm reads the whole volume"),
    "monai UNet with instance norm": (UNet(3, 1, 2, (2, 4), (2,)), "InstanceNorm3d at UNet.model.0.adn.N"),
    "global pooling": (
        Calls(lambda x, pool: x * pool(x), nn.AdaptiveAvgPool3d(1)),
        "AdaptiveAvgPool3d at Calls.layers.0 reads the whole volume",
    ),
    "mean": (Calls(lambda x: x - x.mean()), "Calls at Calls reads the whole volume"),
    "greatest": (Calls(lambda x: x / x.max()), "Calls at Calls"),
    "attention": (Calls(self_attention), "Calls at Calls reads the whole volume"),
    "linear over space": (nn.Linear(11520, 11520), "Linear at Linear reads the whole volume"),
    "cumulative sum": (Calls(lambda x: x.cumsum(2)), "aten::cumsum"),
    "flip": (Calls(lambda x: x + x.flip(2)), "aten::flip"),
    "roll": (Calls(lambda x: x.roll(1, 2)), "aten::roll"),
    "softmax over space": (nn.Softmax(dim=2), "aten::_softmax"),
    "joined over space": (Calls(lambda x: F.max_pool3d(torch.cat([x, x], dim=2), (2, 1, 1))), "aten::cat"),
    "unpooling": (Calls(with_unpooling), "Calls at Calls"),
    "pooling's indices": (
        Calls(lambda x: x + F.interpolate(F.max_pool3d(x, 2, return_indices=True)[1].float(), scale_factor=2.0)),
        "Calls at Calls",
    ),
    "coordinates": (
        Calls(lambda x: x + torch.linspace(0, 1, x.shape[-1])),
        "Calls at Calls brings in values that differ from place to place",
    ),
    "weights from the volume": (
        Calls(lambda x: F.conv3d(x, x)),
        "Calls at Calls takes its weights from the volume",
    ),
    "circular padding": (nn.Conv3d(1, 1, 3, padding=1, padding_mode="circular"), "Conv3d at Conv3d"),
    "convolution without padding": (
        nn.Sequential(nn.Conv3d(1, 1, 3), nn.ConvTranspose3d(1, 1, 3)),
        "Conv3d at Sequential.0 changes the size by something else than its stride",
    ),
    "aligned corners": (
        nn.Sequential(nn.MaxPool3d(2), nn.Upsample(scale_factor=2, mode="trilinear", align_corners=True)),
        "Upsample at Sequential.1",
    ),
    "interpolation by three": (
        nn.Sequential(nn.MaxPool3d(3), nn.Upsample(scale_factor=3, mode="trilinear")),
        "Upsample at Sequential.1",
    ),
    "smaller output": (nn.MaxPool3d(2), "an output of the input's size, got 0.5 x 0.5 x 0.5 of it"),
    "two outputs": (Calls(lambda x: (x, x)), "one output tensor that depends on the input, got tuple"),
    "constant output": (Calls(lambda x: torch.zeros(x.shape)), "one output tensor that depends on the input"),
    "another number of channels": (nn.Conv3d(3, 1, 1), "to have 3 channels, but got 1"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses_what_has_no_known_bound(name):
    network, words = REFUSED[name]
    with pytest.raises(InputError) as caught:
        ExactTileInferer(8)(VOLUME, network.eval())
    assert words in str(caught.value)
    assert str(caught.value).startswith("network")
    assert "\n" not in str(caught.value)


def test_refuses_training_mode_and_leaves_the_network_alone():
    network = randomized(autoencoder(4, 6, 8)).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(
        InputError, match=r"BatchNorm3d at Sequential.1 changes its own values .*call network.eval\(\) first"
    ):
        ExactTileInferer(8)(VOLUME, network)
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


def test_refuses_batch_norm_that_keeps_no_statistics():
    network = leading_to(nn.BatchNorm3d(4, track_running_stats=False)).eval()
    with pytest.raises(InputError, match=r"BatchNorm3d at Sequential.1 takes statistics over all that it is given"):
        derive_reach(network, VOLUME)


def test_refuses_random_layers():
    with pytest.raises(InputError, match=r"Dropout at Sequential.1"):
        derive_reach(nn.Sequential(conv(), nn.Dropout()), VOLUME)
    assert derive_reach(nn.Sequential(conv(), nn.Dropout()).eval(), VOLUME).halo == (1, 1, 1)


def test_refuses_what_is_no_module():
    with pytest.raises(InputError, match=r"network must be a torch.nn.Module for exact tiles, got function"):
        ExactTileInferer(8)(VOLUME, lambda x: x)


@pytest.mark.parametrize(
    ("shape", "tile_size", "words"),
    [
        (
            (1, 1, 20, 16, 24),
            8,
            "inputs must have sizes that are multiples of the network's grid 8 x 8 x 8, got 20 x 16 x 24",
        ),
        ((1, 16, 16, 16), 8, "inputs must have the shape (B, C, X, Y, Z), got 1 x 16 x 16 x 16"),
        ((1, 1, 16, 16, 16), 20, "got 20 x 20 x 20; the nearest are 16 x 16 x 16 and 24 x 24 x 24"),
        ((1, 1, 16, 16, 16), 0, "got 0 x 0 x 0; the nearest are 8 x 8 x 8 and 16 x 16 x 16"),
        ((1, 1, 16, 16, 16), (8, 8), "tile_size must be a whole number or 3, one an axis, got (8, 8)"),
        ((1, 1, 16, 16, 16), 8.5, "tile_size must be a whole number or 3, one an axis, got 8.5"),
    ],
)
def test_refuses_sizes_off_the_grid(shape, tile_size, words):
    with pytest.raises(InputError) as caught:
        ExactTileInferer(tile_size)(torch.rand(shape), randomized(autoencoder(2, 2, 2)))
    assert words in str(caught.value)


@torch.no_grad()
def test_keeps_metadata():
    network = randomized(autoencoder(2, 2, 2))
    affine = torch.diag(torch.tensor([0.5, 0.5, 0.8, 1.0]))
    volume = MetaTensor(VOLUME, affine=affine, meta={"filename_or_obj": "patient.nii.gz"})
    tiled = ExactTileInferer(8)(volume, network)
    assert isinstance(tiled, MetaTensor)
    assert tiled.meta["filename_or_obj"] == "patient.nii.gz"
    torch.testing.assert_close(tiled.affine, volume.affine)
    torch.testing.assert_close(tiled.as_tensor(), network(volume.as_tensor()), rtol=0, atol=1e-6)
    assert type(ExactTileInferer(8)(volume.as_tensor(), network)) is torch.Tensor


@torch.no_grad()
def test_passes_further_arguments_on():
    network = Calls(lambda x, a, gain: gain * a(x), conv())
    tiled = ExactTileInferer(8)(VOLUME, network, gain=3.0)
    torch.testing.assert_close(tiled, network(VOLUME, gain=3.0), rtol=0, atol=1e-6)


def test_runs_in_the_mode_that_is_on():
    network = randomized(autoencoder(2, 2, 2))
    inferer = ExactTileInferer(8)
    with torch.inference_mode():
        whole = network(VOLUME)
        torch.testing.assert_close(inferer(VOLUME, network), whole, rtol=0, atol=1e-6)
    inferer(VOLUME, network).sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        tiled = inferer(VOLUME, network)
        assert tiled.dtype == network(VOLUME).dtype == torch.bfloat16


@torch.no_grad()
def test_takes_a_network_that_is_wrapped_for_several_devices():
    network = randomized(autoencoder(2, 2, 2))
    tiled = ExactTileInferer(8)(VOLUME, nn.DataParallel(network))
    torch.testing.assert_close(tiled, network(VOLUME), rtol=0, atol=1e-6)


@torch.no_grad()
def test_takes_other_types():
    network = randomized(autoencoder(2, 2, 2)).double()
    tiled = ExactTileInferer(8)(VOLUME.double(), network)
    torch.testing.assert_close(tiled, network(VOLUME.double()), rtol=0, atol=1e-12)


@torch.no_grad()
def test_shows_progress_when_asked(capsys):
    ExactTileInferer(8)(VOLUME, conv())
    assert capsys.readouterr().err == ""
    ExactTileInferer(8, progress=True)(VOLUME, conv())
    assert "8/8" in capsys.readouterr().err


def test_mirror_images_are_averaged_and_mirrored_back():
    torch.manual_seed(0)
    network = nn.Conv3d(2, 1, 3, padding=1)
    volume = torch.rand(1, 2, 6, 7, 8)
    with torch.no_grad():
        plain = MirrorInferer()(volume, network)
        assert torch.equal(plain, network(volume))
        both = MirrorInferer(axes=[0, 2])(volume, network)
        single = [network(volume.flip(dims)).flip(dims) for dims in ([], [2], [4], [2, 4])]
    torch.testing.assert_close(both, torch.stack(single).mean(0))
    # A result that does not know left from right: mirrored input, mirrored output.
    with torch.no_grad():
        torch.testing.assert_close(MirrorInferer(axes=[0, 2])(volume.flip(2), network), both.flip(2))


def test_mirror_images_keep_the_metadata():
    affine = torch.diag(torch.tensor([2.0, 2.0, 3.0, 1.0]))
    volume = MetaTensor(torch.rand(1, 1, 16, 16, 16), affine=affine)
    found = MirrorInferer(ExactTileInferer(16), axes=[0])(volume, randomized(autoencoder(2, 2, 2)))
    assert torch.equal(found.affine, volume.affine)


def test_tiles_in_mixed_precision():
    """Autocast keeps the weights it casts: those of the pass without data must not reach the prediction."""
    network = randomized(autoencoder(2, 2, 2))
    inferer = MixedPrecisionInferer(ExactTileInferer(16))
    with torch.no_grad():
        found, expected = inferer(VOLUME, network), network(VOLUME)
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0.05 * float(expected.abs().max()))
