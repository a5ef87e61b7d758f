"""How pictures and recordings become tensors, and how each is written in a conversation."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from sensorium.config.base import Config, Positive

Unit = Annotated[float, Field(ge=0.0, le=1.0)]
Spread = Annotated[float, Field(gt=0.0)]
Side = Annotated[int, Field(gt=0, le=4096)]  # pixels: so that a wrong digit costs an error and not all memory


class ImageConfig(Config):
    """From an encoded picture to (3, height, width) float32, `(value / 255 - mean) / std`.

    `size` is (height, width) of what an encoder sees. `resize`: `stretch` ignores the aspect, `crop` brings the
    shortest edge to `shortest_edge` (by default the size) and cuts the middle, `pad` keeps the whole picture and
    fills up with `background`, `tiles` cuts a picture, resized to at most `longest_edge`, into tiles of `size` and
    adds the whole, stretched, behind them (Idefics3).
    """

    size: tuple[Side, Side] = (64, 64)
    resize: Literal["stretch", "crop", "pad", "tiles"] = "stretch"
    shortest_edge: Side | None = None
    longest_edge: Side | None = None
    resample: Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"] = "bicubic"
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[Spread, Spread, Spread] = (0.5, 0.5, 0.5)
    background: tuple[Unit, Unit, Unit] = (1.0, 1.0, 1.0)  # behind what is transparent, and around what is padded
    max_bytes: Positive = 64 * 2**20
    max_pixels: Positive = 40_000_000


class AudioConfig(Config):
    """From an encoded recording to log-mel frames as Whisper's: mono, `sample_rate` Hz, float32 (n_mels, frames).

    A recording longer than `window_seconds` becomes several windows. `pad_to_window` fills the last one with
    silence, as Whisper does; otherwise it keeps its own length.
    """

    sample_rate: Annotated[int, Field(ge=1_000, le=192_000)] = 16_000
    n_mels: Annotated[int, Field(gt=0, le=1024)] = 80
    n_fft: Annotated[int, Field(ge=2, le=65_536)] = 400
    hop: Positive = 160
    window_seconds: Annotated[float, Field(gt=0, le=3600)] = 30.0
    pad_to_window: bool = False
    max_seconds: Annotated[float, Field(gt=0)] = 600.0
    max_bytes: Positive = 256 * 2**20

    @model_validator(mode="after")
    def _has_frames(self) -> Self:
        if self.window_seconds * self.sample_rate < max(self.hop, self.n_fft):
            raise ValueError(f"a window of {self.window_seconds:g} s is shorter than a frame (n_fft, hop)")
        return self


class PlaceholderConfig(Config):
    """How a picture or recording stands in a conversation: `begin`, then `token` once per feature, then `end`.

    `tiles` is Idefics3's way for pictures cut into tiles: each tile behind `row_col`, with `{row}` and `{column}`
    counted from 1, and the whole picture behind `whole`.
    """

    token: str
    begin: str = ""
    end: str = ""
    style: Literal["plain", "tiles"] = "plain"
    row_col: str = ""
    whole: str = ""

    @model_validator(mode="after")
    def _has_token(self) -> Self:
        if not self.token:
            raise ValueError("a placeholder needs the spelling of its token")
        return self
