"""`sensorium info`: what a model is made of."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sensorium.cli import options

if TYPE_CHECKING:
    from sensorium.config import ModelConfig
    from sensorium.hub.pretrained import Pretrained


def info(
    model: options.ModelArgument = options.DEFAULT_MODEL,
    as_json: options.JsonOption = False,
    card: Annotated[bool, typer.Option("--card", help="Print the model card instead: data, licence, limits.")] = False,
) -> None:
    """Show a model's settings, size, cost and files.

    Examples:
    ```sh
    sensorium info seedling
    sensorium info gpt2 --json
    sensorium info seedling --card
    ```
    """
    from sensorium.hub.folder import load_pretrained

    pretrained = load_pretrained(model)
    if card:
        typer.echo(_card(pretrained))
        return
    facts = _facts(pretrained)
    if as_json:
        typer.echo(json.dumps(facts, ensure_ascii=False))
    else:
        _print_tables(facts)


def _card(pretrained: Pretrained) -> str:
    path = pretrained.path / "MODEL_CARD.md" if pretrained.path is not None else None
    if path is None or not path.is_file():
        return f"{pretrained.name} has no model card"
    return path.read_text(encoding="utf-8").rstrip()


def _facts(pretrained: Pretrained) -> dict[str, Any]:
    """What there is to know, as plain JSON; sizes in bytes, cost in floating-point operations per token."""
    decoder, parts = pretrained.model.decoder, pretrained.model.n_parameters()
    config = pretrained.config.decoder
    without = decoder.n_parameters(embeddings=False) - decoder.n_parameters() + sum(parts.values())
    folder = pretrained.path
    files = sorted(folder.iterdir()) if folder is not None and folder.is_dir() else [folder] if folder else []
    context = config.max_positions
    return {
        "model": pretrained.name,
        "path": str(folder) if folder is not None else None,
        "parameters": sum(parts.values()),
        "parameters_without_embeddings": without,
        "parts": parts,
        "senses": _senses(pretrained.config),
        "context": context,
        "flops_per_token": {
            "training": decoder.flops_per_token(context),
            "inference": decoder.flops_per_token(context, training=False),
        },
        "can_chat": pretrained.processor is not None and pretrained.processor.template is not None,
        "config": pretrained.config.model_dump(mode="json"),
        "sampling": pretrained.sampling.model_dump(mode="json", exclude_defaults=True),
        "files": {file.name: file.stat().st_size for file in files if file.is_file()},
    }


def _senses(config: ModelConfig) -> dict[str, str]:
    """What the model takes in beside words, and how: eyes, ears, fusion, embedder; nothing for one that only reads."""
    senses = {}
    vision, speech = config.vision, config.speech
    if vision is not None:
        height, width = vision.image.size
        shown = f"{config.image_places()} tokens each" if vision.projector is not None else "not shown to the decoder"
        tiles = ", in tiles" if vision.image.resize == "tiles" else ""
        grounds = ", words grounded in places" if vision.grounding else ""
        senses["eyes"] = f"{vision.encoder.kind}, pictures of {width}x{height} pixels{tiles}, {shown}{grounds}"
    if speech is not None:
        seconds = speech.audio.window_seconds
        frames = round(seconds * speech.audio.sample_rate / speech.audio.hop)
        shown = (
            f"{config.audio_places(frames)} tokens for a whole one"
            if speech.projector is not None
            else "not shown to the decoder"
        )
        spells = ", spelled by CTC" if speech.ctc else ""
        senses["ears"] = f"{speech.encoder.kind}, recordings in windows of {seconds:g} s, {shown}{spells}"
    if senses:
        fusion = config.fusion
        layers = config.decoder.n_layers // fusion.every
        how = {"cross": f", layers between blocks: {layers}", "decision": f", predictions combined by {fusion.combine}"}
        senses["fusion"] = fusion.strategy + how.get(fusion.strategy, "")
    if config.embedder is not None:
        senses["embedder"] = f"a common space of {config.embedder.dim} numbers"
    return senses


def _print_tables(facts: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table(title=facts["model"], show_header=False, title_justify="left", title_style="bold")
    table.add_row("path", facts["path"] or "")
    table.add_row(
        "parameters", f"{facts['parameters']:,} ({facts['parameters_without_embeddings']:,} without embeddings)"
    )
    if len(facts["parts"]) > 1:
        for name, number in facts["parts"].items():
            table.add_row(f"parameters of {name}", f"{number:,}")
    for name, words in facts["senses"].items():
        table.add_row(name, words)
    table.add_row("context", f"{facts['context']:,} tokens")
    cost = facts["flops_per_token"]
    table.add_row(
        "FLOPs per token", f"{cost['inference']:.3g} to answer, {cost['training']:.3g} to train (at full context)"
    )
    table.add_row("can chat", "yes" if facts["can_chat"] else "no chat template: use ask --complete")
    for key, value in facts["config"]["decoder"].items():
        if value is not None:
            table.add_row(key, str(value))
    for key, value in facts["sampling"].items():
        table.add_row(f"sampling {key}", str(value))
    for name, size in facts["files"].items():
        table.add_row(name, f"{size:,} bytes")
    console.print(table)
