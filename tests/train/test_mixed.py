"""Two objectives in one step: what each weighs, and that the whole is resumed and validated as one."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from pairing import PARTS, pairs_file, played, shown

from sensorium.errors import ConfigError, DataError
from sensorium.processing.processor import Processor
from sensorium.processing.tokenizer import Tokenizer
from sensorium.train import load_recipe, train
from sensorium.train.distributed import World
from sensorium.train.folder import RunFolder
from sensorium.train.loop import Trainer
from sensorium.train.mixed import Mixed
from sensorium.train.objectives import make_objective
from sensorium.train.start import first_model
from sensorium.train.validation import Validation

WRITE = Callable[..., Path]


@pytest.fixture
def recipe(write_recipe: WRITE, tmp_path: Path) -> Callable[..., Path]:
    """Writes a recipe that talks about pictures and spells recordings beside it."""
    seen = pairs_file(tmp_path / "seen.jsonl", [shown(index) for index in range(12)])
    heard = pairs_file(tmp_path / "heard.jsonl", [played(index) for index in range(7)])
    auxiliary = {"objective": "ctc", "data": [heard], "rows": 3, "weight": 0.25}

    def write(**settings: Any) -> Path:
        base = {"objective": "chat", "data": [seen], "validation": [seen], "rows": 2, "time": 64}
        chosen = {**base, "auxiliary": auxiliary, **PARTS, **settings}
        if "auxiliary" in settings and settings["auxiliary"] is not None:
            chosen["auxiliary"] = auxiliary | settings["auxiliary"]
        return write_recipe(**chosen)

    return write


def trainer_of(path: Path, corpus: Path) -> Trainer:
    recipe = load_recipe(path)
    stage = recipe.stages[0]
    processor = Processor(Tokenizer.train([corpus.read_text(encoding="utf-8")], 320))
    model = first_model(recipe, processor, torch.device("cpu")).model
    objective = make_objective(stage, processor.with_config(model.config), model)
    trainer = Trainer(model, objective, stage, seed=1, world=World(0, 1, torch.device("cpu")))
    trainer.horizon = 10
    return trainer


def test_the_second_objectives_mean_weighs_as_asked(recipe: WRITE, corpus: Path) -> None:
    trainer = trainer_of(recipe(), corpus)
    objective, model = trainer.objective, trainer.model
    assert isinstance(objective, Mixed)
    batch = trainer.next_batch(0)
    with torch.no_grad():
        first = float(objective._main.loss(model, batch.main)) / objective._main.count(batch.main)
        second = float(objective._extra.loss(model, batch.extra)) / objective._extra.count(batch.extra)
        both = float(objective.loss(model, batch)) / objective.count(batch)
    assert both == pytest.approx(first + 0.25 * second, rel=1e-5)
    assert objective.count(batch) == objective._main.count(batch.main)
    assert objective.n_bytes(batch) == objective._main.n_bytes(batch.main)
    flops = [part.flops(model, rows) for part, rows in ((objective._main, batch.main), (objective._extra, batch.extra))]
    assert objective.flops(model, batch) == sum(flops)
    assert [len(share.extra.keys) for share in (batch.rows_of(0, 2), batch.rows_of(1, 2))] == [2, 1]
    assert batch.to("cpu").scale == batch.scale
    trainer.stream.close()


def test_a_step_follows_both(recipe: WRITE, corpus: Path) -> None:
    """Spelling moves weights that talking about pictures does not reach."""
    trainer = trainer_of(recipe(), corpus)
    spelling = trainer.weights["speech.ctc.weight"]
    before = spelling.detach().clone()
    metrics = trainer.train_step(1e9)
    assert not torch.equal(spelling, before)
    assert metrics.learned_tokens > 0
    assert trainer.stream.waited > 0
    trainer.stream.close()


def test_validation_is_of_the_first_alone(recipe: WRITE, corpus: Path) -> None:
    mixed, plain = trainer_of(recipe(), corpus), trainer_of(recipe(auxiliary=None), corpus)
    found = []
    for trainer in (mixed, plain):
        stage = trainer.stage
        assert stage.validation is not None
        metrics = Validation(trainer.objective, stage, stage.validation, seed=2, world=trainer.world)(trainer.model, 0)
        found.append((metrics.loss, metrics.tokens, metrics.n_bytes))
        trainer.stream.close()
    assert found[0] == found[1]


def test_both_places_are_resumed(recipe: WRITE, corpus: Path) -> None:
    path = recipe()
    trainer, again = trainer_of(path, corpus), trainer_of(path, corpus)
    for _ in islice(trainer.stream, 3):
        pass
    state = trainer.stream.state_dict()
    again.stream.load_state_dict(state)
    assert again.stream.state_dict() == state
    one, other = next(trainer.stream), next(again.stream)
    assert torch.equal(one.main.input_ids, other.main.input_ids)
    assert torch.equal(one.extra.texts, other.extra.texts)
    assert one.extra.media.audio is not None
    assert torch.equal(one.extra.media.audio, other.extra.media.audio)
    for each in (trainer, again):
        each.stream.close()


def test_a_run_with_both_goes_on_to_the_bit(recipe: WRITE, tmp_path: Path) -> None:
    """Stopped at its checkpoint and taken up again, it ends where one that never stopped does."""
    path = recipe(budget={"steps": 4}, save_every=2, schedule="constant")
    whole = train(load_recipe(path), tmp_path / "whole", device="cpu")
    train(load_recipe(path, ["budget.steps=2"]), tmp_path / "parted", device="cpu")
    parted = train(load_recipe(path), tmp_path / "parted", device="cpu")
    assert (parted / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


def test_what_cannot_be_shared_or_read_is_found_before_the_first_step(
    recipe: WRITE, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = recipe(auxiliary={"data": [{"path": str(tmp_path / "nothing.jsonl")}]})
    with pytest.raises(DataError, match=r"stage 'chat': .*nothing\.jsonl does not exist"):
        train(load_recipe(missing), tmp_path / "missing", device="cpu")
    assert not any((RunFolder(tmp_path / "missing").path).rglob("step-*"))
    silent = recipe(speech={**PARTS["speech"], "ctc": False})
    with pytest.raises(ConfigError, match=r"objective ctc needs a model that spells"):
        train(load_recipe(silent), tmp_path / "silent", device="cpu")
    from contextlib import contextmanager

    @contextmanager
    def crowd(_: str) -> Any:
        yield World(0, 2, torch.device("cpu"))

    monkeypatch.setattr("sensorium.train.run.joined", crowd)
    monkeypatch.setattr(World, "wait", lambda _: None)
    with pytest.raises(ConfigError, match=r"auxiliary\.rows = 1, below the 2 processes"):
        train(load_recipe(recipe(auxiliary={"rows": 1})), tmp_path / "crowd", device="cpu")
