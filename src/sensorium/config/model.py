"""`config.json`: one group of settings per part of the model."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from sensorium.config.base import Config
from sensorium.config.codecs import AnyImageCodecConfig, AnySpeechCodecConfig, CodeRange, ImageCodes, SpeechCodes
from sensorium.config.fusion import EmbedderConfig, FusionConfig
from sensorium.config.painter import PainterConfig
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
    image_codec: AnyImageCodecConfig | None = None
    speech_codec: AnySpeechCodecConfig | None = None
    painter: PainterConfig | None = None

    @model_validator(mode="after")
    def _fused(self) -> Self:
        if self.fusion.strategy == "early":
            for name, part, raw in (("vision", self.vision, "patches"), ("speech", self.speech, "frames")):
                if part is not None and part.encoder.kind != raw:
                    raise ValueError(f"early fusion takes raw input: set {name}.encoder.kind to {raw!r}")
        if self.fusion.strategy == "decision" and not self.decoder.causal:
            raise ValueError("decision fusion combines predictions of the next word: it needs a causal decoder")
        taken: list[CodeRange] = []
        for name, codec in self.codecs().items():
            if codec.ids.stop > self.decoder.vocab_size:
                raise ValueError(
                    f"{name}: its {codec.codebook_size} codes from token {codec.first_id} on do not fit a vocabulary "
                    f"of {self.decoder.vocab_size}"
                )
            if any(codec.ids.start < other.ids.stop and other.ids.start < codec.ids.stop for other in taken):
                raise ValueError(f"{name}: its codes from token {codec.first_id} on are another codec's already")
            taken.append(codec)
        return self

    def codecs(self) -> dict[str, ImageCodes | SpeechCodes]:
        """The codecs that the model has, by the name of their setting."""
        both = {"image_codec": self.image_codec, "speech_codec": self.speech_codec}
        return {name: codec for name, codec in both.items() if codec is not None}

    def image_places(self) -> int:
        """Placeholders that one picture (or tile) takes in a sequence; 0 when the model cannot be shown any."""
        return 0 if self.vision is None else self._places(self.vision.n_places)

    def audio_places(self, frames: int) -> int:
        """Placeholders that one recording (or window) of so many mel frames takes in a sequence."""
        return 0 if self.speech is None else self._places(self.speech.n_places(frames))

    def _places(self, n_features: int) -> int:
        return min(n_features, 1) if self.fusion.strategy == "cross" else n_features
