"""What a painter learns by: an adversary that knows what was asked for, and the true picture, coarsely."""

from __future__ import annotations

from collections.abc import Sequence as Many
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sensorium.codecs.adversary import ConditionalAdversary, adversary_loss, draw_adversary, opposed
from sensorium.codecs.losses import pixel_distance
from sensorium.data.prompts import PromptBatch, PromptStream
from sensorium.data.spec import DatasetSpec
from sensorium.errors import ConfigError
from sensorium.nn.omni import Omni
from sensorium.nn.painter import Painter
from sensorium.processing.processor import Processor
from sensorium.processing.raw import RawMedia
from sensorium.train.distributed import of_the_row_before, summed
from sensorium.train.pairs import media_flops
from sensorium.train.recipe import Stage
from sensorium.train.seeds import derive

_ADVERSARY = (24, 48, 96, 128)  # widths, of as many as the picture can be halved
_SCALES = (4, 2, 1)  # pixels along a side of the squares that pictures are compared by


class PainterObjective:
    """Paint what prompts ask for, in one pass from the state at their last token.

    Two pulls, in the ratio that `stage.adversary` says. An adversary is shown true pictures with what was asked,
    painted ones, and true pictures with what was asked of others (Reed et al. 2016, arXiv:1605.05396); hinge losses,
    and steps of both sides on one batch. And the true picture: its distance at a few scales, from the nearest of
    `stage.tries` paintings by different noise (IMLE, Li & Malik 2018, arXiv:1809.09087). What a prompt leaves open,
    such as where a thing stands, is thereby left to the noise, where the mean of all possible pictures would be a blur.

    What reads the prompt learns too, unless it is frozen. Without an adversary the distance alone is learned by.
    """

    gathers = False

    def __init__(self, stage: Stage, processor: Processor, model: Omni) -> None:
        painter, longest = model.config.painter, model.config.decoder.max_positions
        if painter is None:
            raise ConfigError("objective painter needs a model with a painter (set painter: {})")
        if processor.template is None:
            raise ConfigError(f"stage {stage.name!r} paints what is asked for, but the model has no chat template")
        if stage.time > longest:
            raise ConfigError(
                f"stage {stage.name!r} reads prompts of {stage.time} tokens, above the model's {longest} (set time)"
            )
        self._stage, self._processor, self._noise_dim = stage, processor, painter.noise_dim
        self._media = RawMedia(model.config, painter.size)
        self.adversary: nn.Module | None = None
        if stage.adversary:
            halvings = max(min(painter.size).bit_length() - 1, 2)
            self.adversary = ConditionalAdversary(model.config.decoder.dim, _ADVERSARY[:halvings])
            draw_adversary(self.adversary, torch.Generator().manual_seed(derive(0, "adversary", stage.name)))

    def stream(self, specs: Many[DatasetSpec], *, rows: int, seed: int, repeat: bool) -> PromptStream:
        """Prompts with the pictures that answer them."""
        stage = self._stage
        return PromptStream(
            specs,
            self._processor,
            self._media,
            rows=rows,
            time=stage.time,
            seed=seed,
            repeat=repeat,
            workers=stage.workers if repeat else 0,
        )

    def prepare(self, batch: PromptBatch, seed: int) -> PromptBatch:
        """The batch with the noise of every try."""
        generator = torch.Generator().manual_seed(seed)
        return replace(
            batch, noise=torch.randn(len(batch.lengths), self._stage.tries, self._noise_dim, generator=generator)
        )

    def conclude(self, model: Omni) -> None:
        """Nothing is left to do."""

    def count(self, batch: PromptBatch) -> int:
        """Pictures."""
        return len(batch.lengths)

    def n_bytes(self, batch: PromptBatch) -> int:  # noqa: ARG002 (the protocol's)
        """None: nothing is written."""
        return 0

    def loss(self, model: Omni, batch: PromptBatch) -> Tensor:
        """Summed over pictures; without gradients, as in validation, the distance alone."""
        painter, learning = model.painter, torch.is_grad_enabled()
        assert painter is not None
        with torch.set_grad_enabled(learning and _reader_learns(model)):
            fused = model.fused(batch.input_ids, batch.lengths, batch.media)  # (rows, dim)
        made = painter(fused, _nearest(painter, fused.detach(), batch))
        with torch.autocast(made.device.type, enabled=False):
            made, fused = made.float(), fused.float()
            wanted = _distance(made, batch.pixels)
            if self.adversary is None or not learning:
                return wanted.sum()
            game = opposed(
                self.adversary,
                self._stage.adversary,
                wanted,
                made,
                batch.pixels,
                painter.last_weight,
                fused,
                summed=summed,
            )
            return game + _mistaken(self.adversary, batch.pixels, fused.detach())

    def flops(self, model: Omni, batch: PromptBatch) -> float:
        """Of reading and painting; the adversary's are few beside them."""
        assert model.painter is not None
        rows, time = batch.input_ids.shape
        reading = model.flops(rows, time, learned=0, media=batch.media) + media_flops(model, batch.media)
        painting = rows * model.painter.flops()
        tries = painting * batch.noise.shape[1] / 3 if batch.noise.shape[1] > 1 else 0.0
        return reading * (1.0 if _reader_learns(model) else 1 / 3) + painting + tries


@torch.no_grad()
def _nearest(painter: Painter, fused: Tensor, batch: PromptBatch) -> Tensor:
    """The noise of each row whose painting is nearest to the true picture, (rows, noise_dim)."""
    rows, tries, _ = batch.noise.shape
    noise = batch.noise.to(fused.dtype)
    if tries == 1:
        return noise[:, 0]
    made = painter(fused.repeat_interleave(tries, 0), noise.flatten(0, 1)).float()
    distances = _distance(made, batch.pixels.repeat_interleave(tries, 0)).view(rows, tries)
    return noise[torch.arange(rows, device=noise.device), distances.argmin(1)]


def _distance(made: Tensor, true: Tensor) -> Tensor:
    """Mean absolute difference over the scales, (n,)."""
    scaled = [pixel_distance(F.avg_pool2d(made, side), F.avg_pool2d(true, side)) for side in _SCALES]
    return torch.stack(scaled).mean(0)


def _mistaken(adversary: nn.Module, true: Tensor, fused: Tensor) -> Tensor:
    """What the adversary loses by taking true pictures for answers to what was asked of others: a scalar."""
    others = of_the_row_before(fused)
    differs = (fused != others).any(1)
    # Of the scores the one that knows what was asked. Right ones count again: a score for all would else be best low.
    right, wrong = adversary(true.repeat(2, 1, 1, 1), torch.cat((fused, others)))[-1].chunk(2)
    return (adversary_loss([right], [wrong]) * differs).sum()


def _reader_learns(model: Omni) -> bool:
    readers = (model.decoder, model.vision, model.speech, model.fusion)
    return any(weight.requires_grad for part in readers if part is not None for weight in part.parameters())
