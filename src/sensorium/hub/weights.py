"""Tensors on disk: safetensors files (mapped, not read) and pickled `.bin` files (weights only), sharded or not."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from sensorium.config import read_json
from sensorium.errors import CheckpointError

WEIGHTS_FILE = "model.safetensors"
_DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
STORABLE = (torch.float32, torch.float16, torch.bfloat16)
"""What weights may be stored as."""
_CANDIDATES = (
    (WEIGHTS_FILE, False),
    (f"{WEIGHTS_FILE}.index.json", True),
    ("pytorch_model.bin", False),
    ("pytorch_model.bin.index.json", True),
)


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor that lies in a file.

    Attributes:
        shape: its shape.
        dtype: what it is stored as; None for anything but real numbers.
        mapped: gives the tensor in place: a mapping whose pages come in as they are used.
        fresh: gives it once, apart from all others, so that dropping it also drops the memory it took.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype | None
    mapped: Callable[[], Tensor]
    fresh: Callable[[], Tensor]


@dataclass(frozen=True, slots=True)
class Weights:
    """All tensors of a checkpoint by name, and the file (or index) they came from."""

    tensors: dict[str, StoredTensor]
    path: Path


def open_weights(folder: Path) -> Weights:
    """Find and open the weights of a folder; headers are checked, tensors stay on disk.

    Raises:
        CheckpointError: no weights, a shard that is missing, or a file that is truncated or no weight file at all.
    """
    for name, sharded in _CANDIDATES:
        path = folder / name
        if path.is_file():
            return Weights(_open_shards(path) if sharded else open_file(path), path)
    raise CheckpointError(f"{folder} holds no weights (looked for {', '.join(name for name, _ in _CANDIDATES)})")


def write_weights(path: Path, tensors: Mapping[str, Tensor], dtype: torch.dtype) -> None:
    """Store tensors as safetensors, real numbers as `dtype`.

    Raises:
        CheckpointError: a finite weight would overflow `dtype`.
    """
    stored = {}
    for name in sorted(tensors):
        tensor = tensors[name].detach()
        narrowed = tensor.to("cpu", dtype if tensor.is_floating_point() else tensor.dtype).contiguous()
        if narrowed.dtype == torch.float16 and tensor.dtype != torch.float16 and _overflows(tensor, narrowed):
            raise CheckpointError(f"{name} reaches {tensor.abs().max():g}, beyond float16's 65504 (store as bfloat16)")
        stored[name] = narrowed
    save_file(stored, path, metadata={"format": "pt"})


def _overflows(tensor: Tensor, narrowed: Tensor) -> bool:
    return bool(torch.isfinite(tensor).all()) and not bool(torch.isfinite(narrowed).all())


def _open_shards(index: Path) -> dict[str, StoredTensor]:
    content = read_json(index)
    places = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(places, dict) or not places or not all(isinstance(file, str) for file in places.values()):
        raise CheckpointError(f"{index} has no weight_map from tensors to files")
    tensors: dict[str, StoredTensor] = {}
    for file in sorted(set(places.values())):
        if Path(file).name != file:
            raise CheckpointError(f"{index} names {file!r}, which is not a file of its own folder")
        if not (index.parent / file).is_file():
            raise CheckpointError(f"{index} names {file!r}, which is missing (download the folder again)")
        tensors.update(open_file(index.parent / file))
    for name, file in places.items():
        if name not in tensors:
            raise CheckpointError(f"{index} places tensor {name!r} in {file!r}, which does not hold it")
    return tensors


def open_file(path: Path) -> dict[str, StoredTensor]:
    """The tensors of one file. Raises `CheckpointError` when it is truncated or no weight file at all."""
    return _open_safetensors(path) if path.suffix == ".safetensors" else _open_pickle(path)


def _open_safetensors(path: Path) -> dict[str, StoredTensor]:
    try:
        shared: Any = safe_open(path, framework="pt", device="cpu")
        tensors = {}
        for name in shared.keys():  # noqa: SIM118 (a handle, not a mapping)
            header = shared.get_slice(name)
            tensors[name] = StoredTensor(
                tuple(header.get_shape()),
                _DTYPES.get(header.get_dtype()),
                lambda name=name: shared.get_tensor(name),  # type: ignore[misc]
                lambda name=name: _read_apart(path, name),  # type: ignore[misc]
            )
    except (SafetensorError, OSError) as error:
        size = path.stat().st_size
        raise CheckpointError(
            f"{path} ({size} bytes) is truncated or no safetensors file: {error} (copy or download it again)"
        ) from None
    return tensors


def _read_apart(path: Path, name: str) -> Tensor:
    # A handle of its own maps the file anew; the mapping goes, and its pages with it, when the tensor does.
    handle: Any = safe_open(path, framework="pt", device="cpu")
    tensor: Tensor = handle.get_tensor(name)
    return tensor


def _open_pickle(path: Path) -> dict[str, StoredTensor]:
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise CheckpointError(
            f"{path} is broken, or pickles more than tensors, which could run code: refused"
        ) from None
    except Exception as error:  # whatever the broken bytes happen to hit
        reason = str(error).partition("\n")[0]
        raise CheckpointError(f"{path} is truncated or no weight file: {reason} (download it again)") from None
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise CheckpointError(f"{path} is not a plain table of tensors by name")
    tensors = {}
    for name in list(content):
        tensor = content[name]
        tensors[name] = StoredTensor(
            tuple(tensor.shape),
            tensor.dtype if tensor.dtype in _DTYPES.values() else None,
            lambda name=name: content[name],  # type: ignore[misc]
            lambda name=name: content.pop(name),  # type: ignore[misc]
        )
    return tensors
