"""What `sensorium train` shows while it runs: a bar with the figures that matter, validations, and samples."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from sensorium.config import SamplingConfig
from sensorium.inference.engine import Engine
from sensorium.messages import Message, TextDelta
from sensorium.nn.omni import Omni
from sensorium.processing.processor import Processor
from sensorium.train.callbacks import Callback, Sample, StageInfo, StepMetrics, ValidationMetrics

_NOTABLE_WAIT = 0.05  # a share of the step
_SMOOTHING = 0.05  # weight of the newest step in the loss and speed that are shown


class Watcher(Callback):
    """A progress bar per stage on stderr; where no terminal is, a line at every validation and sample."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False)
        self._progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(compact=True),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self._bar: TaskID | None = None
        self._announcement = ""
        self._smooth: dict[str, float] = {}
        self._bits_per_byte: float | None = None

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def on_start(self, info: StageInfo) -> None:
        """Begin the stage's bar. What is trained on what is told with the first news: until then it may yet fail."""
        trained = "" if info.n_trained == info.n_parameters else f" ({info.n_trained:,} of them trained)"
        resumed = f", going on from step {info.step:,}" if info.step else ""
        self._announcement = (
            f"stage {info.index + 1} of {info.n_stages}, {info.stage}: {info.n_parameters:,} parameters{trained}, "
            f"{info.horizon:,} steps of {info.tokens_per_step:,} tokens on {info.device} in {info.dtype}, "
            f"{info.processes} process(es) of {info.threads} thread(s){resumed}"
        )
        self._smooth, self._bits_per_byte = {}, None
        self._bar = self._progress.add_task(info.stage, total=info.horizon, completed=info.step, figures="")

    def on_step(self, metrics: StepMetrics) -> None:
        """Move the bar."""
        self._announce()
        assert self._bar is not None
        for name in ("loss", "tokens_per_second", "mfu", "waited"):
            value = getattr(metrics, name)
            self._smooth[name] = value + (1 - _SMOOTHING) * (self._smooth.get(name, value) - value)
        self._progress.update(self._bar, completed=metrics.step, figures=self._figures())

    def on_validation(self, metrics: ValidationMetrics) -> None:
        """Tell how well held-out data is predicted."""
        self._bits_per_byte = metrics.bits_per_byte
        bits = "" if metrics.bits_per_byte is None else f" ({metrics.bits_per_byte:.4f} bits per byte)"
        figures = f"; {self._figures()}" if self._smooth else ""
        self._say(f"{metrics.stage} step {metrics.step:,}: validation loss {metrics.loss:.4f}{bits}{figures}")

    def on_samples(self, stage: str, step: int, samples: Sequence[Sample]) -> None:
        """Print what the model wrote."""
        for sample in samples:
            self._say(f"{stage} step {step:,}: {sample.prompt} → {' '.join(sample.text.split())}")

    def on_end(self, stage: str, step: int, model_folder: object) -> None:  # noqa: ARG002
        """Take the stage's bar away: its story is in the lines above."""
        if self._bar is not None:
            self._progress.remove_task(self._bar)
            self._bar = None

    def _figures(self) -> str:
        smooth = self._smooth
        bits = "" if self._bits_per_byte is None else f", val {self._bits_per_byte:.3f} bpb"
        speed = f"{smooth['tokens_per_second']:,.0f} tok/s, MFU {smooth['mfu']:.0%}"
        waits = f", waits {smooth['waited']:.0%} for data" if smooth["waited"] >= _NOTABLE_WAIT else ""
        return f"loss {smooth['loss']:.3f}{bits}, {speed}{waits}"

    def _announce(self) -> None:
        if self._announcement:
            announcement, self._announcement = self._announcement, ""
            self._say(announcement)

    def _say(self, text: str) -> None:
        self._announce()
        self.console.print(escape(text), soft_wrap=True)


class Sampler(Callback):
    """Lets the model go on from prompts as its stage teaches: a reply where it chats, else a continuation."""

    def __init__(self, prompts: Sequence[str], chatting: frozenset[str], silent: frozenset[str]) -> None:
        """Take the prompts, and names of the stages that chat and of those with nothing to sample."""
        self._prompts, self._chatting, self._silent = prompts, chatting, silent
        self._sampling = SamplingConfig(temperature=0.8, top_p=0.95, max_tokens=80, seed=0)

    def sample(self, model: Omni, processor: Processor, stage: str, step: int) -> Sequence[Sample]:  # noqa: ARG002
        """One short text per prompt."""
        if stage in self._silent:
            return ()
        chats = stage in self._chatting
        prompts = self._prompts or (("Hello!", "Tell me a story.") if chats else ("Once upon a time",))
        engine = Engine(model, processor, compile=False)
        return [Sample(prompt, self._write(engine, processor, prompt, chats=chats)) for prompt in prompts]

    def _write(self, engine: Engine, processor: Processor, prompt: str, *, chats: bool) -> str:
        sequence = (
            processor.encode_messages([Message.user(prompt)], add_generation_prompt=True)
            if chats
            else processor.encode_prompt(prompt)
        )
        deltas = engine.stream(sequence.token_ids.tolist(), self._sampling)
        return "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))
