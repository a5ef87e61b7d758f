import signal
import threading
from pathlib import Path

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

import sensorium
from sensorium.cli import chat, slash
from sensorium.cli.conversation import Conversation
from sensorium.errors import DataError, RequestError
from sensorium.messages import Audio, Image, Message, Text


@pytest.fixture(scope="module")
def model(talker: Path) -> sensorium.Model:
    return sensorium.load(talker)


@pytest.fixture
def conversation(model: sensorium.Model) -> Conversation:
    return Conversation(model, system=None, sampling={"temperature": 0.0})


def said(conversation: Conversation, text: str) -> str:
    return "".join(conversation.say(text))


# --- through a pipe --------------------------------------------------------------------------------------------------


def test_piped_lines_are_answered_in_turn(cli, talker: Path) -> None:
    outcome = cli("chat", "-m", talker, "-t", "0", stdin="What is a cat?\n\nBye.\n")
    assert (outcome.code, outcome.err) == (0, "")
    first, *_ = outcome.out.splitlines()
    assert first == "A cat is red."
    assert len(outcome.out.splitlines()) == 2


def test_piped_lines_are_one_conversation(cli, talker: Path, tmp_path: Path) -> None:
    saved = tmp_path / "chat.jsonl"
    cli("chat", "-m", talker, "-t", "0", "--system", "Be kind.", stdin=f"Hello!\nBye.\n/save {saved}\n")
    loaded = sensorium.load(talker)
    conversation = Conversation(loaded, system=None, sampling={})
    conversation.load(saved)
    roles = [message.role for message in conversation.messages]
    assert roles == ["system", "user", "assistant", "user", "assistant"]
    assert conversation.messages[1].text == "Hello!"


def test_commands_work_through_a_pipe(cli, talker: Path) -> None:
    lines = cli("chat", "-m", talker, "-t", "0", stdin="Hello!\n/reset\nHello!\n").out.splitlines()
    assert lines == ["Hello to you!", "forgot the conversation", "Hello to you!"]


def test_a_mistake_in_a_pipe_ends_it_with_code_2(cli, talker: Path) -> None:
    outcome = cli("chat", "-m", talker, stdin="/sett top_p=0.5\nHello!\n")
    assert outcome.code == 2
    assert outcome.err == "sensorium: unknown command '/sett' (did you mean 'set'?)\n"


def test_a_word_ends_what_is_piped_in(cli, talker: Path) -> None:
    outcome = cli("chat", "-m", talker, "-t", "0", stdin="Bye.\n/quit\n/sett\n")
    assert outcome.code == 0
    assert outcome.out == "See you soon.\n"


# --- in a terminal ---------------------------------------------------------------------------------------------------


def in_terminal(conversation: Conversation, keys: str) -> None:
    """Type keys at the prompt, the last of which must be Ctrl-D."""
    with create_pipe_input() as pipe, create_app_session(input=pipe, output=DummyOutput()):
        pipe.send_text(keys)
        chat._in_terminal(conversation, "talker")


def test_a_person_types_and_reads(conversation: Conversation, capsys: pytest.CaptureFixture[str]) -> None:
    in_terminal(conversation, "What is a cat?\r\x04")
    assert "A cat is red.\n" in capsys.readouterr().out
    assert [message.text for message in conversation.messages] == ["What is a cat?", "A cat is red."]


def test_a_refusal_does_not_end_the_chat(conversation: Conversation, capsys: pytest.CaptureFixture[str]) -> None:
    in_terminal(conversation, "/nonsense\rBye.\r\x04")
    shown = capsys.readouterr().out
    assert "unknown command '/nonsense'" in shown
    assert "See you soon." in shown


@pytest.mark.parametrize("word", slash.LEAVING)
def test_a_word_leaves(word: str, conversation: Conversation, capsys: pytest.CaptureFixture[str]) -> None:
    in_terminal(conversation, f"{word}\rBye.\r\x04")
    assert conversation.messages == []
    assert word.strip("/") not in capsys.readouterr().out


def test_ctrl_c_at_the_prompt_clears_the_line(conversation: Conversation, capsys: pytest.CaptureFixture[str]) -> None:
    in_terminal(conversation, "What is a \x03Bye.\r\x04")
    assert [message.text for message in conversation.messages] == ["Bye.", "See you soon."]
    assert "See you soon." in capsys.readouterr().out


def test_ctrl_c_ends_the_reply_and_keeps_what_was_written(
    model: sensorium.Model, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = model.stream

    def interrupted(*arguments, **options):
        for count, delta in enumerate(stream(*arguments, **options)):
            if count == 1:
                signal.raise_signal(signal.SIGINT)
            yield delta

    monkeypatch.setattr(model, "stream", interrupted)
    conversation = Conversation(model, system=None, sampling={"temperature": 0.0})
    before = signal.getsignal(signal.SIGINT)
    in_terminal(conversation, "What is a mouse?\r\x04")
    reply = conversation.messages[-1].text
    assert reply
    assert reply != "A mouse is brown."
    assert "A mouse is brown.".startswith(reply)
    assert " …" in capsys.readouterr().out
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_ctrl_c_interrupts_at_once() -> None:
    cancel = threading.Event()
    with chat._interruptible(cancel):
        signal.raise_signal(signal.SIGINT)
        assert cancel.is_set()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


# --- the conversation ------------------------------------------------------------------------------------------------


def test_regenerate_answers_the_last_message_again(conversation: Conversation) -> None:
    said(conversation, "Bye.")
    conversation.sampling.update(temperature=0.0, max_tokens=1)
    again = "".join(conversation.regenerate())
    assert "See you soon.".startswith(again)
    assert [message.text for message in conversation.messages] == ["Bye.", again.strip()]


def test_nothing_can_be_regenerated_at_first(conversation: Conversation) -> None:
    with pytest.raises(RequestError, match="say something first"):
        conversation.regenerate()


def test_instructions_are_replaced_and_survive_a_reset(conversation: Conversation) -> None:
    conversation.set_system("Be brief.")
    conversation.set_system("Be kind.")
    said(conversation, "Hello!")
    conversation.reset()
    assert conversation.messages == [Message.system("Be kind.")]
    conversation.set_system(None)
    assert conversation.messages == []


def test_saved_and_loaded_is_the_same(conversation: Conversation, model: sensorium.Model, tmp_path: Path) -> None:
    said(conversation, "Hello!")
    conversation.save(tmp_path / "chat.jsonl")
    other = Conversation(model, system=None, sampling={})
    other.load(tmp_path / "chat.jsonl")
    assert other.messages == conversation.messages
    assert [path.name for path in tmp_path.iterdir()] == ["chat.jsonl"]


def test_a_broken_file_leaves_the_conversation_alone(conversation: Conversation, tmp_path: Path) -> None:
    said(conversation, "Hello!")
    before = list(conversation.messages)
    (tmp_path / "broken.jsonl").write_text('{"messages": [{"role": "user"}]}\n')
    (tmp_path / "text.jsonl").write_text("hello\n")
    for name, words in [
        ("broken", "has no 'content'"),
        ("text", "is not a conversation"),
        ("absent", "cannot be read"),
    ]:
        with pytest.raises(DataError, match=words):
            conversation.load(tmp_path / f"{name}.jsonl")
    assert conversation.messages == before
    with pytest.raises(DataError, match="cannot be written"):
        conversation.save(tmp_path / "absent" / "chat.jsonl")


def test_old_turns_go_when_the_context_is_full_and_instructions_stay(conversation: Conversation) -> None:
    conversation.set_system("Be kind.")
    for _ in range(12):
        assert said(conversation, "What is a cat?")
    assert conversation.forgotten > 0
    assert len(conversation.messages) == 1 + 2 * 12
    assert conversation.messages[0] == Message.system("Be kind.")


def test_a_message_too_long_for_the_model_is_refused_and_not_remembered(conversation: Conversation) -> None:
    with pytest.raises(RequestError, match="96"):
        said(conversation, "What is a cat? " * 50)
    assert conversation.messages == []


# --- commands --------------------------------------------------------------------------------------------------------


def test_settings_are_checked_before_they_count(conversation: Conversation) -> None:
    assert slash.run_command(conversation, "/set top_p=0.5 seed=4") == "seed=4, temperature=0.0, top_p=0.5"
    with pytest.raises(sensorium.SensoriumError, match="top_p = 7"):
        slash.run_command(conversation, "/set top_p=7")
    with pytest.raises(sensorium.SensoriumError, match="did you mean 'temperature'"):
        slash.run_command(conversation, "/set temprature=1")
    assert conversation.sampling == {"temperature": 0.0, "top_p": 0.5, "seed": 4}


def test_help_lists_every_command(conversation: Conversation) -> None:
    shown = slash.run_command(conversation, "/help")
    assert all(command.usage in shown and command.help in shown for command in slash.COMMANDS.values())


def test_two_slashes_say_one(conversation: Conversation) -> None:
    assert slash.is_command("/help")
    assert not slash.is_command("//help")
    list(chat._answer(conversation, "//help"))
    assert conversation.messages[0].text == "/help"


def test_save_and_load_need_a_file(conversation: Conversation) -> None:
    for command in ("/save", "/load"):
        with pytest.raises(RequestError, match="needs a file"):
            slash.run_command(conversation, command)


# --- pictures and recordings -----------------------------------------------------------------------------------------


@pytest.fixture
def observing(observer: Path) -> Conversation:
    return Conversation(sensorium.load(observer), system=None, sampling={"temperature": 0.0, "max_tokens": 3})


def test_pictures_and_recordings_go_with_the_next_message(observing: Conversation, photo: Path, voice: Path) -> None:
    notice = slash.run_command(observing, f"/image {photo}")
    assert notice == "with your next message: my photo.png (an empty line sends it without words)"
    assert "my photo.png, voice.wav" in str(slash.run_command(observing, f"/audio '{voice}'"))
    said(observing, "What is this?")
    assert observing.messages[0] == Message.user([Image(path=photo), Audio(path=voice), Text("What is this?")])
    assert observing.shown == []
    said(observing, "And now?")
    assert observing.messages[2] == Message.user("And now?")


def test_a_conversation_with_pictures_is_saved_and_answered_again(
    observing: Conversation, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photo.parent)
    slash.run_command(observing, f"/image {photo.name}")
    first = said(observing, "What is this?")
    (tmp_path / "elsewhere").mkdir()
    observing.save(tmp_path / "elsewhere" / "chat.jsonl")
    other = Conversation(observing.model, system=None, sampling=observing.sampling)
    other.load(tmp_path / "elsewhere" / "chat.jsonl")
    assert other.messages == observing.messages
    slash.run_command(other, f"/image {photo}")
    assert "".join(other.regenerate()) == first
    assert other.shown == [Image(path=photo)]


def test_an_empty_line_sends_what_is_shown_without_words(
    observing: Conversation, voice: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    in_terminal(observing, f"\r/audio {voice}\r\r\x04")
    assert [message.role for message in observing.messages] == ["user", "assistant"]
    assert observing.messages[0] == Message.user([Audio(path=voice)])
    assert "voice.wav" in capsys.readouterr().out


def test_what_cannot_be_shown_is_refused_at_once(
    observing: Conversation, conversation: Conversation, photo: Path
) -> None:
    (photo.parent / "notes.png").write_text("no picture")
    with pytest.raises(DataError, match=r"notes\.png"):
        slash.run_command(observing, f"/image {photo.parent / 'notes.png'}")
    with pytest.raises(DataError, match=r"absent\.wav"):
        slash.run_command(observing, "/audio absent.wav")
    with pytest.raises(RequestError, match=r"/image needs a file, such as /image photo\.jpg"):
        slash.run_command(observing, "/image")
    with pytest.raises(RequestError, match="reads text only"):
        slash.run_command(conversation, f"/image {photo}")
    assert observing.shown == conversation.shown == []


def test_more_than_the_context_holds_is_not_kept_and_a_reset_forgets_the_rest(
    observing: Conversation, photo: Path
) -> None:
    def show_many() -> None:
        for _ in range(60):
            slash.run_command(observing, f"/image {photo}")

    with pytest.raises(RequestError, match=r"my photo\.png takes 1\d\d tokens, which leaves no room .* of 128"):
        show_many()
    assert 2 < len(observing.shown) < 60
    observing.reset()
    assert observing.shown == []


def test_pictures_are_shown_through_a_pipe(cli, observer: Path, photo: Path) -> None:
    outcome = cli("chat", "-m", observer, "--max-tokens", "2", stdin=f"/image {photo}\nWhat is this?\n")
    assert (outcome.code, outcome.err) == (0, "")
    assert "my photo.png" in outcome.out.splitlines()[0]


def test_as_many_turns_as_fit_are_read_and_not_one_more(conversation: Conversation) -> None:
    for _ in range(9):
        said(conversation, "What is a cat?")
    processor, context = conversation.model.processor, conversation.model.config.decoder.max_positions
    turns = [*conversation.messages, Message.user("Bye.")]
    kept, forgotten = conversation._fitting(turns)
    assert kept == turns[forgotten:]
    room = context // 4
    assert len(processor.encode_messages(kept, add_generation_prompt=True)) + room <= context
    assert len(processor.encode_messages(turns[forgotten - 2 :], add_generation_prompt=True)) + room > context
