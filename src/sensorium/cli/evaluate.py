"""`sensorium eval`: how good a model is, beside what needs no model at all."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from sensorium.cli import options

if TYPE_CHECKING:
    from sensorium.evaluation.runner import Report


def _task_names(incomplete: str) -> list[str]:
    from sensorium.evaluation.task import task_names

    return [name for name in task_names() if name.startswith(incomplete)]


def evaluate(
    model: options.ModelArgument = options.DEFAULT_MODEL,
    tasks: Annotated[
        list[str] | None,
        typer.Option(
            "--task",
            metavar="NAME",
            help="A task by name or YAML file; may be repeated.",
            show_default="all",
            autocompletion=_task_names,
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most this many examples a task.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Which examples are drawn, and the bootstrap.")] = 0,
    as_json: options.JsonOption = False,
    device: options.DeviceOption = "cpu",
    threads: options.ThreadsOption = None,
) -> None:
    """Score a model on held-out data, with 95% confidence intervals and baselines.

    Examples:
    ```sh
    sensorium eval seedling
    sensorium eval seedling --task bpb --limit 100 --json
    sensorium eval gpt2 --task dialogue --seed 1
    ```
    """
    from sensorium.evaluation.task import load_task, task_names

    chosen = [load_task(name) for name in tasks or task_names()]
    loaded = options.load_model(model, device=device, threads=threads)
    from sensorium.cli.progress import example_progress, told_downloads
    from sensorium.evaluation.runner import evaluate as run_tasks

    with told_downloads(), example_progress(quiet=as_json) as progress:
        report = run_tasks(loaded, chosen, limit=limit, seed=seed, progress=progress)
    if as_json:
        typer.echo(json.dumps(report.to_dict()))
    else:
        _print_table(report)


def _print_table(report: Report) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=report.model, title_justify="left", title_style="bold")
    for heading in ("task", "metric", "score", "95% interval", "n", "baselines"):
        table.add_column(heading, justify="right" if heading in ("score", "n") else "left")
    for name, result in report.tasks.items():
        low, high = result.ci95
        floor = ", ".join(f"{baseline} {score:.3f}" for baseline, score in result.baselines.items())
        table.add_row(name, result.metric, f"{result.score:.3f}", f"{low:.3f} to {high:.3f}", str(result.n), floor)
    Console().print(table)
