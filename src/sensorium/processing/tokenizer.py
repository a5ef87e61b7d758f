"""Text to token ids and back: byte-level BPE of our own, and the tokenizers of published checkpoints."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, processors, trainers

from sensorium.errors import CheckpointError, ConfigError, DataError
from sensorium.processing import pieces
from sensorium.processing.files import TokenizerFiles, added_entry, read_folder
from sensorium.processing.pieces import PieceReader, StreamDecoder
from sensorium.processing.seal import LOCATION, Seal

__all__ = ["CONTROLS", "TURNS", "StreamDecoder", "Tokenizer", "require_unicode"]

TURNS = ("<|bos|>", "<|eos|>", "<|pad|>", "<|mask|>", "<|system|>", "<|user|>", "<|assistant|>", "<|tool|>", "<|end|>")
_MEDIA = ("<|image|>", "<|audio|>", "<|image_begin|>", "<|image_end|>", "<|audio_begin|>", "<|audio_end|>")
CONTROLS = (*TURNS, *_MEDIA, *(f"<|reserved_{index}|>" for index in range(len(_MEDIA), 23)))
"""Control tokens of tokenizers trained here: ids 0 to 31, the reserved ones for modalities to come."""

_OUR_ROLES = {"bos": "<|bos|>", "eos": "<|eos|>", "pad": "<|pad|>", "mask": "<|mask|>"}
_MIN_VOCAB = len(CONTROLS) + 256
_MAX_PIECE = 24

# Words keep the space before them; Chinese runs stand apart from Latin ones; every digit stands alone; marks stay
# with their letters (NFD, Indic scripts); newlines end a run of punctuation or of blanks.
_WORDS = (
    r"['’](?i:s|d|m|t|ll|ve|re)(?![\p{L}\p{M}])"
    r"|\p{Han}+"
    r"| ?[\p{L}\p{M}&&[^\p{Han}]]+"
    r"|\p{N}"
    r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


class Tokenizer:
    """A vocabulary and the way text is cut into it.

    Text is text: a control token spelled inside it never becomes that token, unless a caller asks with
    `controls=True`. The trick that makes this hold for every kind of tokenizer is `Seal`.

    Attributes:
        vocab_size: number of ids, controls included (the largest id + 1).
        control_ids: spelling → id of every control token, special or not.
        special_ids: those controls that decoding leaves out (all, for tokenizers trained here).
        bos_id, eos_id, pad_id, mask_id, unk_id: ids of the tokens that play these roles, None where there is none.
            BERT's `[CLS]` and `[SEP]` are its beginning and end.
        prompt_ids: what the tokenizer puts before a plain text that is to be continued.
    """

    def __init__(self, files: TokenizerFiles) -> None:
        self._files = files
        try:
            self._seal = Seal(files)
            reader = PieceReader(files.spec.get("decoder"))
            self._full = _table(self._seal, reader)
        except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
            problem = f"{type(error).__name__} {error}"
            raise CheckpointError(f"the tokenizer file has an unknown form: {problem}") from None
        self.control_ids: Mapping[str, int] = self._seal.control_ids
        self.special_ids = frozenset(i for spelling, i in self.control_ids.items() if spelling in files.special)
        self.roles: Mapping[str, str] = {role: name for role, name in files.roles.items() if name in self.control_ids}
        self.bos_id = self._role("bos", "cls")
        self.eos_id = self._role("eos", "sep")
        self.pad_id = self._role("pad")
        self.mask_id = self._role("mask")
        self.unk_id = self._role("unk")
        self.prompt_ids = self._seal.prefix
        if files.adds_bos is not None:
            self.prompt_ids = [self.bos_id] if files.adds_bos and self.bos_id is not None else []
        self._drops_first_space = reader.drops_first_space
        self.vocab_size = len(self._full)
        self._shown = [b"" if index in self.special_ids else piece for index, piece in enumerate(self._full)]
        self._lengths = np.array([len(piece) for piece in self._shown], dtype=np.int64)

    @classmethod
    def train(cls, texts: Iterable[str], vocab_size: int, *, locations: int = 0, progress: bool = False) -> Self:
        """Learn a byte-level BPE (Sennrich et al. 2016, arXiv:1508.07909; bytes as in GPT-2).

        Args:
            texts: the text to learn from, in pieces of any size.
            vocab_size: ids wanted, the 32 controls and 256 bytes included; little text may give fewer.
            locations: location tokens beyond these, see `with_locations`.
            progress: show a bar on standard error.

        Raises:
            ConfigError: when `vocab_size` does not hold the controls and bytes.
            DataError: when there is no text, or it holds a lone surrogate.
        """
        if vocab_size < _MIN_VOCAB:
            raise ConfigError(f"vocab_size = {vocab_size}: a byte-level vocabulary needs at least {_MIN_VOCAB}")
        engine = tokenizers.Tokenizer(models.BPE())
        engine.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(tokenizers.Regex(_WORDS), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        engine.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size,
            min_frequency=2,
            special_tokens=[tokenizers.AddedToken(name, special=True, normalized=False) for name in CONTROLS],
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            max_token_length=_MAX_PIECE,
            show_progress=progress,
        )
        seen = 0

        def checked() -> Iterator[str]:
            nonlocal seen
            for text in texts:
                require_unicode(text)
                seen += len(text)
                yield LOCATION.sub("", text) if locations else text

        engine.train_from_iterator(checked(), trainer)
        if not seen:
            raise DataError("there is no text to train a tokenizer on (the data set is empty)")
        engine.post_processor = processors.TemplateProcessing(
            single="<|bos|> $A", special_tokens=[("<|bos|>", CONTROLS.index("<|bos|>"))]
        )
        return cls(TokenizerFiles.of(json.loads(engine.to_str()), _OUR_ROLES)).with_locations(locations)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a tokenizer from a model folder, ours or Hugging Face's.

        Reads `tokenizer.json` (roles from `tokenizer_config.json` and `special_tokens_map.json`), else GPT-2's
        `vocab.json` and `merges.txt`.

        Raises:
            CheckpointError: when the files are missing, broken or of an unknown kind.
        """
        return cls(read_folder(Path(folder)))

    def with_locations(self, n: int) -> Self:
        """The same with `n` tokens for places in a picture, `<loc00>`, `<loc01>` and so on, as its last ids.

        They are plain text, of one token each: a user's words and a model's may hold them.

        Raises:
            ConfigError: it has another number of them already.
        """
        if n and len(self.location_ids) not in (0, n):
            raise ConfigError(f"the tokenizer has {len(self.location_ids)} location tokens already, not {n}")
        width = max(2, len(str(n - 1)))
        return self._with([f"<loc{index:0{width}}>" for index in range(n)], special=False)

    @property
    def location_ids(self) -> list[int]:
        """Ids of the tokens for places in a picture, in order; empty where there are none."""
        found = (name for name in self._files.added if LOCATION.fullmatch(name))
        return [int(self._files.added[name]["id"]) for name in sorted(found, key=lambda name: int(name[4:-1]))]

    def with_controls(self, names: Iterable[str]) -> Self:
        """The same with control tokens of these names; those it lacks become its last ids.

        One trained here before pictures and sounds had tokens of their own has them in its reserved ones.
        """
        return self._renamed(names)._with(names, special=True)

    def _renamed(self, names: Iterable[str]) -> Self:
        """The same with the tokens of these names in the places that were kept for them."""
        kept = {f"<|reserved_{index - len(TURNS)}|>": name for index, name in enumerate(CONTROLS) if name in {*names}}
        new = {
            old: name
            for old, name in kept.items()
            if self.control_ids.get(old) == CONTROLS.index(name) and name not in self._files.added
        }
        if not new or not set(TURNS) <= self.control_ids.keys():
            return self
        spec = dict(self._files.spec)
        spec["added_tokens"] = [entry | {"content": new.get(name, name)} for name, entry in self._files.added.items()]
        vocabulary = {new.get(piece, piece): index for piece, index in spec["model"]["vocab"].items()}
        spec["model"] = spec["model"] | {"vocab": vocabulary}
        return type(self)(TokenizerFiles.of(spec, self._files.roles, adds_bos=self._files.adds_bos))

    def _with(self, names: Iterable[str], *, special: bool) -> Self:
        missing = [name for name in dict.fromkeys(names) if name not in self._files.added]
        if not missing:
            return self
        added = [added_entry(self.vocab_size + place, name, special=special) for place, name in enumerate(missing)]
        spec = self._files.spec | {"added_tokens": [*self._files.added.values(), *added]}
        return type(self)(TokenizerFiles.of(spec, self._files.roles, adds_bos=self._files.adds_bos))

    def save(self, folder: Path, settings: Mapping[str, Any] | None = None) -> None:
        """Write `tokenizer.json` and `tokenizer_config.json`, the same bytes each time.

        Args:
            folder: an existing folder.
            settings: further entries of `tokenizer_config.json`.
        """
        self._files.write(Path(folder), settings or {})

    def encode(self, text: str, *, controls: bool = False) -> list[int]:
        """Token ids of a text, nothing added around it.

        Args:
            text: any Unicode string.
            controls: read spellings of control tokens as those tokens. Never set this for text from outside.

        Raises:
            DataError: when the text holds a lone surrogate or the tokenizer has no way to write it.
        """
        require_unicode(text)
        return self._seal.encode(self._seal.mark_controls(text) if controls else text).ids

    def encode_pieces(self, parts: Iterable[tuple[str, bool]]) -> tuple[np.ndarray, np.ndarray]:
        """Token ids of a text that is put together from plain text and control tokens.

        It is cut as one text, as a checkpoint's own tokenizer would cut the whole.

        Args:
            parts: (text, True when this is the spelling of one control token).

        Returns:
            token_ids (time,) int32, and spans (time, 2) int64: the first character, and the last + 1, that each token
            covers in the parts joined.
        """
        marked: list[str] = []
        places: list[tuple[int, int, int, bool]] = []  # a part's begin when marked, its begin and length when plain
        position = plain = 0
        for text, control in parts:
            require_unicode(text)
            written = self._seal.mark(text) if control else text
            if text:
                marked.append(written)
                places.append((position, plain, len(text), control))
            position, plain = position + len(written), plain + len(text)
        encoding = self._seal.encode("".join(marked))
        spans = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2)
        return np.array(encoding.ids, dtype=np.int32), _unmark(spans, np.array(places, dtype=np.int64).reshape(-1, 4))

    def decode(self, ids: Iterable[int], *, controls: bool = False) -> str:
        """The text of token ids; bytes that are not UTF-8 become `�`, ids outside the vocabulary nothing.

        Args:
            ids: token ids.
            controls: also spell special tokens out.
        """
        return pieces.decode(ids, self._full if controls else self._shown, self._drops_first_space)

    def stream_decoder(self, after: Iterable[int] = ()) -> StreamDecoder:
        """A decoder for ids that come one at a time; special tokens are left out.

        Args:
            after: the ids that this text continues, so that its first space or the rest of a character comes out right.
        """
        decoder = StreamDecoder(self._shown, self._drops_first_space)
        for token_id in after:
            decoder.push(int(token_id))
        return decoder

    def n_bytes(self, ids: Iterable[int] | np.ndarray) -> int:
        """How many bytes of UTF-8 text the ids stand for; special tokens count nothing."""
        array = np.asarray(ids if isinstance(ids, np.ndarray) else list(ids), dtype=np.int64)
        return int(self._lengths[array[(array >= 0) & (array < self.vocab_size)]].sum())

    def __reduce__(self) -> tuple[type[Self], tuple[TokenizerFiles]]:
        return type(self), (self._files,)  # the secret names of its controls are each process's own

    def _role(self, *names: str) -> int | None:
        return next((self.control_ids[self.roles[name]] for name in names if name in self.roles), None)


def require_unicode(text: str) -> None:
    """Raise `DataError` when a text holds a lone surrogate, which no encoding can carry."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(f"text holds a lone surrogate at character {error.start}: it is not Unicode") from None


def _table(seal: Seal, reader: PieceReader) -> list[bytes]:
    """The bytes of every id, empty where there is no such id."""
    table = [b""] * (max(seal.vocabulary.values()) + 1)
    for piece, index in seal.vocabulary.items():
        table[index] = seal.raw_pieces[index].encode() if index in seal.raw_pieces else reader.read(piece)
    return table


def _unmark(spans: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Map character spans in the marked text to the plain one, where controls are shorter; none comes out empty."""
    if not len(spans):
        return spans
    starts, plain, lengths, is_control = places.T
    last = np.maximum(spans[:, 1] - 1, spans[:, 0])
    first_part = np.searchsorted(starts, spans[:, 0], side="right") - 1
    last_part = np.searchsorted(starts, last, side="right") - 1
    begin = plain[first_part] + np.minimum(spans[:, 0] - starts[first_part], lengths[first_part] - 1)
    end = plain[last_part] + np.minimum(last - starts[last_part], lengths[last_part] - 1) + 1
    # A control may swallow the blanks beside it: its span is its own all the same.
    controls = np.append(np.flatnonzero(is_control), len(places))
    control = controls[np.searchsorted(controls, first_part)]
    swallows = control <= last_part
    begin[swallows] = plain[control[swallows]]
    end[swallows] = (plain + lengths)[control[swallows]]
    return np.stack([begin, end], axis=1)
