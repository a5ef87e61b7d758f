"""Values sent from one of our processes to another, through the pipe that only these two hold.

Tensors go as bare bytes beside an outline of what holds them, which `multiprocessing` sends as it does everything
between processes; nothing that is read from a file or a network passes here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class _Numbers:
    """Stands for a tensor that follows the outline."""

    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True, slots=True)
class _Fields:
    """Stands for a dataclass that is made again of its fields."""

    of: type[Any]
    values: dict[str, Any]


def send(sender: Connection, value: object) -> None:
    """Send tuples, lists, mappings and dataclasses of tensors (on the CPU) and plain values.

    Raises:
        BrokenPipeError: nobody is left to receive it.
    """
    found: list[Tensor] = []
    sender.send(_outlined(value, found.append))
    for tensor in found:
        sender.send_bytes(np.ascontiguousarray(tensor.numpy()).reshape(-1).view(np.uint8).data)


def received(receiver: Connection) -> Any:
    """The next value sent; its tensors are the caller's own. Raises `EOFError` when the sender has ended."""
    return _filled(receiver.recv(), receiver)


def n_bytes(value: object) -> int:
    """Memory of all the tensors in a value that could be sent."""
    found: list[Tensor] = []
    _outlined(value, found.append)
    return sum(tensor.nbytes for tensor in found)


def _outlined(value: Any, found: Callable[[Tensor], None]) -> Any:
    """The value without its tensors, each of which is told to `found` in order."""
    if isinstance(value, Tensor):
        found(value)
        return _Numbers(tuple(value.shape), value.numpy().dtype.str)
    if isinstance(value, tuple | list):
        return type(value)(_outlined(inner, found) for inner in value)
    if isinstance(value, dict):
        return {key: _outlined(inner, found) for key, inner in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return _Fields(type(value), {one.name: _outlined(getattr(value, one.name), found) for one in fields(value)})
    return value


def _filled(outline: Any, receiver: Connection) -> Any:
    """The value of an outline, its tensors received in order."""
    if isinstance(outline, _Numbers):
        numbers = np.empty(outline.shape, np.dtype(outline.dtype))
        receiver.recv_bytes_into(numbers.reshape(-1).view(np.uint8).data)
        return torch.from_numpy(numbers)
    if isinstance(outline, tuple | list):
        return type(outline)(_filled(inner, receiver) for inner in outline)
    if isinstance(outline, dict):
        return {key: _filled(inner, receiver) for key, inner in outline.items()}
    if isinstance(outline, _Fields):
        return outline.of(**{name: _filled(inner, receiver) for name, inner in outline.values.items()})
    return outline
