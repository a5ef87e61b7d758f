"""`sensorium train`: a recipe turned into a model."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from sensorium.cli import options


def train(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="A YAML file; see recipes/.")],
    out: Annotated[Path, typer.Option(help="Folder of the run: checkpoints, metrics, and the model in OUT/model.")],
    minutes: Annotated[
        float | None, typer.Option(help="Wall-clock budget of the whole run.", show_default="the recipe's")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", "-s", metavar="KEY=VALUE", help="Change the recipe, such as stages.0.lr=3e-4."),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume/--fresh",
            help="Go on from the last checkpoint in OUT, or start over; what is there then moves to OUT.1, OUT.2, ….",
        ),
    ] = True,
    prompts: Annotated[
        list[str] | None, typer.Option("--prompt", help="What to sample from during the run; may be repeated.")
    ] = None,
    device: options.DeviceOption = "auto",
    threads: options.ThreadsOption = None,
) -> None:
    """Train a model by a recipe. Stop it at any time: the same command goes on where it was.

    Progress goes to stderr; the folder of the finished model is printed on stdout. Metrics are in OUT/metrics.jsonl
    and OUT/tensorboard.

    Examples:
    ```sh
    sensorium train recipes/seedling.yaml --out runs/seedling
    sensorium train recipes/seedling.yaml --out runs/quick --minutes 5 --set seed=1
    torchrun --nproc-per-node 2 -m sensorium train recipes/seedling.yaml --out runs/two
    ```
    """
    from sensorium.train.recipe import load_recipe

    plan = load_recipe(recipe, settings or ())
    from sensorium.cli.progress import told_downloads
    from sensorium.cli.watching import Sampler, Watcher
    from sensorium.train import train as run

    chatting = frozenset(stage.name for stage in plan.stages if stage.objective == "chat")
    wordless = ("masked", "ctc", "contrastive", "grounding")  # nothing can be sampled of them
    silent = frozenset(stage.name for stage in plan.stages if stage.objective in wordless)
    with told_downloads(), Watcher() as watcher:
        sampler = Sampler(tuple(prompts or ()), chatting, silent)
        model = run(
            plan, out, minutes=minutes, resume=resume, device=device, threads=threads, callbacks=[watcher, sampler]
        )
    if os.environ.get("RANK", "0") == "0":  # one of torchrun's processes speaks for all
        typer.echo(model)
