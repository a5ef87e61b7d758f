"""The published families a transformer of ours can be, each a table of names and a translation of settings."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sensorium.config import TransformerConfig
from sensorium.errors import ConfigError
from sensorium.hub import settings
from sensorium.hub.assemble import Piece


@dataclass(frozen=True, slots=True)
class Rule:
    """A module of theirs and the modules of ours it holds; `{}` stands for the layer."""

    theirs: str
    ours: tuple[str, ...]
    transposed: bool = False


@dataclass(frozen=True, slots=True)
class Family:
    """How one family names its tensors and settings.

    Attributes:
        name: its `model_type`.
        architecture: the class of transformers that carries an output head.
        prefix: what names begin with, and may lack when the body was saved without its head.
        rules: modules, theirs and ours.
        embedding, head: their names of the two tables that may be tied.
        ignored: patterns of tensors without effect: buffers that are computed, and heads of other tasks.
        aliases: other spellings of a tensor.
        read: their configuration → ours (as plain data); refuses what we cannot honour.
        write: our configuration → theirs, as far as they can say it.
    """

    name: str
    architecture: str
    prefix: str
    rules: tuple[Rule, ...]
    embedding: str
    head: str
    ignored: tuple[str, ...]
    read: Callable[[settings.Settings], dict[str, Any]]
    write: Callable[[TransformerConfig], dict[str, Any]]
    aliases: Mapping[str, str]

    def configure(self, raw: Mapping[str, Any], where: str) -> TransformerConfig:
        """Our settings from their `config.json`. Raises `ConfigError` on anything we could only get wrong."""
        try:
            fields = self.read(settings.Settings(raw, where))
        except (TypeError, ValueError, ZeroDivisionError) as error:
            raise ConfigError(f"{where} holds a value of the wrong kind: {error}") from None
        return TransformerConfig.parse(fields, where)

    def pieces(self, shapes: Mapping[str, tuple[int, ...]], n_layers: int) -> list[Piece]:
        """Every weight of ours (`shapes`) as a part of one of their tensors."""
        found = []
        for rule in self.rules:
            for layer in range(n_layers) if "{}" in rule.theirs else (0,):
                for kind in ("weight", "bias"):
                    ours = tuple(f"decoder.{name.format(layer)}.{kind}" for name in rule.ours)
                    if ours[0] in shapes:
                        theirs = self.spellings(f"{rule.theirs.format(layer)}.{kind}")
                        found.append(Piece(theirs, ours, rule.transposed and kind == "weight"))
        return found

    def spellings(self, name: str) -> tuple[str, ...]:
        """All names a tensor goes by, the usual one first."""
        names = [name]
        if name in self.aliases:
            names.append(self.aliases[name])
        names += [other.removeprefix(self.prefix) for other in names if other.startswith(self.prefix)]
        if "LayerNorm" in name:
            old = {"weight": "gamma", "bias": "beta"}
            names += [re.sub(r"(weight|bias)$", lambda found: old[found.group()], other) for other in names]
        return tuple(names)


def _rules(table: str, *, transposed: bool = False) -> tuple[Rule, ...]:
    """Rules from lines of `their.module our.module [our.module …]`."""
    lines = (line.split() for line in table.strip().splitlines())
    return tuple(Rule(theirs, tuple(ours), transposed) for theirs, *ours in lines)


_LLAMA_RULES = _rules("""
    model.embed_tokens                         embeddings.token
    model.layers.{}.input_layernorm            blocks.{}.attention_norm
    model.layers.{}.self_attn.q_proj           blocks.{}.attention.q
    model.layers.{}.self_attn.k_proj           blocks.{}.attention.k
    model.layers.{}.self_attn.v_proj           blocks.{}.attention.v
    model.layers.{}.self_attn.o_proj           blocks.{}.attention.o
    model.layers.{}.self_attn.q_norm           blocks.{}.attention.q_norm
    model.layers.{}.self_attn.k_norm           blocks.{}.attention.k_norm
    model.layers.{}.post_attention_layernorm   blocks.{}.mlp_norm
    model.layers.{}.mlp.gate_proj              blocks.{}.mlp.gate
    model.layers.{}.mlp.up_proj                blocks.{}.mlp.up
    model.layers.{}.mlp.down_proj              blocks.{}.mlp.down
    model.norm                                 final_norm
    lm_head                                    head
""")

_GPT2_RULES = _rules("""
    transformer.wte           embeddings.token
    transformer.wpe           embeddings.position
    transformer.h.{}.ln_1     blocks.{}.attention_norm
    transformer.h.{}.ln_2     blocks.{}.mlp_norm
    transformer.ln_f          final_norm
    lm_head                   head
""") + _rules(
    """
    transformer.h.{}.attn.c_attn   blocks.{}.attention.q blocks.{}.attention.k blocks.{}.attention.v
    transformer.h.{}.attn.c_proj   blocks.{}.attention.o
    transformer.h.{}.mlp.c_fc      blocks.{}.mlp.up
    transformer.h.{}.mlp.c_proj    blocks.{}.mlp.down
    """,
    transposed=True,
)

_BERT_RULES = _rules("""
    bert.embeddings.word_embeddings                    embeddings.token
    bert.embeddings.position_embeddings                embeddings.position
    bert.embeddings.token_type_embeddings              embeddings.token_type
    bert.embeddings.LayerNorm                          embeddings.norm
    bert.encoder.layer.{}.attention.self.query         blocks.{}.attention.q
    bert.encoder.layer.{}.attention.self.key           blocks.{}.attention.k
    bert.encoder.layer.{}.attention.self.value         blocks.{}.attention.v
    bert.encoder.layer.{}.attention.output.dense       blocks.{}.attention.o
    bert.encoder.layer.{}.attention.output.LayerNorm   blocks.{}.attention_norm
    bert.encoder.layer.{}.intermediate.dense           blocks.{}.mlp.up
    bert.encoder.layer.{}.output.dense                 blocks.{}.mlp.down
    bert.encoder.layer.{}.output.LayerNorm             blocks.{}.mlp_norm
    cls.predictions.transform.dense                    head_transform.linear
    cls.predictions.transform.LayerNorm                head_transform.norm
    cls.predictions.decoder                            head
""")


def _llama_like(
    name: str,
    architecture: str,
    read: Callable[[settings.Settings], dict[str, Any]],
    write: Callable[[TransformerConfig], dict[str, Any]],
) -> Family:
    return Family(
        name,
        architecture,
        prefix="model.",
        rules=_LLAMA_RULES,
        embedding="model.embed_tokens.weight",
        head="lm_head.weight",
        ignored=(r"(model\.)?(layers\.\d+\.self_attn\.)?rotary_emb\.inv_freq",),
        read=read,
        write=write,
        aliases={},
    )


GPT2 = Family(
    "gpt2",
    "GPT2LMHeadModel",
    prefix="transformer.",
    rules=_GPT2_RULES,
    embedding="transformer.wte.weight",
    head="lm_head.weight",
    ignored=(r"(transformer\.)?h\.\d+\.attn\.(masked_)?bias",),  # causal masks, not biases
    read=settings.read_gpt2,
    write=settings.write_gpt2,
    aliases={},
)
BERT = Family(
    "bert",
    "BertForMaskedLM",
    prefix="bert.",
    rules=_BERT_RULES,
    embedding="bert.embeddings.word_embeddings.weight",
    head="cls.predictions.decoder.weight",
    ignored=(
        r"(bert\.)?embeddings\.(position|token_type)_ids",
        r"(bert\.)?pooler\.dense\.(weight|bias)",  # the sentence vector of next-sentence prediction
        r"cls\.seq_relationship\.(weight|bias)",
        r"cls\.predictions\.bias",  # the same as decoder.bias, which is taken where both are stored
    ),
    read=settings.read_bert,
    write=settings.write_bert,
    aliases={"cls.predictions.decoder.bias": "cls.predictions.bias"},
)
FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        _llama_like("llama", "LlamaForCausalLM", settings.read_llama, settings.write_llama),
        _llama_like("mistral", "MistralForCausalLM", settings.read_mistral, settings.write_mistral),
        _llama_like("qwen2", "Qwen2ForCausalLM", settings.read_qwen2, settings.write_qwen2),
        _llama_like("qwen3", "Qwen3ForCausalLM", settings.read_qwen3, settings.write_qwen3),
        GPT2,
        BERT,
    )
}


def family_of(raw: Mapping[str, Any], where: str) -> Family:
    """The family a Hugging Face configuration names. Raises `ConfigError` when it is none of ours."""
    kind = raw.get("model_type")
    if kind is None:
        classes = raw.get("architectures")
        named = [f for f in FAMILIES.values() if isinstance(classes, list) and f.architecture in classes]
        if named:
            return named[0]
    if not isinstance(kind, str) or kind not in FAMILIES:
        raise ConfigError(f"{where}: model_type {kind!r} is not supported (only {', '.join(FAMILIES)})")
    return FAMILIES[kind]
