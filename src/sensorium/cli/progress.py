"""Progress on stderr: bars where a person watches, lines where a file does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_LARGE = 20_000_000  # bytes


@contextmanager
def told_downloads() -> Iterator[None]:
    """A line for each file that is fetched, as it begins and at every tenth of a large one."""
    from sensorium.data.download import watched_downloads

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    tenths: dict[str, int] = {}

    def tell(name: str, done: int, total: int) -> None:
        tenth = 10 * done // total if total >= _LARGE else 0
        if tenths.get(name) != tenth:
            tenths[name] = tenth
            console.print(f"fetching {name}: {done / 1e6:.1f} of {total / 1e6:.1f} MB", markup=False)

    with watched_downloads(tell):
        yield


@contextmanager
def example_progress(*, quiet: bool) -> Iterator[Callable[[str, int, int], None] | None]:
    """A bar per task, told of each example as (task, done, total); nothing when quiet or nobody watches."""
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        bars = {}

        def show(task: str, done: int, total: int) -> None:
            if task not in bars:
                bars[task] = progress.add_task(task, total=total)
            progress.update(bars[task], completed=done)

        yield show
