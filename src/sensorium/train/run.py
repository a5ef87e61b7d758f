"""A run from its recipe to its model: stages in a chain, each picked up where it was left."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from sensorium.errors import CheckpointError, ConfigError, DataError, TrainingError
from sensorium.hub.folder import load_pretrained, save_pretrained
from sensorium.hub.growing import without_heads
from sensorium.hub.pretrained import Pretrained, coding
from sensorium.nn.omni import Omni
from sensorium.processing.processor import Processor
from sensorium.train.callbacks import Callback, JsonLines, StageInfo, TensorBoard
from sensorium.train.distributed import World, joined
from sensorium.train.folder import RunFolder, claimed
from sensorium.train.horizon import fixed_horizon, grown_horizon
from sensorium.train.interrupts import Interrupts
from sensorium.train.loop import Trainer, Watch, fit, save
from sensorium.train.objectives import make_objective
from sensorium.train.optim import check_patterns
from sensorium.train.precision import compute_dtype, measure_peak
from sensorium.train.recipe import Recipe, Stage
from sensorium.train.seeds import derive
from sensorium.train.start import first_model, prepare_processor, trainable_copy
from sensorium.train.validation import Validation, validation_data

log = logging.getLogger(__name__)


def train(
    recipe: Recipe,
    out: str | Path,
    *,
    minutes: float | None = None,
    resume: bool = True,
    device: str = "auto",
    threads: int | None = None,
    callbacks: Sequence[Callback] = (),
) -> Path:
    """Train a recipe to its end, going on from wherever an earlier call was stopped.

    Under torchrun, each process calls this with the same arguments, and only the first one writes and reports.

    Args:
        recipe: what to train, see `load_recipe`.
        out: the run's folder; new, empty, or that of an earlier call with the same recipe.
        minutes: wall clock for the whole run, in place of the stages' own budgets.
        resume: go on with a run that is there; otherwise it is moved aside, to OUT.1 or the next free number.
        device: `auto` (a GPU if there is one), `cpu` or `cuda`.
        threads: of the CPU; by default as many as PyTorch has taken.
        callbacks: what watches the run, besides the JSON lines and TensorBoard logs that it always writes.

    Returns:
        The folder of the final model, `out/model`.

    Raises:
        ConfigError, DataError, CheckpointError: the recipe, the folder or the data cannot be used as they are.
        TrainingError: the run was stopped by a NaN, a full disk or a signal; the last checkpoint is intact.
    """
    if minutes is not None:
        recipe = recipe.with_minutes(minutes)
    if threads is not None:
        torch.set_num_threads(threads)
    recipe.card_text()  # what cannot be read is better known before the training than after
    with contextlib.ExitStack() as stack:
        world = stack.enter_context(joined(device))
        world = replace(world, dtype=compute_dtype(world.device, recipe.compute))
        folder = RunFolder(Path(out))
        if world.is_main:
            if not resume:
                _set_aside(folder)
            stack.enter_context(claimed(folder.path))
            folder.admit(recipe)
            prepare_processor(recipe, folder.path)
        world.wait()
        _Run(recipe, folder, world, callbacks).stages()
        return folder.model


def _set_aside(folder: RunFolder) -> None:
    with claimed(folder.path):  # nobody trains in it
        place = folder.set_aside()
    if place is not None:
        log.warning("the run that was in %s is now in %s", folder.path, place)


@contextlib.contextmanager
def _refusals_named(trainer: Trainer) -> Iterator[None]:
    """What the disk or the GPU refuses becomes an error that says where the run stands."""
    where = "stopped at step {} of stage {!r}: {}; the last checkpoint is intact"
    try:
        yield
    except (OSError, CheckpointError) as error:
        raise TrainingError(where.format(trainer.step, trainer.stage.name, error)) from None
    except torch.OutOfMemoryError as error:
        short = f"{str(error).partition('. ')[0]} (begin a new run with fewer rows and more accumulate)"
        raise TrainingError(where.format(trainer.step, trainer.stage.name, short)) from None


class _Run:
    """What the stages of a run share."""

    def __init__(self, recipe: Recipe, folder: RunFolder, world: World, callbacks: Sequence[Callback]) -> None:
        self.recipe, self.folder, self.world = recipe, folder, world
        self.callbacks = callbacks
        self.processor = Processor.load(folder.path)
        self.peak_flops = measure_peak(world.device, world.dtype) * world.size

    def stages(self) -> None:
        """Every stage that is not done yet, then the final model."""
        for index in range(len(self.recipe.stages)):
            if not self._done(index):
                self._stage(index)
        if self.world.is_main:
            self._publish()
        self.world.wait()

    def _publish(self) -> None:
        """The model of the last stage as that of the run, without what it only learned by."""
        source = self.folder.stage_model(self.recipe, len(self.recipe.stages) - 1)
        if not self.recipe.leave_out:
            self.folder.publish(source)
            return
        lighter = without_heads(load_pretrained(source), self.recipe.leave_out)
        card = self.recipe.card_text()
        save_pretrained(lighter, self.folder.model, dtype=getattr(torch, self.recipe.save_dtype), card=card)

    def _done(self, index: int) -> bool:
        """Whether a stage has handed on its model, and its budget is still the one it was trained for."""
        if not (self.folder.stage_model(self.recipe, index) / "config.json").exists():
            return False
        snapshot = self.folder.checkpoints(self.recipe, index).latest()
        return snapshot is None or snapshot.step == grown_horizon(self.recipe.stages[index], dict(snapshot.state))

    def _stage(self, index: int) -> None:
        pretrained = self._model_before(index)
        self.processor = coding(self.processor, pretrained.model)
        for stage in self.recipe.stages[index:]:
            self._check(stage, pretrained.model)
        trainer, watch = self._prepared(pretrained, index)
        model_folder: Path | None = None
        with _refusals_named(trainer):
            try:
                self._pick_up(trainer, watch)
                info = self._info(trainer, index)
                for callback in watch.callbacks:
                    callback.on_start(info)
                with watch.interrupts:
                    fit(trainer, watch)
                model_folder = self._hand_on(trainer, pretrained, index)
            finally:
                trainer.stream.close()
                for callback in watch.callbacks:
                    callback.on_end(trainer.stage.name, trainer.step, model_folder)

    def _model_before(self, index: int) -> Pretrained:
        if index == 0:
            return first_model(self.recipe, self.processor, self.world.device)
        return trainable_copy(self.folder.stage_model(self.recipe, index - 1), self.world.device)

    def _check(self, stage: Stage, model: Omni) -> None:
        """What can be known before the first step: a mistake in a later stage must not wait until it begins.

        Raises:
            ConfigError, DataError: the stage can never run.
        """
        if stage.rows < self.world.size:
            raise ConfigError(
                f"stage {stage.name!r}: rows = {stage.rows}, below the {self.world.size} processes that share them"
            )
        extra = stage.auxiliary
        if extra is not None and extra.rows < self.world.size:
            raise ConfigError(
                f"stage {stage.name!r}: auxiliary.rows = {extra.rows}, below the {self.world.size} processes that "
                "share them"
            )
        make_objective(stage, self.processor, model)
        try:
            check_patterns(model, stage)
            others = (*stage.voices.values(), *(extra.data if extra is not None else ()))
            for spec in (*stage.data, *(stage.validation or ()), *others):
                spec.files()
        except (ConfigError, DataError) as error:
            raise type(error)(f"stage {stage.name!r}: {error}") from None
        self.recipe.card_text()

    def _prepared(self, pretrained: Pretrained, index: int) -> tuple[Trainer, Watch]:
        stage, seed = self.recipe.stages[index], derive(self.recipe.seed, "stage", index)
        objective = make_objective(stage, self.processor, pretrained.model)
        trainer = Trainer(pretrained.model, objective, stage, seed=seed, world=self.world)
        specs = validation_data(stage)
        validation = (
            Validation(objective, stage, specs, seed=derive(seed, "validation"), world=self.world) if specs else None
        )
        writers: list[Callback] = [
            writer(self.folder.path, log_every=stage.log_every) for writer in (JsonLines, TensorBoard)
        ]
        watch = Watch(
            callbacks=[*writers, *self.callbacks] if self.world.is_main else [],
            checkpoints=self.folder.checkpoints(self.recipe, index),
            validation=validation,
            processor=self.processor,
            interrupts=Interrupts(),
            peak_flops=self.peak_flops,
        )
        return trainer, watch

    def _pick_up(self, trainer: Trainer, watch: Watch) -> None:
        """Go on from the newest checkpoint, or fix the horizon and write the first one."""
        if self.world.is_main:
            watch.checkpoints.sweep()
        self.world.wait()
        snapshot = watch.checkpoints.latest()
        if snapshot is not None:
            trainer.restore(snapshot)
            trainer.horizon = grown_horizon(trainer.stage, dict(snapshot.state))
            return
        trainer.horizon = fixed_horizon(trainer, watch)
        save(trainer, watch)

    def _hand_on(self, trainer: Trainer, pretrained: Pretrained, index: int) -> Path:
        folder = self.folder.stage_model(self.recipe, index)
        with trainer.result():
            if self.world.is_main:
                pretrained.model.eval()
                trainer.objective.conclude(pretrained.model)
                pretrained.processor = self.processor
                pretrained.name = self.recipe.name
                pretrained.sampling = self.recipe.sampling or pretrained.sampling
                card = self.recipe.card_text()
                save_pretrained(pretrained, folder, dtype=getattr(torch, self.recipe.save_dtype), card=card)
        self.world.wait()
        return folder

    def _info(self, trainer: Trainer, index: int) -> StageInfo:
        model = trainer.model
        return StageInfo(
            folder=self.folder.path,
            stage=trainer.stage.name,
            index=index,
            n_stages=len(self.recipe.stages),
            step=trainer.step,
            horizon=trainer.horizon,
            tokens_per_step=trainer.stage.tokens_per_step,
            n_parameters=sum(weight.numel() for weight in model.parameters()),
            n_trained=sum(weight.numel() for weight in trainer.weights.values()),
            device=str(self.world.device),
            dtype=str(self.world.dtype).removeprefix("torch."),
            threads=torch.get_num_threads(),
            processes=self.world.size,
            peak_flops=self.peak_flops,
        )
