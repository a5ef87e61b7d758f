"""The steps themselves: what they average, clip, refuse and report."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sensorium.errors import TrainingError
from sensorium.nn.transformer import Transformer
from sensorium.processing.processor import Processor
from sensorium.processing.tokenizer import Tokenizer
from sensorium.train.distributed import World
from sensorium.train.loop import Trainer
from sensorium.train.objectives import make_objective
from sensorium.train.precision import measure_peak
from sensorium.train.recipe import load_recipe
from sensorium.train.start import first_model
from sensorium.train.validation import Validation, validation_data

ALONE = World(0, 1, torch.device("cpu"))
MakeTrainer = Callable[..., Trainer]


@pytest.fixture
def make_trainer(write_recipe: Callable[..., Path], corpus: Path) -> Iterator[MakeTrainer]:
    processor = Processor(Tokenizer.train([corpus.read_text(encoding="utf-8")], 320))
    made: list[Trainer] = []

    def make(**settings: Any) -> Trainer:
        recipe = load_recipe(write_recipe(**settings))
        model = first_model(recipe, processor, ALONE.device).model
        objective = make_objective(recipe.stages[0], processor, model)
        trainer = Trainer(model, objective, recipe.stages[0], seed=1, world=ALONE)
        trainer.horizon = 100
        made.append(trainer)
        return trainer

    yield make
    for trainer in made:
        trainer.stream.close()


def gradients(trainer: Trainer) -> dict[str, Tensor]:
    return {name: weight.grad.clone() for name, weight in trainer.weights.items() if weight.grad is not None}


def close(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return all(torch.allclose(left[name], right[name], rtol=1e-4, atol=1e-7) for name in left | right)


def test_accumulation_weighs_every_learned_token_alike(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(accumulate=2)
    first, second = trainer.next_batch(0), trainer.next_batch(1)
    second = dataclasses.replace(second, targets=torch.where(second.positions < 5, second.targets, -100))
    n, m = trainer.objective.count(first), trainer.objective.count(second)
    assert n != m
    loss = trainer.gradients([first, second], n + m)
    accumulated = gradients(trainer)
    trainer.model.zero_grad()
    joined = trainer.objective.loss(trainer.model, first) + trainer.objective.loss(trainer.model, second)
    (joined / (n + m)).backward()
    assert float(loss) == pytest.approx(float(joined.detach()) / (n + m), rel=1e-5)
    assert close(accumulated, gradients(trainer))


def test_what_batch_norms_measured_is_averaged_as_the_weights_are(make_trainer: MakeTrainer) -> None:
    encoder = {"kind": "resnet", "image_size": 16, "stem": "small", "stem_dim": 8, "dims": [8], "depths": [1]}
    eyes = {"image": {"size": [16, 16]}, "encoder": {**encoder, "block": "basic"}}
    trainer = make_trainer(vision=eyes, ema=0.9)
    measured = dict(trainer.model.named_buffers())["vision.encoder.stem.norm.running_mean"]
    with torch.no_grad():
        measured.fill_(1.0)
    trainer.train_step(1e9)
    with trainer.result():
        assert measured.tolist() == pytest.approx([1 - 2 / 11] * 8)
    assert measured.tolist() == [1.0] * 8
    before = trainer.snapshot().cloned()
    trainer.train_step(1e9)
    trainer.restore(before)
    assert trainer.average is not None
    assert trainer.average.tensors["vision.encoder.stem.norm.running_mean"].tolist() == pytest.approx([1 - 2 / 11] * 8)


def test_checkpointed_activations_change_nothing(make_trainer: MakeTrainer) -> None:
    results = []
    for setting in (False, True):
        trainer = make_trainer(checkpoint_activations=setting, dropout=0.2)
        assert trainer.model.decoder.checkpoint_activations is setting
        torch.manual_seed(4)
        trainer.gradients([trainer.next_batch(0)], 100)
        results.append(gradients(trainer))
    assert close(*results)


def test_dropout_of_the_stage_replaces_the_models(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(dropout=0.5)
    batch = trainer.next_batch(0)
    losses = {float(trainer.objective.loss(trainer.model, batch).detach()) for _ in range(3)}
    assert len(losses) == 3
    trainer.model.eval()
    assert len({float(trainer.objective.loss(trainer.model, batch).detach()) for _ in range(3)}) == 1


def test_a_compiled_stage_takes_the_same_steps(make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch) -> None:
    graphs: list[int] = []

    def counted(graph: Any, _: Any) -> Any:
        graphs.append(len(graph.graph.nodes))
        return graph.forward

    compile_ = nn.Module.compile
    monkeypatch.setattr(Transformer, "compile", lambda self: compile_(self, backend=counted, fullgraph=True))
    plain, compiled = make_trainer(), make_trainer(compile=True)
    losses = [[trainer.train_step(1e9).loss for _ in range(3)] for trainer in (plain, compiled)]
    assert len(graphs) == 1
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert compiled.snapshot().tensors["weights"].keys() == plain.snapshot().tensors["weights"].keys()


@pytest.mark.parametrize("settings", [{}, {"optimizer": "muon", "model": {"qk_norm": True, "n_kv_heads": 1}}])
def test_half_precision_products_as_on_a_gpu_take_nearly_the_same_steps(
    make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    exact = make_trainer(**settings).train_step(1e9).loss
    monkeypatch.setattr("sensorium.nn.linear.HAS_ONEDNN", False)
    for module in ("loop", "validation"):
        monkeypatch.setattr(f"sensorium.train.{module}.autocast", lambda *_: torch.autocast("cpu", torch.bfloat16))
    trainer = make_trainer(**settings, lr=0.01, warmup=0)
    losses = [trainer.train_step(1e9).loss for _ in range(8)]
    assert losses[0] == pytest.approx(exact, rel=0.01)
    assert losses[0] != exact
    assert losses[-1] < losses[0] - 0.1
    tensors = trainer.snapshot().tensors
    assert {tensor.dtype for tensor in (*tensors["weights"].values(), *tensors["optimizer"].values())} == {
        torch.float32
    }
    validation = Validation(trainer.objective, trainer.stage, validation_data(trainer.stage), seed=1, world=ALONE)
    assert validation(trainer.model, 8).loss < losses[0]


def test_a_stage_trains_plainly_and_says_so_where_there_is_no_compiler(
    make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    plain = make_trainer().train_step(1e9).loss
    assert caplog.text == ""
    monkeypatch.setattr("shutil.which", lambda _: None)
    trainer = make_trainer(compile=True)
    assert "stage 'causal' trains without compilation: torch.compile needs a C++ compiler" in caplog.text
    assert trainer.train_step(1e9).loss == plain


def test_clipping_bounds_the_gradient_and_reports_the_norm_before_it(
    make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer(clip=0.01)
    norms: list[float] = []
    step = trainer.optimizers.step

    def watched(rate: float) -> None:
        norms.append(float(torch.cat([g.flatten() for g in gradients(trainer).values()]).norm()))
        step(rate)

    monkeypatch.setattr(trainer.optimizers, "step", watched)
    metrics = trainer.train_step(1e9)
    assert norms == [pytest.approx(0.01, rel=1e-3)]
    assert metrics.gradient_norm > 0.02


def test_a_loss_that_is_no_number_moves_nothing(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer()
    trainer.train_step(1e9)
    before = {name: weight.detach().clone() for name, weight in trainer.weights.items()}
    loss = trainer.objective.loss
    trainer.objective.loss = lambda model, batch: loss(model, batch) * math.nan  # type: ignore[method-assign]
    with pytest.raises(TrainingError, match=r"stopped at step 2 of stage 'causal': the loss is nan.*intact"):
        trainer.train_step(1e9)
    assert all(torch.equal(weight, before[name]) for name, weight in trainer.weights.items())


def test_metrics_are_of_the_step(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(lr=0.01, warmup=4, accumulate=2)
    metrics = [trainer.train_step(1e9) for _ in range(3)]
    assert [m.step for m in metrics] == [1, 2, 3]
    assert [m.lr for m in metrics] == pytest.approx([0.0025, 0.005, 0.0075])
    assert [m.tokens for m in metrics] == [256, 512, 768]
    assert all(0 < m.learned_tokens <= 256 for m in metrics)
    assert metrics[0].loss == pytest.approx(math.log(320), rel=0.1)
    flops_per_second = metrics[0].mfu * 1e9
    assert flops_per_second / metrics[0].tokens_per_second == pytest.approx(
        trainer.model.decoder.flops_per_token(32), rel=0.15
    )


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_the_loss_falls(make_trainer: MakeTrainer, optimizer: str) -> None:
    trainer = make_trainer(optimizer=optimizer, lr=0.01, schedule="constant", rows=8)
    losses = [trainer.train_step(1e9).loss for _ in range(40)]
    assert sum(losses[-5:]) / 5 < 0.7 * losses[0]


def test_validation_is_in_bits_per_byte_of_all_the_held_out_text(make_trainer: MakeTrainer, corpus: Path) -> None:
    trainer = make_trainer(validation_tokens=100_000)
    stage = trainer.stage
    validation = Validation(trainer.objective, stage, validation_data(stage), seed=1, world=ALONE)
    metrics = validation(trainer.model, 7)
    assert trainer.model.training
    assert metrics.bits_per_byte == pytest.approx(metrics.loss * metrics.tokens / math.log(2) / metrics.n_bytes)
    assert 300 < metrics.n_bytes < 0.3 * len(corpus.read_bytes())
    assert validation(trainer.model, 8).loss == metrics.loss
    limited = stage.model_copy(update={"validation_tokens": 1})
    one_batch = Validation(trainer.objective, limited, validation_data(stage), seed=1, world=ALONE)(trainer.model, 7)
    assert 0 < one_batch.tokens <= stage.rows * stage.time < metrics.tokens


def test_the_peak_is_a_plausible_rate() -> None:
    assert 1e8 < measure_peak(torch.device("cpu"), torch.float32) < 1e14
