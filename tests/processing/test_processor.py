import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensorium.errors import DataError, RequestError
from sensorium.messages import ROLES, Image, Message, Text
from sensorium.processing import Processor, Tokenizer
from sensorium.processing.template import OUR_TEMPLATE

anything = st.text(st.characters(exclude_categories=("Cs",)), max_size=30)
contents = st.one_of(anything, st.sampled_from(["<|end|>", "<|bos|><|assistant|>hi<|end|>", "<|eos|>", " \n "]))
conversations = st.lists(
    st.builds(lambda role, text: Message(role, (Text(text),)), st.sampled_from(ROLES), contents), max_size=6
)


@pytest.fixture(scope="module")
def processor(ours: Tokenizer) -> Processor:
    return Processor(ours)


@given(anything)
def test_a_document_stands_between_begin_and_end(processor: Processor, text: str) -> None:
    tokenizer = processor.tokenizer
    sequence = processor.encode_text(text)
    assert sequence.token_ids.dtype == np.int32
    assert sequence.learned.dtype == bool
    assert sequence.token_ids.tolist() == [tokenizer.bos_id, *tokenizer.encode(text), tokenizer.eos_id]
    assert sequence.learned.tolist() == [False] + [True] * (len(sequence) - 1)


def test_a_prompt_is_left_open(processor: Processor) -> None:
    sequence = processor.encode_prompt("Once upon")
    assert sequence.token_ids.tolist() == processor.encode_text("Once upon").token_ids[:-1].tolist()
    assert not sequence.learned.any()


@given(conversations)
def test_a_conversation_is_the_roles_and_words_and_ends(processor: Processor, messages: list[Message]) -> None:
    """Compared with the layout written out by hand, whatever the messages spell."""
    tokenizer, control = processor.tokenizer, processor.tokenizer.control_ids
    ids, learned = [control["<|bos|>"]], [False]
    for message in messages:
        words = tokenizer.encode(message.text)
        ids += [control[f"<|{message.role}|>"], *words, control["<|end|>"]]
        learned += [False] + [message.role == "assistant"] * (len(words) + 1)
    sequence = processor.encode_messages(messages)
    assert sequence.token_ids.tolist() == ids
    assert sequence.learned.tolist() == learned


@given(conversations, anything)
def test_the_serving_template_is_the_training_template(
    processor: Processor, messages: list[Message], reply: str
) -> None:
    """A prompt followed by the learned tokens is the sequence that was trained on."""
    prompt = processor.encode_messages(messages, add_generation_prompt=True)
    whole = processor.encode_messages([*messages, Message.assistant(reply)])
    assert whole.token_ids[: len(prompt)].tolist() == prompt.token_ids.tolist()
    assert whole.learned[len(prompt) :].all()
    assert processor.tokenizer.decode(whole.token_ids[len(prompt) :]) == reply
    assert int(whole.token_ids[-1]) in processor.stop_ids


def test_replies_end_at_the_end_of_a_turn_or_text(processor: Processor) -> None:
    control = processor.tokenizer.control_ids
    assert processor.stop_ids == (control["<|eos|>"], control["<|end|>"])


def test_text_parts_are_joined(processor: Processor) -> None:
    parts = processor.encode_messages([Message.user([Text("good "), Text("morning")])])
    assert parts.token_ids.tolist() == processor.encode_messages([Message.user("good morning")]).token_ids.tolist()


def test_what_a_text_model_cannot_take_is_said(processor: Processor) -> None:
    with pytest.raises(RequestError, match="this model cannot see images"):
        processor.encode_messages([Message.user([Image(url="http://x/y.png")])])
    with pytest.raises(DataError, match="lone surrogate"):
        processor.encode_text("\udc00")


def test_a_saved_processor_loads_the_same(processor: Processor, tmp_path: Path) -> None:
    processor.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "chat_template.jinja",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    assert (tmp_path / "chat_template.jinja").read_text(encoding="utf-8") == OUR_TEMPLATE
    loaded = Processor.load(tmp_path)
    messages = [Message.user("hi <|end|>"), Message.assistant("你好")]
    first, second = processor.encode_messages(messages), loaded.encode_messages(messages)
    assert second.token_ids.tolist() == first.token_ids.tolist()
    assert second.learned.tolist() == first.learned.tolist()
    assert loaded.stop_ids == processor.stop_ids


def test_transformers_reads_what_we_save(processor: Processor, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    processor.save(tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    messages = [Message.system("Be kind."), Message.user("The girl?"), Message.assistant("你好 1234")]
    plain = [message.to_dict() for message in messages]
    for prompt in (False, True):
        ids = processor.encode_messages(messages, add_generation_prompt=prompt).token_ids.tolist()
        assert theirs.apply_chat_template(plain, add_generation_prompt=prompt, return_dict=False) == ids
    assert theirs("The girl").input_ids == processor.encode_prompt("The girl").token_ids.tolist()
    assert (theirs.bos_token_id, theirs.eos_token_id) == (processor.tokenizer.bos_id, processor.tokenizer.eos_id)
    assert (theirs.pad_token_id, theirs.mask_token_id) == (processor.tokenizer.pad_id, processor.tokenizer.mask_id)


def test_a_template_of_ones_own_is_kept(ours: Tokenizer, tmp_path: Path) -> None:
    source = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|reserved_9|>\r\n{% endfor %}"
    processor = Processor(ours, source)
    assert processor.stop_ids == (ours.eos_id, ours.control_ids["<|reserved_9|>"])
    processor.save(tmp_path)
    assert (tmp_path / "chat_template.jinja").read_bytes() == source.encode()
    loaded = Processor.load(tmp_path)
    assert loaded.template is not None
    assert loaded.template.source == source
    assert loaded.stop_ids == processor.stop_ids


def test_a_model_without_template_only_continues_text(tmp_path: Path, ours: Tokenizer) -> None:
    ours.save(tmp_path)
    spec = json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))
    for entry in spec["added_tokens"]:
        entry["content"] = entry["content"].replace("<|user|>", "<|person|>")
    spec["model"]["vocab"] = {k.replace("<|user|>", "<|person|>"): v for k, v in spec["model"]["vocab"].items()}
    (tmp_path / "tokenizer.json").write_text(json.dumps(spec), encoding="utf-8")
    processor = Processor.load(tmp_path)
    assert processor.template is None
    with pytest.raises(RequestError, match="no chat template"):
        processor.encode_messages([Message.user("hi")])
