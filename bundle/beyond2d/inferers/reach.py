"""What a network reads around each voxel, found out by watching one forward pass over a volume without data.

So it holds for whatever the network really executes: skip connections, functional calls and branches as much as
chains of modules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.module_tracker import ModuleTracker

from ..checks import InputError
from ..tiling import Layer, Reach, Window, network_reach

_NUM_AXES = 3
# Divisible by every usual sequence of poolings; a volume of this size costs nothing because it holds no data.
_PROBE_SIZE = 2**8 * 3**2 * 5

# The window, along each axis, of what works on every voxel alone.
_VOXEL = (Window(),) * _NUM_AXES

_Call = dict[str, Any]


def derive_reach(network: nn.Module, inputs: torch.Tensor, *args: Any, **kwargs: Any) -> Reach:
    """Grid and halo of a network, or an `InputError`; of `inputs` only the channels and the type are looked at.

    Further arguments are those that the network is called with besides `inputs`.
    """
    device = device_of(network) or inputs.device
    # Inference mode would hand over `conv3d` and the like, which here arrive as the few operations they consist of.
    # Autocast would keep the weights that it casts, without data as they are here, for the real prediction.
    plainly = torch.autocast(device.type, enabled=False)
    with torch.inference_mode(False), torch.no_grad(), plainly, FakeTensorMode(allow_non_fake_inputs=True):
        size = (1, inputs.shape[1], *[_PROBE_SIZE] * _NUM_AXES)
        probe = torch.empty(size, dtype=inputs.dtype, device=device)
        recorder = _LayerRecorder(network, probe)
        try:
            with recorder.modules, recorder:
                output = network(probe, *args, **kwargs)
        except RuntimeError as error:  # torch cannot run the network like this, and says why
            reason = str(error).splitlines()[0]
            raise InputError(f"network: what it reads could not be derived for exact tiles: {reason}") from error
    return network_reach(recorder.layers_up_to(output))


def device_of(network: nn.Module) -> torch.device | None:
    """Where a network computes; None where it has no tensors of its own."""
    return next((tensor.device for tensor in chain(network.parameters(), network.buffers())), None)


class _LayerRecorder(TorchDispatchMode):
    """Records what is executed on tensors that depend on the volume, layer by layer, and refuses the unknown."""

    def __init__(self, network: nn.Module, volume: torch.Tensor) -> None:
        super().__init__()
        self.modules = ModuleTracker()
        self._layers = [Layer(windows=_VOXEL)]
        self._network = network
        self._volume = volume
        # The keys also keep the tensors alive: a freed one could lend its identity to another.
        self._positions: dict[torch.Tensor, int] = {volume: 0}
        self._byproducts: set[torch.Tensor] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        call = _named_arguments(func, args, kwargs or {})
        operands = _tensors_in(call.values())
        if not all(isinstance(target, FakeTensor) for target in _written_by(func, call)):
            raise self._refusal(func, "changes its own values while it runs (call network.eval() first)")
        result = func(*args, **(kwargs or {}))
        depends = any(operand in self._positions or operand in self._byproducts for operand in operands)
        if depends and func.namespace != "prim":  # which only ask for a device or the like
            self._record(func, call, operands, _tensors_in([result]))
        return result

    def layers_up_to(self, output: Any) -> list[Layer]:
        """The layers, of which the last gives the network's output: one tensor of the volume's size."""
        if not isinstance(output, torch.Tensor) or output not in self._positions:
            kind = type(output).__name__
            raise InputError(f"network: exact tiles need one output tensor that depends on the input, got {kind}")
        if output.shape[2:] != self._volume.shape[2:]:
            scale = " x ".join(f"{out / _PROBE_SIZE:g}" for out in output.shape[2:])
            raise InputError(f"network: exact tiles need an output of the input's size, got {scale} of it")
        return self._layers[: self._positions[output] + 1]

    def _record(self, func: Any, call: _Call, operands: list[torch.Tensor], results: list[torch.Tensor]) -> None:
        windows = _windows(func, call)
        objection = self._objection(func, call, operands, results, windows)
        if objection:
            raise self._refusal(func, objection)
        sources = tuple(self._positions[operand] for operand in operands if operand in self._positions)
        self._layers.append(Layer(sources, windows))
        self._positions[results[0]] = len(self._layers) - 1
        self._byproducts.update(results[1:])

    def _objection(
        self,
        func: Any,
        call: _Call,
        operands: list[torch.Tensor],
        results: list[torch.Tensor],
        windows: tuple[Window, ...],
    ) -> str | None:
        """Why tiles would not be exact with this operation, or None."""
        sources = [operand for operand in operands if operand in self._positions]
        constants = [operand for operand in operands if operand not in self._positions]
        if call.get("training"):
            return "takes statistics over all that it is given"
        if not windows or not results or not self._byproducts.isdisjoint(operands):
            return "reads the whole volume, or without a known bound"
        if func.name() in _WEIGHTED and (operands[0] not in self._positions or len(sources) > 1):
            return "takes its weights from the volume"
        if func.name() not in _WEIGHTED and not all(_is_uniform(constant) for constant in constants):
            return "brings in values that differ from place to place"
        if not all(_fits(windows, source.shape[2:], results[0].shape[2:]) for source in sources):
            return "changes the size by something else than its stride"
        return None

    def _refusal(self, func: Any, objection: str) -> InputError:
        # The tracker holds the paths of all modules that are entered: the longest is the one that runs now.
        path = max(self.modules.parents - {"Global"}, key=len, default="")
        module = self._network.get_submodule(path.partition(".")[2])
        place = f"{type(module).__name__} at {path}"
        return InputError(f"network cannot be run in exact tiles: {place} {objection} ({func.name()})")


def _windows(func: Any, call: _Call) -> tuple[Window, ...]:
    """The window of an operation along each spatial axis; none where its reach is unbounded or unknown."""
    if torch.Tag.pointwise in func.tags or func.name() in _POINTWISE:
        return _VOXEL
    rule = _RULES.get(func.name().partition(".")[0])
    return rule(call) if rule else ()


def _convolution(call: _Call) -> tuple[Window, ...]:
    sizes = call["weight"].shape[2:], call["stride"], call["padding"], call["dilation"]
    return tuple(
        Window((kernel - 1) * dilation + 1, stride, padding, upsamples=call["transposed"])
        for kernel, stride, padding, dilation in zip(*map(_per_axis, sizes), strict=True)
    )


def _pooling(call: _Call) -> tuple[Window, ...]:
    sizes = call["kernel_size"], call["stride"] or call["kernel_size"], call["padding"], call.get("dilation", [1])
    return tuple(
        Window((kernel - 1) * dilation + 1, stride, padding)
        for kernel, stride, padding, dilation in zip(*map(_per_axis, sizes), strict=True)
    )


def _nearest(call: _Call) -> tuple[Window, ...]:
    return tuple(Window(factor, factor, upsamples=True) for factor in _upsampling(call))


def _linear(call: _Call) -> tuple[Window, ...]:
    if call["align_corners"]:  # then every voxel's place depends on the size of the whole
        return ()
    return tuple(Window(2 * factor, factor, (factor + 1) // 2, upsamples=True) for factor in _upsampling(call))


def _upsampling(call: _Call) -> list[int]:
    """The factor along each axis; none unless all are powers of two."""
    factors = [out // size for out, size in zip(call["output_size"], call["self"].shape[2:], strict=True)]
    # Others have no exact float, so that their weights round differently from place to place.
    return factors if all(factor.bit_count() == 1 for factor in factors) else []


def _batch_norm(call: _Call) -> tuple[Window, ...]:
    return _VOXEL


def _along_channels(call: _Call) -> tuple[Window, ...]:
    return _VOXEL if call["dim"] in (1, -1 - _NUM_AXES) else ()


def _no_padding(call: _Call) -> tuple[Window, ...]:
    return () if any(call["padding"]) else _VOXEL


# Written by name because not every release of torch has all of them.
_RULES: dict[str, Callable[[_Call], tuple[Window, ...]]] = {
    "aten::convolution": _convolution,
    "aten::max_pool3d_with_indices": _pooling,
    "aten::avg_pool3d": _pooling,
    "aten::upsample_nearest3d": _nearest,
    "aten::upsample_trilinear3d": _linear,
    "aten::native_batch_norm": _batch_norm,
    "aten::cudnn_batch_norm": _batch_norm,
    "aten::cat": _along_channels,
    "aten::_softmax": _along_channels,
    "aten::_log_softmax": _along_channels,
    "aten::replication_pad3d": _no_padding,
}
# Elementwise operations that torch does not tag as such.
_POINTWISE = {"aten::clone", "aten::_to_copy", "aten::_prelu_kernel", "aten::hardswish", "aten::hardswish_"}
# Operations whose tensors after the first are weights a channel, or a kernel: free to have any shape.
_WEIGHTED = {"aten::convolution", "aten::native_batch_norm", "aten::cudnn_batch_norm"}


def _named_arguments(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Call:
    """All arguments of an operation by name, defaults included."""
    schema = func._schema.arguments
    defaults = {argument.name: argument.default_value for argument in schema if argument.has_default_value()}
    given = {argument.name: value for argument, value in zip(schema, args, strict=False)}
    return defaults | given | kwargs


def _written_by(func: Any, call: _Call) -> list[torch.Tensor]:
    """The tensors that an operation changes in place."""
    aliases = {argument.name: argument.alias_info for argument in func._schema.arguments}
    return _tensors_in(call[name] for name, alias in aliases.items() if alias is not None and alias.is_write)


def _tensors_in(values: Iterable[Any]) -> list[torch.Tensor]:
    """The tensors among arguments or results, those in lists included."""
    flat = chain.from_iterable(value if isinstance(value, list | tuple) else [value] for value in values)
    return [value for value in flat if isinstance(value, torch.Tensor)]


def _per_axis(sizes: Sequence[int]) -> list[int]:
    """One number an axis, where torch lets a single one stand for all."""
    return list(sizes) if len(sizes) == _NUM_AXES else list(sizes) * _NUM_AXES


def _is_uniform(constant: torch.Tensor) -> bool:
    """Whether a tensor that meets the volume is the same at every voxel."""
    return all(size == 1 for size in constant.shape[-_NUM_AXES:])


def _fits(windows: Sequence[Window], sizes_in: Sequence[int], sizes_out: Sequence[int]) -> bool:
    if not len(windows) == len(sizes_in) == len(sizes_out):
        return False
    return all(window.fits(*sizes) for window, *sizes in zip(windows, sizes_in, sizes_out, strict=True))
