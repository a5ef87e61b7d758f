"""Checkpoints: exact, atomic, few, and never half."""

from __future__ import annotations

import errno
import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from sensorium.errors import TrainingError
from sensorium.train import checkpoint
from sensorium.train.checkpoint import Checkpoints, Snapshot, random_state, restore_random_state
from sensorium.train.distributed import World

ALONE = World(0, 1, torch.device("cpu"))


def snapshot(step: int) -> Snapshot:
    return Snapshot({"weights": {"w": torch.full((3,), float(step))}, "optimizer": {}}, {"step": step, "cursor": [1]})


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_is_saved_is_read_back(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=2)
    assert checkpoints.latest() is None
    checkpoints.save(snapshot(5))
    read = checkpoints.latest()
    assert read is not None
    assert (read.step, read.state["cursor"]) == (5, [1])
    assert read.tensors["weights"]["w"].tolist() == [5.0] * 3
    assert read.tensors["optimizer"] == {}


def test_there_is_no_pickle(tmp_path: Path) -> None:
    path = Checkpoints(tmp_path, keep=1).save(snapshot(1))
    assert names(path) == ["optimizer.safetensors", "state.json", "weights.safetensors"]


def test_only_the_last_few_are_kept(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step in (1, 5, 10, 200):
        checkpoints.save(snapshot(step))
    assert names(tmp_path) == ["step-00000010", "step-00000200"]


@pytest.mark.parametrize("damage", ["truncated", "missing", "no state", "broken state"])
def test_a_torn_checkpoint_is_passed_over_and_written_anew(tmp_path: Path, damage: str) -> None:
    checkpoints = Checkpoints(tmp_path, keep=3)
    checkpoints.save(snapshot(1))
    torn = checkpoints.save(snapshot(2))
    if damage == "truncated":
        (torn / "weights.safetensors").write_bytes((torn / "weights.safetensors").read_bytes()[:-4])
    elif damage == "missing":
        (torn / "optimizer.safetensors").unlink()
    elif damage == "no state":
        (torn / "state.json").unlink()
    else:
        (torn / "state.json").write_text('{"step": 2', encoding="utf-8")
    read = checkpoints.latest()
    assert read is not None
    assert read.step == 1
    checkpoints.save(snapshot(2))
    again = checkpoints.latest()
    assert again is not None
    assert again.step == 2


def test_a_full_disk_leaves_the_last_good_one_and_says_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = Checkpoints(tmp_path, keep=1)
    good = checkpoints.save(snapshot(4))

    def full(_: dict[str, torch.Tensor], path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(TrainingError, match=r"stopped at step 8: .*No space left on device.*last good .*step-00000004"):
        checkpoints.save(snapshot(8))
    assert names(tmp_path) == [good.name]
    assert checkpoints.latest() is not None


def test_sweeping_removes_what_a_kill_left(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=1)
    checkpoints.save(snapshot(4))
    (tmp_path / ".step-00000008.abc").mkdir()
    (tmp_path / ".step-00000008.abc" / "weights.safetensors").write_bytes(b"half")
    checkpoints.sweep()
    assert names(tmp_path) == ["step-00000004"]


def test_every_generator_goes_on_from_where_it_was() -> None:
    def draw() -> list[float]:
        return [random.random(), random.gauss(0, 1), float(np.random.randn()), float(torch.rand(1))]

    random.gauss(0, 1)  # leaves half of a pair behind, which is state too
    np.random.randn()
    tensors, plain = random_state(ALONE)
    expected = [draw(), draw()]
    torch.manual_seed(0)
    random.seed(0)
    np.random.seed(0)
    restore_random_state(tensors, json.loads(json.dumps(plain)), ALONE)
    assert [draw(), draw()] == expected


@pytest.mark.parametrize("rank", [0, 1])
def test_each_of_two_processes_gets_its_own_random_state_back(rank: int) -> None:
    tensors, plain = random_state(ALONE)
    states = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        states.append(torch.get_rng_state())
    torch.manual_seed(3)
    restore_random_state(tensors | {"torch": torch.stack(states)}, plain, World(rank, 2, torch.device("cpu")))
    assert torch.equal(torch.get_rng_state(), states[rank])
