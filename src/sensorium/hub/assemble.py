"""From tensors on disk to a model: every weight found, fitted and accounted for, none of them read twice."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from sensorium.config import ModelConfig, nearest
from sensorium.errors import CheckpointError
from sensorium.hub.weights import StoredTensor, Weights
from sensorium.nn.omni import Omni

Part = TypeVar("Part", bound=nn.Module)

TIED_HEAD = "decoder.head.weight"


@dataclass(frozen=True, slots=True)
class Piece:
    """One tensor on disk and the weights of ours that it holds.

    Attributes:
        theirs: its names on disk, the usual spelling first; none for weights that are zero and not stored.
        ours: our weights, stacked along the first axis when several share the tensor.
        transposed: it is stored input-first (GPT-2's Conv1D).
        reorder: what else to do with the rows of a weight before it is ours.
        reshaped: it is stored with leading axes of 1 more or fewer (a class token).
    """

    theirs: tuple[str, ...]
    ours: tuple[str, ...]
    transposed: bool = False
    reorder: Callable[[Tensor], Tensor] | None = None
    reshaped: bool = False

    @property
    def changes(self) -> bool:
        """Whether the tensor must be copied, not just mapped."""
        return self.transposed or len(self.ours) > 1 or self.reorder is not None or self.reshaped


def blank_model(config: ModelConfig) -> Omni:
    """A model whose weights take no memory yet (on `meta`)."""
    return blank_module(lambda: Omni(config))


def blank_module(make: Callable[[], Part]) -> Part:
    """What `make` builds, its weights without memory (on `meta`)."""
    with torch.device("meta"), _Undrawn():
        try:
            return make()
        except RuntimeError as error:  # sizes whose product no tensor can have
            raise CheckpointError(f"config.json asks for impossible sizes: {error}") from None


class _Undrawn(TorchFunctionMode):
    """Leaves out the drawing of first weights: on `meta` it would draw nothing, yet import sympy (80 MB, seconds)."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)


def expected_shapes(model: Omni) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the weights a file must hold: all of them, but a tied head only once."""
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    if model.config.decoder.tie_embeddings:
        del shapes[TIED_HEAD]
    return shapes


def fill_model(
    model: Omni,
    weights: Weights,
    pieces: Sequence[Piece],
    *,
    ignored: Collection[str] = (),
    dtype: torch.dtype | None,
    device: torch.device,
) -> Omni:
    """Give a blank model its weights and buffers, and leave it ready to run.

    A tensor already stored as the computing dtype, in our order, stays a mapping of the file; any other is read,
    changed and dropped one at a time, so that the peak of memory is the model itself.

    Args:
        model: from `blank_model`.
        weights: the tensors on disk.
        pieces: which of them hold which of ours; together they cover the whole model.
        ignored: patterns of names that may lie in the file without being ours.
        dtype: what to compute in; None keeps what is stored, except that a CPU computes in float32.
        device: where the model shall live.

    Raises:
        CheckpointError: a tensor is missing, surplus, of the wrong shape or of a kind that holds no real numbers.
    """
    state = read_weights(weights, pieces, expected_shapes(model), ignored=ignored, dtype=dtype, device=device)
    if model.config.decoder.tie_embeddings:
        state[TIED_HEAD] = state["decoder.embeddings.token.weight"]
    model.load_state_dict(state, strict=True, assign=True)
    model.decoder.tie_weights()
    model.reset_buffers(device)
    return model.eval()


def read_weights(
    weights: Weights,
    pieces: Sequence[Piece],
    expected: Mapping[str, tuple[int, ...]],
    *,
    ignored: Collection[str] = (),
    dtype: torch.dtype | None,
    device: torch.device,
) -> dict[str, Tensor]:
    """All `expected` weights by our names; see `fill_model`, which this is the first half of."""
    found = [(piece, _find(piece, weights)) for piece in pieces if piece.theirs]
    _refuse_surplus(weights, {name for _, name in found}, ignored)
    for piece, name in found:
        _check(name, weights, [expected[ours] for ours in piece.ours], piece)
    if dtype is None and device.type == "cpu":
        dtype = torch.float32
    state: dict[str, Tensor] = {}
    for piece, name in found:
        for ours, tensor in zip(piece.ours, _read(piece, weights.tensors[name], expected, dtype, device), strict=True):
            state[ours] = tensor
    for piece in pieces:
        if not piece.theirs:
            kind = next((tensor.dtype for tensor in state.values()), torch.float32)
            state.update({ours: torch.zeros(expected[ours], dtype=kind, device=device) for ours in piece.ours})
    return state


def _find(piece: Piece, weights: Weights) -> str:
    for name in piece.theirs:
        if name in weights.tensors:
            return name
    raise CheckpointError(
        f"{weights.path} lacks the tensor {piece.theirs[0]!r} that the configuration asks for"
        f"{_closest(piece.theirs[0], weights)}"
    )


def _closest(name: str, weights: Weights) -> str:
    hint = nearest(name, weights.tensors) if weights.tensors else ""
    return hint if hint.startswith(" (did") else ""


def _refuse_surplus(weights: Weights, used: set[str], ignored: Collection[str]) -> None:
    surplus = [
        name
        for name in sorted(weights.tensors.keys() - used)
        if not any(re.fullmatch(pattern, name) for pattern in ignored)
    ]
    if surplus:
        more = f" and {len(surplus) - 1} more" if len(surplus) > 1 else ""
        raise CheckpointError(
            f"{weights.path} holds the tensor {surplus[0]!r}{more}, which the configuration has no use for"
        )


def _check(name: str, weights: Weights, parts: list[tuple[int, ...]], piece: Piece) -> None:
    # A single weight may be a scalar, such as a learned temperature.
    shape = parts[0] if len(parts) == 1 else (sum(part[0] for part in parts), *parts[0][1:])
    if piece.transposed:
        shape = shape[::-1]
    stored = weights.tensors[name]
    if stored.dtype is None:
        raise CheckpointError(f"{weights.path}: tensor {name!r} is not stored as float64, float32, float16 or bfloat16")
    if _bare(stored.shape, piece) != _bare(shape, piece):
        raise CheckpointError(
            f"{weights.path}: tensor {name!r} has shape {list(stored.shape)}, the configuration needs {list(shape)}"
        )


def _bare(shape: tuple[int, ...], piece: Piece) -> tuple[int, ...]:
    """A shape without leading axes of 1, where those do not count."""
    while piece.reshaped and shape[:1] == (1,):
        shape = shape[1:]
    return shape


def _read(
    piece: Piece,
    stored: StoredTensor,
    expected: Mapping[str, tuple[int, ...]],
    dtype: torch.dtype | None,
    device: torch.device,
) -> list[Tensor]:
    if not piece.changes:
        as_is = dtype in (None, stored.dtype) and device.type == "cpu"
        return [(stored.mapped() if as_is else stored.fresh()).to(device, dtype)]
    tensor = stored.fresh()
    tensor = tensor.t() if piece.transposed else tensor
    if piece.reshaped:
        tensor = tensor.reshape(expected[piece.ours[0]])
    parts = (tensor,) if len(piece.ours) == 1 else torch.split(tensor, [expected[ours][0] for ours in piece.ours])
    if piece.reorder is not None:
        parts = tuple(piece.reorder(part) for part in parts)
    return [part.to(device, dtype).clone(memory_format=torch.contiguous_format) for part in parts]
