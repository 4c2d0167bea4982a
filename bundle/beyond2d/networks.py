"""Networks that MONAI lacks; every other network is MONAI's own class, named in a config."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from monai.networks.blocks import Convolution
from monai.networks.nets import DynUNet, resnet18
from monai.networks.nets.dynunet import DynUNetSkipLayer
from torch import nn

from .checks import check_tensors, load_state_dict


class DenoisingAutoencoder(nn.Sequential):
    """The 3D denoising autoencoder of Wu et al. 2023: summed back-projection in, vessel logits out.

    Three times a 3x3x3 convolution, batch norm, ReLU and a pooling by two; then three transposed convolutions by
    two, batch norm and ReLU behind the first two. The layers are those whose parameters (360,481) and memory
    (43.034 GB forward and backward at 384 cubed, by torchinfo's count) are the ones that the paper prints; its
    text names two poolings, its figures need three.

    Input and output are (B, 1, X, Y, Z) with X, Y and Z multiples of 8.
    """

    def __init__(self) -> None:
        super().__init__(
            *_down(1, 32),
            *_down(32, 64),
            *_down(64, 128),
            *_up(128, 64),
            *_up(64, 32),
            nn.ConvTranspose3d(32, 1, kernel_size=2, stride=2),
        )


class VolumetricVGG13(nn.Sequential):
    """VGG-13 in three dimensions for volumes of 16 cubed: ten classes, 14,104,982 parameters.

    Four levels of 64, 128, 256 and 512 channels, each twice a 3x3x3 convolution with batch norm and ReLU and then a
    pooling by two, which leaves one voxel of 512 numbers; a linear layer to 100 with ReLU, and one to the classes.
    The layers were derived from the published number of parameters: they are those that have it.

    Input is (B, 1, 16, 16, 16), output (B, 10), logits.
    """

    def __init__(self) -> None:
        super().__init__(
            *_convolved(1, 64),
            *_down(64, 64),
            *_convolved(64, 128),
            *_down(128, 128),
            *_convolved(128, 256),
            *_down(256, 256),
            *_convolved(256, 512),
            *_down(512, 512),
            nn.Flatten(),
            nn.Linear(512, 100),
            nn.ReLU(inplace=True),
            nn.Linear(100, 10),
        )


class VolumetricUNet(nn.Module):
    """The 3D U-Nets of the IIT Bombay report: "Network 1" with five levels, "Network 2" with four.

    Each level of the encoder is twice a 3x3x3 convolution, ReLU and batch norm, then a pooling by two; the deepest
    level and the decoder have no normalisation. A level of the decoder is a transposed convolution by two, the
    concatenation with the encoder's map, and two convolutions; a last 3x3x3 convolution gives the classes.
    With two classes these are the report's 22,578,946 and 5,602,306 parameters.

    Input (B, C, X, Y, Z), output (B, classes, X, Y, Z); X, Y and Z are multiples of 2^(levels - 1).

    Args:
        levels: resolutions, 5 or 4 in the report.
        in_channels: of the image.
        out_channels: classes, the background included.
        decoder_activation: a ReLU behind each convolution of the decoder. The report's tables list none; without it
            the decoder is linear but for what the encoder's maps bring.
    """

    def __init__(
        self, levels: int = 5, in_channels: int = 1, out_channels: int = 2, decoder_activation: bool = False
    ) -> None:
        super().__init__()
        widths = [32 * 2**level for level in range(levels)]
        inputs = [in_channels, *widths[:-1]]
        self.encoder = nn.ModuleList(
            _two_convolutions(*pair, "AN") for pair in zip(inputs[:-1], widths[:-1], strict=True)
        )
        self.pool = nn.MaxPool3d(2)
        self.bottleneck = _two_convolutions(widths[-2], widths[-1], "A")
        self.raise_resolution = nn.ModuleList(
            nn.ConvTranspose3d(wide, narrow, kernel_size=2, stride=2)
            for narrow, wide in zip(widths[-2::-1], widths[:0:-1], strict=True)
        )
        order = "A" if decoder_activation else ""
        self.decoder = nn.ModuleList(_two_convolutions(2 * width, width, order) for width in widths[-2::-1])
        self.classify = nn.Conv3d(widths[0], out_channels, kernel_size=3, padding=1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        kept, features = [], image
        for level in self.encoder:
            kept.append(level(features))
            features = self.pool(kept[-1])
        features = self.bottleneck(features)
        for up, level in zip(self.raise_resolution, self.decoder, strict=True):
            features = level(torch.cat([kept.pop(), up(features)], dim=1))
        logits: torch.Tensor = self.classify(features)
        return logits


class PatchClassifier(nn.Sequential):
    """Whether a patch around a candidate region shows what it was marked as: ResNet-18, then three linear layers.

    The ResNet is the two-dimensional one of He et al. 2016 with 256 features for its classes; the linear layers bring
    them to 128, 64 and one number, each behind a ReLU and dropout.

    Input is (N, C, P, P), by default three slices of an image and the region; output (N, 1), the logits of being real.

    Args:
        in_channels: of a patch.
        dropout: share of the features that a training leaves out before each linear layer.
    """

    def __init__(self, in_channels: int = 4, dropout: float = 0.5) -> None:
        # MONAI's defaults, made for volumes, keep the full resolution and add a bias to each shortcut.
        classic: dict[str, Any] = {"spatial_dims": 2, "conv1_t_stride": 2, "bias_downsample": False}
        super().__init__(
            resnet18(n_input_channels=in_channels, num_classes=256, **classic),
            *_linear(256, 128, dropout),
            *_linear(128, 64, dropout),
            *_linear(64, 1, dropout),
        )


class _SkipLayer(DynUNetSkipLayer):
    """A level of DynUNet without what TorchScript cannot compile: the answers kept for the loss of deep supervision."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not torch.jit.is_scripting():
            return super().forward(x)
        shrunk = self.downsample(x)
        return self.upsample(self.next_layer(shrunk), shrunk)


class PlannedUNet(DynUNet):
    """MONAI's DynUNet, which TorchScript cannot compile with deep supervision, in a form that it can.

    Arguments, weights, their names and all results are DynUNet's.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for layer in self.modules():
            if isinstance(layer, DynUNetSkipLayer):
                layer.__class__ = _SkipLayer


class Ensemble(nn.Module):
    """Several networks of one architecture as one: the logarithm of the mean of their probabilities.

    The softmax of its output is that mean.

    Args:
        member: the architecture; it is copied, so that every member has weights of its own.
        count: number of members.
    """

    def __init__(self, member: nn.Module, count: int) -> None:
        super().__init__()
        self.members = nn.ModuleList(copy.deepcopy(member) for _ in range(count))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Of an image (B, C, X, Y, Z) the logits (B, classes, X, Y, Z), or (B, heads, classes, X, Y, Z) in training."""
        total = torch.zeros((), device=image.device)
        for member in self.members:  # a loop and not a sum, so that TorchScript can hold it
            total = total + member(image).float().softmax(dim=-4)
        return torch.log(total / len(self.members) + 1e-7)


def ensemble_of(member: nn.Module, count: int = 1) -> nn.Module:
    """`count` networks as one; a single one stays what it is, and so do the names of its weights."""
    return member if count == 1 else Ensemble(member, count)


def with_weights(network: nn.Module, path: str | None) -> nn.Module:
    """A network with the weights of a file; None leaves it as it is.

    For networks that stand beside the one which a workflow's own handler loads.
    """
    if path is not None:
        state = load_state_dict(Path(path))
        check_tensors(path, state, network.state_dict())
        network.load_state_dict(state)
    return network


def _down(channels_in: int, channels_out: int) -> list[nn.Module]:
    return [*_convolved(channels_in, channels_out), nn.MaxPool3d(2)]


def _convolved(channels_in: int, channels_out: int) -> list[nn.Module]:
    convolution = nn.Conv3d(channels_in, channels_out, kernel_size=3, padding=1)
    return [convolution, nn.BatchNorm3d(channels_out), nn.ReLU(inplace=True)]


def _up(channels_in: int, channels_out: int) -> list[nn.Module]:
    convolution = nn.ConvTranspose3d(channels_in, channels_out, kernel_size=2, stride=2)
    return [convolution, nn.BatchNorm3d(channels_out), nn.ReLU(inplace=True)]


def _linear(features_in: int, features_out: int, dropout: float) -> list[nn.Module]:
    return [nn.ReLU(inplace=True), nn.Dropout(dropout), nn.Linear(features_in, features_out)]


def _two_convolutions(channels_in: int, channels_out: int, order: str) -> nn.Sequential:
    """Two 3x3x3 convolutions, each followed by what `order` says: activation A, batch norm N."""
    shared: dict[str, Any] = {"adn_ordering": order, "act": "relu", "norm": "batch", "padding": 1}
    pairs = ((channels_in, channels_out), (channels_out, channels_out))
    return nn.Sequential(*(Convolution(3, *pair, conv_only=not order, **shared) for pair in pairs))
