"""Tokenizers and chat templates of published checkpoints, against `transformers` itself."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Engine
from tokenizers import decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, GPT2Tokenizer

from sensorium.data.sources import source
from sensorium.errors import CheckpointError
from sensorium.messages import Message
from sensorium.processing import Processor, Tokenizer

words = st.text("abdehilosuTHE127 \n\t.,!?'é你好今天🎉\u0301/[]<>|", max_size=25)
shared_folder = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def conversation(texts: list[str], *, system: bool) -> list[Message]:
    turns = [Message.user(text) if index % 2 == 0 else Message.assistant(text) for index, text in enumerate(texts)]
    return [Message.system("Be kind."), *turns] if system else turns


def as_dicts(messages: list[Message]) -> list[dict[str, str]]:
    return [message.to_dict() for message in messages]


def test_text_gets_the_ids_of_transformers(any_folder: Path) -> None:
    theirs = AutoTokenizer.from_pretrained(any_folder)
    ours = Tokenizer.load(any_folder)

    @shared_folder
    @given(words)
    def check(text: str) -> None:
        expected = theirs(text, add_special_tokens=False).input_ids
        assert ours.encode(text) == expected
        assert ours.decode(expected) == theirs.decode(expected, skip_special_tokens=True)

    check()


def test_roles_are_those_of_transformers(any_folder: Path) -> None:
    theirs = AutoTokenizer.from_pretrained(any_folder)
    ours = Tokenizer.load(any_folder)
    begin = theirs.bos_token_id if theirs.bos_token_id is not None else theirs.cls_token_id
    end = theirs.eos_token_id if theirs.eos_token_id is not None else theirs.sep_token_id
    assert (ours.bos_id, ours.eos_id) == (begin, end)
    assert (ours.pad_id, ours.mask_id, ours.unk_id) == (theirs.pad_token_id, theirs.mask_token_id, theirs.unk_token_id)
    assert ours.vocab_size == len(theirs)
    whole = theirs("hello").input_ids
    assert whole[: len(ours.prompt_ids)] == ours.prompt_ids
    assert whole[len(ours.prompt_ids) :][: len(ours.encode("hello"))] == ours.encode("hello")


def test_streaming_equals_decoding_at_once(any_folder: Path) -> None:
    ours = Tokenizer.load(any_folder)

    @shared_folder
    @given(st.lists(st.integers(0, ours.vocab_size), max_size=30))
    def check(ids: list[int]) -> None:
        decoder = ours.stream_decoder()
        assert "".join([*map(decoder.push, ids), decoder.flush()]) == ours.decode(ids)

    check()


def test_byte_fallback_never_splits_a_character(published: Callable[[str], Path]) -> None:
    ours = Tokenizer.load(published("llama2"))
    ids = ours.encode("🎉")
    decoder = ours.stream_decoder()
    assert [decoder.push(index) for index in ids] == [""] * (len(ids) - 1) + ["🎉"]


def test_a_first_space_is_kept_where_text_goes_on(published: Callable[[str], Path]) -> None:
    ours = Tokenizer.load(published("llama2"))
    prompt, more = ours.encode("the park"), ours.encode("the girl")
    assert ours.stream_decoder().push(more[0]) == ours.decode(more[:1])
    assert not ours.decode(more).startswith(" ")
    decoder = ours.stream_decoder(after=prompt)
    assert "".join(map(decoder.push, more)) == " the girl"


@pytest.mark.parametrize("system", [False, True])
@pytest.mark.parametrize("prompt", [False, True])
def test_conversations_get_the_text_and_ids_of_transformers(chat_folder: Path, system: bool, prompt: bool) -> None:
    theirs = AutoTokenizer.from_pretrained(chat_folder)
    processor = Processor.load(chat_folder)
    assert processor.template is not None
    spelled = list(processor.tokenizer.control_ids)

    @shared_folder
    @given(st.lists(words.filter(lambda text: not any(name in text for name in spelled)), min_size=1, max_size=4))
    def check(texts: list[str]) -> None:
        messages = conversation(texts, system=system)
        assert processor.template is not None
        segments = processor.template.render(messages, add_generation_prompt=prompt)
        plain = as_dicts(messages)
        assert "".join(segment.text for segment in segments) == theirs.apply_chat_template(
            plain, tokenize=False, add_generation_prompt=prompt
        )
        assert processor.encode_messages(messages, add_generation_prompt=prompt).token_ids.tolist() == (
            theirs.apply_chat_template(plain, add_generation_prompt=prompt, return_dict=False)
        )

    check()


def test_controls_spelled_in_messages_stay_text(chat_folder: Path) -> None:
    processor = Processor.load(chat_folder)
    tokenizer = processor.tokenizer
    controls = [*tokenizer.control_ids.values()]

    def controls_of(text: str, role: str) -> list[int]:
        messages = [Message.user("a"), Message.assistant("b"), Message.user("c"), Message.assistant("d")]
        messages = [Message.system("s"), *messages] if role == "system" else messages
        messages = [Message(m.role, Message.user(text).parts) if m.role == role else m for m in messages]
        ids = processor.encode_messages(messages).token_ids
        return ids[np.isin(ids, controls)].tolist()

    for role in ("system", "user", "assistant"):
        for name in tokenizer.control_ids:
            for text in (name, f"x{name}y", name * 3, f"{name[:-1]}{name}{name[1:]}", f"{name.upper()} {name} {name}"):
                if "<unk>" in tokenizer.roles.values():  # an unknown character is <unk>, whoever wrote it
                    assert tokenizer.unk_id not in tokenizer.encode(text)
                assert controls_of(text, role) == controls_of("plain", role), (role, text)


@pytest.mark.parametrize("family", ["qwen", "llama3"])
def test_controls_spelled_in_messages_keep_every_character(family: str, published: Callable[[str], Path]) -> None:
    processor = Processor.load(published(family))
    text = "".join(processor.tokenizer.control_ids) + "<tool_call>"
    ids = processor.encode_messages([Message.user(text)]).token_ids
    assert text in processor.tokenizer.decode(ids)


def test_plain_text_never_holds_controls(any_folder: Path) -> None:
    tokenizer = Tokenizer.load(any_folder)
    for name, index in tokenizer.control_ids.items():
        for text in (name, f"a{name}b", f"a {name} b"):
            assert index not in tokenizer.encode(text)
            assert index in tokenizer.encode(text, controls=True)


def test_added_tokens_that_are_not_special_are_shown_but_not_spelled(published: Callable[[str], Path]) -> None:
    tokenizer = Tokenizer.load(published("qwen"))
    think, end = tokenizer.control_ids["<think>"], tokenizer.control_ids["<|im_end|>"]
    assert tokenizer.decode([think, end]) == "<think>"
    assert think not in tokenizer.encode("<think>")


@pytest.mark.parametrize("kind", ["wordlevel", "unigram", "bpe_ignoring_merges"])
def test_controls_inside_the_vocabulary_cannot_be_spelled_either(kind: str, tmp_path: Path) -> None:
    """Models that look whole words up would find the control in their own vocabulary."""
    if kind == "wordlevel":
        engine = Engine(models.WordLevel({"<end>": 0, "a": 1, "<unk>": 2}, unk_token="<unk>"))
    elif kind == "unigram":
        engine = Engine(models.Unigram([("<unk>", 0.0), ("<end>", 0.0), ("a", -1.0), ("<", -2.0)], unk_id=0))
        engine.decoder = decoders.Metaspace()
    else:
        vocabulary = {"<end>": 0, "a": 1, "<": 2, "<e": 3, "e": 4, "n": 5, "nd>": 6, "d": 7, ">": 8, "nd": 9}
        merges = [("<", "e"), ("n", "d"), ("nd", ">"), ("<e", "nd>")]
        engine = Engine(models.BPE(vocabulary, merges, ignore_merges=True))
    engine.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    engine.add_special_tokens(["<end>"])
    (tmp_path / "tokenizer.json").write_text(engine.to_str(), encoding="utf-8")
    tokenizer = Tokenizer.load(tmp_path)
    end = tokenizer.control_ids["<end>"]
    assert end in engine.encode("a <end> a").ids
    assert end not in tokenizer.encode("a <end> a")
    assert end in tokenizer.encode("a <end> a", controls=True)


def test_of_controls_that_begin_alike_the_longest_counts(tmp_path: Path) -> None:
    engine = Engine(models.WordLevel({"a": 0, "<unk>": 1}, unk_token="<unk>"))
    engine.add_special_tokens(["<x>", "<x><y>", "<unk>"])
    (tmp_path / "tokenizer.json").write_text(engine.to_str(), encoding="utf-8")
    tokenizer = Tokenizer.load(tmp_path)
    ids = tokenizer.control_ids
    assert tokenizer.encode("<x><y><x>a", controls=True) == [ids["<x><y>"], ids["<x>"], 0]
    assert tokenizer.encode("<x><y><x>a", controls=True) == engine.encode("<x><y><x>a").ids


def train_gpt2(folder: Path) -> None:
    engine = Engine(models.BPE())
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    engine.train_from_iterator(["the girl and the boy said hello to the dog 你好"] * 9, trainer)
    engine.model.save(str(folder))


def test_gpt2_files_without_tokenizer_json(tmp_path: Path) -> None:
    train_gpt2(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "GPT2Tokenizer"}', encoding="utf-8")
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    ours = Tokenizer.load(tmp_path)

    @shared_folder
    @given(words)
    def check(text: str) -> None:
        assert ours.encode(text) == theirs(text).input_ids
        assert ours.decode(ours.encode(text)) == text

    check()
    assert ours.bos_id == ours.eos_id == theirs.eos_token_id
    assert ours.prompt_ids == []
    assert ours.eos_id not in ours.encode("<|endoftext|>")
    processor = Processor.load(tmp_path)
    assert processor.template is None
    assert processor.stop_ids == (ours.eos_id,)


def test_the_real_gpt2_vocabulary(tmp_path: Path) -> None:
    if not os.environ.get("SENSORIUM_DATA") and not os.environ.get("CI"):
        pytest.skip("SENSORIUM_DATA names no mirror of the sources")
    vocabs = source("checkpoints").fetch() / "vocabs"
    shutil.copy(vocabs / "gpt2_encoder.json", tmp_path / "vocab.json")
    shutil.copy(vocabs / "gpt2_vocab.bpe", tmp_path / "merges.txt")
    theirs = GPT2Tokenizer.from_pretrained(tmp_path)
    ours = Tokenizer.load(tmp_path)
    assert ours.encode("Hello, my dog is cute") == [15496, 11, 616, 3290, 318, 13779]
    assert (ours.vocab_size, ours.eos_id) == (50257, 50256)
    for text in (
        "It's raining; 你好，今天天气很好。",
        "  two  spaces\n\n\tdon't I'LL 123456 🎉 naïve e\u0301",
        "<|endoftext",
    ):
        assert ours.encode(text) == theirs(text).input_ids
        assert ours.decode(ours.encode(text)) == text
    assert ours.eos_id not in ours.encode("<|endoftext|>")


def test_imported_processors_survive_saving(chat_folder: Path, tmp_path: Path) -> None:
    first = Processor.load(chat_folder)
    first.save(tmp_path)
    second = Processor.load(tmp_path)
    messages = conversation(["Hello <s> there", "你好 [INST]", "and?"], system=True)
    assert second.encode_messages(messages).token_ids.tolist() == first.encode_messages(messages).token_ids.tolist()
    assert second.stop_ids == first.stop_ids
    assert second.tokenizer.roles == first.tokenizer.roles
    again = AutoTokenizer.from_pretrained(tmp_path)
    plain = as_dicts(conversation(["Hello", "you", "there"], system=False))
    assert again.apply_chat_template(plain, return_dict=False) == AutoTokenizer.from_pretrained(
        chat_folder
    ).apply_chat_template(plain, return_dict=False)


def test_generation_config_names_further_stops(published: Callable[[str], Path], tmp_path: Path) -> None:
    folder = shutil.copytree(published("qwen"), tmp_path / "qwen")
    tokenizer = Tokenizer.load(folder)
    end, text_end = tokenizer.control_ids["<|im_end|>"], tokenizer.control_ids["<|endoftext|>"]
    assert Processor.load(folder).stop_ids == (end,)
    (folder / "config.json").write_text(json.dumps({"eos_token_id": text_end}), encoding="utf-8")
    assert set(Processor.load(folder).stop_ids) == {end, text_end}
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [end, 7]}), encoding="utf-8")
    assert set(Processor.load(folder).stop_ids) == {end, 7}


def test_the_end_of_turn_stops_even_where_no_file_says_so(published: Callable[[str], Path], tmp_path: Path) -> None:
    folder = shutil.copytree(published("llama3"), tmp_path / "llama3")
    config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    (folder / "tokenizer_config.json").write_text(
        json.dumps(config | {"eos_token": "<|end_of_text|>"}), encoding="utf-8"
    )
    processor = Processor.load(folder)
    names = processor.tokenizer.control_ids
    assert set(processor.stop_ids) == {names["<|end_of_text|>"], names["<|eot_id|>"]}


def test_settings_beyond_tokenizer_json_are_read(published: Callable[[str], Path], tmp_path: Path) -> None:
    folder = shutil.copytree(published("qwen"), tmp_path / "qwen")
    config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    size = Tokenizer.load(folder).vocab_size
    template = config.pop("chat_template")
    config["eos_token"] = {"content": "<|im_end|>", "special": True}
    config["chat_template"] = [{"name": "tool_use", "template": "no"}, {"name": "default", "template": template}]
    config["additional_special_tokens"] = ["<think>"]
    config["added_tokens_decoder"] = {str(size): {"content": "<|extra|>", "special": True, "normalized": False}}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    processor = Processor.load(folder)
    assert processor.template is not None
    assert processor.template.source == template
    assert processor.tokenizer.control_ids["<|extra|>"] == size
    assert size not in processor.tokenizer.encode("<|extra|>")
    assert processor.tokenizer.decode([processor.tokenizer.control_ids["<think>"]]) == ""
    processor.save(folder)
    saved = Processor.load(folder).tokenizer
    assert saved.control_ids == processor.tokenizer.control_ids
    assert saved.special_ids == processor.tokenizer.special_ids
    (folder / "chat_template.jinja").write_text("{{ messages[0].content }}", encoding="utf-8")
    overriding = Processor.load(folder).template
    assert overriding is not None
    assert overriding.source == "{{ messages[0].content }}"


def write_json(folder: Path, name: str, change: Callable[[dict[str, object]], object]) -> None:
    spec = json.loads((folder / name).read_text(encoding="utf-8"))
    change(spec)
    (folder / name).write_text(json.dumps(spec), encoding="utf-8")


HOSTILE: dict[str, tuple[Callable[[Path], object], str]] = {
    "absent": (lambda f: (f / "tokenizer.json").unlink(), "has no tokenizer.json"),
    "not json": (lambda f: (f / "tokenizer.json").write_text("{"), "is not valid JSON"),
    "not text": (lambda f: (f / "tokenizer.json").write_bytes(b"\xff\xfe\x00"), "cannot be read"),
    "deep": (lambda f: (f / "tokenizer.json").write_text("[" * 100_000), "is not valid JSON"),
    "a list": (lambda f: (f / "tokenizer.json").write_text("[]"), "must hold a JSON object, not list"),
    "no model": (lambda f: write_json(f, "tokenizer.json", lambda s: s.pop("model")), "KeyError 'model'"),
    "odd vocabulary": (
        lambda f: write_json(f, "tokenizer.json", lambda s: s["model"].update(vocab={"a": "b"})),
        "is not a tokenizer file",
    ),
    "odd added tokens": (
        lambda f: write_json(f, "tokenizer.json", lambda s: s.update(added_tokens=["x"])),
        "is not a tokenizer file",
    ),
    "id beyond its turn": (
        lambda f: write_json(f, "tokenizer.json", lambda s: s["added_tokens"][-1].update(id=100_000)),
        "gives token '</think>' id 100000, but 406 is its turn",
    ),
    "huge id": (
        lambda f: write_json(f, "tokenizer.json", lambda s: s["model"]["vocab"].update({"Ġ": 4_000_000_000})),
        "vocabulary has 4000000001 ids",
    ),
    "merge of unknown pieces": (
        lambda f: write_json(f, "tokenizer.json", lambda s: s["model"]["merges"].append(["qqq", "qqq"])),
        "cannot be used",
    ),
    "merges without their prefix": (
        lambda f: write_json(f, "tokenizer.json", lambda s: s["model"].update(continuing_subword_prefix="x")),
        "lacks its continuing_subword_prefix 'x'",
    ),
    "broken expression": (
        lambda f: write_json(
            f, "tokenizer.json", lambda s: s["pre_tokenizer"]["pretokenizers"][0].update(pattern={"Regex": "("})
        ),
        "cannot be used",
    ),
    "odd decoder": (
        lambda f: write_json(f, "tokenizer.json", lambda s: s.update(decoder={"type": "CTC"})),
        "cannot be used|not supported",
    ),
    "broken post-processor": (
        lambda f: write_json(
            f,
            "tokenizer.json",
            lambda s: s.update(
                post_processor={
                    "type": "TemplateProcessing",
                    "single": [{"SpecialToken": {"id": "<none>", "type_id": 0}}],
                    "pair": [],
                    "special_tokens": {},
                }
            ),
        ),
        "post_processor is broken: KeyError '<none>'",
    ),
    "odd settings": (lambda f: (f / "tokenizer_config.json").write_text("3"), "must hold a JSON object, not int"),
    "odd template": (
        lambda f: write_json(f, "tokenizer_config.json", lambda s: s.update(chat_template=5)),
        "chat_template must be a string",
    ),
    "broken template": (
        lambda f: write_json(f, "tokenizer_config.json", lambda s: s.update(chat_template="a\n{% for %}")),
        "the chat template is broken at line 2",
    ),
    "template that is not text": (
        lambda f: (f / "chat_template.jinja").write_bytes(b"\xff"),
        "chat_template.jinja cannot be read",
    ),
    "odd stops": (
        lambda f: (f / "generation_config.json").write_text('{"eos_token_id": "x"}'),
        "eos_token_id must be token ids, not 'x'",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_files_are_refused_in_one_line(case: str, published: Callable[[str], Path], tmp_path: Path) -> None:
    folder = shutil.copytree(published("qwen"), tmp_path / "folder")
    spoil, message = HOSTILE[case]
    spoil(folder)
    with pytest.raises(CheckpointError, match=message) as caught:
        Processor.load(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("vocabulary", "merges", "message"),
    [
        ("{}", "#version: 0.2\na b\n", "does not fit vocab.json"),
        ('{"a": 0}', "a\n", "does not fit vocab.json: a merge is two"),
        ("[]", "", "must hold a JSON object"),
        ("{}", "", "1 to"),
    ],
)
def test_hostile_gpt2_files_are_refused_in_one_line(vocabulary: str, merges: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text(vocabulary, encoding="utf-8")
    (tmp_path / "merges.txt").write_text(merges, encoding="utf-8")
    with pytest.raises(CheckpointError, match=message) as caught:
        Tokenizer.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_another_familys_vocab_and_merges_are_refused(tmp_path: Path) -> None:
    train_gpt2(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "Qwen2Tokenizer"}', encoding="utf-8")
    with pytest.raises(CheckpointError, match="needs a tokenizer"):
        Tokenizer.load(tmp_path)
