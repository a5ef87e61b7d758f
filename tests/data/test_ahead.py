import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

from sensorium.data import ahead as ahead_module
from sensorium.data import forking
from sensorium.data.ahead import Ahead
from sensorium.errors import DataError

Items = Iterator[tuple[Any, dict[str, Any]]]


@dataclass(frozen=True)
class Thing:
    name: str
    numbers: torch.Tensor
    more: tuple[torch.Tensor, ...] = ()


def things(n: int = 5) -> Items:
    for index in range(n):
        numbers = torch.arange(index * 3, dtype=torch.int64).reshape(3, index)
        yield Thing(f"thing {index}", numbers, (torch.full((2,), 0.5),)), {"at": index + 1}


def endless() -> Items:
    index = 0
    while True:
        index += 1
        yield torch.zeros(index), {"at": index}


def failing() -> Items:
    yield from things(2)
    raise DataError("line 7 is broken")


class OddError(Exception):
    def __init__(self, a: int, b: int) -> None:
        super().__init__(f"{a} and {b}")


def failing_oddly() -> Items:
    yield from things(1)
    raise OddError(1, 2)


def dying() -> Items:
    yield from things(2)
    os.kill(os.getpid(), signal.SIGKILL)


def telling() -> Items:
    yield (os.getpid(), torch.get_num_threads(), threading.active_count()), {}


def ways() -> list[Any]:
    return [
        pytest.param({"n": 0}, id="here"),
        pytest.param({"n": 2}, id="thread"),
        pytest.param({"n": 2, "workers": 1}, id="process"),
        pytest.param({"n": 0, "workers": 1}, id="process without room"),
        pytest.param({"n": 2, "workers": 1, "start": "spawn"}, id="spawned process"),
    ]


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    gc.collect()
    for thread in set(threading.enumerate()) - before:
        thread.join(timeout=10)
    assert set(threading.enumerate()) <= before
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("way", ways())
def test_items_come_in_order_with_their_states(way: dict[str, Any]) -> None:
    ahead = Ahead(things, **way)
    found = list(ahead)
    assert [state["at"] for _, state in found] == [1, 2, 3, 4, 5]
    for (mine, _), (theirs, _) in zip(found, things(), strict=True):
        assert mine.name == theirs.name
        assert torch.equal(mine.numbers, theirs.numbers)
        assert mine.numbers.dtype == theirs.numbers.dtype
        assert torch.equal(mine.more[0], theirs.more[0])
        mine.numbers.add_(1)  # it is the caller's own
    for _ in range(2):
        with pytest.raises(StopIteration):
            next(ahead)
    assert ahead.waited > 0
    ahead.close()


@pytest.mark.parametrize("way", ways())
def test_an_error_arrives_where_its_item_would(way: dict[str, Any]) -> None:
    ahead = Ahead(failing, **way)
    assert [thing.name for thing, _ in islice(ahead, 2)] == ["thing 0", "thing 1"]
    with pytest.raises(DataError, match=r"^line 7 is broken$"):
        next(ahead)
    with pytest.raises((DataError, StopIteration)):
        next(ahead)
    ahead.close()


def test_an_error_that_cannot_be_sent_is_told() -> None:
    ahead = Ahead(failing_oddly, 1, workers=1)
    next(ahead)
    with pytest.raises(RuntimeError, match="OddError: 1 and 2"):
        next(ahead)


def test_a_process_that_dies_is_an_error_not_a_hang() -> None:
    ahead = Ahead(dying, 1, workers=1)
    with pytest.raises(DataError, match=r"ended by itself \(exit code -9\).*workers: 0"):
        list(ahead)


@pytest.mark.parametrize("way", ways()[1:])
def test_closing_stops_what_waits_for_room(way: dict[str, Any]) -> None:
    ahead = Ahead(endless, **way)
    assert next(ahead)[1] == {"at": 1}
    ahead.close()


@pytest.mark.parametrize("way", ways()[1:])
def test_what_is_abandoned_leaves_nothing_behind(way: dict[str, Any]) -> None:
    ahead = Ahead(endless, **way)
    next(ahead)
    del ahead


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="processes are not forked here")
def test_a_process_is_never_forked_in_the_middle_of_a_threads_work() -> None:
    """A lock that the thread held then, such as of a module that is being imported, would never open there."""
    lock, begun, tried = threading.Lock(), threading.Event(), threading.Event()

    def slow() -> Items:
        with lock:
            begun.set()
            tried.wait(timeout=10)
        yield torch.zeros(1), {}

    def quick() -> Items:
        yield lock.acquire(timeout=1), {}

    beside = Ahead(slow, 1)
    assert begun.wait(timeout=10)
    threading.Timer(0.2, tried.set).start()
    found = next(Ahead(quick, 1, workers=1))[0]
    assert tried.is_set()  # the process was not there before the thread had let go
    assert found is True
    beside.close()


@pytest.mark.skipif(not hasattr(os, "register_at_fork"), reason="processes are not forked here")
def test_ctrl_c_while_a_fork_waits_is_passed_on_and_leaves_nothing_locked(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted:
        def acquire(self, timeout: float) -> bool:  # noqa: ARG002
            raise KeyboardInterrupt

    passed_on = []
    still = forking._StandingStill.__new__(forking._StandingStill)
    still._guard, still._held = threading.Lock(), []
    first = threading.RLock()
    still._at_work = [first, Interrupted()]  # type: ignore[assignment]
    monkeypatch.setattr(forking._thread, "interrupt_main", lambda: passed_on.append(True))
    still._hold()
    assert still._guard.locked()
    still._release()
    assert passed_on == [True]
    assert not still._guard.locked()
    taken = []
    other = threading.Thread(target=lambda: taken.append(first.acquire(timeout=5)))
    other.start()
    other.join()
    assert taken == [True]


def test_a_fork_waits_for_a_thread_no_longer_than_it_has_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forking, "_PATIENCE", 0.05)
    still = forking._StandingStill.__new__(forking._StandingStill)
    still._guard, still._held, busy = threading.Lock(), [], threading.RLock()
    still._at_work = {busy}
    holder = threading.Thread(target=busy.acquire)
    holder.start()
    holder.join()
    with pytest.warns(RuntimeWarning, match="while a thread works on"):
        still._hold()
    still._release()
    assert not still._guard.locked()


def test_a_process_works_on_one_thread_apart() -> None:
    ((process, torch_threads, threads), _) = next(Ahead(telling, 1, workers=1))
    assert process != os.getpid()
    assert (torch_threads, threads) == (1, 1)


def test_what_waits_is_bounded_by_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead_module, "_MAX_BYTES", 10)
    made: list[int] = []
    full = threading.Event()

    def large() -> Items:
        for index in range(100):
            made.append(index)
            if index == 2:
                full.set()
            yield torch.zeros(1000), {}

    ahead = Ahead(large, 50)
    assert full.wait(10)
    assert made == [0, 1, 2]  # two wait, and a third has no room
    next(ahead)
    ahead.close()
    assert len(made) <= 5


SCRIPT = """
    import os, signal, sys, time
    import torch
    from sensorium.data.ahead import Ahead

    def endless():
        while True:
            yield torch.zeros(1000), {"process": os.getpid()}

    if __name__ == "__main__":
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs would ignore it
        ahead = Ahead(endless, 2, workers=1)
        try:
            print(next(ahead)[1]["process"], flush=True)
            {then}
        except KeyboardInterrupt:
            next(ahead)
            ahead.close()
"""


def run(then: str, meet: Callable[[subprocess.Popen[str]], None] = lambda _: None) -> tuple[int, str]:
    """Run a program that ends in some way; its worker must end as well."""
    source = textwrap.dedent(SCRIPT).replace("{then}", then)
    command = [sys.executable, "-c", source]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as program:
        assert program.stdout is not None
        worker = int(program.stdout.readline())
        meet(program)
        _, complaints = program.communicate(timeout=60)
    deadline = time.monotonic() + 30
    while alive(worker):
        assert time.monotonic() < deadline, "the worker outlives its program"
    return program.returncode, complaints


def alive(process: int) -> bool:
    try:
        status = Path(f"/proc/{process}/stat").read_text(encoding="ascii")
        return status.rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_program_ends_when_its_thread_has_made_its_item() -> None:
    """Killed amid native code, the thread would abort the program."""
    source = """
        import time
        from sensorium.data.ahead import Ahead

        def slow():
            print("begun", flush=True)
            time.sleep(0.5)
            print("made", flush=True)
            yield None, {}
            print("more", flush=True)

        ahead = Ahead(slow, 2)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(source)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["begun", "made"], "")


needs_proc = pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="looks at processes through /proc")


@needs_proc
def test_a_program_that_ends_takes_its_process_along() -> None:
    assert run("pass") == (0, "")


@needs_proc
def test_a_program_that_is_killed_takes_its_process_along() -> None:
    assert run("while True: time.sleep(0.01)", lambda program: program.kill())[0] == -signal.SIGKILL


@needs_proc
def test_ctrl_c_is_for_the_program_alone() -> None:
    """The terminal sends it to all; what works in the background says nothing."""
    assert run("while True: next(ahead)", lambda program: os.killpg(program.pid, signal.SIGINT)) == (0, "")
