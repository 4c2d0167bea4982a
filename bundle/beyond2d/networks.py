"""Networks that MONAI lacks; every other network is MONAI's own class, named in a config."""

from __future__ import annotations

from torch import nn


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


def _down(channels_in: int, channels_out: int) -> list[nn.Module]:
    convolution = nn.Conv3d(channels_in, channels_out, kernel_size=3, padding=1)
    return [convolution, nn.BatchNorm3d(channels_out), nn.ReLU(inplace=True), nn.MaxPool3d(2)]


def _up(channels_in: int, channels_out: int) -> list[nn.Module]:
    convolution = nn.ConvTranspose3d(channels_in, channels_out, kernel_size=2, stride=2)
    return [convolution, nn.BatchNorm3d(channels_out), nn.ReLU(inplace=True)]
