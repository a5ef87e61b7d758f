"""Threads that stand still while this process is forked: in the copy, a lock that one of them held never opens."""

from __future__ import annotations

import _thread
import os
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_PATIENCE = 30.0  # seconds that a fork waits for all of them


class _StandingStill:
    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._at_work: set[threading.RLock] = set()
        self._held: list[threading.Lock | threading.RLock] = []  # by the thread that forks, which has the guard
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
        """Before a fork: wait until nobody works. What is raised here would be lost, so Ctrl-C is passed on."""
        deadline = time.monotonic() + _PATIENCE
        try:
            if not self._guard.acquire(timeout=_PATIENCE):
                return  # another thread forks, and waits for this one
            self._held = [self._guard]
            for at_work in self._at_work:
                if at_work.acquire(timeout=max(deadline - time.monotonic(), 0.0)):
                    self._held.append(at_work)
                else:
                    warnings.warn("a process is forked while a thread works on", RuntimeWarning, stacklevel=2)
        except KeyboardInterrupt:
            _thread.interrupt_main()

    def _release(self) -> None:
        """After it."""
        held, self._held = self._held, []
        for lock in reversed(held):
            lock.release()

    def _begin_anew(self) -> None:  # none of the other threads is there
        self._guard, self._at_work, self._held = threading.Lock(), set(), []


standing_still = _StandingStill()
