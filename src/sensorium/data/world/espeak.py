"""espeak-ng, called directly: text in, samples out, and nothing remembered from one utterance to the next.

The synthesiser keeps the phase of its flutter, of its noise and of its echo in static memory, which neither
`espeak_Initialize` nor `espeak_Terminate` resets: what was said before can be heard in what is said next. So the
shared library is loaded afresh for every utterance and unloaded after it, which costs a tenth of a millisecond.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import sys
import threading
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from sensorium.errors import ConfigError, DataError

if sys.platform == "win32":
    from _ctypes import FreeLibrary as _unload  # noqa: N813
else:
    from _ctypes import dlclose as _unload

RATE = 22_050  # samples a second, of every voice
MAX_CHARACTERS = 2_000  # two minutes of speech

# Names and values of espeak-ng's speak_lib.h.
_AUDIO_OUTPUT_SYNCHRONOUS = 2
_DONT_EXIT = 0x8000  # when the data is not there: by default the library would end the process
_CHARS_UTF8 = 1
_SPEED, _PITCH, _RANGE = 1, 3, 4
_OK = 0
_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)


@dataclass(frozen=True, slots=True)
class Manner:
    """How something is said: `speed` in words a minute (80..450), `pitch` and its `range` within 0..100."""

    speed: int = 165
    pitch: int = 50
    range: int = 50


def synthesise(text: str, voice: str, manner: Manner = Manner()) -> npt.NDArray[np.int16]:
    """What espeak-ng says: (samples,) at `RATE`, the same for the same arguments whatever was said before.

    Args:
        text: what to say, at most `MAX_CHARACTERS`.
        voice: a file of espeak-ng's voices, in lower case, and a variant: `gmw/en+m3`, `sit/cmn+f1`. (A language's
            name would do as well, but makes the library read all its voices to find it.)
        manner: how to say it.

    Raises:
        ConfigError: the extra `world` is not installed, or there is no such voice.
        DataError: the text is empty, too long, or holds nothing that can be said.
    """
    if len(text) > MAX_CHARACTERS:
        raise DataError(f"{len(text):,} characters are too long to say (at most {MAX_CHARACTERS:,}; say it in parts)")
    if "\0" in text or not text.strip():
        raise DataError(f"{text!r:.40} cannot be said (give it words, and no NUL character)")
    library_path, data_path = _installed()
    with _lock:
        library = _load(library_path)
        try:
            spoken = _say(library, data_path, text, voice, manner)
        finally:
            library.espeak_Terminate()
            _unload(library._handle)
    if not spoken:
        raise DataError(f"{text!r:.40} cannot be said (it has no words that {voice} knows)")
    return np.frombuffer(spoken, np.int16)


def _say(library: ctypes.CDLL, data_path: bytes, text: str, voice: str, manner: Manner) -> bytes:
    heard: list[bytes] = []
    failed: list[BaseException] = []

    def hear(samples: int | None, n: int, _events: int | None) -> int:
        try:
            if samples and n > 0:
                heard.append(ctypes.string_at(samples, 2 * n))
        except BaseException as error:  # Ctrl-C too: it must not end in the middle of the library
            failed.append(error)
        return int(bool(failed))

    callback = _CALLBACK(hear)
    if library.espeak_Initialize(_AUDIO_OUTPUT_SYNCHRONOUS, 0, data_path, _DONT_EXIT) != RATE:
        raise ConfigError(
            f"espeak-ng does not start from {data_path.decode()} (it needs all of it, and a path below 160 bytes; "
            f"install the extra again, {_INSTALL}, in a folder of a shorter name)"
        )
    library.espeak_SetSynthCallback(callback)
    if library.espeak_SetVoiceByName(voice.encode()) != _OK:
        raise ConfigError(f"espeak-ng has no voice {voice!r} (a voice is a file and a variant, as in gmw/en+m3)")
    for parameter, value in ((_SPEED, manner.speed), (_PITCH, manner.pitch), (_RANGE, manner.range)):
        library.espeak_SetParameter(parameter, value, 0)
    encoded = text.encode("utf-8") + b"\0"
    library.espeak_Synth(encoded, len(encoded), 0, 0, 0, _CHARS_UTF8, None, None)
    if failed:
        raise failed[0]
    return b"".join(heard)


def _load(path: str) -> ctypes.CDLL:
    library = ctypes.CDLL(path)
    pointer, number, size = ctypes.c_void_p, ctypes.c_uint, ctypes.c_size_t
    library.espeak_Synth.argtypes = [ctypes.c_char_p, size, number, ctypes.c_int, number, number, pointer, pointer]
    return library


_INSTALL = "pip install 'sensorium[world]'"


@cache
def _installed() -> tuple[str, bytes]:
    """Paths of the library and of its data."""
    try:
        loader: Any = importlib.import_module("espeakng_loader")
    except ImportError:
        raise ConfigError(f"speech of the generated world needs espeak-ng, of the extra world: {_INSTALL}") from None
    return loader.get_library_path(), loader.get_data_path().encode()


# One utterance at a time in a process; a fork waits for the one under way, so that the child finds none half said.
_lock = threading.Lock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)
