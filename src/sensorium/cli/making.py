"""Pictures and speech of replies as files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from sensorium.errors import DataError, RequestError
from sensorium.messages import AudioDelta, Delta, ImageDelta

_ENDINGS = {"image": ".png", "speech": ".wav"}


def check_out(out: Path | None, reply: str) -> None:
    """Raise before any work is done when a reply could not be written.

    Raises:
        RequestError: the ending does not fit the reply, or a picture or speech is asked for without a file.
        DataError: the folder is not there, or nothing can be written in it, or the file is a folder itself.
    """
    if out is None:
        if reply in _ENDINGS:
            raise RequestError(f"--reply {reply} needs a file to write (give --out NAME{_ENDINGS[reply]})")
        return
    endings = [_ENDINGS[reply]] if reply in _ENDINGS else list(_ENDINGS.values())
    if out.suffix.lower() not in endings:
        raise RequestError(f"{out} must end in {' or '.join(endings)} (pictures are PNG files, speech is WAV)")
    if not out.absolute().parent.is_dir():
        raise DataError(f"the folder of {out} does not exist (make it first)")
    if out.is_dir():
        raise DataError(f"{out} is a folder (name a file in it)")
    if not os.access(out.absolute().parent, os.W_OK):
        raise DataError(f"{out} cannot be written: its folder takes no files (permission denied)")


def write_media(out: Path, deltas: Sequence[Delta]) -> list[Path]:
    """Write what a reply shows or says of the kind that the file's ending names, whole or not at all.

    Several pictures become `NAME-1.png`, `NAME-2.png` and so on; all speech is one recording.

    Returns:
        The files, none where the reply holds nothing of the kind.

    Raises:
        DataError: a file cannot be written.
    """
    if out.suffix.lower() == ".wav":
        from sensorium.processing.codes import wav_bytes

        sounds = [delta for delta in deltas if isinstance(delta, AudioDelta)]
        if not sounds:
            return []
        return [write_file(out, wav_bytes(b"".join(sound.pcm16 for sound in sounds), sounds[0].sample_rate))]
    pictures = [delta.png for delta in deltas if isinstance(delta, ImageDelta) and delta.final]
    if len(pictures) == 1:
        return [write_file(out, pictures[0])]
    return [
        write_file(out.with_name(f"{out.stem}-{number}{out.suffix}"), png)
        for number, png in enumerate(pictures, start=1)
    ]


def write_file(path: Path, data: bytes) -> Path:
    """Write a file whole or not at all. Raises `DataError` when it cannot be written."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise DataError(f"{path} cannot be written: {error.strerror}") from None
    return path
