"""The one training loop: a stage in progress (`Trainer`), and its steps to the end of the budget (`fit`)."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sensorium.errors import TrainingError
from sensorium.nn.compilation import has_compiler
from sensorium.nn.omni import Omni
from sensorium.processing.processor import Processor
from sensorium.train.average import Average
from sensorium.train.callbacks import Callback, Sample, StepMetrics
from sensorium.train.checkpoint import (
    Checkpoints,
    Snapshot,
    kept_random_state,
    random_state,
    restore_random_state,
    seed_generators,
)
from sensorium.train.distributed import World
from sensorium.train.interrupts import Interrupts
from sensorium.train.objectives import Objective, moved, share_of
from sensorium.train.optim import Optimizers
from sensorium.train.precision import autocast
from sensorium.train.recipe import Stage
from sensorium.train.schedule import rate
from sensorium.train.seeds import derive
from sensorium.train.validation import Validation

log = logging.getLogger(__name__)


class Trainer:
    """A stage in progress: the model, its optimisers, its average, its data and its counters.

    All processes hold the same; each works on its rows of every batch. `horizon` is the number of steps of the
    stage, 0 until it is known.
    """

    def __init__(self, model: Omni, objective: Objective[Any], stage: Stage, *, seed: int, world: World) -> None:
        self.model, self.objective, self.stage, self.world = model, objective, stage, world
        self.step, self.horizon, self.seconds, self.tokens = 0, 0, 0.0, 0
        self._seed = seed
        model.adversary = objective.adversary.to(world.device) if objective.adversary is not None else None
        self.optimizers = Optimizers(model, stage)
        self.weights = self.optimizers.weights
        self._measured = measured_tensors(model)
        self.average = Average({**self.weights, **self._measured}, stage.ema) if stage.ema is not None else None
        self.stream = objective.stream(stage.data, rows=stage.rows, seed=derive(seed, "data"), repeat=True)
        seed_generators(derive(seed, "chance", world.rank))
        _configure(model, stage)

    def train_step(self, peak_flops: float) -> StepMetrics:
        """One optimiser step on `accumulate` batches, whose loss is averaged over all that they learn together.

        Raises:
            TrainingError: the loss or the gradient is not a finite number; the weights were not moved by it.
        """
        started = time.perf_counter()
        stage = self.stage
        waited = self.stream.waited
        batches = [self.next_batch(index) for index in range(stage.accumulate)]
        waited = self.stream.waited - waited
        learned = sum(self.objective.count(batch) for batch in batches)
        loss = self.gradients(batches, max(1, learned))
        norm = nn.utils.get_total_norm([weight.grad for weight in self.weights.values() if weight.grad is not None])
        loss_value, norm_value = torch.stack((loss, norm.to(loss.dtype))).tolist()  # read back once
        if not (math.isfinite(loss_value) and math.isfinite(norm_value)):
            raise TrainingError(
                f"stopped at step {self.step + 1} of stage {stage.name!r}: the loss is {loss_value}, the gradient norm "
                f"{norm_value} (begin a new run with a smaller lr); the last checkpoint is intact"
            )
        if stage.clip is not None and norm_value > stage.clip:
            nn.utils.clip_grads_with_norm_(list(self.weights.values()), stage.clip, norm)
        share = self._rate()
        self.optimizers.step(share)
        self.step += 1
        self.tokens += stage.tokens_per_step
        if self.average is not None:
            self.average.update(self.step)
        taken = time.perf_counter() - started
        self.seconds += taken
        return StepMetrics(
            stage=stage.name,
            step=self.step,
            horizon=self.horizon,
            loss=loss_value,
            gradient_norm=norm_value,
            lr=stage.lr * share,
            learned_tokens=learned,
            tokens=self.tokens,
            tokens_per_second=stage.tokens_per_step / taken,
            mfu=sum(self.objective.flops(self.model, batch) for batch in batches) / taken / peak_flops,
            seconds=self.seconds,
            waited=waited / taken,
        )

    def snapshot(self) -> Snapshot:
        """Everything that going on exactly needs. All processes must ask together."""
        tensors: dict[str, dict[str, Tensor]] = {
            "weights": model_tensors(self.model),
            "optimizer": self.optimizers.tensors(),
        }
        if self.average is not None:
            tensors["ema"] = self.average.tensors
        tensors["random"], generators = random_state(self.world)
        state = {
            "step": self.step,
            "horizon": self.horizon,
            "budget": {self.stage.budget.unit: self.stage.budget.amount},
            "seconds": self.seconds,
            "tokens": self.tokens,
            "cursor": self.stream.state_dict(),
            "generators": generators,
        }
        return Snapshot(tensors, state)

    @torch.no_grad()
    def restore(self, snapshot: Snapshot) -> None:
        """Become what the snapshot holds."""
        for name, tensor in model_tensors(self.model).items():
            tensor.copy_(snapshot.tensors["weights"][name])
        self.optimizers.load_tensors(snapshot.tensors["optimizer"])
        if self.average is not None:
            self.average.load(snapshot.tensors["ema"])
        state = snapshot.state
        self.step, self.horizon = int(state["step"]), int(state["horizon"])
        self.seconds, self.tokens = float(state["seconds"]), int(state["tokens"])
        self.stream.load_state_dict(state["cursor"])
        restore_random_state(snapshot.tensors["random"], state["generators"], self.world)

    @contextmanager
    def result(self) -> Iterator[Omni]:
        """The model as it would be handed on: with averaged weights, if the stage averages, and nothing against it."""
        adversary, self.model.adversary = self.model.adversary, None
        try:
            with self.average.in_place() if self.average is not None else nullcontext():
                yield self.model
        finally:
            self.model.adversary = adversary

    def next_batch(self, index: int) -> Any:
        """The global batch number `index` of the coming step."""
        return self.objective.prepare(next(self.stream), derive(self._seed, "chance", self.step, index))

    def gradients(self, batches: Sequence[Any], learned: int) -> Tensor:
        """Leave on the weights the gradients of the loss per learned token, over all processes; return that loss."""
        total = torch.zeros((), dtype=torch.float32, device=self.world.device)
        for batch in batches:
            share = moved(share_of(batch, self.world.rank, self.world.size), self.world.device)
            with autocast(self.world.device, self.world.dtype):
                loss = self.objective.loss(self.model, share) / learned
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        self.world.sum_gradients(self.weights.values())
        self.world.average(self._measured.values())
        return self.world.sum(total)

    def _rate(self) -> float:
        """The share of the peak rate; none while the horizon is unknown, when steps are only timed."""
        return stage_rate(self.stage, self.step, self.horizon) if self.horizon else 0.0


def stage_rate(stage: Stage, step: int, horizon: int) -> float:
    """The share of the stage's peak learning rate at a step."""
    return rate(step, horizon, shape=stage.schedule, warmup=stage.warmup, decay=stage.decay, floor=stage.lr_floor)


def model_tensors(model: nn.Module) -> dict[str, Tensor]:
    """All that a model stores, by name, shared weights once."""
    return {name: weight.detach() for name, weight in model.named_parameters()} | measured_tensors(model)


def measured_tensors(model: nn.Module) -> dict[str, Tensor]:
    """What a model stores beside its weights, by name: the running means and variances of batch norms."""
    stored = model.state_dict().keys()
    return {name: tensor for name, tensor in model.named_buffers() if name in stored}


@dataclass
class Watch:
    """Who and what observes a stage while it runs."""

    callbacks: Sequence[Callback]
    checkpoints: Checkpoints
    validation: Validation | None
    processor: Processor
    interrupts: Interrupts
    peak_flops: float
    validated_at: int = -1
    sampled_at: int = -1


def fit(trainer: Trainer, watch: Watch) -> None:
    """Steps until the horizon, with checkpoints, validation and samples when they are due, and all three at the end.

    Raises:
        TrainingError: a loss that is no number, a disk that refuses, or an interrupt (after a checkpoint).
    """
    stage = trainer.stage
    while trainer.step < trainer.horizon:
        metrics = trainer.train_step(watch.peak_flops)
        for callback in watch.callbacks:
            callback.on_step(metrics)
        # Saved before anything looks at the model, so that a validation or sample that fails costs no steps.
        if _due(trainer, stage.save_every) or trainer.step == trainer.horizon:
            save(trainer, watch)
        if watch.interrupts.any(trainer.world):
            save(trainer, watch)
            raise watch.interrupts.error(trainer.step, stage.name)
        if _due(trainer, stage.eval_every):
            validate(trainer, watch)
        if _due(trainer, stage.sample_every):
            sample(trainer, watch)
    if watch.validated_at != trainer.step:
        validate(trainer, watch)
    if stage.sample_every and watch.sampled_at != trainer.step:
        sample(trainer, watch)


def validate(trainer: Trainer, watch: Watch) -> None:
    """Validate what the stage would hand on now, and tell the callbacks."""
    if watch.validation is None:
        return
    with trainer.result() as model:
        metrics = watch.validation(model, trainer.step)
    watch.validated_at = trainer.step
    for callback in watch.callbacks:
        callback.on_validation(metrics)


def sample(trainer: Trainer, watch: Watch) -> None:
    """Ask the callbacks for samples of the model, and tell all of them; the random state stays as it was."""
    watch.sampled_at = trainer.step
    if not watch.callbacks:
        return
    stage, samples = trainer.stage.name, list[Sample]()
    with (
        trainer.result() as model,
        kept_random_state(trainer.world.device),
        torch.compiler.set_stance("force_eager"),
    ):
        model.eval()
        for callback in watch.callbacks:
            samples += callback.sample(model, watch.processor, stage, trainer.step)
        model.train()
    for callback in watch.callbacks:
        callback.on_samples(stage, trainer.step, samples)


def save(trainer: Trainer, watch: Watch) -> None:
    """Write a checkpoint, on the main process, and tell the callbacks."""
    snapshot = trainer.snapshot()
    if trainer.world.is_main:
        path = watch.checkpoints.save(snapshot)
        for callback in watch.callbacks:
            callback.on_checkpoint(path, trainer.step)


def _due(trainer: Trainer, every: int) -> bool:
    return every > 0 and trainer.step % every == 0


def _configure(model: Omni, stage: Stage) -> None:
    """Set what the stage wants of the model: training mode, dropout, checkpointed activations, compilation."""
    model.train()
    model.decoder.checkpoint_activations = stage.checkpoint_activations
    if stage.dropout is not None:
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = stage.dropout
    if stage.compile and has_compiler(model.device):
        model.decoder.compile()
    elif stage.compile:
        log.warning(
            "stage %r trains without compilation: torch.compile needs %s, and finds none (set compile: false)",
            stage.name,
            "a C++ compiler (g++, or what CXX names)" if model.device.type == "cpu" else "Triton and a C compiler",
        )
