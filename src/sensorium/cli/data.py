"""`sensorium data`: a look at data sets before they are learned from."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sensorium.cli import options
from sensorium.errors import DataError, RequestError

if TYPE_CHECKING:
    from sensorium.data.check import Report
    from sensorium.data.records import Content
    from sensorium.data.spec import DatasetSpec

app = typer.Typer(help="Look at data sets before they are learned from.", no_args_is_help=True)

_SHOWN = 20  # bad items that are named


def _formats(incomplete: str) -> list[str]:
    from sensorium.data.formats import READERS

    return [name for name in READERS if name.startswith(incomplete)]


@app.command("check")
def check(
    path: Annotated[str, typer.Argument(metavar="PATH", help="A file, a folder, or the name of a registered source.")],
    format_: Annotated[
        str, typer.Option("--format", help="How to read it.", show_default="by its ending", autocompletion=_formats)
    ] = "auto",
    include: Annotated[
        list[str] | None, typer.Option(metavar="GLOB", help="Only what matches; may be repeated.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Look at the first records only.")] = None,
    max_bad: Annotated[int, typer.Option(min=0, help="With more bad items the command fails, as training does.")] = 100,
    sheet: Annotated[
        Path | None, typer.Option(metavar="PNG", help="Write some of the pictures, with their words, to this file.")
    ] = None,
    pictures: Annotated[int, typer.Option(min=1, max=1024, help="How many, for --sheet.")] = 48,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Count the tokens of this model too.", show_default=False)
    ] = None,
    as_json: options.JsonOption = False,
) -> None:
    """Report what a data set holds: records, lengths, pictures, recordings, duplicates, and what is broken.

    Every picture and recording is decoded, as training does it.

    Examples:
    ```sh
    sensorium data check talks.jsonl
    sensorium data check photos/ --sheet photos.png
    sensorium data check fsdd --json
    ```
    """
    from sensorium.cli.progress import told_downloads
    from sensorium.data.check import Checker, write_sheet

    spec = _spec(path, format_, include or [], limit)
    count_tokens = None if model is None else _token_counter(model)
    with told_downloads(), _progress(quiet=as_json) as progress:
        checker = Checker(
            spec, count_tokens=count_tokens, pictures=pictures if sheet is not None else 0, progress=progress
        )
        report = checker.run()
    if as_json:
        typer.echo(json.dumps(report.to_dict(), ensure_ascii=False))
    else:
        _print(report)
    if sheet is not None:
        typer.echo(f"wrote {write_sheet(checker, sheet)}", err=as_json)
    if len(report.bad) > max_bad:
        first = report.bad[0]
        raise DataError(
            f"{report.name}: {len(report.bad)} bad items, more than {max_bad} "
            f"(first: {first.where}: {first.why}); mend them or raise --max-bad"
        )
    if report.records == 0:
        raise DataError(f"{report.name} holds no usable record")


def _spec(path: str, format_: str, include: list[str], limit: int | None) -> DatasetSpec:
    from sensorium.data.sources import registry
    from sensorium.data.spec import DatasetSpec

    place = {"source": path} if path in registry() and not Path(path).exists() else {"path": path}
    settings = {"format": format_, "include": include} | ({} if limit is None else {"limit": limit})
    return DatasetSpec.parse(place | settings, "data check")


def _token_counter(name: str) -> Callable[[Content], int]:
    """How long a record is for a model; where it neither sees nor hears, its words alone count."""
    processor: Any = options.load_model(name, device="cpu", threads=None).processor

    def count(content: Content) -> int:
        if isinstance(content, str):
            return len(processor.encode_text(content).token_ids)
        try:
            return len(processor.encode_messages(content).token_ids)
        except RequestError:
            return sum(len(processor.tokenizer.encode(message.text)) for message in content)

    return count


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Callable[[int], None]]:
    """A count of records on stderr where a person watches."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield lambda _: None
        return
    columns = (BarColumn(), TextColumn("{task.completed} records"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("", total=None)
        yield lambda met: progress.update(bar, completed=met)


def _print(report: Report) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)
    table = Table(title=escape(report.name), title_justify="left", title_style="bold", show_header=False)
    table.add_column(style="bold")
    table.add_column()
    for name, value in _rows(report):
        table.add_row(name, escape(value))
    console.print(table)
    for bad in report.bad[:_SHOWN]:
        console.print(f"bad: {bad.where}: {bad.why}", markup=False, soft_wrap=True)
    if len(report.bad) > _SHOWN:
        console.print(f"bad: and {len(report.bad) - _SHOWN} more (--json names all)", markup=False)


def _rows(report: Report) -> Iterator[tuple[str, str]]:
    formats = ", ".join(f"{name} {count:,}" for name, count in report.formats.most_common())
    yield "files", f"{report.files:,}"
    yield "records", f"{report.records:,} ({formats})" if formats else "0"
    if report.conversations:
        yield "conversations", f"{report.conversations:,} with {report.turns:,} turns"
    yield "characters", _spread(report.characters)
    if report.tokens:
        yield "tokens", _spread(report.tokens)
    yield "scripts", ", ".join(f"{name} {count:,}" for name, count in report.scripts.most_common(6)) or "none"
    if report.shown["image"]:
        yield "pictures", _media(report, "image")
        yield "widths", _spread(report.widths, total=False)
        yield "heights", _spread(report.heights, total=False)
    if report.shown["audio"]:
        yield "recordings", _media(report, "audio")
        yield "seconds", _spread(report.seconds)
    yield "duplicates", f"{report.duplicates:,}"
    yield "bad", f"{len(report.bad):,}"


def _media(report: Report, kind: str) -> str:
    megabytes = report.media_bytes[kind] / 1e6
    return f"{report.shown[kind]:,} shown, {report.distinct[kind]:,} distinct, {megabytes:,.1f} MB"


def _spread(values: list[int] | list[float], *, total: bool = True) -> str:
    from sensorium.data.check import Spread

    spread = Spread.of(values)
    if spread is None:
        return "none"
    least, median, p95, most = map(_number, (spread.least, spread.median, spread.p95, spread.most))
    numbers = f"{least} to {most}, median {median}, 95% up to {p95}"
    return f"{_number(spread.total)} in all; {numbers}" if total else numbers


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.2f}".removesuffix(".00")
