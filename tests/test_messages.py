import base64
import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensorium.errors import DataError, SensoriumError
from sensorium.messages import ROLES, Audio, Image, Message, Text, conversation_from

texts = st.builds(Text, st.text(st.characters(exclude_categories=("Cs",)), max_size=20))
media = st.one_of(
    st.fixed_dictionaries({"data": st.binary(max_size=20)}),
    st.fixed_dictionaries({"path": st.sampled_from(["a.png", "b/c.wav", "/d"]).map(Path)}),
    st.fixed_dictionaries({"url": st.sampled_from(["http://x/y", "data:,z"])}),
)
parts = st.one_of(texts, st.builds(lambda fields: Image(**fields), media), st.builds(lambda f: Audio(**f), media))
messages = st.builds(Message, st.sampled_from(ROLES), st.lists(parts, max_size=4).map(tuple))


@given(messages)
def test_the_form_on_disk_is_read_back(message: Message) -> None:
    assert Message.from_dict(json.loads(json.dumps(message.to_dict()))) == message


def test_a_single_text_is_a_plain_string() -> None:
    assert Message.user("hi").to_dict() == {"role": "user", "content": "hi"}
    assert Message.from_dict({"role": "user", "content": "hi"}).parts == (Text("hi"),)


def test_media_are_written_as_they_were_given() -> None:
    message = Message.assistant([Text("see"), Image(data=b"\x89PNG"), Audio(path=Path("a.wav")), Image(url="http://x")])
    assert message.to_dict()["content"] == [
        {"type": "text", "text": "see"},
        {"type": "image", "data": base64.b64encode(b"\x89PNG").decode()},
        {"type": "audio", "path": "a.wav"},
        {"type": "image", "url": "http://x"},
    ]
    assert message.text == "see"


def test_paths_start_from_the_folder_of_the_file() -> None:
    data = {"role": "user", "content": [{"type": "image", "path": "pictures/a.png"}]}
    assert Message.from_dict(data, folder=Path("/data")).parts == (Image(path=Path("/data/pictures/a.png")),)


def test_words_are_joined() -> None:
    assert Message.system([Text("a"), Image(data=b""), Text("b")]).text == "ab"


def test_bytes_are_not_shown() -> None:
    assert "secret" not in repr(Message.user([Image(data=b"secret")]))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (5, "a message must be an object with role and content, not int"),
        ({"role": "user"}, "a message has no 'content'"),
        ({"content": "x"}, "a message has no 'role'"),
        ({"role": "usr", "content": "x"}, "unknown role 'usr' (did you mean 'user'?)"),
        ({"role": [], "content": "x"}, "unknown role []"),
        ({"role": "user", "contents": "x"}, "a message has the unknown key 'contents' (did you mean 'content'?)"),
        ({"role": "user", "content": None}, "message content must be a string or a list of parts, not NoneType"),
        ({"role": "user", "content": ["x"]}, "a content part must be an object with a 'type'"),
        ({"role": "user", "content": [{"type": "txt"}]}, "unknown part type 'txt' (did you mean 'text'?)"),
        ({"role": "user", "content": [{"type": {}}]}, "unknown part type {}"),
        ({"role": "user", "content": [{"type": "text"}]}, "a text part has no 'text'"),
        ({"role": "user", "content": [{"type": "text", "text": 5}]}, "text must be a string, not int"),
        ({"role": "user", "content": [{"type": "text", "text": "x", "txet": 1}]}, "unknown key 'txet'"),
        ({"role": "user", "content": "a\ud800"}, "text holds a lone surrogate at character 1"),
        ({"role": "user", "content": [{"type": "image"}]}, "needs exactly one of data, path and url, not none"),
        ({"role": "user", "content": [{"type": "image", "path": "a", "url": "b"}]}, "not ['path', 'url']"),
        ({"role": "user", "content": [{"type": "image", "path": 3}]}, "'path' must be a string, not int"),
        ({"role": "user", "content": [{"type": "image", "url": 3}]}, "'url' must be a string, not int"),
        ({"role": "user", "content": [{"type": "audio", "data": "?"}]}, "'data' is not base64"),
        ({"role": "user", "content": [{"type": "audio", "data": 1}]}, "'data' must be a base64 string, not int"),
        ({"role": "user", "content": [{"type": "audio", "file": "a"}]}, "unknown key 'file'"),
    ],
)
def test_wrong_forms_are_refused_in_one_line(data: object, message: str) -> None:
    with pytest.raises(DataError) as caught:
        Message.from_dict(data)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_conversations_are_read_bare_or_under_messages() -> None:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    assert conversation_from(turns) == conversation_from({"messages": turns, "id": 3})
    assert [message.text for message in conversation_from(turns)] == ["a", "b"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "non-empty list"),
        ({"messages": []}, "non-empty list"),
        ({"message": []}, "a conversation has no 'messages'"),
        ("hi", "non-empty list"),
        ([{"role": "user", "content": "a"}, {"role": "robot", "content": "b"}], "message 1: unknown role 'robot'"),
    ],
)
def test_wrong_conversations_name_the_message(data: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        conversation_from(data)


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5), st.sampled_from(["user", "text", "image"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["role", "content", "type", "text", "path", "data"]), inner, max_size=4),
    ),
    max_leaves=8,
)


@given(json_values)
def test_any_json_is_a_conversation_or_an_error_of_ours(data: object) -> None:
    with contextlib.suppress(SensoriumError):
        messages = conversation_from(data)
        assert messages
        assert all(isinstance(message, Message) for message in messages)
