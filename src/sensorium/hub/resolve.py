"""What a model's name means: a path, a model shipped with the package, or an id on the Hugging Face hub."""

from __future__ import annotations

import contextlib
import difflib
import re
from importlib import resources
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from sensorium.errors import CheckpointError

_JUDGES = frozenset({"judge"})  # shipped to measure others by; nobody talks with them
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
_WANTED = ["*.safetensors", "*.json", "*.jinja", "*.txt"]
_PICKLED = ["*.json", "*.jinja", "*.txt", "pytorch_model*.bin"]
_UNWANTED = ["*/*", "consolidated*"]  # the same weights again, in other formats


def shipped_models(*, judges: bool = False) -> dict[str, Path]:
    """Names and folders of the models that come with the package; those that only judge others where asked for."""
    root = Path(str(resources.files("sensorium"))) / "models"
    if not root.is_dir():
        return {}
    folders = {folder.name: folder for folder in sorted(root.iterdir()) if (folder / "config.json").is_file()}
    return {name: folder for name, folder in folders.items() if judges or name not in _JUDGES}


def resolve_model(name_or_path: str | Path) -> Path:
    """The file or folder that a model's name stands for; a hub id is downloaded, or found in the local cache.

    A shipped name comes first (`./seedling` is the folder of that name), then a path, then the hub.

    Raises:
        CheckpointError: one line that says what was tried, and the nearest shipped name.
    """
    name = str(name_or_path)
    shipped = shipped_models(judges=True)
    if isinstance(name_or_path, str) and name in shipped:
        return shipped[name]
    with contextlib.suppress(OSError, RuntimeError, ValueError):  # names that no file can have
        path = Path(name).expanduser()
        if path.exists():
            return path
    close = difflib.get_close_matches(name, shipped, n=1, cutoff=0.6)
    hint = f"did you mean {close[0]!r}?" if close else f"shipped models: {', '.join(shipped_models()) or 'none'}"
    if isinstance(name_or_path, Path) or close or not _HUB_ID.fullmatch(name):
        raise CheckpointError(f"no model {name!r}: no such file or folder ({hint})")
    return _from_hub(name, hint)


def _from_hub(repository: str, hint: str) -> Path:
    try:
        folder = Path(snapshot_download(repository, allow_patterns=_WANTED, ignore_patterns=_UNWANTED))
        if not any(folder.glob("*.safetensors")):
            folder = Path(snapshot_download(repository, allow_patterns=_PICKLED, ignore_patterns=_UNWANTED))
    except LocalEntryNotFoundError:
        reason = "the hub cannot be reached and the local cache does not hold it"
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else "no"
        reason = f"the hub answers {status} (no such model, or one that needs a login)"
    except Exception as error:  # of its HTTP library, which differs by version; or of an answer that makes no sense
        reason = f"the hub could not be read: {type(error).__name__} {' '.join(str(error).split())[:200]}"
    else:
        return folder
    raise CheckpointError(f"no model {repository!r}: no such folder, and {reason} ({hint})")
