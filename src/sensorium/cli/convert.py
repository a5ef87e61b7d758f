"""`sensorium import` and `sensorium export`: model folders in and out of this project's form."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from sensorium.cli import options
from sensorium.errors import CheckpointError

Format = Literal["hf", "safetensors"]


def import_model(
    source: Annotated[str, typer.Argument(metavar="SRC", help="A Hugging Face folder or hub id, or a llama2.c .bin.")],
    destination: Annotated[Path, typer.Argument(metavar="DST", help="The model folder to write; must not exist.")],
) -> None:
    """Turn open weights (GPT-2, Llama, Mistral, Qwen2, Qwen3, BERT, CLIP, SigLIP, LLaVA, …) into a model folder.

    A folder works without a network; a hub id is downloaded by huggingface_hub.

    Examples:
    ```sh
    sensorium import gpt2 models/gpt2
    sensorium import ./Qwen3-0.6B models/qwen3
    ```
    """
    must_be_new(destination)
    from sensorium.hub.folder import import_pretrained

    import_pretrained(source, destination)
    typer.echo(destination)


def export_model(
    model: options.ModelArgument,
    destination: Annotated[Path, typer.Argument(metavar="DST", help="The folder to write; must not exist.")],
    to: Annotated[
        Format, typer.Option("--format", help="hf: for transformers; safetensors: a model folder of this project.")
    ] = "hf",
) -> None:
    """Write a model for other programs to load; of one that sees or hears, hf takes the decoder alone.

    Examples:
    ```sh
    sensorium export seedling exported --format hf
    python -c "from transformers import AutoModelForCausalLM as A; A.from_pretrained('exported')"
    ```
    """
    must_be_new(destination)
    from sensorium.hub.folder import export_hf, load_pretrained, save_pretrained

    pretrained = load_pretrained(model)
    if to == "hf":
        export_hf(pretrained, destination)
        behind = [part for part in pretrained.model.n_parameters() if part != "decoder"]
        if behind:
            typer.echo(f"only the decoder is written; left behind: {', '.join(behind)}", err=True)
    else:
        save_pretrained(pretrained, destination)
    typer.echo(destination)


def must_be_new(destination: Path) -> None:
    """Raise `CheckpointError` when something is there that writing would overwrite."""
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        raise CheckpointError(f"{destination} already exists (name a new folder, or remove it first)")
