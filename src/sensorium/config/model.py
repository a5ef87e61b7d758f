"""`config.json`: one group of settings per part of the model."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from sensorium.config.base import Config
from sensorium.config.fusion import EmbedderConfig, FusionConfig
from sensorium.config.speech import SpeechConfig
from sensorium.config.transformer import TransformerConfig
from sensorium.config.vision import VisionConfig


class ModelConfig(Config):
    """`config.json` of a model folder: one setting group per part of the model."""

    format: Literal["sensorium"] = "sensorium"
    version: Literal[1] = 1
    decoder: TransformerConfig
    vision: VisionConfig | None = None
    speech: SpeechConfig | None = None
    fusion: FusionConfig = FusionConfig()
    embedder: EmbedderConfig | None = None

    @model_validator(mode="after")
    def _fused(self) -> Self:
        if self.fusion.strategy == "early":
            for name, part, raw in (("vision", self.vision, "patches"), ("speech", self.speech, "frames")):
                if part is not None and part.encoder.kind != raw:
                    raise ValueError(f"early fusion takes raw input: set {name}.encoder.kind to {raw!r}")
        if self.fusion.strategy == "decision" and not self.decoder.causal:
            raise ValueError("decision fusion combines predictions of the next word: it needs a causal decoder")
        return self

    def image_places(self) -> int:
        """Placeholders that one picture (or tile) takes in a sequence; 0 when the model cannot be shown any."""
        return 0 if self.vision is None else self._places(self.vision.n_places)

    def audio_places(self, frames: int) -> int:
        """Placeholders that one recording (or window) of so many mel frames takes in a sequence."""
        return 0 if self.speech is None else self._places(self.speech.n_places(frames))

    def _places(self, n_features: int) -> int:
        return min(n_features, 1) if self.fusion.strategy == "cross" else n_features
