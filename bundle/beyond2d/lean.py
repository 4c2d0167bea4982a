"""Training in little memory: the same gradients, with the large activations computed again instead of kept.

In a network that starts at full resolution nearly all memory goes to the first stages, a convolution, batch norm,
an activation and a pooling each: four tensors of the volume's size times the channels, of which only the pooled one
is read by the next stage. `lean` runs such stages slab by slab along X and keeps none of the four. Batch norm's
statistics are those of the whole volume, forwards and backwards, so nothing is approximated.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.functional import pad

# Values of a slab behind the convolution: 16 MiB in float32, so that what is done to them stays in a large cache.
_VALUES_PER_SLAB = 2**22
# A convolution of more channels than this takes longer to do again than its result takes memory: that one is kept.
_CHANNELS_TO_RECOMPUTE = 4
_ACTIVATIONS = (nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.GELU, nn.SiLU)
_DROPOUTS = (nn.Dropout, nn.Dropout3d)
_OVER_VOXELS = (0, 2, 3, 4)
_SMALLEST_WEIGHT = 1e-2


def lean(network: nn.Module, enabled: bool = True) -> nn.Module:
    """The network with every stage that allows it trained in slabs; parameters and names stay the same.

    A stage is a `Conv3d` of stride 1 that keeps the size, a `BatchNorm3d`, an activation and possibly a
    `MaxPool3d`, one behind the other in an `nn.Sequential` (or in several nested ones, as in MONAI's blocks).
    Everything else, and every stage in evaluation mode, runs as before.
    """
    if not enabled:
        return network
    for name, child in network.named_children():
        setattr(network, name, lean(child))
    return _LeanSequential(network) if _is_chain(network) else network


class _LeanSequential(nn.Sequential):
    """The children of a chain, under their own names, run in stages."""

    def __init__(self, chain: nn.Module) -> None:
        super().__init__(OrderedDict(chain.named_children()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for part in _stages(list(_links(self))):
            x = part(x)
        return x


class _Stage:
    """Convolution, batch norm and what follows them (activation, pooling), run in slabs while training."""

    def __init__(self, convolution: nn.Conv3d, norm: nn.BatchNorm3d, tail: list[nn.Module]) -> None:
        self.convolution = convolution
        self.norm = norm
        self.tail = tail
        if hasattr(tail[0], "inplace"):
            tail[0].inplace = False  # type: ignore[assignment]  # the backward pass differentiates by what it reads
        pooling = tail[-1].kernel_size if isinstance(tail[-1], nn.MaxPool3d) else 1
        self.step = pooling if isinstance(pooling, int) else pooling[0]
        self.keeps_convolved = convolution.in_channels > _CHANNELS_TO_RECOMPUTE
        self.is_rectified = isinstance(tail[0], nn.ReLU)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        if not (self.norm.training and torch.is_grad_enabled()):
            return self.finish(self.norm(self.convolution(x)))
        parameters = [self.convolution.weight, self.norm.weight, self.norm.bias, *self.tail_parameters()]
        if self.convolution.bias is not None:
            parameters.append(self.convolution.bias)
        output: torch.Tensor = _StageInSlabs.apply(self, x, *parameters)
        return output

    def finish(self, z: torch.Tensor) -> torch.Tensor:
        """What follows batch norm."""
        for module in self.tail:
            z = module(z)
        return z

    def tail_parameters(self) -> list[nn.Parameter]:
        return [parameter for module in self.tail for parameter in module.parameters()]

    def slabs(self, shape: torch.Size) -> Iterator[slice]:
        """Slices of X, each a multiple of the pooling's step."""
        batch, _, size, *others = shape
        values_per_row = batch * self.convolution.out_channels * others[0] * others[1]
        thickness = max(1, _VALUES_PER_SLAB // (values_per_row * self.step)) * self.step
        return (slice(first, min(first + thickness, size)) for first in range(0, size, thickness))

    def pooled(self, slab: slice) -> slice:
        return slice(slab.start // self.step, slab.stop // self.step)

    def read(self, x: torch.Tensor, slab: slice) -> torch.Tensor:
        """The part of the input that a slab's convolution reads, zeros where it reaches over the border."""
        reach, size = self.convolution.kernel_size[0] // 2, x.shape[2]
        inside = x[:, :, max(0, slab.start - reach) : slab.stop + reach]
        border = (max(0, reach - slab.start), max(0, slab.stop + reach - size))
        return pad(inside, (0, 0, 0, 0, *border)) if any(border) else inside

    def convolve(self, x: torch.Tensor, slab: slice, dtype: torch.dtype) -> torch.Tensor:
        bias = self.convolution.bias
        return torch.conv3d(
            self.read(x, slab).to(dtype),
            self.convolution.weight.to(dtype),
            None if bias is None else bias.to(dtype),
            padding=self._padding(),
        )

    def convolve_backward(self, dc: torch.Tensor, x: torch.Tensor, slab: slice, needs_input: bool) -> Any:
        """Gradients of a slab's convolution: of what it read (or None), of the weights, of the bias."""
        read, weight = self.read(x, slab).to(dc.dtype), self.convolution.weight.to(dc.dtype)
        channels, mask = [weight.shape[0]], (needs_input, True, True)
        settings = ([1] * 3, self._padding(), [1] * 3, False, [0] * 3, 1)
        return torch.ops.aten.convolution_backward(dc, read, weight, channels, *settings, mask)

    def _padding(self) -> list[int]:
        """Along X the slab brings its own border."""
        return [0, *(size // 2 for size in self.convolution.kernel_size[1:])]


class _StageInSlabs(torch.autograd.Function):
    """A stage whose activations are computed slab by slab, and again in the backward pass."""

    @staticmethod
    def forward(ctx: Any, stage: _Stage, x: torch.Tensor, *parameters: torch.Tensor) -> torch.Tensor:
        device = x.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
        ctx.stage, ctx.dtype, ctx.kept = stage, dtype, None
        with torch.autocast(device, enabled=False):
            if stage.keeps_convolved:
                ctx.kept = _whole(stage, x, dtype)
            mean, variance = _statistics(_convolved(ctx, x))
            _update_running(stage.norm, mean, variance, x.numel() // x.shape[1])
            exact = torch.promote_types(x.dtype, torch.float32)
            ctx.mean, ctx.scale = mean.to(exact), torch.rsqrt(variance + stage.norm.eps).to(exact)
            output = None
            for slab, c in _convolved(ctx, x):
                part = stage.finish(_behind_norm(ctx, c).to(dtype))
                if output is None:
                    output = _empty_like(part, x.shape[2] // stage.step)
                output[:, :, stage.pooled(slab)] = part
        assert output is not None
        ctx.save_for_backward(x, output)
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        stage, (gradient,), (x, output) = ctx.stage, gradients, ctx.saved_tensors
        with torch.autocast(x.device.type, enabled=False):
            sums = _sums_of_output(ctx, output, gradient) or _sums_behind_norm(ctx, x, gradient)
            dx, dweight, dbias = _behind_convolution(ctx, x, gradient, sums)
        dshift, dscale, *dtail = sums
        own = [dweight, dscale, dshift, *dtail]
        if stage.convolution.bias is not None:
            own.append(dbias)
        return None, dx, *own


def _sums_of_output(ctx: Any, output: torch.Tensor, gradient: torch.Tensor) -> list[torch.Tensor] | None:
    """The sums of `_sums_behind_norm` from the stage's output, where that tells them.

    A gradient gets through ReLU and pooling only where the output is above 0, and there the output is the
    normalised value times batch norm's weight plus its bias. Rounded outputs or a weight near 0 do not tell it.
    """
    weight, bias = ctx.stage.norm.weight.detach(), ctx.stage.norm.bias.detach()
    if not ctx.stage.is_rectified or ctx.dtype.itemsize < 4 or weight.abs().min() < _SMALLEST_WEIGHT:
        return None
    passed = gradient * (output > 0)
    total = passed.sum(_OVER_VOXELS, dtype=torch.float64)
    weighted = passed.mul_(output).sum(_OVER_VOXELS, dtype=torch.float64)
    return [part.to(weight.dtype) for part in (total, (weighted - bias * total) / weight)]


def _sums_behind_norm(ctx: Any, x: torch.Tensor, gradient: torch.Tensor) -> list[torch.Tensor]:
    """Gradients of batch norm's bias and weight, which are sums over the whole volume, and of the tail."""
    sums: list[torch.Tensor] = []
    for slab, c in _convolved(ctx, x):
        normal, dz, dtail = _behind_tail(ctx, c, slab, gradient)
        parts = [dz.sum(_OVER_VOXELS), (dz * normal).sum(_OVER_VOXELS), *dtail]
        sums = [total + part for total, part in zip(sums, parts, strict=True)] if sums else parts
    return sums


def _behind_convolution(ctx: Any, x: torch.Tensor, gradient: torch.Tensor, sums: list[torch.Tensor]) -> Any:
    """Gradients of the stage's input (None where nobody needs it) and of the convolution's weight and bias."""
    stage, needs_input = ctx.stage, ctx.needs_input_grad[1]
    dx = torch.zeros_like(x) if needs_input else None
    dweight = torch.zeros_like(stage.convolution.weight)
    dbias = torch.zeros_like(dweight[:, 0, 0, 0, 0])
    count = x.numel() // x.shape[1]
    mean_dz, mean_dz_normal = (_column(total / count) for total in sums[:2])
    factor = _column(stage.norm.weight * ctx.scale)
    reach = stage.convolution.kernel_size[0] // 2
    for slab, c in _convolved(ctx, x):
        normal, dz, _ = _behind_tail(ctx, c, slab, gradient)
        dc = dz.sub_(mean_dz).sub_(normal.mul_(mean_dz_normal)).mul_(factor).to(ctx.dtype)
        dread, dw, db = stage.convolve_backward(dc, x, slab, needs_input)
        dweight += dw
        dbias += db
        if dx is not None:
            low, high = max(0, slab.start - reach), min(x.shape[2], slab.stop + reach)
            first = low - (slab.start - reach)
            dx[:, :, low:high] += dread[:, :, first : first + high - low]
    return dx, dweight, dbias


def _behind_tail(ctx: Any, c: torch.Tensor, slab: slice, gradient: torch.Tensor) -> tuple[torch.Tensor, Any, Any]:
    """Of a slab: the normalised values, the gradient behind batch norm, and those of the tail's parameters."""
    stage = ctx.stage
    normal, z = _normalised(ctx, c), _behind_norm(ctx, c)
    tail = stage.tail_parameters()
    with torch.enable_grad():
        z = z.to(ctx.dtype).requires_grad_()
        part = stage.finish(z)
        dz, *dtail = torch.autograd.grad(part, [z, *tail], gradient[:, :, stage.pooled(slab)].to(part.dtype))
    return normal, dz.to(ctx.mean.dtype), dtail


def _convolved(ctx: Any, x: torch.Tensor) -> Iterator[tuple[slice, torch.Tensor]]:
    """Each slab and its convolution: a piece of what was kept, or computed again."""
    for slab in ctx.stage.slabs(x.shape):
        yield slab, ctx.stage.convolve(x, slab, ctx.dtype) if ctx.kept is None else ctx.kept[:, :, slab]


def _whole(stage: _Stage, x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return stage.convolve(x, slice(0, x.shape[2]), dtype)


def _normalised(ctx: Any, c: torch.Tensor) -> torch.Tensor:
    """Values of mean 0 and variance 1, at least in float32."""
    return (c.to(ctx.mean.dtype) - _column(ctx.mean)).mul_(_column(ctx.scale))


def _behind_norm(ctx: Any, c: torch.Tensor) -> torch.Tensor:
    """The same behind batch norm's weight and bias, in one go."""
    norm = ctx.stage.norm
    factor = norm.weight.detach() * ctx.scale
    shift = norm.bias.detach() - ctx.mean * factor
    return torch.addcmul(_column(shift), c.to(ctx.mean.dtype), _column(factor))


def _statistics(slabs: Iterator[tuple[slice, torch.Tensor]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and variance (C,) over everything, merged from those of the slabs in float64."""
    count, mean, squares = 0, torch.zeros(()), torch.zeros(())
    for _, c in slabs:
        n = c.numel() // c.shape[1]
        variance, average = (part.double() for part in torch.var_mean(_exact(c), _OVER_VOXELS, correction=0))
        shift = average - mean.to(average.device)
        squares = squares.to(shift.device) + n * variance + shift**2 * (count * n / (count + n))
        count += n
        mean = mean.to(shift.device) + shift * (n / count)
    return mean, squares / count


def _exact(c: torch.Tensor) -> torch.Tensor:
    """In float32 at least."""
    return c.to(torch.promote_types(c.dtype, torch.float32))


def _update_running(norm: nn.BatchNorm3d, mean: torch.Tensor, variance: torch.Tensor, count: int) -> None:
    """What batch norm itself does to its running statistics, with the unbiased variance."""
    if norm.running_mean is None or norm.running_var is None or norm.num_batches_tracked is None:
        return
    norm.num_batches_tracked += 1
    share = 1 / int(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
    norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), share)
    norm.running_var.lerp_((variance * count / max(1, count - 1)).to(norm.running_var.dtype), share)


def _empty_like(part: torch.Tensor, size: int) -> torch.Tensor:
    """Room for all slabs, in the layout of one of them."""
    batch, channels, _, *others = part.shape
    layout = torch.channels_last_3d if part.is_contiguous(memory_format=torch.channels_last_3d) else None
    empty = part.new_empty((batch, channels, size, *others))
    return empty if layout is None else empty.to(memory_format=layout)


def _column(values: torch.Tensor) -> torch.Tensor:
    """Values a channel (C,) as (C, 1, 1, 1), to meet (B, C, X, Y, Z)."""
    return values.view(-1, 1, 1, 1)


def _is_chain(module: nn.Module) -> bool:
    return isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward


def _links(chain: nn.Module) -> Iterator[nn.Module]:
    """The modules of a chain one behind the other, nested chains laid out flat."""
    for child in chain.children():
        if _is_chain(child) or isinstance(child, _LeanSequential):
            yield from _links(child)
        elif not (isinstance(child, _DROPOUTS) and child.p == 0):
            yield child


def _stages(links: list[nn.Module]) -> Iterator[_Stage | nn.Module]:
    """The links, those that make up a stage taken together."""
    while links:
        length = _stage_length(links)
        yield _Stage(links[0], links[1], links[2:length]) if length else links[0]  # type: ignore[arg-type]
        links = links[max(1, length) :]


def _stage_length(links: list[nn.Module]) -> int:
    """How many links from the first on are one stage; 0 where none begins."""
    if len(links) < 3 or not (_keeps_size(links[0]) and _is_plain_norm(links[1])):
        return 0
    if not isinstance(links[2], _ACTIVATIONS):
        return 0
    return 4 if len(links) > 3 and _is_plain_pool(links[3]) else 3


def _keeps_size(module: nn.Module) -> bool:
    return (
        type(module) is nn.Conv3d
        and set(module.stride) == set(module.dilation) == {1}
        and module.groups == 1
        and module.padding_mode == "zeros"
        and all(size % 2 for size in module.kernel_size)
        and module.padding == tuple(size // 2 for size in module.kernel_size)
    )


def _is_plain_norm(module: nn.Module) -> bool:
    return type(module) is nn.BatchNorm3d and module.affine


def _is_plain_pool(module: nn.Module) -> bool:
    return (
        type(module) is nn.MaxPool3d
        and isinstance(module.kernel_size, int)
        and module.stride == module.kernel_size
        and (module.padding, module.dilation) == (0, 1)
        and not (module.ceil_mode or module.return_indices)
    )
