"""Eyes, ears and codecs of some models joined to the decoder of another, by projectors that are drawn fresh."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from torch import nn

from sensorium.config import (
    CodeRange,
    Config,
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
from sensorium.hub.codecs import load_image_codec, load_speech_codec
from sensorium.hub.encoders import load_speech, load_vision
from sensorium.hub.folder import load_pretrained, save_pretrained
from sensorium.hub.growing import grown, numbered
from sensorium.hub.pretrained import Pretrained, coding
from sensorium.hub.weights import STORABLE
from sensorium.messages import Audio, Image, Message, Part, Text
from sensorium.nn.encoders import SpeechEncoder, VisionEncoder, make_speech_encoder, make_vision_encoder
from sensorium.processing.processor import Processor
from sensorium.processing.tokenizer import Tokenizer

Kind: TypeAlias = Literal["linear", "mlp", "pixel_shuffle", "resampler"]
Strategy: TypeAlias = Literal["early", "feature", "cross", "decision"]

RAW_EYES, RAW_EARS = "patches", "frames"
_ORGANS = {"vision": "eyes", "speech": "ears", "image_codec": "an image codec", "speech_codec": "a speech codec"}

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
    image_codec: str | Path | None = None,
    speech_codec: str | Path | None = None,
    codebooks: int | None = None,
    joint: Joint | None = None,
    name: str | None = None,
    seed: int = 0,
) -> Pretrained:
    """Write a model out of parts that were trained apart. Its projectors and codes are yet to be learned.

    Args:
        decoder: what `load_pretrained` takes: it reads and writes.
        folder: where to write.
        vision: what `load_vision` takes, or `patches` for raw ones without an encoder.
        speech: what `load_speech` takes, or `frames` for raw ones without an encoder.
        image_codec: what `load_image_codec` takes: the model draws by it. Its codes come behind the decoder's tokens.
        speech_codec: what `load_speech_codec` takes: the model speaks by it.
        codebooks: how many of a published speech codec's are used.
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
    asked = {"vision": vision, "speech": speech, "image_codec": image_codec, "speech_codec": speech_codec}
    sources = {part: source for part, source in asked.items() if source is not None}
    trunk = load_pretrained(decoder, dtype=torch.float32)
    _check_trunk(trunk, sources)
    parts, modules = _parts(sources, joint, trunk.config.decoder.dim, codebooks)
    what = f"{next(iter(sources.values()))} cannot be joined to {decoder}"
    config, processor = _whole(trunk, parts | {"fusion": _fusion(trunk, joint)}, what)
    larger = grown(trunk, config, processor, seed=seed)
    for place, module in modules.items():
        larger.model.get_submodule(place).load_state_dict(module.state_dict())
    larger = replace(larger, processor=coding(processor, larger.model))
    joined = replace(larger, name=name or Path(folder).name, path=Path(folder))
    dtype = trunk.stored_dtype if trunk.stored_dtype in STORABLE else torch.float32
    save_pretrained(joined, folder, dtype=dtype, card=_card(joined, decoder, sources, joint))
    return joined


def _check_trunk(trunk: Pretrained, sources: Mapping[str, str | Path]) -> None:
    if not sources:
        raise ConfigError("nothing to join to the decoder (give vision, speech, image_codec or speech_codec)")
    for part in sources:
        if getattr(trunk.config, part) is not None:
            raise ConfigError(f"{trunk.name} has {_ORGANS[part]} already (take a decoder without)")
    if not trunk.config.decoder.causal:
        raise ConfigError(f"{trunk.name} reads both ways and cannot write a reply (take a causal decoder)")
    if trunk.processor is None:
        raise ConfigError(f"{trunk.name} came without a tokenizer, which must know placeholders (add tokenizer.json)")


def _parts(
    sources: Mapping[str, str | Path], joint: Joint, dim: int, codebooks: int | None
) -> tuple[dict[str, Any], dict[str, nn.Module]]:
    """Settings of the parts, and the trained modules by where they belong."""
    parts: dict[str, Any] = {}
    modules: dict[str, nn.Module] = {}
    if codebooks is not None and "speech_codec" not in sources:
        raise ConfigError("codebooks are those of a speech codec, and none is given (give speech_codec)")
    if "vision" in sources:
        source = sources["vision"]
        eyes, modules["vision.encoder"] = _raw_eyes() if str(source) == RAW_EYES else load_vision(source)
        parts["vision"] = dict(eyes) | {"projector": _projector(joint, dim, flat=False)}
    if "speech" in sources:
        source = sources["speech"]
        ears, modules["speech.encoder"] = _raw_ears() if str(source) == RAW_EARS else load_speech(source)
        parts["speech"] = dict(ears) | {"projector": _projector(joint, dim, flat=True), "encoder": _hearing(ears)}
    if "image_codec" in sources:
        drawing = load_image_codec(sources["image_codec"])
        parts["image_codec"], modules["image_codec"] = drawing.config, drawing
    if "speech_codec" in sources:
        speaking = load_speech_codec(sources["speech_codec"], codebooks=codebooks)
        parts["speech_codec"], modules["speech_codec"] = speaking.config, speaking
    return parts, modules


def _whole(trunk: Pretrained, parts: Mapping[str, Any], what: str) -> tuple[ModelConfig, Processor]:
    """Settings and processor of the decoder with its new parts: a row for every new control token, and every code."""
    assert trunk.processor is not None
    tokenizer = trunk.processor.tokenizer.with_controls(_spelled(parts))
    if any(codec.first_id < tokenizer.vocab_size for codec in trunk.config.codecs().values()):
        raise ConfigError(f"{trunk.name} has codes where new control tokens would stand (join all parts in one graft)")
    codecs: dict[str, Config] = {name: part for name, part in parts.items() if isinstance(part, CodeRange)}
    words = max(trunk.config.decoder.vocab_size, tokenizer.vocab_size)
    codecs, vocabulary = numbered(codecs, trunk.config.codecs(), words)
    wide = trunk.config.decoder.model_copy(update={"vocab_size": vocabulary})
    config = ModelConfig.parse(dict(trunk.config) | dict(parts) | codecs | {"decoder": wide}, what)
    processor = _processor(trunk, tokenizer, config)
    _check_room(config, what)
    return config, processor


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


def _processor(trunk: Pretrained, tokenizer: Tokenizer, config: ModelConfig) -> Processor:
    """The decoder's processor with a tokenizer of more tokens, and a way to converse."""
    processor = trunk.processor
    assert processor is not None
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


def _spelled(parts: Mapping[str, Any]) -> list[str]:
    """Control tokens of what pictures and recordings are shown by, and of what codes stand between."""
    names: list[str] = []
    for part in parts.values():
        if isinstance(part, CodeRange):
            names += [part.begin, part.end]
        elif isinstance(part, dict):
            placeholder: PlaceholderConfig = part["placeholder"]
            names += [placeholder.token, placeholder.begin, placeholder.end]
    return [name for name in names if name]


def _check_template(processor: Processor, name: str, config: ModelConfig) -> None:
    """Raise `ConfigError` unless a picture and a recording in a question, or in a reply, come out once each."""
    shown, made = _media(config.vision, config.speech), _media(config.image_codec, config.speech_codec)
    conversation = [Message("user", (*shown, Text("?")))]
    conversation += [Message("assistant", (Text("."), *made))] if made else []
    shown = [*shown, *made]
    assert processor.template is not None
    try:
        segments = processor.template.render(conversation, add_generation_prompt=not made)
    except DataError as error:
        raise ConfigError(f"the chat template of {name} takes no pictures or recordings: {error}") from None
    written = [segment.shows for segment in segments if segment.shows]
    if written != ["image" if isinstance(part, Image) else "audio" for part in shown]:
        raise ConfigError(
            f"the chat template of {name} leaves out pictures and recordings: it writes {len(written)} placeholders "
            f"for {len(shown)} (replace its chat_template.jinja)"
        )


def _media(pictures: object, recordings: object) -> list[Part]:
    """A picture and a recording, where there is something to take or to make them."""
    return [
        *([Image(data=b" ")] if pictures is not None else []),
        *([Audio(data=b" ")] if recordings is not None else []),
    ]


def _check_room(config: ModelConfig, what: str) -> None:
    """Raise `ConfigError` when one picture, or a second of sound, leaves no room for words."""
    context = config.decoder.max_positions
    shown, made = {"a picture takes": config.image_places()}, {}
    if config.speech is not None:
        audio = config.speech.audio
        frames = round(min(audio.window_seconds, 1.0) * audio.sample_rate / audio.hop)
        shown["a second of sound takes"] = config.audio_places(frames)
    if config.image_codec is not None:
        made["a picture that it draws takes"] = config.image_codec.n_codes + 2
    if config.speech_codec is not None:
        made["a second that it speaks takes"] = math.ceil(config.speech_codec.codes_per_second) + 2
    smaller = "choose the projector resampler, or pixel_shuffle with a larger factor"
    for places, way_out in ((shown, smaller), (made, "choose a decoder that reads further, or fewer codebooks")):
        for thing, taken in places.items():
            if taken >= context:
                raise ConfigError(f"{what}: {thing} {taken} places of a context of {context} ({way_out})")


def _card(joined: Pretrained, decoder: str | Path, sources: Mapping[str, str | Path], joint: Joint) -> str:
    organs = [f"{_ORGANS[part]} of `{source}`" for part, source in sources.items()]
    fresh = []
    if {"vision", "speech"} & sources.keys():
        fresh.append("The projectors have learned nothing yet: train the model before you show it anything.")
    if {"image_codec", "speech_codec"} & sources.keys():
        fresh.append("The decoder knows none of the codes yet: train the model before it draws or speaks.")
    return (
        f"# {joined.name}\n\n"
        f"A Sensorium model of {sum(weight.numel() for weight in joined.model.parameters()):,} parameters: the decoder "
        f"of `{decoder}` with {' and '.join(organs)}, joined by fresh projectors (`{joint.projector}`, fusion "
        f"`{joined.config.fusion.strategy}`).\n\n" + " ".join(fresh) + "\n"
    )
