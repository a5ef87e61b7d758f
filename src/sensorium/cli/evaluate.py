"""`sensorium eval`: how good a model is, beside what needs no model at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sensorium.cli import options
from sensorium.cli.making import write_file

if TYPE_CHECKING:
    from sensorium.evaluation.runner import Report

_SHOWN = 48  # pictures of a contact sheet
_USUAL = ("text", "world", "making")  # the suites that are run where no task is named


def _task_names(incomplete: str) -> list[str]:
    from sensorium.evaluation.task import SUITES, task_names

    return [name for name in sorted((*task_names(), *SUITES)) if name.startswith(incomplete)]


def evaluate(
    model: options.ModelArgument = options.DEFAULT_MODEL,
    tasks: Annotated[
        list[str] | None,
        typer.Option(
            "--task",
            metavar="NAME",
            help="A task by name or YAML file, or a suite: text, world, more (of the world), making (pictures and "
            "speech), real; may be repeated.",
            show_default="text, world and making, as far as the model sees, hears, draws and speaks",
            autocompletion=_task_names,
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most this many examples a task.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Which examples are drawn, and the bootstrap.")] = 0,
    sheet: Annotated[
        Path | None, typer.Option(help="Write a PNG of true pictures beside those made (tasks of pictures).")
    ] = None,
    as_json: options.JsonOption = False,
    device: options.DeviceOption = "cpu",
    threads: options.ThreadsOption = None,
) -> None:
    """Score a model on held-out data, with 95% confidence intervals and baselines.

    The generated world needs the extra world (pip install 'sensorium[world]'), the other tasks their sources.

    Examples:
    ```sh
    sensorium eval seedling
    sensorium eval seedling --task vqa --limit 50 --json
    sensorium eval seedling --task bpb --task world
    sensorium eval seedling --task draw --limit 48 --sheet drawn.png
    sensorium eval gpt2 --task dialogue --seed 1
    ```
    """
    from sensorium.evaluation.task import load_tasks

    chosen = {task.name: task for name in tasks or _USUAL for task in load_tasks(name)}
    loaded = options.load_model(model, device=device, threads=threads)
    from sensorium.cli.progress import example_progress, told_downloads
    from sensorium.evaluation.runner import evaluate as run_tasks
    from sensorium.evaluation.runner import takes

    asked = [task for task in chosen.values() if tasks or takes(loaded, task)]
    gallery: list[Any] = []
    with told_downloads(), example_progress(quiet=as_json) as progress:
        report = run_tasks(loaded, asked, limit=limit, seed=seed, progress=progress, gallery=gallery)
    if sheet is not None and gallery:
        from sensorium.evaluation.making import sheet as contact_sheet

        write_file(sheet, contact_sheet(gallery[:_SHOWN]))
    if as_json:
        typer.echo(json.dumps(report.to_dict()))
    else:
        _print_table(report)


def _print_table(report: Report) -> None:
    """One row a task; below its name the metric (↓: less is better), below its score the 95% interval."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    languages = sorted({language for result in report.tasks.values() for language in result.languages})
    table = Table(title=report.model, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("task", "score", *languages, "n", "baselines"):
        table.add_column(heading, justify="left" if heading in ("task", "baselines") else "right", no_wrap=True)
    for name, result in report.tasks.items():
        low, high = result.ci95
        each = [result.languages.get(language) for language in languages]
        table.add_row(
            f"{name}\n[dim]{result.metric}{' ↓' if result.lower_is_better else ''}[/dim]",
            f"{result.score:.3f}\n[dim]{low:.3f} to {high:.3f}[/dim]",
            *("" if score is None else f"{score.score:.3f}" for score in each),
            str(result.n),
            "\n".join(f"{baseline} {score:.3f}" for baseline, score in result.baselines.items()),
        )
    Console().print(table)
