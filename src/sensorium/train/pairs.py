"""Learning from pairs: one space for words and media (CLIP, SigLIP), and spelling what is heard (CTC)."""

from __future__ import annotations

from collections.abc import Sequence as Many

import torch
from torch import Tensor
from torch.nn import functional as F

from sensorium.data.pairs import PADDING, PairBatch, PairStream
from sensorium.data.spec import DatasetSpec
from sensorium.errors import ConfigError
from sensorium.nn.media import Media
from sensorium.nn.omni import Omni
from sensorium.processing.processor import Processor
from sensorium.train.distributed import gathered, rows_before
from sensorium.train.recipe import Stage


class CTC:
    """Spell recordings as UTF-8 bytes by the speech encoder alone (Graves et al. 2006).

    Case is folded: nobody hears it. Class 0 is blank, class b + 1 the byte b. A recording with too few features to
    spell its text teaches nothing, and counts nothing.
    """

    gathers = False
    adversary = None

    def __init__(self, stage: Stage, processor: Processor, model: Omni) -> None:
        if model.config.speech is None or not model.config.speech.ctc:
            raise ConfigError("objective ctc needs a model that spells what it hears (set speech.ctc: true)")
        self._n_features = model.config.speech.encoder.n_features
        self._processor, self._workers = processor, stage.workers

    def stream(self, specs: Many[DatasetSpec], *, rows: int, seed: int, repeat: bool) -> PairStream:
        """Recordings with the bytes they say."""
        return PairStream(
            specs,
            self._processor,
            spelled,
            rows=rows,
            seed=seed,
            repeat=repeat,
            kind="audio",
            workers=self._workers if repeat else 0,
        )

    def prepare(self, batch: PairBatch, seed: int) -> PairBatch:  # noqa: ARG002 (nothing is left to chance)
        """The batch as it is."""
        return batch

    def conclude(self, model: Omni) -> None:
        """Nothing is left to do."""

    def count(self, batch: PairBatch) -> int:
        """Bytes to be spelled."""
        return int(batch.lengths[self._long_enough(batch)].sum())

    def n_bytes(self, batch: PairBatch) -> int:
        """The same."""
        return self.count(batch)

    def loss(self, model: Omni, batch: PairBatch) -> Tensor:
        """Summed negative log-likelihood of the bytes."""
        assert batch.media.audio is not None
        scores, lengths = model.spell(batch.media.audio, batch.media.audio_frames)  # (rows, places, classes)
        return F.ctc_loss(
            scores.float().log_softmax(-1).transpose(0, 1),
            batch.texts.clamp_min(0) + 1,
            lengths,
            batch.lengths,
            blank=0,
            reduction="sum",
            zero_infinity=True,
        )

    def flops(self, model: Omni, batch: PairBatch) -> float:
        """Those of the speech encoder."""
        return media_flops(model, batch.media)

    def _long_enough(self, batch: PairBatch) -> Tensor:
        """(rows,) whether a recording has a feature for each byte, and a blank between each two that are the same."""
        same = (batch.texts[:, 1:] == batch.texts[:, :-1]) & (batch.texts[:, 1:] != PADDING)
        needed = batch.lengths + same.sum(1)
        heard = [self._n_features(frames) for frames in batch.media.audio_frames.tolist()]
        return torch.tensor(heard, dtype=torch.int64, device=needed.device) >= needed


class Contrastive:
    """Bring a picture or recording and its text together in one space, and apart from the others of the batch.

    The losses of CLIP (Radford et al. 2021, arXiv:2103.00020) and SigLIP (Zhai et al. 2023, arXiv:2303.15343), whose
    negatives are all pairs of the batch, of every process, but those with the very same text.
    """

    gathers = True
    adversary = None

    def __init__(self, stage: Stage, processor: Processor, model: Omni) -> None:
        embedder = model.config.embedder
        if embedder is None:
            raise ConfigError("objective contrastive needs a model with an embedder (set embedder.dim)")
        self._kind = stage.loss
        if self._kind == "siglip" and not embedder.logit_bias:
            raise ConfigError("loss siglip needs an embedder with a bias (set embedder.logit_bias: true)")
        if stage.time > model.config.decoder.max_positions:
            raise ConfigError(
                f"stage {stage.name!r} reads {stage.time} tokens at a time, above the model's "
                f"{model.config.decoder.max_positions} (set time)"
            )
        self._time = stage.time
        self._processor, self._workers = processor, stage.workers

    def stream(self, specs: Many[DatasetSpec], *, rows: int, seed: int, repeat: bool) -> PairStream:
        """Pictures and recordings with the tokens of their texts."""
        return PairStream(
            specs,
            self._processor,
            self._tokens,
            rows=rows,
            seed=seed,
            repeat=repeat,
            workers=self._workers if repeat else 0,
        )

    def prepare(self, batch: PairBatch, seed: int) -> PairBatch:  # noqa: ARG002 (nothing is left to chance)
        """The batch as it is."""
        return batch

    def conclude(self, model: Omni) -> None:
        """Nothing is left to do."""

    def count(self, batch: PairBatch) -> int:
        """Pairs."""
        return len(batch.keys)

    def n_bytes(self, batch: PairBatch) -> int:  # noqa: ARG002 (the protocol's)
        """None: a choice among pairs writes nothing."""
        return 0

    def loss(self, model: Omni, batch: PairBatch) -> Tensor:
        """Cross-entropy (clip) or log-loss (siglip) summed over the pairs of this process.

        All processes must ask together, also one that has no pair.
        """
        assert model.embedder is not None
        texts, media = self._vectors(model, batch)  # (rows, dim) each
        with torch.autocast(texts.device.type, enabled=False):  # scores of up to 100 need all their digits
            texts, media = texts.float(), media.float()
            scale, keys, all_texts = model.embedder.scale().float(), gathered(batch.keys), gathered(texts)
            place = rows_before(len(texts)) + torch.arange(len(texts), device=keys.device)  # (rows,)
            own = place[:, None] == torch.arange(len(keys), device=keys.device)  # (rows, all rows)
            twins = (batch.keys[:, None] == keys) & ~own
            by_media = scale * media @ all_texts.T  # (rows, all rows)
            if self._kind == "siglip":
                signs = own.to(by_media.dtype) * 2 - 1
                return -F.logsigmoid(signs * (by_media + model.embedder.bias())).masked_fill(twins, 0.0).sum()
            by_text = scale * texts @ gathered(media).T
            by_media, by_text = (scores.masked_fill(twins, -torch.inf) for scores in (by_media, by_text))
            read = F.cross_entropy(by_media, place, reduction="sum")
            return (read + F.cross_entropy(by_text, place, reduction="sum")) / 2

    def flops(self, model: Omni, batch: PairBatch) -> float:
        """Those of the encoders and of the decoder as a reader of the texts."""
        rows, time = batch.texts.shape
        return media_flops(model, batch.media) + rows * time * model.decoder.flops_per_token(time)

    def _vectors(self, model: Omni, batch: PairBatch) -> tuple[Tensor, Tensor]:
        assert model.config.embedder is not None
        if not len(batch.keys):
            nothing = torch.zeros((0, model.config.embedder.dim), device=model.device)
            return nothing, nothing
        texts = model.embed_text(batch.texts.clamp_min(0), padding=batch.texts != PADDING)
        media = torch.zeros_like(texts)
        if batch.media.images is not None:
            rows = batch.media.image_places[:, 0].to(media.device)
            media = media.index_copy(0, rows, model.embed_images(batch.media.images))
        if batch.media.audio is not None:
            heard = model.embed_audio(batch.media.audio, batch.media.audio_frames)
            media = media.index_copy(0, batch.media.audio_places[:, 0].to(media.device), heard)
        return texts, media

    def _tokens(self, text: str) -> list[int]:
        ids: list[int] = self._processor.encode_text(text).token_ids.tolist()
        return ids[: self._time]


def spelled(text: str) -> list[int]:
    """The bytes that CTC spells a text with: case folded, blanks single."""
    return list(" ".join(text.casefold().split()).encode())


def media_flops(model: Omni, media: Media) -> float:
    """Operations of a forward and backward pass through the encoders: six per weight and feature (no attention)."""
    total = 0.0
    if media.images is not None and model.vision is not None and model.config.vision is not None:
        n_features = len(media.images) * model.config.vision.encoder.n_features
        total += 6.0 * sum(weight.numel() for weight in model.vision.parameters()) * n_features
    if media.audio is not None and model.speech is not None and model.config.speech is not None:
        frames = media.audio_frames.tolist()
        n_features = sum(model.config.speech.encoder.n_features(each) for each in frames)
        total += 6.0 * sum(weight.numel() for weight in model.speech.parameters()) * n_features
    return total
