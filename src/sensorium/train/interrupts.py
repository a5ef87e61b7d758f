"""Ctrl-C and SIGTERM while a stage runs: the step is finished and saved before the run ends."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

import torch

from sensorium.errors import TrainingError
from sensorium.train.distributed import World

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class TrainingInterruptedError(TrainingError):
    """A run was stopped by a signal, after a checkpoint; `exit_code` is the shell's for that signal."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Interrupts:
    """Remembers the first SIGINT or SIGTERM inside the block; the second one acts at once, as usual."""

    def __init__(self) -> None:
        self._received: signal.Signals | None = None
        self._former: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._former = {number: signal.signal(number, self._receive) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def any(self, world: World) -> bool:
        """Whether any process was told to stop, so that all of them stop after the same step."""
        told = self._received is not None
        if world.size == 1:
            return told
        return bool(world.sum(torch.tensor([float(told)], device=world.device)).item())

    def error(self, step: int, stage: str) -> TrainingInterruptedError:
        """What to raise once the checkpoint is written."""
        received = self._received or signal.SIGTERM
        return TrainingInterruptedError(
            f"stopped by {received.name} at step {step} of stage {stage!r}; a checkpoint is saved, "
            "and the same command goes on from it",
            128 + received,
        )

    def _receive(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self._received = signal.Signals(number)
        self._restore()

    def _restore(self) -> None:
        for number, former in self._former.items():
            signal.signal(number, former)
        self._former = {}
