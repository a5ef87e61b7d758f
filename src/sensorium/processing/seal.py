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

_MAX_IDS = 2**24
LOCATION = re.compile(r"<loc\d+>")  # a place in a picture: a token, but plain text
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
        controls = [name for name in files.added if name in files.special or _is_markup(name)]
        if _has_byte_fallback(files.spec):
            controls = [name for name in controls if not re.fullmatch(r"<0x[0-9A-F]{2}>", name)]
        self._names = {name: secret() for name in controls}
        try:
            self._engine = Tokenizer.from_str(json.dumps(_renamed(files, self._names)))
        except BaseException as error:  # tokenizers raises bare Exception, and panics beyond it
            raise_interrupt(error)
            raise CheckpointError(f"the tokenizer file cannot be used: {one_line(error)}") from None
        self._check_ids(files)
        self.control_ids = {name: self._id(secret_name) for name, secret_name in self._names.items()}
        spelled = {secret_name: name for name, secret_name in self._names.items()}
        self.vocabulary = {spelled.get(piece, piece): i for piece, i in self._engine.get_vocab().items()}
        largest = max(self.vocabulary.values(), default=-1)
        if not 0 <= largest < _MAX_IDS:
            raise CheckpointError(f"the tokenizer's vocabulary has {largest + 1} ids; 1 to {_MAX_IDS} are read")
        self.raw_pieces = {self.vocabulary[name]: name for name in files.added}
        self.prefix = _prefix(files.spec.get("post_processor") or {})
        self._spellings = re.compile("|".join(map(re.escape, sorted(controls, key=len, reverse=True))) or r"(?!)")

    def encode(self, text: str) -> Encoding:
        """Cut a text in which controls go by their secret names. Raises `DataError` when the model cannot write it."""
        try:
            return self._engine.encode(text, add_special_tokens=False)
        except BaseException as error:  # as above
            raise_interrupt(error)
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


def raise_interrupt(error: BaseException) -> None:
    """Pass on what is no fault of the work at hand: Ctrl-C, the end of the program."""
    if isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit | MemoryError):
        raise error


def _prefix(post_processor: Mapping[str, Any]) -> list[int]:
    """The ids that a post-processor sets before a single text."""
    try:
        kind = post_processor.get("type")
        if kind == "Sequence":
            return [index for inner in reversed(post_processor["processors"]) for index in _prefix(inner)]
        if kind in ("BertProcessing", "RobertaProcessing"):
            return [int(post_processor["cls"][1])]
        ids: list[int] = []
        if kind == "TemplateProcessing":
            for item in post_processor["single"]:
                if "SpecialToken" not in item:
                    break
                ids += map(int, post_processor["special_tokens"][item["SpecialToken"]["id"]]["ids"])
        return ids
    except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
        raise CheckpointError(f"the tokenizer's post_processor is broken: {type(error).__name__} {error}") from None


def _is_markup(name: str) -> bool:
    """Whether an added token that is not special acts as a control: it holds more than letters, digits and blanks."""
    return not all(c.isalnum() or c.isspace() for c in name) and not LOCATION.fullmatch(name)


def _has_byte_fallback(spec: Mapping[str, Any]) -> bool:
    return bool(spec["model"].get("byte_fallback"))


def _renamed(files: TokenizerFiles, names: Mapping[str, str]) -> dict[str, Any]:
    """The file with each control token under its secret name, and without truncation, padding or additions."""
    model = dict(files.spec["model"])
    vocabulary = model["vocab"]
    if isinstance(vocabulary, list):
        model["vocab"] = [[names.get(piece, piece), score] for piece, score in vocabulary]
    else:
        model["vocab"] = {names.get(piece, piece): index for piece, index in vocabulary.items()}
    if model.get("unk_token") is not None:
        model["unk_token"] = names.get(model["unk_token"], model["unk_token"])
    if "merges" in model:
        _check_merges(model)
    if "merges" in model and any(name in vocabulary for name in names):
        model["merges"] = [merge for merge in model["merges"] if not _touches(merge, names)]
    added = [
        entry | {"content": names[name], "normalized": False, "single_word": False, "special": True}
        if name in names
        else entry
        for name, entry in files.added.items()
    ]
    ours = {"model": model, "added_tokens": added, "truncation": None, "padding": None, "post_processor": None}
    return dict(files.spec) | ours


def _check_merges(model: Mapping[str, Any]) -> None:
    """Raise `CheckpointError` on merges that miss the prefix of later pieces: the engine would cut characters there."""
    prefix = model.get("continuing_subword_prefix") or ""
    for merge in model["merges"] if prefix else ():
        _, right = _pair(merge)
        if not right.startswith(prefix):
            raise CheckpointError(f"the tokenizer's merge {merge!r} lacks its continuing_subword_prefix {prefix!r}")


def _pair(merge: str | list[str]) -> tuple[str, str]:
    left, right = merge.split(" ", 1) if isinstance(merge, str) else merge
    return left, right


def _touches(merge: str | list[str], names: Mapping[str, str]) -> bool:
    left, right = _pair(merge)
    return left in names or right in names or left + right in names
