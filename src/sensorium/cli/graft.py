"""`sensorium graft`: eyes and ears for a decoder that has none."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from sensorium.cli import options
from sensorium.cli.convert import must_be_new

Projector = Literal["mlp", "linear", "pixel_shuffle", "resampler"]
Fusion = Literal["feature", "cross", "decision", "early"]


def graft(
    destination: Annotated[Path, typer.Argument(metavar="DST", help="The model folder to write; must not exist.")],
    decoder: Annotated[
        str,
        typer.Option(help="What reads and writes: a name, a folder or a hub id.", autocompletion=options.model_names),
    ],
    vision: Annotated[
        str | None, typer.Option(help="Eyes: a folder of ViT, CLIP, SigLIP, ResNet or of this project; or `patches`.")
    ] = None,
    speech: Annotated[
        str | None, typer.Option(help="Ears: a folder of Whisper or of this project; or `frames`.")
    ] = None,
    projector: Annotated[Projector, typer.Option(help="How features become vectors of the decoder's width.")] = "mlp",
    factor: Annotated[int, typer.Option(min=1, max=64, help="Neighbours along a side that pixel_shuffle joins.")] = 2,
    queries: Annotated[
        int, typer.Option(min=1, max=4096, help="Vectors that a resampler shows of a picture or recording.")
    ] = 16,
    fusion: Annotated[
        Fusion | None, typer.Option(help="How features meet the words.", show_default="feature, or the decoder's own")
    ] = None,
    name: Annotated[str | None, typer.Option(help="What to call the model.", show_default="as its folder")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Draws what is new.")] = 0,
) -> None:
    """Join the eyes and ears of some models to the decoder of another.

    Everything but the projectors is taken over as it was trained. `sensorium train` goes on from there, by a recipe
    with `init: DST`, where `freeze: ["decoder.*", "vision.encoder.*"]` trains the new parts alone.

    Examples:
    ```sh
    sensorium graft --decoder Qwen/Qwen3-0.6B --vision google/siglip-base-patch16-224 models/looking
    sensorium graft --decoder gpt2 --speech openai/whisper-tiny --projector resampler models/listening
    ```
    """
    must_be_new(destination)
    from sensorium.hub.graft import Joint
    from sensorium.hub.graft import graft as join

    joint = Joint(projector, factor, queries, fusion)
    join(decoder, destination, vision=vision, speech=speech, joint=joint, name=name, seed=seed)
    typer.echo(destination)
