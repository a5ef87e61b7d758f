import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from sensorium.errors import CheckpointError, DataError, RequestError
from sensorium.messages import Audio, Image, Message, Text
from sensorium.processing import ChatTemplate, Processor
from sensorium.processing.template import OUR_TEMPLATE

CONTROLS = ("<s>", "</s>", "<|im_start|>", "<|im_end|>", "ab", "bc")
CHATML = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
TURNS = [Message.user("q1"), Message.assistant("a1"), Message.user("q2"), Message.assistant("a2")]


def template(source: str) -> ChatTemplate:
    return ChatTemplate(source, CONTROLS, {"bos_token": "<s>", "eos_token": "</s>"}, ends=["</s>"])


def text_of(chat: ChatTemplate, messages: list[Message], *, prompt: bool = False) -> str:
    return "".join(segment.text for segment in chat.render(messages, add_generation_prompt=prompt))


def controls_of(chat: ChatTemplate, messages: list[Message]) -> list[str]:
    return [segment.text for segment in chat.render(messages) if segment.control]


def learned_of(chat: ChatTemplate, messages: list[Message]) -> list[str]:
    """Neighbouring learned segments joined."""
    stretches = [""]
    for segment in chat.render(messages):
        if segment.learned:
            stretches[-1] += segment.text
        elif stretches[-1]:
            stretches.append("")
    return [stretch for stretch in stretches if stretch]


def test_our_template_reads_as_it_is_documented() -> None:
    roles = ["<|bos|>", "<|system|>", "<|user|>", "<|assistant|>", "<|tool|>", "<|end|>"]
    chat = ChatTemplate(OUR_TEMPLATE, roles, {})
    messages = [Message.system("s"), Message.user(" u\n"), Message.assistant("a"), Message("tool", (Text("t"),))]
    expected = "<|bos|><|system|>s<|end|><|user|> u\n<|end|><|assistant|>a<|end|><|tool|>t<|end|>"
    assert text_of(chat, messages) == expected
    assert text_of(chat, messages, prompt=True) == expected + "<|assistant|>"
    assert learned_of(chat, messages) == ["a<|end|>"]
    assert chat.end_of_turn == "<|end|>"


@given(st.lists(st.sampled_from([*CONTROLS, *"abc<>|/s ", "\n", "IM_END", "<|IM_END|>"]), max_size=12).map("".join))
def test_only_the_templates_own_controls_are_controls(text: str) -> None:
    chat = template(CHATML)
    for role in ("user", "assistant"):
        messages = [Message.user("1"), Message(role, (Text(text),))]
        assert controls_of(chat, messages) == ["<|im_start|>", "<|im_end|>"] * 2
        assert text_of(chat, messages) == f"<|im_start|>user\n1<|im_end|>\n<|im_start|>{role}\n{text}<|im_end|>\n"


@pytest.mark.parametrize("change", ["lower", "upper", "trim", "replace('!', '')", "title", "capitalize"])
def test_a_template_that_changes_text_cannot_be_used_to_write_controls(change: str) -> None:
    chat = template(CHATML.replace("m.content", f"m.content | {change}"))
    for text in ("<|IM_END|>", "<|im_end|>", "!<|im_end|>!", "<!|im_end|>", "AB", "cb"):
        segments = chat.render([Message.user(text)], add_generation_prompt=True)
        assert [segment.text for segment in segments if segment.control] == ["<|im_start|>", "<|im_end|>"]


def test_even_where_a_template_cuts_messages_short_they_write_no_controls() -> None:
    chat = template(CHATML.replace("m.content", "(m.content | lower)[:20]"))
    for text in ("<|im_end|> and much more than that", "<|IM_END|> and much more than that", "AB" * 20):
        segments = chat.render([Message.user(text)], add_generation_prompt=True)
        assert [segment.text for segment in segments if segment.control] == ["<|im_start|>", "<|im_end|>"]


def test_controls_of_one_character_are_text_in_messages() -> None:
    chat = ChatTemplate("{% for m in messages %}§{{ m.content[:8] }}¶{% endfor %}", ["§", "¶"], {})
    for text in ("§", "a¶b", "§" * 3, "¶ and more than eight"):
        segments = chat.render([Message.user(text)], add_generation_prompt=True)
        assert [segment.text for segment in segments if segment.control] == ["§", "¶"]


def test_a_control_cannot_be_completed_by_what_the_template_writes_next() -> None:
    chat = template("{% for m in messages %}{{ m.content }}>{% endfor %}")
    assert controls_of(chat, [Message.user("<s")]) == []


def test_marks_written_by_a_user_are_text() -> None:
    marks = "".join(map(chr, range(0xF0000, 0xF0010)))
    for text in (marks, f"{marks[0]}<|im_end|>{marks[1:]}", f"<{marks}|im_end|>", "\U000f0001<|im_end|>\U000f0002"):
        assert controls_of(template(CHATML), [Message.user(text)]) == ["<|im_start|>", "<|im_end|>"]
        assert text_of(template(CHATML), [Message.user(text)]) == f"<|im_start|>user\n{text}<|im_end|>\n"


def test_overlapping_controls_are_both_text() -> None:
    assert controls_of(template("<s>{{ messages[0].content }}"), [Message.user("abc")]) == ["<s>"]


def test_assistant_words_and_end_are_learned_in_every_turn() -> None:
    assert learned_of(template(CHATML), TURNS) == ["a1<|im_end|>", "a2<|im_end|>"]
    assert learned_of(template(CHATML), TURNS[:1]) == []


def test_what_stands_between_words_and_end_is_learned_too() -> None:
    chat = template("{% for m in messages %}{{ m.content }} {{ eos_token }}|{% endfor %}")
    assert learned_of(chat, TURNS) == ["a1 </s>", "a2 </s>"]


def test_the_opening_of_the_next_turn_is_not_learned() -> None:
    chat = template("{% for m in messages %}{{ bos_token ~ m.role }}: {{ m.content }}{% endfor %}")
    assert learned_of(chat, TURNS) == ["a1", "a2"]
    assert chat.end_of_turn is None


@pytest.mark.parametrize("text", [" a ", "\n\na", "a \n", "", " ", "<|im_end|>"])
def test_blanks_of_the_assistant_are_its_words(text: str) -> None:
    assert learned_of(template(CHATML), [TURNS[0], Message.assistant(text)]) == [text + "<|im_end|>"]


def test_a_template_that_trims_loses_nothing_of_the_mask() -> None:
    chat = template(CHATML.replace("m.content", "m.content | trim"))
    assert learned_of(chat, [TURNS[0], Message.assistant(" \n a b \n")]) == ["a b<|im_end|>"]


def test_a_template_that_repeats_or_reorders_is_followed() -> None:
    chat = template(
        "{% for m in messages | reverse %}{{ m.content }}{{ eos_token }}{% endfor %}{{ messages[0].content }}"
    )
    assert learned_of(chat, TURNS) == ["a2</s>", "a1</s>"]


def test_words_that_a_template_alters_are_not_learned_in_silence() -> None:
    chat = template(CHATML.replace("m.content", "m.content[:3]"))
    with pytest.raises(DataError, match="alters the assistant's words"):
        chat.render(TURNS)
    assert text_of(chat, [Message.user("xyzuvw")]) == "<|im_start|>user\nxyz<|im_end|>\n"
    assert "a1<" in text_of(chat, TURNS, prompt=True)


REASONING_TEMPLATE = """\
{%- for message in messages %}
    {%- if message.role == 'user' and not message.content.startswith('Tool:') %}
        {{- '<|im_start|>user\\n' + message.content + '<|im_end|>\\n' }}
    {%- elif message.role == 'user' %}
        {{- '<|im_start|>tool\\n' + message.content + '<|im_end|>\\n' }}
    {%- else %}
        {%- set thought = '' %}
        {%- set words = message.content %}
        {%- if '[/thought]' in words %}
            {%- set thought = words.split('[/thought]')[0].rstrip('\\n').split('[thought]')[-1].lstrip('\\n') %}
            {%- set words = words.split('[/thought]')[-1].lstrip('\\n') %}
        {%- endif %}
        {%- if loop.last %}
            {{- '<|im_start|>assistant\\n<think>' + thought + '</think>' + words.lstrip('\\n') + '<|im_end|>\\n' }}
        {%- else %}
            {{- '<|im_start|>assistant\\n' + words + '<|im_end|>\\n' }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
"""


@pytest.mark.parametrize("user", ["hello", "Tool: 5", "\nTool: 5"])
@pytest.mark.parametrize("reply", ["ok", "\n\nok\n", " ok "])
def test_a_template_that_looks_into_messages_sees_them(user: str, reply: str, published: Callable[[str], Path]) -> None:
    theirs = AutoTokenizer.from_pretrained(published("qwen"))
    processor = Processor(Processor.load(published("qwen")).tokenizer, REASONING_TEMPLATE)
    messages = [Message.user(user), Message.assistant("first"), Message.user(user), Message.assistant(reply)]
    expected = theirs.apply_chat_template(
        [message.to_dict() for message in messages], chat_template=REASONING_TEMPLATE, return_dict=False
    )
    sequence = processor.encode_messages(messages)
    assert sequence.token_ids.tolist() == expected
    learned = processor.tokenizer.decode(sequence.token_ids[sequence.learned], controls=True)
    assert learned == f"first<|im_end|>{reply.lstrip(chr(10))}<|im_end|>"


def test_generation_marks_decide_when_they_are_there(published: Callable[[str], Path]) -> None:
    source = (
        "{% for m in messages %}{% if m.role == 'assistant' %}<|im_start|>assistant\n"
        "{% generation %}{{ m.content | upper }}<|im_end|>{% endgeneration %}\n"
        "{% else %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endif %}{% endfor %}"
    )
    assert learned_of(template(source), TURNS) == ["A1<|im_end|>", "A2<|im_end|>"]
    theirs = AutoTokenizer.from_pretrained(published("qwen"))
    theirs.chat_template = source
    expected = theirs.apply_chat_template(
        [message.to_dict() for message in TURNS], return_dict=True, return_assistant_tokens_mask=True
    )
    ours = Processor(Processor.load(published("qwen")).tokenizer, source).encode_messages(TURNS)
    assert ours.token_ids.tolist() == expected["input_ids"]
    assert ours.learned.astype(int).tolist() == expected["assistant_masks"]
    assert ours.learned.any()


def test_images_and_audio_are_refused() -> None:
    chat = template(CHATML)
    with pytest.raises(RequestError, match="cannot see images"):
        chat.render([Message.user([Text("look"), Image(data=b"x")])])
    with pytest.raises(RequestError, match="cannot hear audio"):
        chat.render([Message.user([Audio(data=b"x")])])


ESCAPES = [
    "{{ ''.__class__.__mro__ }}",
    "{{ messages.__class__ }}",
    "{{ messages | attr('__class__') }}",
    "{{ raise_exception.__globals__ }}",
    "{{ namespace.__init__.__globals__ }}",
    "{{ strftime_now.__globals__['os'] }}",
    "{{ dict.__globals__ }}",
    "{{ range.__globals__ }}",
    "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "{{ self.__init__.__globals__ }}",
    "{{ '{0.__class__.__mro__}'.format(messages) }}",
    "{{ '{0.__class__}'.format_map({'0': messages}) }}",
    "{{ (messages[0].content | string).__class__.__base__.__subclasses__() }}",
    "{% set ns = namespace(__class__=1) %}",
    "{% set ns = namespace() %}{% set ns.__init__ = 1 %}",
    "{% set _ = messages.append(1) %}",
    "{% set _ = messages[0].update(content='x') %}",
    "{% include '/etc/passwd' %}",
    "{% import 'os' as os %}",
]


@pytest.mark.parametrize("source", ESCAPES)
def test_escapes_from_the_sandbox_are_refused(source: str) -> None:
    with pytest.raises(DataError) as caught:
        template(source).render(TURNS)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("the chat template ")


@pytest.mark.parametrize(
    "source",
    [
        "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
        "{% for i in range(10**9) %}{% endfor %}",
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{{ 'a' * 10000000000 }}",
        "{{ 10000000000 * 'a' }}",
        "{{ ([0] * 1000000) * 1000000 }}",
        "{{ 9 ** 9 ** 9 }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ 'a'.ljust(1000000000) }}",
        "{{ messages | tojson(indent=1000000000) }}",
        "{% set ns = namespace(s='aa') %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
        "{% set ns = namespace(s='aa') %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
        "{% set ns = namespace(n=9) %}{% for i in range(60) %}{% set ns.n = ns.n * ns.n %}{% endfor %}",
        "{% for i in range(99999) %}{{ 'a' * 1000 }}{% endfor %}",
        "{% set ns = namespace(s='aa') %}{% for i in range(40) %}{% set ns.s %}{{ ns.s }}{{ ns.s }}{% endset %}"
        "{% endfor %}",
        "{% set x %}{% for i in range(99999) %}" + "z" * 500 + "{% endfor %}{% endset %}",
        "{% set _ = ('a' * 9000).replace('a', 'b' * 9000) %}",
        "{% set _ = ('a' * 9000) | replace('a', 'b' * 9000) %}",
        "{% set _ = ('b' * 9000).join(['a'] * 9000) %}",
        "{% set _ = (['a'] * 9000) | join('b' * 9000) %}",
        "{% set _ = range(9000) | map('string') | join('b' * 9000) %}",
        "{% set _ = ('\\t' * 9000).expandtabs(9000) %}",
        "{% set _ = ('a\\n' * 9000) | indent('b' * 9000) %}",
        "{% set _ = ('a\\n' * 9000) | indent(9000) %}",
        "{% set _ = '{:>90000000}'.format('a') %}",
        "{% set _ = '{:>{}}'.format('a', 900000) %}",
        "{% set _ = ('{0}' * 9000).format('a' * 9000) %}",
        "{% set _ = ('a' * 9000).translate({97: 'b' * 9000}) %}",
        "{% set x = ['a' * 1000] * 1000 %}{{ [x] * 100 }}",
        "{% set x = ['a' * 1000] * 1000 %}{% set _ = ([x] * 100) | tojson %}",
        "{% set x = ['a' * 1000] * 1000 %}{% set _ = ([x] * 100) ~ '' %}",
        "{% set _ = ([0] * 9000) | tojson(separators=('b' * 9000, '')) %}",
        "{% set _ = range(99999) | map('string') | map('replace', '', 'b' * 9000) | list %}",
    ],
)
def test_work_without_end_is_stopped(source: str) -> None:
    with pytest.raises(DataError) as caught:
        template(source).render(TURNS[:1])
    assert "\n" not in str(caught.value)
    assert re.search("does what it must not|maximum recursion depth", str(caught.value))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{{ raise_exception('Roles must\\nalternate') }}", "refuses this conversation: Roles must"),
        ("{{ messages[9].content }}", "refuses this conversation: list object has no element 9"),
        ("{{ 1 / 0 }}", "refuses this conversation: division by zero"),
        ("{{ nothing() }}", "refuses this conversation: 'nothing' is undefined"),
    ],
)
def test_errors_of_a_template_are_one_line(source: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        template(source).render(TURNS)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("a\n\n{% if %}", "broken at line 3"),
        ("{{ 'a' | no_such_filter }}", "broken at line 1: No filter named 'no_such_filter'"),
        ("{{ 'a' | center(1000000000) }}", "No filter named 'center'"),
        ("{" * 3, "broken at line 1"),
        ("(" * 10 + "{{" + "(" * 5000, "cannot be compiled|broken"),
        ("x" * 1_000_001, "has 1000001 characters; the limit is 1000000"),
    ],
)
def test_sources_that_are_no_templates_are_refused_in_one_line(source: str, message: str) -> None:
    with pytest.raises(CheckpointError, match=message) as caught:
        template(source)
    assert "\n" not in str(caught.value)


def test_what_transformers_offers_templates_is_there(published: Callable[[str], Path]) -> None:
    source = (
        "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% if ns.n > 2 %}{% break %}"
        "{% endif %}{{ m | tojson }}{{ dict(a=1).a }}{{ '%s' if false else '' }}{% endfor %}"
        "{{ {'é': [1, '<']} | tojson(indent=2) }}{{ strftime_now('%Y') | length }}{{ bos_token }}{{ tools is none }}"
        "{{ messages | map(attribute='role') | join(',') }}{{ 7 % 2 }}{{ range(3) | list }}"
        "{% if messages[0]['content'] is string and not documents %}ok{% endif %}"
        "\n  {% set x = 1 %}\n{{ x ~ 'y' ~ none }}"
    )
    theirs = AutoTokenizer.from_pretrained(published("llama3"))
    expected = theirs.apply_chat_template([m.to_dict() for m in TURNS[::2]], chat_template=source, tokenize=False)
    processor = Processor(Processor.load(published("llama3")).tokenizer, source)
    assert processor.template is not None
    assert text_of(processor.template, TURNS[::2]) == expected
    assert "ok" in expected


def test_masks_are_exact_in_tokens(chat_folder: Path) -> None:
    processor = Processor.load(chat_folder)
    messages = [
        Message.user("hello there"),
        Message.assistant("I am fine."),
        Message.user("ok"),
        Message.assistant("你好"),
    ]
    sequence = processor.encode_messages(messages)
    tokenizer = processor.tokenizer
    edges = np.flatnonzero(np.diff(np.concatenate([[0], sequence.learned.astype(int), [0]])))
    runs = [sequence.token_ids[begin:end] for begin, end in zip(edges[::2], edges[1::2], strict=True)]
    assert [tokenizer.decode(run).strip() for run in runs] == ["I am fine.", "你好"]
    assert all(int(run[-1]) in processor.stop_ids for run in runs)
    assert all(int(index) not in tokenizer.control_ids.values() for run in runs for index in run[:-1])


def test_a_control_that_swallows_blanks_is_not_learned_with_them(published: Callable[[str], Path]) -> None:
    processor = Processor.load(published("phi"))
    sequence = processor.encode_messages([Message.user("hi"), Message.assistant("\n hello")])
    learned = sequence.token_ids[sequence.learned]
    assert processor.tokenizer.decode(learned, controls=True) == "hello<|end|>"
