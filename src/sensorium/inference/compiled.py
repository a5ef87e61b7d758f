"""The decoding step, compiled by PyTorch's inductor: several times fewer dispatches, and weights read at full speed."""

from __future__ import annotations

import atexit
import ctypes
import logging
import os
import signal
import sys
import threading
import types
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sensorium.inference.threads import torch_threads
from sensorium.nn.attention import KVCache
from sensorium.nn.compilation import has_compiler
from sensorium.nn.omni import Omni

log = logging.getLogger(__name__)
_PATIENCE, _TRIES = 2.0, 10  # seconds that the end of the program waits for a compilation to stop
Step = Callable[[Tensor, Tensor, KVCache], Tensor]
"""Token ids (rows, 1), their positions (rows, 1) and the cache → scores (rows, vocab_size), or of fewer tokens."""


def plain_step(model: Omni) -> Step:
    """The model's own forward, one token per row."""
    decoder = model.decoder

    def step(ids: Tensor, positions: Tensor, cache: KVCache) -> Tensor:
        scores: Tensor = decoder.logits(decoder(ids, positions=positions, cache=cache)[:, -1])
        return scores

    return step


def narrow_step(model: Omni, tokens: slice) -> Step:
    """The same, with scores of some tokens alone."""
    decoder = model.decoder

    def step(ids: Tensor, positions: Tensor, cache: KVCache) -> Tensor:
        scores: Tensor = decoder.logits_among(decoder(ids, positions=positions, cache=cache)[:, -1], tokens)
        return scores

    return step


def fused_step(model: Omni) -> Step:
    """The plain one for a cache that remembers pictures and recordings."""

    def step(ids: Tensor, positions: Tensor, cache: KVCache) -> Tensor:
        return model.logits_of(model.hidden_states(ids, positions=positions, cache=cache))[:, -1]

    return step


def _give_up(thread: threading.Thread) -> None:
    """Stop a compilation as the program ends: one that ran on into the interpreter's own end would abort it."""
    complain = sys.unraisablehook
    sys.unraisablehook = lambda raised: None if raised.exc_type is SystemExit else complain(raised)
    for _ in range(_TRIES):  # where an exception may not pass, such as in a weak reference's end, it is lost
        if thread.is_alive() and thread.ident is not None:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit))
            if thread.native_id is not None:  # a wait for the C++ compiler would end amid the interpreter's own end
                with suppress(OSError):  # it ended by itself
                    _stop_children(Path(f"/proc/self/task/{thread.native_id}"))
            thread.join(_PATIENCE / _TRIES)


def _stop_children(task: Path) -> None:
    """Stop the processes that a thread began, and those that they began. Raises `OSError` where one ends meanwhile."""
    for child in map(int, (task / "children").read_text().split()):
        for other in Path(f"/proc/{child}/task").iterdir():
            _stop_children(other)
        os.kill(child, signal.SIGKILL)


class CompiledStep:
    """The step for a single row, compiled once for any length of the cache; None until, or unless, it is ready.

    A machine without a compiler, or a compilation that fails, leaves `step` None for good: the caller goes on with
    the plain step, which gives the same scores.
    """

    def __init__(self, model: Omni, threads: int) -> None:
        self._model = model
        self._threads = threads
        self._lock = threading.Lock()
        self._started = False
        self.step: Step | None = None

    def prepare(self, *, wait: bool) -> None:
        """Begin compiling, unless that was done; `wait` until it is ready, or go on in the background."""
        with self._lock:
            if self._started:
                return
            self._started = True
        if self._model.device.type != "cpu" or not has_compiler(self._model.device):
            return
        if wait:
            self._compile()
        else:
            thread = threading.Thread(target=self._compile, name="sensorium-compile", daemon=True)
            thread.start()
            atexit.register(_give_up, thread)

    def _compile(self) -> None:
        try:
            self.step = self._compiled()
        except Exception as error:  # whatever goes wrong in a compiler, the plain step still answers
            log.info("the decoding step stays uncompiled: %s", error)

    @torch.inference_mode()
    def _compiled(self) -> Step:
        model, plain = self._model, plain_step(self._model)
        # The compiler keeps its results by code object and, with the guards gone, would take them for any model.
        step = types.FunctionType(plain.__code__.replace(), plain.__globals__, closure=plain.__closure__)
        options: dict[str, str | int | bool | Callable[..., Any]] = {
            "cpp_wrapper": True,
            "compile_threads": 1,  # no pool of worker processes, which would outlive an interrupted reply
            "guard_filter_fn": torch.compiler.skip_all_guards_unsafe,  # only the cache's length ever changes
        }
        compiled: Step = torch.compile(step, fullgraph=True, options=options)
        # An example longer than any window: a shorter one would leave the window's mask out.
        windows = [
            window
            for layer in range(model.config.decoder.n_layers)
            if (window := model.config.decoder.window_of(layer))
        ]
        cache = KVCache(model.config.decoder, 1, max([128, *windows]) + 1, dtype=model.dtype, device=model.device)
        for stored in (*cache.keys, *cache.values):
            torch._dynamo.mark_dynamic(stored, 2)
        # Two tensors: one given twice would be compiled as a single input.
        ids, positions = (torch.zeros((1, 1), dtype=torch.long, device=model.device) for _ in range(2))
        with torch_threads(self._threads):
            compiled(ids, positions, cache)
        return compiled
