"""`sensorium graft`: eyes, ears and codecs for a decoder that has none."""

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
    image_codec: Annotated[
        str | None, typer.Option(help="What it draws by: a folder of Janus, of its VQ model, or of this project.")
    ] = None,
    speech_codec: Annotated[
        str | None, typer.Option(help="What it speaks by: a folder of Mimi or of this project.")
    ] = None,
    codebooks: Annotated[
        int | None, typer.Option(min=1, help="Codebooks of Mimi that are used.", show_default="8, or all it has")
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
    """Join the eyes, ears and codecs of some models to the decoder of another.

    Everything but the projectors and the rows of new tokens is taken over as it was trained. `sensorium train` goes on
    from there, by a recipe with `init: DST`, where `freeze: ["decoder.*", "vision.encoder.*"]` trains the new parts
    alone.

    Examples:
    ```sh
    sensorium graft --decoder Qwen/Qwen3-0.6B --vision google/siglip-base-patch16-224 models/looking
    sensorium graft --decoder gpt2 --speech openai/whisper-tiny --projector resampler models/listening
    sensorium graft --decoder Qwen/Qwen3-0.6B --image-codec deepseek-community/Janus-Pro-1B models/drawing
    sensorium graft --decoder gpt2 --speech-codec kyutai/mimi --codebooks 4 models/speaking
    ```
    """
    must_be_new(destination)
    from sensorium.hub.graft import Joint
    from sensorium.hub.graft import graft as join

    joint = Joint(projector, factor, queries, fusion)
    join(
        decoder,
        destination,
        vision=vision,
        speech=speech,
        image_codec=image_codec,
        speech_codec=speech_codec,
        codebooks=codebooks,
        joint=joint,
        name=name,
        seed=seed,
    )
    typer.echo(destination)
