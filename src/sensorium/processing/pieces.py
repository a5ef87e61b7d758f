"""What each token stands for in bytes, and decoding that never splits a character."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Mapping
from typing import Any

from sensorium.errors import CheckpointError

_BYTE_PIECE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_META_SPACE = "▁"
# What BERT's decoder sets without the space before it.
_CLOSES_UP = (" .", " ?", " !", " ,", " n't", " 'm", " 's", " 've", " 're")


def byte_alphabet() -> dict[str, int]:
    """GPT-2's printable stand-in of each byte: a character of a byte-level vocabulary → the byte it means."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    rest = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(rest)}


class PieceReader:
    """Turns the entries of a vocabulary into bytes, by the `decoder` of a `tokenizer.json`.

    Byte-level (GPT-2, Llama 3, Qwen), metaspace with byte fallback (Llama 2, Mistral), WordPiece (BERT) and whole
    words are understood. In the last three, words carry the space before them and a text loses its first one
    (`drops_first_space`).

    Raises:
        CheckpointError: on another kind of decoder.
    """

    def __init__(self, decoder: Mapping[str, Any] | None) -> None:
        self.steps: list[Mapping[str, Any]] = [{"type": "Words"}] if decoder is None else list(_flatten(decoder))
        self.drops_first_space = False
        # Characters of no byte go where Latin-1 does not reach.
        self._bytes = dict.fromkeys(range(256), "\uffff") | {ord(c): chr(byte) for c, byte in byte_alphabet().items()}
        for step in self.steps:
            kind = step.get("type")
            if kind not in _KINDS:
                raise CheckpointError(
                    f"the tokenizer's decoder {kind!r} is not supported (one of: {', '.join(_KINDS)})"
                )
            if kind in ("Words", "WordPiece"):
                self.drops_first_space = True
            elif kind == "Metaspace":
                self.drops_first_space = step.get("prepend_scheme", "always") != "never"
            elif kind == "Strip":
                self.drops_first_space = step.get("content") == " " and step.get("start", 0) > 0

    def read(self, piece: str) -> bytes:
        """The bytes of one entry of the vocabulary."""
        for step in self.steps:
            kind = step["type"]
            if kind == "ByteLevel":
                try:
                    return piece.translate(self._bytes).encode("latin-1")
                except UnicodeEncodeError:
                    return piece.encode()
            if kind == "ByteFallback" and (match := _BYTE_PIECE.fullmatch(piece)):
                return bytes([int(match[1], 16)])
            if kind == "Replace" and isinstance(pattern := step["pattern"].get("String"), str):
                piece = piece.replace(pattern, step["content"])
            elif kind == "Metaspace":
                piece = piece.replace(step.get("replacement", _META_SPACE), " ")
            elif kind == "WordPiece":
                piece = _word_piece(piece, step.get("prefix", "##"), step.get("cleanup", True))
            elif kind == "Words":
                piece = " " + piece
        return piece.encode()


class StreamDecoder:
    """Turns token ids into text as they come, whole characters only.

    The pieces of `push`, followed by `flush`, are the text that decoding all ids at once gives.
    """

    def __init__(self, table: list[bytes], drops_first_space: bool) -> None:
        self._table = table
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._at_start = drops_first_space

    def push(self, token_id: int) -> str:
        """The characters that this token completes; empty while one is unfinished. Unknown ids stand for nothing."""
        return self._shown(self._utf8.decode(self._table[token_id] if 0 <= token_id < len(self._table) else b""))

    def flush(self) -> str:
        """The end of the text: `�` for a character left unfinished, else nothing. The decoder starts afresh."""
        return self._shown(self._utf8.decode(b"", final=True))

    def _shown(self, text: str) -> str:
        if self._at_start and text:
            self._at_start = False
            return text.removeprefix(" ")
        return text


def decode(ids: Iterable[int], table: list[bytes], drops_first_space: bool) -> str:
    """All ids at once; bytes that are not UTF-8 become `�`."""
    text = b"".join(table[i] for i in ids if 0 <= i < len(table)).decode("utf-8", "replace")
    return text.removeprefix(" ") if drops_first_space else text


_KINDS = ("ByteLevel", "ByteFallback", "Fuse", "Metaspace", "Replace", "Strip", "WordPiece", "Words")


def _flatten(decoder: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    if decoder.get("type") == "Sequence":
        for inner in decoder.get("decoders", ()):
            yield from _flatten(inner)
    else:
        yield decoder


def _word_piece(piece: str, prefix: str, cleanup: bool) -> str:
    if piece.startswith(prefix):
        return piece.removeprefix(prefix)
    return piece if cleanup and f" {piece}".startswith(_CLOSES_UP) else f" {piece}"
