"""Folders that appear whole or not at all: a crash, a full disk or a kill leaves the former one as it was."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path

from safetensors import SafetensorError

from sensorium.errors import CheckpointError

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


@contextlib.contextmanager
def staged_folder(folder: Path, own_files: Collection[str]) -> Iterator[Path]:
    """Write into a hidden folder beside `folder`, which takes its place when the block ends well.

    Args:
        folder: where the result shall stand. It may exist when it is empty or holds `own_files` only; a link to such a
            folder stays a link.
        own_files: names of the files that a former version may consist of.

    Raises:
        CheckpointError: `folder` holds something else, or the disk refuses (full, read-only, no such parent).
    """
    folder = folder.resolve() if folder.is_dir() else folder.absolute()
    _refuse_strangers(folder, own_files)
    stage: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        yield stage
        _open_to_readers(stage)
        _flush(stage)
        _take_place(stage, folder)
    except (OSError, SafetensorError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise CheckpointError(f"cannot write {folder}: {reason} (nothing was changed)") from None
    finally:
        if stage is not None:
            shutil.rmtree(stage, ignore_errors=True)


def _refuse_strangers(folder: Path, own_files: Collection[str]) -> None:
    if folder.is_dir():
        strangers = sorted(entry.name for entry in folder.iterdir() if entry.name not in own_files)
        if strangers:
            raise CheckpointError(
                f"{folder} already holds {strangers[0]!r}, which is no part of a model (choose a new or empty folder)"
            )
    elif folder.exists() or folder.is_symlink():
        raise CheckpointError(f"{folder} exists and is not a folder (choose another name)")


def _open_to_readers(stage: Path) -> None:
    """Give everything the usual permissions: temporary folders and weight files begin as their owner's alone."""
    mask = os.umask(0)
    os.umask(mask)
    stage.chmod(0o777 & ~mask)
    for path in stage.rglob("*"):
        path.chmod((0o777 if path.is_dir() else 0o666) & ~mask)


def _flush(folder: Path) -> None:
    """Bring the files to the disk before their names: a rename must not outlive its contents in a power cut."""
    for path in (*folder.rglob("*"), folder):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _take_place(stage: Path, folder: Path) -> None:
    """Put `stage` where `folder` stands; afterwards `stage` names the former folder, or nothing."""
    if not folder.exists():
        stage.rename(folder)
    elif not _exchange(stage, folder):
        # Without an atomic exchange there is an instant in which neither stands; the former one is kept until then.
        former = stage.with_name(stage.name + ".former")
        folder.rename(former)
        stage.rename(folder)
        former.rename(stage)
    parent = os.open(folder.parent, os.O_RDONLY)
    try:
        os.fsync(parent)
    finally:
        os.close(parent)


def _exchange(first: Path, second: Path) -> bool:
    """Swap two folders in one step (Linux `renameat2`); false where the system cannot."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    result: int = renameat2(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE)
    return result == 0
