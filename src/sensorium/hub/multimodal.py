"""Published models that see or hear, read whole: LLaVA, Idefics3, SmolVLM and Qwen2-Audio.

Each is eyes or ears, a projector and a decoder of a family known by itself, joined by features in one sequence. What
is read here is how they are joined.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from sensorium.config import ModelConfig, TransformerConfig
from sensorium.errors import ConfigError
from sensorium.hub.assemble import Piece, blank_model, expected_shapes, fill_model
from sensorium.hub.families import FAMILIES, Family
from sensorium.hub.importing import load_processor, read_sampling, settle_tying
from sensorium.hub.pretrained import Pretrained, check_vocabulary
from sensorium.hub.senses import Sense, read_idefics3, read_llava, read_qwen2_audio
from sensorium.hub.weights import open_weights
from sensorium.processing.processor import Processor

# What a text_config leaves out is as in the configuration class of its family.
_USUAL_TEXT: dict[str, dict[str, Any]] = {
    "llama": {
        "vocab_size": 32_000, "hidden_size": 4096, "intermediate_size": 11_008, "num_hidden_layers": 32,
        "num_attention_heads": 32,
    },
    "mistral": {
        "vocab_size": 32_000, "hidden_size": 4096, "intermediate_size": 14_336, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 131_072,
    },
    "qwen2": {
        "vocab_size": 151_936, "hidden_size": 4096, "intermediate_size": 22_016, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 32,
    },
    "qwen3": {
        "vocab_size": 151_936, "hidden_size": 4096, "intermediate_size": 22_016, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 32,
    },
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Published:
    """A published way to join.

    Attributes:
        text: `model_type` of the decoder where none is named.
        body, head: what names of the decoder begin with in place of `model.` and `lm_head.`, the usual first.
        read: settings of the eyes or ears and the tensors that are theirs.
        template: the chat template of a folder that has none.
    """

    text: str
    body: tuple[str, ...]
    head: tuple[str, ...]
    read: Callable[[Path, Mapping[str, Any], Processor | None], Sense]
    template: str | None = None


QWEN2_AUDIO_TEMPLATE = """\
{%- set heard = namespace(count=0) -%}
{%- for message in messages -%}
{%- if loop.first and message.role != 'system' -%}
{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}
{%- endif -%}
{{ '<|im_start|>' ~ message.role ~ '\\n' }}
{%- if message.content is string -%}
{{ message.content }}
{%- else -%}
{%- for part in message.content -%}
{%- if part.type == 'audio' -%}
{%- set heard.count = heard.count + 1 -%}
{{ 'Audio ' ~ heard.count ~ ': <|audio_bos|><|AUDIO|><|audio_eos|>\\n' }}
{%- else -%}
{{ part.text }}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
{{ '<|im_end|>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{ '<|im_start|>assistant\\n' }}
{%- endif -%}
"""

_INSIDE = ("language_model.model.", "model.language_model.", "language_model.")
_BESIDE = ("language_model.lm_head.", "lm_head.")
_MULTIMODAL: dict[str, _Published] = {
    "llava": _Published("llama", _INSIDE, _BESIDE, read_llava),
    "qwen2_audio": _Published("qwen2", _INSIDE, _BESIDE, read_qwen2_audio, QWEN2_AUDIO_TEMPLATE),
    "idefics3": _Published("llama", ("model.text_model.",), ("lm_head.",), read_idefics3),
    "smolvlm": _Published("llama", ("model.text_model.",), ("lm_head.",), read_idefics3),
}
MULTIMODAL_FAMILIES = tuple(_MULTIMODAL)


def read_multimodal(folder: Path, raw: dict[str, Any], dtype: torch.dtype | None, device: torch.device) -> Pretrained:
    """Load a folder of LLaVA, Idefics3, SmolVLM or Qwen2-Audio.

    Names of tensors may be those that the models were published with, or those of today's transformers.

    Args:
        folder: holds `config.json`, weights and, to converse, a tokenizer and the processor's settings.
        raw: the parsed `config.json`.
        dtype: what to compute in, see `load_pretrained`.
        device: where the weights shall live.

    Raises:
        ConfigError: a setting we do not compute.
        CheckpointError: weights that are missing, surplus, broken or misfit.
    """
    where = str(folder / "config.json")
    published = _MULTIMODAL[raw["model_type"]]
    text = raw.get("text_config") or {}
    if not isinstance(text, dict):
        raise ConfigError(f"{where}: text_config must hold an object of settings, not {text!r}")
    family, decoder = _decoder(published, raw, text, f"{where}: text_config")
    processor = _conversing(load_processor(folder), published.template)
    sense = published.read(folder, raw, processor)
    check_vocabulary(processor, ModelConfig(decoder=decoder), folder)
    weights = open_weights(folder)
    embedding, head = (_respelled(name, published) for name in (family.embedding, family.head))
    decoder = settle_tying(decoder, weights, embedding, head)
    config = ModelConfig.parse({"decoder": decoder} | dict(sense.parts), where)
    model = blank_model(config)
    shapes = expected_shapes(model)
    pieces = [_joined(piece, published) for piece in family.pieces(shapes, decoder.n_layers)] + sense.pieces(shapes)
    ignored = (r".*rotary_emb\.inv_freq", r".*\.position_ids", *sense.ignored)
    fill_model(model, weights, pieces, ignored=ignored, dtype=dtype, device=device)
    stored = next(weights.tensors[name].dtype for name in embedding if name in weights.tensors)
    return Pretrained(
        config,
        model,
        None if processor is None else processor.with_config(config),
        read_sampling(folder, {"eos_token_id": raw.get("eos_token_id", text.get("eos_token_id"))}),
        folder,
        stored_dtype=stored or torch.float32,
    )


def _decoder(
    published: _Published, raw: Mapping[str, Any], text: Mapping[str, Any], where: str
) -> tuple[Family, TransformerConfig]:
    kind = text.get("model_type") or published.text
    if kind not in _USUAL_TEXT:
        raise ConfigError(f"{where}: model_type {kind!r} is not supported (only {', '.join(_USUAL_TEXT)})")
    family = FAMILIES[kind]
    given = {key: value for key, value in text.items() if value is not None}
    decoder = family.configure(_USUAL_TEXT[kind] | given, where)
    # Either may say that the two tables are one; the weights have the last word.
    tied = bool(raw.get("tie_word_embeddings")) or decoder.tie_embeddings
    return family, decoder.model_copy(update={"tie_embeddings": tied})


def _conversing(processor: Processor | None, template: str | None) -> Processor | None:
    if processor is None or processor.template is not None or template is None:
        return processor
    return Processor(processor.tokenizer, template, processor.stop_ids)


def _joined(piece: Piece, published: _Published) -> Piece:
    return replace(piece, theirs=_respelled(piece.theirs[0], published))


def _respelled(name: str, published: _Published) -> tuple[str, ...]:
    """The names in the whole model of a tensor of a decoder by itself."""
    if name.startswith("lm_head."):
        return tuple(head + name.removeprefix("lm_head.") for head in published.head)
    return tuple(body + name.removeprefix("model.") for body in published.body)
