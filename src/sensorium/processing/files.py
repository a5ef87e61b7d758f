"""The tokenizer's files in a model folder: `tokenizer.json`, `tokenizer_config.json`, GPT-2's pair."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from sensorium.config import read_json
from sensorium.errors import CheckpointError, ConfigError

_ROLES = ("bos", "eos", "pad", "mask", "unk", "cls", "sep")
# What a role is called when no file says so; only spellings that the tokenizer declares count.
_CUSTOMARY = {
    "bos": ("<|bos|>", "<s>"),
    "eos": ("<|eos|>", "</s>"),
    "pad": ("<|pad|>", "<pad>", "[PAD]"),
    "mask": ("<|mask|>", "<mask>", "[MASK]"),
    "unk": ("<unk>", "[UNK]"),
    "cls": ("[CLS]",),
    "sep": ("[SEP]",),
}
_GPT2_CLASSES = (None, "GPT2Tokenizer", "GPT2TokenizerFast", "PreTrainedTokenizerFast", "TokenizersBackend")


@dataclass(frozen=True)
class TokenizerFiles:
    """What the files say.

    Attributes:
        text: `tokenizer.json`, as it is written.
        spec: the same, parsed.
        roles: role (`bos`, `eos`, …) → spelling.
        added: spelling → entry of `added_tokens`, by id.
        special: the spellings that decoding leaves out.
        adds_bos: `add_bos_token` where a file says so.
    """

    text: str
    spec: dict[str, Any]
    roles: Mapping[str, str]
    added: Mapping[str, dict[str, Any]]
    special: frozenset[str]
    adds_bos: bool | None = None

    @classmethod
    def of(
        cls,
        spec: dict[str, Any],
        roles: Mapping[str, str],
        text: str | None = None,
        adds_bos: bool | None = None,
    ) -> Self:
        """From a parsed `tokenizer.json`, the roles of its tokens, and its text where it is to be kept as it is."""
        entries = sorted(spec.get("added_tokens") or (), key=lambda entry: int(entry["id"]))
        added = {str(entry["content"]): dict(entry) for entry in entries if entry["content"]}
        special = frozenset(name for name, entry in added.items() if entry.get("special") or name in roles.values())
        written = json.dumps(spec, ensure_ascii=False, indent=2) if text is None else text
        return cls(written, spec, dict(roles), added, special, adds_bos)

    def write(self, folder: Path, settings: Mapping[str, Any]) -> None:
        """Write `tokenizer.json`, and `tokenizer_config.json` with the roles and `settings`."""
        config: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
        config |= {f"{role}_token": self.roles.get(role) for role in _ROLES if role in self.roles}
        if self.adds_bos is not None:
            config["add_bos_token"] = self.adds_bos
        config |= settings
        (folder / "tokenizer.json").write_bytes(self.text.encode())
        (folder / "tokenizer_config.json").write_bytes(
            (json.dumps(config, ensure_ascii=False, indent=2, sort_keys=True) + "\n").encode()
        )


def read_folder(folder: Path) -> TokenizerFiles:
    """Read the tokenizer of a model folder, ours or Hugging Face's.

    Raises:
        CheckpointError: when the files are missing, broken or of an unknown kind, naming the file.
    """
    config = read_settings(folder / "tokenizer_config.json")
    named = read_settings(folder / "special_tokens_map.json") | config
    path, customary, text = folder / "tokenizer.json", _CUSTOMARY, None
    if path.exists():
        spec = read_settings(path)
        text = path.read_bytes().decode()
    elif (folder / "vocab.json").exists() and (folder / "merges.txt").exists():
        path = folder / "vocab.json"
        spec = _read_gpt2(folder, config)
        customary = _CUSTOMARY | dict.fromkeys(("bos", "eos", "unk"), ("<|endoftext|>",))
    else:
        raise CheckpointError(f"{folder} has no tokenizer.json (nor GPT-2's vocab.json and merges.txt)")
    try:
        before = json.dumps(spec.get("added_tokens"))
        _declare(spec, config.get("added_tokens_decoder") or {})
        vocabulary = _vocabulary(spec)
        declared = {str(entry["content"]) for entry in spec["added_tokens"]}
        known = declared if text is not None else declared | vocabulary.keys()
        roles = {role: name for role in _ROLES if (name := _role(named, role, customary[role], known, vocabulary))}
        extra = {_spelling(name) or "" for name in named.get("additional_special_tokens") or ()}
        for name in sorted({*roles.values(), *extra} & vocabulary.keys() - declared):
            spec["added_tokens"].append(added_entry(vocabulary[name], name))
        for entry in spec["added_tokens"]:
            entry["special"] = bool(entry.get("special")) or entry["content"] in {*roles.values(), *extra}
        adds_bos = config.get("add_bos_token")
        if json.dumps(spec["added_tokens"]) != before:
            text = None
        return TokenizerFiles.of(spec, roles, text, adds_bos if isinstance(adds_bos, bool) else None)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path} is not a tokenizer file: {type(error).__name__} {error}") from None


def read_settings(path: Path) -> dict[str, Any]:
    """An optional JSON object; empty when there is no such file. Raises `CheckpointError` when it is broken."""
    if not path.exists():
        return {}
    try:
        data = read_json(path)
    except ConfigError as error:
        raise CheckpointError(str(error)) from None
    if not isinstance(data, dict):
        raise CheckpointError(f"{path} must hold a JSON object, not {type(data).__name__}")
    return data


def _read_gpt2(folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    kind = config.get("tokenizer_class")
    if kind not in _GPT2_CLASSES:
        raise CheckpointError(f"{folder} needs a tokenizer.json: vocab.json and merges.txt of {kind!r} are not read")
    merges_path = folder / "merges.txt"
    vocabulary = read_settings(folder / "vocab.json")
    try:
        lines = merges_path.read_text(encoding="utf-8").split("\n")
        merges = [tuple(line.rstrip("\r").split(" ")) for line in lines if line.strip() and line[:8] != "#version"]
        if any(len(merge) != 2 for merge in merges):
            raise ValueError("a merge is two pieces with a space between")
        engine = Tokenizer(models.BPE(vocabulary, [(merge[0], merge[-1]) for merge in merges]))
    except Exception as error:  # tokenizers raises bare Exception
        raise CheckpointError(f"{merges_path} does not fit vocab.json: {one_line(error)}") from None
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=bool(config.get("add_prefix_space")))
    engine.decoder = decoders.ByteLevel()
    spec: dict[str, Any] = json.loads(engine.to_str())
    extra = read_settings(folder / "added_tokens.json")
    spec["added_tokens"] = [added_entry(int(index), name) for name, index in extra.items()]
    return spec


def one_line(error: BaseException) -> str:
    """The first line of an error's words."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _declare(spec: dict[str, Any], decoder: Mapping[str, Any]) -> None:
    """Add to `added_tokens` what `tokenizer_config.json` declares beyond it, and mark what it calls special."""
    entries = spec["added_tokens"] = [dict(entry) for entry in spec.get("added_tokens") or ()]
    by_name = {entry["content"]: entry for entry in entries}
    for index, declared in decoder.items():
        name = declared["content"]
        if name not in by_name:
            entries.append(added_entry(int(index), name) | {key: declared[key] for key in _FLAGS & declared.keys()})
        elif declared.get("special"):
            by_name[name]["special"] = True


_FLAGS = {"special", "lstrip", "rstrip", "single_word", "normalized"}


def added_entry(index: int, name: str, *, special: bool = True) -> dict[str, Any]:
    """An entry of `added_tokens`."""
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": special}
    return {"id": index, "content": name, **flags}


def _vocabulary(spec: Mapping[str, Any]) -> dict[str, int]:
    """Piece → id of the model itself, added tokens apart."""
    vocabulary = spec["model"]["vocab"]
    if isinstance(vocabulary, list):  # Unigram: [piece, score]
        return {str(piece): index for index, (piece, _) in enumerate(vocabulary)}
    return {str(piece): int(index) for piece, index in vocabulary.items()}


def _role(
    named: Mapping[str, Any],
    role: str,
    customary: Iterable[str],
    known: Collection[str],
    vocabulary: Collection[str],
) -> str | None:
    """The spelling that plays a role: the one a file names, else a customary one that the tokenizer declares."""
    if f"{role}_token" in named:
        name = _spelling(named[f"{role}_token"])
        return name if name in known or name in vocabulary else None
    return next((name for name in customary if name in known), None)


def _spelling(token: object) -> str | None:
    """A token as the files write it: a string, or an object with `content`."""
    if isinstance(token, Mapping):
        token = token.get("content")
    return token if isinstance(token, str) and token else None
