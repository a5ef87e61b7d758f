"""How many steps a budget buys: counted for steps and tokens, measured once for minutes, and then kept."""

from __future__ import annotations

import math
import statistics
from typing import Any

from sensorium.errors import ConfigError
from sensorium.train.loop import Trainer, Watch, stage_rate
from sensorium.train.precision import now
from sensorium.train.recipe import Budget, Stage

_SHARE = 0.03  # of the minutes, spent on measuring
_STEPS = (3, 20)  # at least and at most so many timed steps
_RESERVE = 0.97  # a little is kept for loading and writing


def fixed_horizon(trainer: Trainer, watch: Watch) -> int:
    """The steps of a stage that is about to begin; every process gets the same number.

    Minutes are turned into steps by taking a few, which are then undone to the bit: the run that follows is the one
    that the same number of steps, asked for directly, would give.
    """
    stage = trainer.stage
    if stage.budget.minutes is None:
        return _counted(stage.budget, stage)
    device, seconds = trainer.world.device, stage.budget.minutes * 60
    started = now(device)
    per_step = _seconds_per_step(trainer, watch, seconds * _SHARE)
    left = seconds * _RESERVE - (now(device) - started)
    return int(trainer.world.share(max(1, math.floor(left / per_step))))


def grown_horizon(stage: Stage, state: dict[str, Any]) -> int:
    """The steps of a stage that goes on from a checkpoint, whose budget may have been changed meanwhile.

    Raises:
        ConfigError: the steps already taken would have been taken at other learning rates.
    """
    horizon, step = int(state["horizon"]), int(state["step"])
    former = Budget(**state["budget"])
    if former == stage.budget:
        return horizon
    if former.unit != stage.budget.unit:
        raise ConfigError(
            f"stage {stage.name!r} began with a budget in {former.unit}, so it cannot go on in {stage.budget.unit}"
        )
    if former.minutes is not None:
        grown = round(horizon * stage.budget.amount / former.amount)
    else:
        grown = _counted(stage.budget, stage)
    if step > grown:
        raise ConfigError(f"stage {stage.name!r} has done {step} steps already, above the {grown} now asked for")
    if step and not math.isclose(stage_rate(stage, step, horizon), stage_rate(stage, step, grown), abs_tol=1e-9):
        raise ConfigError(
            f"stage {stage.name!r} cannot change its budget at step {step} of {horizon}: the {stage.schedule} schedule "
            "would jump (set the budget back, or use init: with its model in a new run)"
        )
    return grown


def _counted(budget: Budget, stage: Stage) -> int:
    return budget.steps if budget.steps is not None else math.ceil((budget.tokens or 0) / stage.tokens_per_step)


def _seconds_per_step(trainer: Trainer, watch: Watch, allowed: float) -> float:
    """Seconds that a step takes, its share of validations included."""
    device, stage = trainer.world.device, trainer.stage
    before = trainer.snapshot().cloned()
    trainer.train_step(watch.peak_flops)  # the first one pays for compilation and memory
    taken: list[float] = []
    enough = False
    while not enough:
        started = now(device)
        trainer.train_step(watch.peak_flops)
        taken.append(now(device) - started)
        enough = len(taken) >= _STEPS[0] and (sum(taken) >= allowed or len(taken) >= _STEPS[1])
        enough = bool(trainer.world.share(float(enough)))  # all processes take as many
    per_step = statistics.median(taken)
    if watch.validation is not None and stage.eval_every:
        started = now(device)
        watch.validation(trainer.model, 0)
        per_step += (now(device) - started) / stage.eval_every
    trainer.restore(before)
    return per_step
