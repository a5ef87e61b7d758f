"""Batches made ahead of their use, by a thread or in a process of its own."""

from __future__ import annotations

import atexit
import multiprocessing
import signal
import threading
import time
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, Generic, TypeAlias, TypeVar

import torch

from sensorium.data.forking import standing_still
from sensorium.data.wire import n_bytes, received, send
from sensorium.errors import DataError, SensoriumError

B = TypeVar("B")
State: TypeAlias = dict[str, Any]
Make: TypeAlias = Callable[[], Iterator[tuple[B, State]]]

_MAX_BYTES = 2**28  # what waits to be used, beyond two items
_POLL_SECONDS = 0.1
_NO_MORE = object()
_PATIENCE = 10.0  # seconds that the end of the program waits for a thread
_threads: weakref.WeakKeyDictionary[threading.Thread, _Waiting] = weakref.WeakKeyDictionary()


class Ahead(Iterator[tuple[B, State]], Generic[B]):
    """Items of an iterator, each with the state after it, made ahead. An error arrives where its item would.

    Args:
        make: begins the iterator; in another process where `workers` is 1. There it is a copy: whatever it changes is
            not seen here, and its items are such as `wire.send` takes. Where processes cannot be forked,
            `multiprocessing` must be able to hand it over.
        n: items that may wait; 0 makes each when it is asked for (`workers` 1 lets at least one wait).
        workers: 0 or 1 processes that make them; without, a thread of this one.
        start: how the process is started (`fork`, `spawn`), by default forked where that is known to work.

    Attributes:
        waited: seconds that the caller has spent waiting.
    """

    def __init__(self, make: Make[B], n: int, *, workers: int = 0, start: str | None = None) -> None:
        self.waited = 0.0
        self._made: Iterator[tuple[B, State]] | None = None
        self._waiting = _Waiting(max(n, 1))
        self._thread: threading.Thread | None = None
        if n == 0 and workers == 0:
            self._made = make()
            return
        # A process begins here, while the threads of others stand still (see `forking`).
        source = _Worker(make, self._waiting, start) if workers else _Here(make)
        self._thread = threading.Thread(target=_fill, args=(source, self._waiting), daemon=True)
        _threads[self._thread] = self._waiting
        self._thread.start()
        # What is abandoned must leave neither thread nor process behind.
        self._finalizer = weakref.finalize(self, self._waiting.close)

    def __next__(self) -> tuple[B, State]:
        begun = time.perf_counter()
        try:
            item: tuple[B, State] = self._waiting.take() if self._made is None else next(self._made)
            return item
        finally:
            self.waited += time.perf_counter() - begun

    def close(self) -> None:
        """Stop, and wait until nothing is made any more."""
        self._waiting.close()
        if self._thread is not None:
            self._thread.join()


@atexit.register
def _wait_for_threads() -> None:
    """Stop them all before the interpreter ends: one that is amid native code then would abort the program."""
    for thread, waiting in list(_threads.items()):
        waiting.close()
        thread.join(_PATIENCE)


class _Waiting:
    """Items between the one who makes them and the one who takes them."""

    def __init__(self, n: int) -> None:
        self._n = n
        self._items: deque[tuple[Any, int]] = deque()
        self._bytes = 0
        self._end: BaseException | None = None
        self._changed = threading.Condition()
        self.closed = False

    def put(self, item: Any) -> bool:
        """Add an item when there is room; false when nobody wants it any more."""
        size = n_bytes(item)
        with self._changed:
            self._changed.wait_for(self._has_room)
            if self.closed:
                return False
            self._items.append((item, size))
            self._bytes += size
            self._changed.notify_all()
            return True

    def end(self, error: BaseException) -> None:
        """What comes after the last item, for whoever asks and asks again."""
        with self._changed:
            self._end = error
            self._changed.notify_all()

    def take(self) -> Any:
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._end is not None)
            if not self._items:
                assert self._end is not None
                raise self._end
            item, size = self._items.popleft()
            self._bytes -= size
            self._changed.notify_all()
            return item

    def close(self) -> None:
        with self._changed:
            self.closed = True
            self._end = self._end or StopIteration()
            self._changed.notify_all()

    def _has_room(self) -> bool:
        full = len(self._items) >= self._n or (self._bytes >= _MAX_BYTES and len(self._items) >= 2)
        return self.closed or not full


def _fill(source: _Here | _Worker, waiting: _Waiting) -> None:
    try:
        for item in source.items():
            if not waiting.put(item):
                return
        waiting.end(StopIteration())
    except BaseException as error:  # whatever it is, it must reach the thread that waits
        waiting.end(error)
    finally:
        source.close()


class _Here:
    """Items made in this process."""

    def __init__(self, make: Make[Any]) -> None:
        self._make = make

    def items(self) -> Iterator[Any]:
        with standing_still.worker() as at_work:
            with at_work:
                made = self._make()
            while True:
                with at_work:
                    item = next(made, _NO_MORE)
                if item is _NO_MORE:
                    return
                yield item

    def close(self) -> None:
        """Nothing is left to stop."""


class _Worker:
    """Items made in a process of its own, which ends with this one, or when nobody takes them."""

    def __init__(self, make: Make[Any], waiting: _Waiting, start: str | None) -> None:
        self._waiting = waiting
        known = multiprocessing.get_all_start_methods()
        # Forking is instant, and needs no `if __name__ == "__main__"` in a user's script. macOS has it, but its
        # libraries do not bear it.
        context: Any = multiprocessing.get_context(start or ("fork" if known[0] != "spawn" else "spawn"))
        self._receiver, sender = context.Pipe(duplex=False)
        self._process: BaseProcess = context.Process(
            target=_work, args=(make, sender, self._receiver), name="batches", daemon=True
        )
        with warnings.catch_warnings():  # the other threads' locks are of no use to what is made there
            warnings.simplefilter("ignore", DeprecationWarning)
            self._process.start()
        sender.close()

    def items(self) -> Iterator[Any]:
        while True:
            while not self._receiver.poll(_POLL_SECONDS):
                if self._waiting.closed:
                    return
            try:
                item, error = received(self._receiver)
            except (EOFError, OSError):
                self._process.join()
                raise DataError(
                    f"the process that makes batches ended by itself (exit code {self._process.exitcode}); it may have "
                    "run out of memory (set workers: 0)"
                ) from None
            if error is not None:
                kind, said = error
                raise kind(said)
            if item is None:
                return
            yield item

    def close(self) -> None:
        self._process.terminate()
        self._process.join()
        self._receiver.close()


def _work(make: Make[Any], sender: Connection, receiver: Connection) -> None:
    """What the process does: send every item, then how it ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one who trains
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    receiver.close()  # so that sending fails when nobody is left to receive
    torch.set_num_threads(1)
    try:
        try:
            for item in make():
                send(sender, (item, None))
        except BrokenPipeError:
            raise
        except BaseException as error:  # whatever it is, it must reach who waits
            send(sender, (None, _told(error)))
        else:
            send(sender, (None, None))
    except BrokenPipeError:
        pass  # nobody wants more


def _told(error: BaseException) -> tuple[type[Exception], str]:
    """An error as the caller raises it again: ours as it is, any other by its name."""
    if isinstance(error, SensoriumError):
        return type(error), str(error)
    return RuntimeError, f"{type(error).__name__}: {error}"
