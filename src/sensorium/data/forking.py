"""Threads that stand still while this process is forked: in the copy, a lock that one of them held never opens."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_PATIENCE = 30.0  # seconds that a fork waits for a thread; one that takes longer is taken not to end


class _StandingStill:
    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._at_work: set[threading.RLock] = set()
        self._held: list[threading.RLock] = []
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(before=self._hold, after_in_parent=self._release, after_in_child=self._begin_anew)

    @contextmanager
    def worker(self) -> Iterator[threading.RLock]:
        """A lock for the thread at hand, to be held whenever it works, and let go between."""
        at_work = threading.RLock()
        with self._guard:
            self._at_work.add(at_work)
        try:
            yield at_work
        finally:
            with self._guard:
                self._at_work.discard(at_work)

    def _hold(self) -> None:
        self._guard.acquire()
        self._held = [at_work for at_work in self._at_work if at_work.acquire(timeout=_PATIENCE)]

    def _release(self) -> None:
        for at_work in self._held:
            at_work.release()
        self._held = []
        self._guard.release()

    def _begin_anew(self) -> None:  # none of the other threads is there
        self._guard, self._at_work, self._held = threading.Lock(), set(), []


standing_still = _StandingStill()
