"""What watches a run: metrics as JSON lines and for TensorBoard; a progress bar and a sampler come from outside."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sensorium.nn.omni import Omni
from sensorium.processing.processor import Processor

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


@dataclass(frozen=True, slots=True)
class StageInfo:
    """A stage that begins, or goes on: `step` of `horizon` steps are done.

    `n_parameters` are those of the model, `n_trained` those that are not frozen; `peak_flops` is the measured
    matrix-product rate (FLOP/s) that MFU is a share of.
    """

    folder: Path
    stage: str
    index: int
    n_stages: int
    step: int
    horizon: int
    tokens_per_step: int
    n_parameters: int
    n_trained: int
    device: str
    dtype: str
    threads: int
    processes: int
    peak_flops: float


@dataclass(frozen=True, slots=True)
class StepMetrics:
    """One optimiser step, the `step`-th of `horizon`.

    `loss` is in nats per learned token, `gradient_norm` as it was before clipping. `learned_tokens` are this step's;
    `tokens` (padding counted) and `seconds` are the stage's so far; `mfu` is the share of the measured peak, `waited`
    the share of the step's time in which it waited for its data.
    """

    stage: str
    step: int
    horizon: int
    loss: float
    gradient_norm: float
    lr: float
    learned_tokens: int
    tokens: int
    tokens_per_second: float
    mfu: float
    seconds: float
    waited: float = 0.0


@dataclass(frozen=True, slots=True)
class ValidationMetrics:
    """The loss on held-out data after `step` steps, in nats per learned token and bits per UTF-8 byte."""

    stage: str
    step: int
    loss: float
    bits_per_byte: float | None
    tokens: int
    n_bytes: int


@dataclass(frozen=True, slots=True)
class Sample:
    """What the model wrote to a prompt during the run."""

    prompt: str
    text: str


class Callback:
    """Base of whatever watches a run: override what you need. Only the main process calls it.

    None of it may change the model or the random state; the loop restores the latter around `sample`.
    """

    def on_start(self, info: StageInfo) -> None:
        """A stage begins or goes on."""

    def on_step(self, metrics: StepMetrics) -> None:
        """A step is done."""

    def on_validation(self, metrics: ValidationMetrics) -> None:
        """A validation is done."""

    def sample(self, model: Omni, processor: Processor, stage: str, step: int) -> Sequence[Sample]:  # noqa: ARG002
        """Samples of the model (in evaluation mode) on request, every `sample_every` steps."""
        return ()

    def on_samples(self, stage: str, step: int, samples: Sequence[Sample]) -> None:
        """What all callbacks sampled."""

    def on_checkpoint(self, path: Path, step: int) -> None:
        """A checkpoint is on the disk."""

    def on_end(self, stage: str, step: int, model_folder: Path | None) -> None:
        """A stage is over: `model_folder` is its model, or None when it was stopped or failed."""


class JsonLines(Callback):
    """Appends to `metrics.jsonl` and `samples.jsonl` in the run's folder, one object a line.

    After a resume, lines of the steps that were lost are dropped, so that the file tells each step once.
    """

    def __init__(self, folder: Path, *, log_every: int) -> None:
        self._metrics, self._samples = folder / "metrics.jsonl", folder / "samples.jsonl"
        self._log_every = log_every

    def on_start(self, info: StageInfo) -> None:
        """Forget what lies beyond the checkpoint."""
        for path in (self._metrics, self._samples):
            _drop_lines_after(path, info.stage, info.step)

    def on_step(self, metrics: StepMetrics) -> None:
        """One line every `log_every` steps, and for the first and the last."""
        if metrics.step % self._log_every == 0 or metrics.step in (1, metrics.horizon):
            _append(self._metrics, {"event": "step", **asdict(metrics)})

    def on_validation(self, metrics: ValidationMetrics) -> None:
        """One line per validation."""
        _append(self._metrics, {"event": "validation", **asdict(metrics)})

    def on_samples(self, stage: str, step: int, samples: Sequence[Sample]) -> None:
        """One line per sample."""
        for sample in samples:
            _append(self._samples, {"stage": stage, "step": step, **asdict(sample)})


class TensorBoard(Callback):
    """Writes the same figures for TensorBoard, under `tensorboard/STAGE` in the run's folder."""

    def __init__(self, folder: Path, *, log_every: int) -> None:
        self._folder, self._log_every = folder / "tensorboard", log_every
        self._writer: SummaryWriter | None = None

    def on_start(self, info: StageInfo) -> None:
        """Open the stage's log; points beyond the checkpoint are overwritten."""
        from torch.utils.tensorboard import SummaryWriter  # takes a second to import

        self._writer = SummaryWriter(str(self._folder / info.stage), purge_step=info.step + 1)

    def on_step(self, metrics: StepMetrics) -> None:
        """Loss, gradient norm, learning rate and speed, every `log_every` steps."""
        if metrics.step % self._log_every == 0:
            for name in ("loss", "gradient_norm", "lr", "tokens_per_second", "mfu"):
                self._add(f"train/{name}", getattr(metrics, name), metrics.step)

    def on_validation(self, metrics: ValidationMetrics) -> None:
        """Validation loss, and bits per byte where it has a meaning."""
        self._add("validation/loss", metrics.loss, metrics.step)
        if metrics.bits_per_byte is not None:
            self._add("validation/bits_per_byte", metrics.bits_per_byte, metrics.step)

    def on_samples(self, stage: str, step: int, samples: Sequence[Sample]) -> None:  # noqa: ARG002
        """Samples as text."""
        if self._writer is not None and samples:
            text = "\n\n".join(f"**{sample.prompt}** {sample.text}" for sample in samples)
            self._writer.add_text("samples", text, step)

    def on_end(self, stage: str, step: int, model_folder: Path | None) -> None:  # noqa: ARG002
        """Close the log."""
        if self._writer is not None:
            self._writer.close()

    def _add(self, name: str, value: float, step: int) -> None:
        if self._writer is not None:
            self._writer.add_scalar(name, value, step)


def _append(path: Path, record: dict[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record, ensure_ascii=False) + "\n")


def _drop_lines_after(path: Path, stage: str, step: int) -> None:
    if not path.exists():
        return
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if _belongs(line, stage, step)]
    if len(kept) < len(lines):
        shorter = path.with_name(path.name + ".tmp")
        shorter.write_text("".join(kept), encoding="utf-8")
        shorter.replace(path)


def _belongs(line: str, stage: str, step: int) -> bool:
    """Whether a line is whole, and not of a step that a resumed stage will take again."""
    try:
        record = json.loads(line)
    except json.JSONDecodeError:
        return False
    return not (record.get("stage") == stage and record.get("step", 0) > step)
