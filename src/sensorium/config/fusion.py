"""Settings of how words, pictures and recordings meet: in one conversation, and in one space of vectors."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from sensorium.config.base import Config, Positive, Size


class FusionConfig(Config):
    """How what is seen and heard meets the words.

    `early` (data level): raw patches and frames, projected straight into the decoder's sequence. `feature`: encoders,
    projectors, one joint sequence. `cross` (Flamingo, Alayrac et al. 2022, arXiv:2204.14198): the sequence holds one
    placeholder per picture or recording, and gated cross-attention before every `every`-th block reads the features;
    the decoder can stay frozen. `decision` (late): the decoder reads words alone, words with pictures, and words with
    recordings, and the predictions are combined by learned gates or by an even `vote`.
    """

    strategy: Literal["early", "feature", "cross", "decision"] = "feature"
    every: Positive = 1
    combine: Literal["gates", "vote"] = "gates"


class EmbedderConfig(Config):
    """Vectors of words, pictures and recordings in one space of `dim`, compared by cosine (CLIP, SigLIP).

    `text_pool`: the mean of the decoder's states, its last one, or the one at the first `eos_id` (CLIP).
    """

    dim: Size
    text_pool: Literal["mean", "last", "eos"] = "mean"
    eos_id: Annotated[int, Field(ge=0)] | None = None
    text_bias: bool = False
    project_images: bool = True  # SigLIP's pooled vectors are in the space already
    logit_bias: bool = False  # SigLIP
