"""A tokenizer whose control tokens cannot be spelled."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from typing import Any

from tokenizers import Encoding, Tokenizer

from sensorium.errors import CheckpointError, DataError
from sensorium.processing.files import TokenizerFiles, one_line

_PRIVATE = range(0xE000, 0xF8FF)


def secret() -> str:
    """A string that nobody can guess: twelve private-use characters, about 150 bits, which no filter alters."""
    return "".join(chr(_PRIVATE[secrets.randbelow(len(_PRIVATE))]) for _ in range(12))


class Seal:
    """The engine under `Tokenizer`: in it, each control token goes by a secret name, anew in every process.

    Text that spells a control (`<|end|>`) is then ordinary text, whatever the kind of model, however the token was
    declared (special or merely added) and even when the spelling is an entry of the vocabulary itself; while a control
    that is meant is written by its secret name, and the whole is still cut in one go, as the checkpoint's own
    tokenizer would (its rules for spaces around controls included).

    Attributes:
        control_ids: spelling → id.
        vocabulary: piece → id, controls under their spelling.
        raw_pieces: id → text, for the pieces that stand for themselves (added tokens).
        prefix: the ids that the file's post-processor puts before a text.
    """

    def __init__(self, files: TokenizerFiles) -> None:
        controls = [name for name, entry in files.added.items() if name in files.special or _is_markup(name)]
        if _has_byte_fallback(files.spec):
            controls = [name for name in controls if not re.fullmatch(r"<0x[0-9A-F]{2}>", name)]
        self._names = {name: secret() for name in controls}
        try:
            self._engine = Tokenizer.from_str(json.dumps(_renamed(files, self._names)))
        except Exception as error:  # tokenizers raises bare Exception
            raise CheckpointError(f"the tokenizer file cannot be used: {one_line(error)}") from None
        self._check_ids(files)
        self.control_ids = {name: self._id(secret_name) for name, secret_name in self._names.items()}
        spelled = {secret_name: name for name, secret_name in self._names.items()}
        self.vocabulary = {spelled.get(piece, piece): i for piece, i in self._engine.get_vocab().items()}
        if not self.vocabulary:
            raise CheckpointError("the tokenizer's vocabulary is empty")
        self.raw_pieces = {self.vocabulary[name]: name for name in files.added}
        self.prefix = self._prefix()
        self._spellings = re.compile("|".join(map(re.escape, sorted(controls, key=len, reverse=True))) or r"(?!)")

    def encode(self, text: str) -> Encoding:
        """Cut a text in which controls go by their secret names. Raises `DataError` when the model cannot write it."""
        try:
            return self._engine.encode(text, add_special_tokens=False)
        except Exception as error:  # tokenizers raises bare Exception
            raise DataError(f"the tokenizer cannot write this text: {one_line(error)}") from None

    def mark(self, control: str) -> str:
        """The secret name of a control token. Raises `DataError` when there is no such token."""
        if control not in self._names:
            raise DataError(f"{control!r} is not a control token of this tokenizer")
        return self._names[control]

    def mark_controls(self, text: str) -> str:
        """Replace every spelling of a control token, leftmost and longest first, by its secret name."""
        return self._spellings.sub(lambda match: self._names[match[0]], text)

    def _id(self, piece: str) -> int:
        index = self._engine.token_to_id(piece)
        assert index is not None
        return index

    def _check_ids(self, files: TokenizerFiles) -> None:
        for name, entry in files.added.items():
            index = self._engine.token_to_id(self._names.get(name, name))
            if index != entry["id"]:
                raise CheckpointError(
                    f"the tokenizer file gives token {name!r} id {entry['id']}, but {index} is its turn"
                )

    def _prefix(self) -> list[int]:
        """The special ids before the text, where the post-processor sets any."""
        plain = self._engine.encode("a", add_special_tokens=False).ids
        whole = self._engine.encode("a", add_special_tokens=True).ids
        starts = [i for i in range(len(whole) - len(plain) + 1) if whole[i : i + len(plain)] == plain]
        return whole[: starts[0]] if starts else []


def _is_markup(name: str) -> bool:
    """Whether an added token that is not special acts as a control: it holds more than letters, digits and blanks."""
    return not all(character.isalnum() or character.isspace() for character in name)


def _has_byte_fallback(spec: Mapping[str, Any]) -> bool:
    return bool(spec["model"].get("byte_fallback"))


def _renamed(files: TokenizerFiles, names: Mapping[str, str]) -> dict[str, Any]:
    """The file with each control token under its secret name, and without truncation or padding."""
    model = dict(files.spec["model"])
    vocabulary = model["vocab"]
    if isinstance(vocabulary, list):
        model["vocab"] = [[names.get(piece, piece), score] for piece, score in vocabulary]
    else:
        model["vocab"] = {names.get(piece, piece): index for piece, index in vocabulary.items()}
    if model.get("unk_token") is not None:
        model["unk_token"] = names.get(model["unk_token"], model["unk_token"])
    if "merges" in model and any(name in vocabulary for name in names):
        model["merges"] = [merge for merge in model["merges"] if not _touches(merge, names)]
    added = [
        entry | {"content": names[name], "normalized": False, "single_word": False, "special": True}
        if name in names
        else entry
        for name, entry in files.added.items()
    ]
    return dict(files.spec) | {"model": model, "added_tokens": added, "truncation": None, "padding": None}


def _touches(merge: str | list[str], names: Mapping[str, str]) -> bool:
    left, right = merge.split(" ", 1) if isinstance(merge, str) else merge
    return left in names or right in names or left + right in names
