"""Small tokenizers in the layout of transformers, for folders of published models made on the spot."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

TEXTS = ["What is this? User: Assistant: USER: ASSISTANT: A red ball, 7 cats and a dog. 这是什么？\n"] * 8

CHATML = (
    "{%- for message in messages %}{{- '<|im_start|>' ~ message.role ~ '\\n' ~ message.content ~ '<|im_end|>\\n' }}"
    "{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)


def write_words(
    folder: Path, specials: Sequence[str], *, template: str | None = None, least: int = 300, **settings: Any
) -> Tokenizer:
    """A byte-level `tokenizer.json` with `specials` as its last ids.

    Args:
        folder: where to write; made where it is missing.
        specials: spellings of the control tokens.
        template: becomes `chat_template.jinja`.
        least: pieces before the specials.
        settings: entries of `tokenizer_config.json`, such as `eos_token`.
    """
    engine = Tokenizer(models.BPE())
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    engine.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=least, initial_alphabet=alphabet, show_progress=False)
    engine.train_from_iterator(TEXTS, trainer)
    engine.add_tokens([AddedToken(name, special=True, normalized=False) for name in specials])
    folder.mkdir(parents=True, exist_ok=True)
    engine.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast"} | settings
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    if template is not None:
        (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    return engine
