"""The commands inside a chat, such as `/help`, `/reset` and `/set temperature=0.7`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from sensorium.cli.conversation import Conversation
from sensorium.cli.options import ReplyName, sampling_from
from sensorium.cli.speech import given_voice
from sensorium.config import nearest
from sensorium.errors import RequestError
from sensorium.messages import Audio, Image

# What a command answers: a notice to show, or a reply to stream.
Answer = str | Iterator[str]
LEAVING = ("/quit", "/exit")  # what a chat ends at


@dataclass(frozen=True)
class Command:
    """One command: how it is written, what it does, and the doing."""

    usage: str
    help: str
    run: Callable[[Conversation, str], Answer]


def is_command(line: str) -> bool:
    """Whether a line is a command rather than something to say; `//` says a line that begins with a slash."""
    return line.startswith("/") and not line.startswith("//")


def run_command(conversation: Conversation, line: str) -> Answer:
    """Do what a line such as `/set top_p=0.9` asks.

    Raises:
        RequestError: an unknown command, or one without what it needs; the nearest command is named.
    """
    name, _, argument = line[1:].strip().partition(" ")
    if name not in COMMANDS:
        raise RequestError(f"unknown command '/{name}'{nearest(name, COMMANDS)}")
    return COMMANDS[name].run(conversation, argument.strip())


def _help(_conversation: Conversation, _argument: str) -> str:
    width = max(len(command.usage) for command in COMMANDS.values())
    lines = [f"{command.usage:<{width}}  {command.help}" for command in COMMANDS.values()]
    return "\n".join([*lines, f"{LEAVING[0]:<{width}}  leave, as Ctrl-D does; Ctrl-C ends the reply"])


def _reset(conversation: Conversation, _argument: str) -> str:
    conversation.reset()
    return "forgot the conversation"


def _system(conversation: Conversation, argument: str) -> str:
    conversation.set_system(argument or None)
    return "instructions set" if argument else "instructions removed"


def _set(conversation: Conversation, argument: str) -> str:
    conversation.set_sampling(sampling_from(argument.split()))
    settings = ", ".join(f"{key}={value}" for key, value in sorted(conversation.sampling.items()))
    return settings or "the model's own settings"


def _save(conversation: Conversation, argument: str) -> str:
    conversation.save(_path(argument, "save"))
    return f"saved {len(conversation.messages)} messages to {argument}"


def _load(conversation: Conversation, argument: str) -> str:
    conversation.load(_path(argument, "load"))
    return f"loaded {len(conversation.messages)} messages from {argument}"


def _regenerate(conversation: Conversation, _argument: str) -> Iterator[str]:
    return conversation.regenerate()


def _image(conversation: Conversation, argument: str) -> str:
    return _shown(conversation, Image(path=_path(argument, "image", "photo.jpg").absolute()))


def _audio(conversation: Conversation, argument: str) -> str:
    return _shown(conversation, Audio(path=_path(argument, "audio", "voice.wav").absolute()))


def _shown(conversation: Conversation, part: Image | Audio) -> str:
    conversation.show(part)
    names = ", ".join(shown.path.name for shown in conversation.shown if shown.path is not None)
    return f"with your next message: {names} (an empty line sends it without words)"


def _reply(conversation: Conversation, argument: str) -> str:
    kinds: tuple[ReplyName, ...] = get_args(ReplyName)
    found = next((kind for kind in kinds if kind == argument), None)
    if found is None:
        raise RequestError(f"/reply needs one of {', '.join(kinds)}{nearest(argument, kinds) if argument else ''}")
    conversation.reply = found
    return f"answers: {found}"


def _voice(conversation: Conversation, argument: str) -> str:
    names = conversation.model.voices
    if not argument:
        conversation.voice = None
        return f"the model's own voice (others: {', '.join(names) or 'none'}; or a recording)"
    voice = given_voice(_unquoted(argument), names)
    if isinstance(voice, str) and voice not in names:
        raise RequestError(f"there is no voice and no recording {argument}{nearest(argument, names)}")
    conversation.voice = voice
    return f"speaks as {argument}"


def _folder(conversation: Conversation, argument: str) -> str:
    folder = _path(argument, "folder", "pictures")
    if not folder.is_dir():
        raise RequestError(f"{folder} is no folder (make it first)")
    conversation.folder = folder
    return f"pictures and speech go to {folder}"


def _path(argument: str, command: str, example: str = "chat.jsonl") -> Path:
    if not argument:
        raise RequestError(f"/{command} needs a file, such as /{command} {example}")
    try:
        return Path(_unquoted(argument)).expanduser()
    except RuntimeError:
        raise RequestError(f"{argument}: there is no such home folder (write the path out)") from None


def _unquoted(argument: str) -> str:
    """A path without the quotes that a terminal puts around a file dropped into it."""
    quote = argument[0]
    quoted = len(argument) > 1 and quote in "'\"" and argument.endswith(quote)
    return argument[1:-1] if quoted else argument


COMMANDS = {
    "help": Command("/help", "this list", _help),
    "image": Command("/image FILE", "show a picture with the next message", _image),
    "audio": Command("/audio FILE", "play a recording with the next message", _audio),
    "reply": Command("/reply KIND", "answer with text, image, speech, or auto: as the model sees fit", _reply),
    "voice": Command("/voice NAME", "who speaks: a name, or a recording; alone, the model's own", _voice),
    "folder": Command("/folder DIR", "where pictures and speech of answers are written", _folder),
    "reset": Command("/reset", "forget the conversation", _reset),
    "regenerate": Command("/regenerate", "answer the last message again", _regenerate),
    "system": Command("/system TEXT", "set the instructions; without TEXT, remove them", _system),
    "set": Command("/set KEY=VALUE …", "change sampling, such as temperature=0.7; alone, show it", _set),
    "save": Command("/save FILE", "write the conversation as JSONL", _save),
    "load": Command("/load FILE", "go on from a saved conversation", _load),
}
