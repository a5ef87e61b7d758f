"""Eyes and ears of one model joined to the decoder of another, by projectors that are drawn fresh."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from torch import nn

from sensorium.config import (
    FramesConfig,
    FusionConfig,
    ModelConfig,
    PatchesConfig,
    PlaceholderConfig,
    ProjectorConfig,
    SpeechConfig,
    VisionConfig,
    WhisperConfig,
)
from sensorium.errors import ConfigError, DataError
from sensorium.hub.encoders import load_speech, load_vision
from sensorium.hub.folder import load_pretrained, save_pretrained
from sensorium.hub.growing import grown
from sensorium.hub.pretrained import Pretrained
from sensorium.hub.weights import STORABLE
from sensorium.messages import Audio, Image, Message, Part, Text
from sensorium.nn.encoders import SpeechEncoder, VisionEncoder, make_speech_encoder, make_vision_encoder
from sensorium.processing.processor import Processor

Kind: TypeAlias = Literal["linear", "mlp", "pixel_shuffle", "resampler"]
Strategy: TypeAlias = Literal["early", "feature", "cross", "decision"]

RAW_EYES, RAW_EARS = "patches", "frames"

PLAIN_TEMPLATE = """\
{{- bos_token -}}
{%- for message in messages -%}
{{ message.role | capitalize }}:{{ '\\n' }}{{ message.content }}
{%- if message.role == 'assistant' -%}{{ eos_token }}{%- endif -%}
{{ '\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
Assistant:{{ '\\n' }}
{%- endif -%}
"""
"""How a decoder that only continued text converses: each turn behind the name of its role, replies ended by its end of
text. It takes no token that the decoder does not know."""


@dataclass(frozen=True, slots=True)
class Joint:
    """How encoders are joined to a decoder.

    Attributes:
        projector: its kind.
        factor: neighbours along a side that `pixel_shuffle` joins.
        queries: vectors that a `resampler` shows of each picture or recording.
        fusion: how features meet the words; None keeps the decoder's own, which is `feature` for one that only reads.
    """

    projector: Kind = "mlp"
    factor: int = 2
    queries: int = 16
    fusion: Strategy | None = None


def graft(
    decoder: str | Path,
    folder: str | Path,
    *,
    vision: str | Path | None = None,
    speech: str | Path | None = None,
    joint: Joint | None = None,
    name: str | None = None,
    seed: int = 0,
) -> Pretrained:
    """Write a model that sees and hears out of parts that were trained apart. Its projectors are yet to be trained.

    Args:
        decoder: what `load_pretrained` takes: it reads and writes.
        folder: where to write.
        vision: what `load_vision` takes, or `patches` for raw ones without an encoder.
        speech: what `load_speech` takes, or `frames` for raw ones without an encoder.
        joint: how they are joined.
        name: what to call the model; by default as its folder.
        seed: draws what is new.

    Returns:
        The model as it was written.

    Raises:
        ConfigError: nothing to join, a decoder that has such a part already or cannot converse, or parts that do not
            fit together; one line says which, and what to choose instead.
        CheckpointError: a part that cannot be read, or a folder that cannot be written.
    """
    joint = joint or Joint()
    trunk = load_pretrained(decoder, dtype=torch.float32)
    _check_trunk(trunk, vision is not None, speech is not None)
    dim = trunk.config.decoder.dim
    encoders: dict[str, nn.Module] = {}
    parts: dict[str, Any] = {"fusion": _fusion(trunk, joint)}
    if vision is not None:
        eyes, encoders["vision"] = _raw_eyes() if str(vision) == RAW_EYES else load_vision(vision)
        parts["vision"] = dict(eyes) | {"projector": _projector(joint, dim, flat=False)}
    if speech is not None:
        ears, encoders["speech"] = _raw_ears() if str(speech) == RAW_EARS else load_speech(speech)
        parts["speech"] = dict(ears) | {"projector": _projector(joint, dim, flat=True), "encoder": _hearing(ears)}
    what = f"{vision or speech} cannot be joined to {decoder}"
    config = ModelConfig.parse(dict(trunk.config) | parts, what)
    processor = _processor(trunk, config)
    vocabulary = max(config.decoder.vocab_size, processor.tokenizer.vocab_size)
    wide = config.decoder.model_copy(update={"vocab_size": vocabulary})
    config = config.model_copy(update={"decoder": wide})
    _check_room(config, what)
    larger = grown(trunk, config, processor.with_config(config), seed=seed)
    _take_over(larger, encoders)
    joined = replace(larger, name=name or Path(folder).name, path=Path(folder))
    dtype = trunk.stored_dtype if trunk.stored_dtype in STORABLE else torch.float32
    save_pretrained(joined, folder, dtype=dtype, card=_card(joined, decoder, vision, speech, joint))
    return joined


def _check_trunk(trunk: Pretrained, sees: bool, hears: bool) -> None:
    if not sees and not hears:
        raise ConfigError("nothing to join to the decoder (give vision, speech or both)")
    for asked, part, organ in ((sees, trunk.config.vision, "eyes"), (hears, trunk.config.speech, "ears")):
        if asked and part is not None:
            raise ConfigError(f"{trunk.name} has {organ} already (take a decoder without them)")
    if not trunk.config.decoder.causal:
        raise ConfigError(f"{trunk.name} reads both ways and cannot write a reply (take a causal decoder)")
    if trunk.processor is None:
        raise ConfigError(f"{trunk.name} came without a tokenizer, which must know placeholders (add tokenizer.json)")


def _fusion(trunk: Pretrained, joint: Joint) -> FusionConfig:
    """The strategy asked for; a decoder that sees or hears already keeps its own."""
    own = trunk.config.fusion
    if joint.fusion is None or joint.fusion == own.strategy:
        return own
    if trunk.config.vision is not None or trunk.config.speech is not None:
        raise ConfigError(f"{trunk.name} is fused by {own.strategy!r} already, which cannot become {joint.fusion!r}")
    return FusionConfig(strategy=joint.fusion)


def _projector(joint: Joint, dim: int, *, flat: bool) -> ProjectorConfig:
    """`flat`: of a recording, whose neighbours stand in a row."""
    if joint.projector == "pixel_shuffle":
        factor = joint.factor**2 if flat else joint.factor
        return ProjectorConfig.parse({"kind": "pixel_shuffle", "factor": factor}, "projector")
    if joint.projector == "resampler":
        heads = next(heads for heads in (8, 4, 2, 1) if dim % heads == 0)
        fields = {"kind": "resampler", "n_queries": joint.queries, "n_heads": heads, "norm": True}
        return ProjectorConfig.parse(fields, "projector")
    return ProjectorConfig(kind=joint.projector)


def _hearing(ears: SpeechConfig) -> Any:
    """The encoder of recordings; of a Whisper, the features of real sound alone: silence would fill the context."""
    return ears.encoder.model_copy(update={"trim": True}) if isinstance(ears.encoder, WhisperConfig) else ears.encoder


def _raw_eyes() -> tuple[VisionConfig, VisionEncoder]:
    config = VisionConfig(encoder=PatchesConfig(), projector=None)
    return config, make_vision_encoder(config.encoder)


def _raw_ears() -> tuple[SpeechConfig, SpeechEncoder]:
    config = SpeechConfig(encoder=FramesConfig(), projector=None)
    return config, make_speech_encoder(config.encoder)


def _processor(trunk: Pretrained, config: ModelConfig) -> Processor:
    """The decoder's processor with a token for all that pictures and recordings are shown by, and a way to converse."""
    processor = trunk.processor
    assert processor is not None
    placeholders = [part.placeholder for part in (config.vision, config.speech) if part is not None]
    tokenizer = processor.tokenizer.with_controls(_spelled(placeholders))
    if processor.template is not None:
        joined = processor.with_tokenizer(tokenizer).with_config(config)
    elif tokenizer.eos_id is not None:
        joined = Processor(tokenizer, PLAIN_TEMPLATE, processor.stop_ids, config)
    else:
        raise ConfigError(
            f"{trunk.name} has neither a chat template nor a token that ends a text: its replies would never end "
            "(name eos_token in tokenizer_config.json, or add chat_template.jinja)"
        )
    _check_template(joined, trunk.name, config)
    return joined


def _spelled(placeholders: list[PlaceholderConfig]) -> list[str]:
    return [name for each in placeholders for name in (each.token, each.begin, each.end) if name]


def _check_template(processor: Processor, name: str, config: ModelConfig) -> None:
    """Raise `ConfigError` unless a picture and a recording in a question come out once each."""
    shown: list[Part] = [Image(data=b" ")] if config.vision is not None else []
    shown += [Audio(data=b" ")] if config.speech is not None else []
    assert processor.template is not None
    try:
        segments = processor.template.render([Message("user", (*shown, Text("?")))], add_generation_prompt=True)
    except DataError as error:
        raise ConfigError(f"the chat template of {name} takes no pictures or recordings: {error}") from None
    written = [segment.shows for segment in segments if segment.shows]
    if written != ["image" if isinstance(part, Image) else "audio" for part in shown]:
        raise ConfigError(
            f"the chat template of {name} leaves out pictures and recordings: it writes {len(written)} placeholders "
            f"for {len(shown)} (replace its chat_template.jinja)"
        )


def _check_room(config: ModelConfig, what: str) -> None:
    """Raise `ConfigError` when one picture, or a second of sound, leaves no room for words."""
    context = config.decoder.max_positions
    places = {"a picture takes": config.image_places()}
    if config.speech is not None:
        audio = config.speech.audio
        frames = round(min(audio.window_seconds, 1.0) * audio.sample_rate / audio.hop)
        places["a second of sound takes"] = config.audio_places(frames)
    for thing, taken in places.items():
        if taken >= context:
            raise ConfigError(
                f"{what}: {thing} {taken} places of a context of {context} "
                "(choose the projector resampler, or pixel_shuffle with a larger factor)"
            )


def _take_over(pretrained: Pretrained, encoders: Mapping[str, nn.Module]) -> None:
    for part, encoder in encoders.items():
        getattr(pretrained.model, part).encoder.load_state_dict(encoder.state_dict())


def _card(
    joined: Pretrained, decoder: str | Path, vision: str | Path | None, speech: str | Path | None, joint: Joint
) -> str:
    organs = [f"{organ} of `{source}`" for organ, source in (("eyes", vision), ("ears", speech)) if source is not None]
    return (
        f"# {joined.name}\n\n"
        f"A Sensorium model of {sum(weight.numel() for weight in joined.model.parameters()):,} parameters: the decoder "
        f"of `{decoder}` with the {' and the '.join(organs)}, joined by fresh projectors (`{joint.projector}`, fusion "
        f"`{joined.config.fusion.strategy}`).\n\nThe projectors have learned nothing yet: train the model before you "
        "show it anything.\n"
    )
