"""Any text as the answer to a request: how plain stories teach a model to tell one when asked."""

from __future__ import annotations

import re
from collections import Counter
from hashlib import sha256
from string import Formatter

from sensorium.messages import Message

FIELDS = ("title", "name", "topic")
_NAME = re.compile(r"\bnamed ([A-Z][a-z]+)\b")
_CAPITALISED = re.compile(r"(?<=[a-z,] )[A-Z][a-z]+\b")
_NOUN = re.compile(r"\b(?:an?|the|his|her|their|big|little|small|red|blue|new) ([a-z]{3,})\b")
# Words that follow an article without being what a story is about.
_VAGUE = frozenset(
    "day time girl boy little big small man woman best old new very end other same one two way next first last friend "
    "friends mom dad mommy daddy mother father lot bit special great good nice long red blue green happy beautiful "
    "most only right left top bottom middle back front side door home rest whole world thing things sad scary name "
    "morning night place something idea minute moment hand hands head face eyes arms tall yellow kind while few "
    "pretty lovely loud strange shiny soft warm cold huge tiny brave sweet funny new young wonderful inside outside "
    "more fun hard and but was that not then with for all out way".split()
)


def request_fields(text: str) -> dict[str, str]:
    """What a request for this text may name: its `title` (first line), a `name` and a `topic` found in it.

    A field that is not found is missing: the title of a text of one line, the name in a tale of nobody.
    """
    fields: dict[str, str] = {}
    first, _, rest = text.partition("\n")
    if rest.strip() and 0 < len(first.strip()) <= 60:
        fields["title"] = first.strip().rstrip(".。")
    names = Counter(_NAME.findall(text)) or Counter(_CAPITALISED.findall(text))
    if names:
        fields["name"] = names.most_common(1)[0][0]
    nouns = Counter(noun for noun in _NOUN.findall(text) if noun not in _VAGUE)
    topic, times = nouns.most_common(1)[0] if nouns else ("", 0)
    if times >= 2:
        fields["topic"] = topic
    return fields


def prompt_fields(prompt: str) -> set[str]:
    """The names in braces of a prompt. Raises `ValueError` when the braces do not match."""
    return {name for _, name, _, _ in Formatter().parse(prompt) if name is not None}


def as_request(text: str, prompts: tuple[str, ...]) -> tuple[Message, ...] | None:
    """A conversation in which the user asks for the text, in words chosen by its content, and gets it.

    Args:
        text: what the assistant answers.
        prompts: wordings with `{title}`, `{name}` and `{topic}`; those whose fields the text lacks are passed over.

    Returns:
        The conversation, or None when no prompt fits.
    """
    fields = request_fields(text)
    fitting = [prompt for prompt in prompts if prompt_fields(prompt) <= fields.keys()]
    if not fitting:
        return None
    choice = int.from_bytes(sha256(text.encode()).digest()[:8], "big") % len(fitting)
    prompt = fitting[choice]
    # A title that the request has said already is not told again.
    answer = text.partition("\n")[2] if "title" in prompt_fields(prompt) else text
    return (Message.user(prompt.format(**fields)), Message.assistant(answer.strip()))
