"""What published encoders and codecs call their tensors, as tables from our modules to theirs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sensorium.hub.assemble import Piece


@dataclass(frozen=True, slots=True)
class Names:
    """One line of a table: modules (or single weights) of ours, and all spellings of theirs.

    Attributes:
        ours: several share one tensor of theirs, stacked; `{}` stands for any number.
        theirs: `{0}`, `{1}`, … are those numbers in turn, `{next0}`, … each one more; `{kind}` is `weight` or `bias`.
    """

    ours: tuple[str, ...]
    theirs: tuple[str, ...]


def _table(lines: str) -> tuple[Names, ...]:
    """Names from lines of `our.module[+our.module …] their.module [another.spelling …]`."""
    split = (line.split() for line in lines.strip().splitlines())
    return tuple(Names(tuple(ours.split("+")), tuple(theirs)) for ours, *theirs in split)


VIT = _table("""
    class_token               embeddings.cls_token
    position.weight           embeddings.position_embeddings
    stem.conv                 embeddings.patch_embeddings.projection
    blocks.{}.attention_norm  encoder.layer.{0}.layernorm_before                     layers.{0}.layernorm_before
    blocks.{}.attention.q     encoder.layer.{0}.attention.attention.query            layers.{0}.attention.q_proj
    blocks.{}.attention.k     encoder.layer.{0}.attention.attention.key              layers.{0}.attention.k_proj
    blocks.{}.attention.v     encoder.layer.{0}.attention.attention.value            layers.{0}.attention.v_proj
    blocks.{}.attention.o     encoder.layer.{0}.attention.output.dense               layers.{0}.attention.o_proj
    blocks.{}.mlp_norm        encoder.layer.{0}.layernorm_after                      layers.{0}.layernorm_after
    blocks.{}.mlp.up          encoder.layer.{0}.intermediate.dense                   layers.{0}.mlp.fc1
    blocks.{}.mlp.down        encoder.layer.{0}.output.dense                         layers.{0}.mlp.fc2
    final_norm                layernorm
""")

_CLIP_BLOCKS = _table("""
    blocks.{}.attention_norm  encoder.layers.{0}.layer_norm1
    blocks.{}.attention.q     encoder.layers.{0}.self_attn.q_proj
    blocks.{}.attention.k     encoder.layers.{0}.self_attn.k_proj
    blocks.{}.attention.v     encoder.layers.{0}.self_attn.v_proj
    blocks.{}.attention.o     encoder.layers.{0}.self_attn.out_proj
    blocks.{}.mlp_norm        encoder.layers.{0}.layer_norm2
    blocks.{}.mlp.up          encoder.layers.{0}.mlp.fc1
    blocks.{}.mlp.down        encoder.layers.{0}.mlp.fc2
""")

CLIP_VISION = _CLIP_BLOCKS + _table("""
    class_token               embeddings.class_embedding
    position                  embeddings.position_embedding
    stem.conv                 embeddings.patch_embedding
    embedding_norm            pre_layrnorm
    pooled_norm               post_layernorm
""")

SIGLIP_VISION = _CLIP_BLOCKS + _table("""
    position                  embeddings.position_embedding
    stem.conv                 embeddings.patch_embedding
    final_norm                post_layernorm
    pool.query                head.probe
    pool.attention.q+pool.attention.k+pool.attention.v   head.attention.in_proj_{kind}
    pool.attention.o          head.attention.out_proj
    pool.mlp_norm             head.layernorm
    pool.mlp.up               head.mlp.fc1
    pool.mlp.down             head.mlp.fc2
""")

DUAL_TEXT = _CLIP_BLOCKS + _table("""
    embeddings.token          embeddings.token_embedding
    embeddings.position       embeddings.position_embedding
    final_norm                final_layer_norm
""")

RESNET = _table("""
    stem.conv                      embedder.embedder.convolution                          conv1
    stem.norm                      embedder.embedder.normalization                        bn1
    stages.{}.{}.layers.{}.conv    encoder.stages.{0}.layers.{1}.layer.{2}.convolution    layer{next0}.{1}.conv{next2}
    stages.{}.{}.layers.{}.norm    encoder.stages.{0}.layers.{1}.layer.{2}.normalization  layer{next0}.{1}.bn{next2}
    stages.{}.{}.shortcut.conv     encoder.stages.{0}.layers.{1}.shortcut.convolution     layer{next0}.{1}.downsample.0
    stages.{}.{}.shortcut.norm     encoder.stages.{0}.layers.{1}.shortcut.normalization   layer{next0}.{1}.downsample.1
""")

WHISPER = _table("""
    conv1                     conv1
    conv2                     conv2
    position                  embed_positions
    blocks.{}.attention_norm  layers.{0}.self_attn_layer_norm
    blocks.{}.attention.q     layers.{0}.self_attn.q_proj
    blocks.{}.attention.k     layers.{0}.self_attn.k_proj
    blocks.{}.attention.v     layers.{0}.self_attn.v_proj
    blocks.{}.attention.o     layers.{0}.self_attn.out_proj
    blocks.{}.mlp_norm        layers.{0}.final_layer_norm
    blocks.{}.mlp.up          layers.{0}.fc1
    blocks.{}.mlp.down        layers.{0}.fc2
    final_norm                layer_norm
""")
LLAVA_PROJECTOR = _table("""
    up                        linear_1
    down                      linear_2
""")

IDEFICS3_CONNECTOR = _table("""
    map                       modality_projection.proj
""")

QWEN2_AUDIO_PROJECTOR = _table("""
    map                       linear
""")

_MIMI_BLOCKS = """
    {ours}_context.blocks.{}.attention_norm   {ours}_transformer.layers.{0}.input_layernorm
    {ours}_context.blocks.{}.q                {ours}_transformer.layers.{0}.self_attn.q_proj
    {ours}_context.blocks.{}.k                {ours}_transformer.layers.{0}.self_attn.k_proj
    {ours}_context.blocks.{}.v                {ours}_transformer.layers.{0}.self_attn.v_proj
    {ours}_context.blocks.{}.o                {ours}_transformer.layers.{0}.self_attn.o_proj
    {ours}_context.blocks.{}.attention_scale  {ours}_transformer.layers.{0}.self_attn_layer_scale.scale
    {ours}_context.blocks.{}.mlp_norm         {ours}_transformer.layers.{0}.post_attention_layernorm
    {ours}_context.blocks.{}.up               {ours}_transformer.layers.{0}.mlp.fc1
    {ours}_context.blocks.{}.down             {ours}_transformer.layers.{0}.mlp.fc2
    {ours}_context.blocks.{}.mlp_scale        {ours}_transformer.layers.{0}.mlp_layer_scale.scale
    {ours}.{}.conv                            {ours}.layers.{0}.conv
    {ours}.{}.first.conv                      {ours}.layers.{0}.block.1.conv
    {ours}.{}.last.conv                       {ours}.layers.{0}.block.3.conv
"""

MIMI = (
    _table(_MIMI_BLOCKS.replace("{ours}", "encoder"))
    + _table(_MIMI_BLOCKS.replace("{ours}", "decoder"))
    + _table("""
    downsample.conv           downsample.conv
    upsample.conv             upsample.conv
    semantic.to_code          quantizer.semantic_residual_vector_quantizer.input_proj
    semantic.tables.{}        quantizer.semantic_residual_vector_quantizer.layers.{0}.codebook.embed
    semantic.from_code        quantizer.semantic_residual_vector_quantizer.output_proj
    acoustic.to_code          quantizer.acoustic_residual_vector_quantizer.input_proj
    acoustic.tables.{}        quantizer.acoustic_residual_vector_quantizer.layers.{0}.codebook.embed
    acoustic.from_code        quantizer.acoustic_residual_vector_quantizer.output_proj
""")
)
"""`embed` is what Mimi's files hold as a sum and the number of its terms."""

_JANUS_BLOCK = """
    {ours}.first_norm         {theirs}.norm1
    {ours}.first              {theirs}.conv1
    {ours}.last_norm          {theirs}.norm2
    {ours}.last               {theirs}.conv2
    {ours}.shortcut           {theirs}.nin_shortcut
"""
_JANUS_ATTENTION = """
    {ours}.norm               {theirs}.norm
    {ours}.q                  {theirs}.q
    {ours}.k                  {theirs}.k
    {ours}.v                  {theirs}.v
    {ours}.o                  {theirs}.proj_out
"""


def _janus_half(ours: str, levels: str) -> tuple[Names, ...]:
    """Janus's encoder or decoder, whose sizes are called `down` or `up`, and its resizing after that."""

    def lines(table: str, part: str, called: str) -> tuple[Names, ...]:
        return _table(table.replace("{ours}", f"{ours}.{part}").replace("{theirs}", f"{ours}.{called}"))

    return (
        lines(_JANUS_BLOCK, "levels.{}.blocks.{}", levels + ".{0}.block.{1}")
        + lines(_JANUS_ATTENTION, "levels.{}.attention.{}", levels + ".{0}.attn.{1}")
        + lines(_JANUS_BLOCK, "middle.first", "mid.block_1")
        + lines(_JANUS_ATTENTION, "middle.attention", "mid.attn_1")
        + lines(_JANUS_BLOCK, "middle.last", "mid.block_2")
        + lines("{ours}.conv {theirs}.conv", "levels.{}.resize", levels + ".{0}." + levels + "sample")
        + lines("{ours} {theirs}", "stem", "conv_in")
        + lines("{ours} {theirs}", "norm", "norm_out")
        + lines("{ours} {theirs}", "out", "conv_out")
    )


JANUS_VQ = (
    _janus_half("encoder", "down")
    + _janus_half("decoder", "up")
    + _table("""
    to_code                   quant_conv
    codebook                  quantize.embedding
    from_code                 post_quant_conv
""")
)

WHISPER_ABSENT = r"blocks\.\d+\.attention\.k\.bias"  # which no softmax could see


def pieces(
    table: Iterable[Names],
    shapes: Mapping[str, tuple[int, ...]],
    *,
    ours: str = "",
    theirs: Sequence[str] = ("",),
    absent: str | None = None,
) -> list[Piece]:
    """Every weight of `shapes` that begins with `ours` and that the table names, as a part of a tensor of theirs.

    Args:
        table: names within the encoder.
        shapes: names and shapes of our weights.
        ours: what our names begin with, such as `vision.encoder.`.
        theirs: what their names may begin with, the usual first.
        absent: a pattern of our weights (after `ours`) that they do not have, and that are zero.
    """
    found = []
    for name in shapes:
        inner = name.removeprefix(ours)
        if not name.startswith(ours):
            continue
        if absent is not None and re.fullmatch(absent, inner):
            found.append(Piece((), (name,)))
            continue
        for line in table:
            piece = _match(line, inner, ours, theirs)
            if piece is not None:
                found.append(piece)
    return found


def _match(line: Names, name: str, ours: str, prefixes: Sequence[str]) -> Piece | None:
    """The tensor of theirs that holds this weight, if the line is about it and it is the first of those held."""
    pattern = re.escape(line.ours[0]).replace(r"\{\}", r"(\d+)")
    matched = re.fullmatch(pattern + r"(?:\.(weight|bias|running_mean|running_var))?", name)
    if matched is None:
        return None
    *numbers, kind = matched.groups()
    counted = {f"next{index}": int(number) + 1 for index, number in enumerate(numbers)}
    spelled = [
        (their if kind is None or "{kind}" in their else their + ".{kind}").format(*numbers, kind=kind, **counted)
        for their in line.theirs
    ]
    held = [our.format(*numbers) + (f".{kind}" if kind else "") for our in line.ours]
    names = tuple(prefix + their for their in spelled for prefix in prefixes)
    return Piece(names, tuple(ours + our for our in held), reshaped=kind is None)
