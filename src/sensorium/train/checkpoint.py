"""Checkpoints of a stage: all that a run needs to go on as if it had never stopped, in safetensors and JSON only."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from sensorium.errors import CheckpointError, TrainingError
from sensorium.hub.atomic import staged_folder
from sensorium.train.distributed import World

STATE_FILE = "state.json"
VERSION = 1


@dataclass(frozen=True)
class Snapshot:
    """The state of a stage: groups of named tensors (`weights`, `optimizer`, `ema`, `random`) and plain values."""

    tensors: Mapping[str, Mapping[str, Tensor]]
    state: Mapping[str, Any]

    @property
    def step(self) -> int:
        """Optimiser steps done."""
        return int(self.state["step"])

    def cloned(self) -> Snapshot:
        """The same in memory of its own, so that training on does not change it."""
        tensors = {group: {name: one.clone() for name, one in named.items()} for group, named in self.tensors.items()}
        return Snapshot(tensors, json.loads(json.dumps(self.state)))


class Checkpoints:
    """The checkpoints of one stage, `step-00000200` and so on: each is whole or absent, and the last few are kept."""

    def __init__(self, folder: Path, *, keep: int) -> None:
        self.folder, self.keep = folder, keep

    def save(self, snapshot: Snapshot) -> Path:
        """Write a checkpoint atomically (a hidden folder, flushed, then renamed), and drop the oldest ones.

        Raises:
            TrainingError: the disk refuses; earlier checkpoints are untouched.
        """
        path = self.folder / f"step-{snapshot.step:08d}"
        if path.exists() and _is_whole(path):
            return path
        shutil.rmtree(path, ignore_errors=True)
        try:
            with staged_folder(path, ()) as stage:
                _write(stage, snapshot)
        except CheckpointError as error:
            last = self._complete()
            kept = f"the last good checkpoint is {last[-1]}" if last else "there is no earlier checkpoint"
            raise TrainingError(f"stopped at step {snapshot.step}: {error}; {kept}") from None
        for old in self._complete()[: -self.keep]:
            hidden = old.rename(old.with_name(f".{old.name}.old"))
            shutil.rmtree(hidden, ignore_errors=True)
        return path

    def latest(self) -> Snapshot | None:
        """The newest whole checkpoint, or None; torn ones are passed over."""
        complete = self._complete()
        return _read(complete[-1]) if complete else None

    def exist(self) -> bool:
        """Whether there is a whole one."""
        return bool(self._complete())

    def sweep(self) -> None:
        """Remove what a kill left half-written or half-removed. Only for who holds the run's lock."""
        if self.folder.is_dir():
            for path in self.folder.glob(".step-*"):
                shutil.rmtree(path, ignore_errors=True)

    def _complete(self) -> list[Path]:
        if not self.folder.is_dir():
            return []
        return [path for path in sorted(self.folder.glob("step-*")) if _is_whole(path)]


def seed_generators(seed: int) -> None:
    """Give every generator a start of its own: PyTorch's on all devices, Python's and NumPy's."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)


def random_state(world: World) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The state of every generator in use: PyTorch's of all processes, Python's and NumPy's of this one."""
    algorithm, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    tensors = {
        "torch": torch.stack(world.gather(torch.get_rng_state())),  # (processes, bytes)
        "numpy": torch.from_numpy(np.asarray(keys).astype(np.int64)),
    }
    if world.device.type == "cuda":
        tensors["cuda"] = torch.stack(world.gather(torch.cuda.get_rng_state(world.device)))
    version, words, next_gauss = random.getstate()
    plain = {"python": [version, list(words), next_gauss], "numpy": [str(algorithm), position, has_gauss, gauss]}
    return tensors, plain


def restore_random_state(tensors: Mapping[str, Tensor], plain: Mapping[str, Any], world: World) -> None:
    """Put every generator back. A process that was not there before keeps the state it has."""
    if world.rank < len(tensors["torch"]):
        # A copy: PyTorch 2.13 counts the offset of a view in whole states instead of bytes, and reads past its end.
        torch.set_rng_state(tensors["torch"][world.rank].clone())
    if world.device.type == "cuda" and "cuda" in tensors and world.rank < len(tensors["cuda"]):
        torch.cuda.set_rng_state(tensors["cuda"][world.rank], world.device)
    version, words, next_gauss = plain["python"]
    random.setstate((version, tuple(words), next_gauss))
    algorithm, position, has_gauss, gauss = plain["numpy"]
    keys = tensors["numpy"].numpy().astype(np.uint32)
    np.random.set_state((algorithm, keys, position, has_gauss, gauss))


@contextmanager
def kept_random_state(device: torch.device) -> Iterator[None]:
    """Every generator of this process stands after the block where it stood before."""
    alone = World(0, 1, device)
    kept = random_state(alone)
    try:
        yield
    finally:
        restore_random_state(*kept, alone)


def _write(folder: Path, snapshot: Snapshot) -> None:
    for group, tensors in snapshot.tensors.items():
        plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        save_file(plain, folder / f"{group}.safetensors")
    sizes = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
    state = {"version": VERSION, "files": sizes, **snapshot.state}
    (folder / STATE_FILE).write_text(json.dumps(state), encoding="utf-8")


def _read(folder: Path) -> Snapshot:
    state = json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))
    if state["version"] != VERSION:
        raise CheckpointError(f"{folder} has version {state['version']}, this program reads {VERSION}")
    try:
        tensors = {Path(name).stem: load_file(folder / name) for name in state["files"]}
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{folder} cannot be read: {error} (delete it to go on from the one before)") from None
    return Snapshot(tensors, state)


def _is_whole(folder: Path) -> bool:
    """Whether every file that the checkpoint says it has is there at its full length."""
    try:
        files: dict[str, int] = json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))["files"]
        return all((folder / name).stat().st_size == size for name, size in files.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
