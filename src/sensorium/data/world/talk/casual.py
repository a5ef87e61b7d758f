"""Requests as people type them in haste: no capital at the beginning, no stop at the end."""

from __future__ import annotations

from dataclasses import replace

from sensorium.data.world.talk.types import Piece, Talk, Turn

STOPS = ".?!。？！"  # that end what is typed with care


def casual(talk: Talk) -> Talk:
    """The same talk, but what the user types begins small and ends without a stop.

    What is repeated word for word in the answer stays as it is, and so does what is said or shown.
    """
    answers = {turn.text.strip() for turn in talk.turns if turn.role == "assistant"}
    return replace(talk, turns=tuple(_casual(turn, answers) if turn.role == "user" else turn for turn in talk.turns))


def _casual(turn: Turn, answers: set[str]) -> Turn:
    return replace(turn, parts=tuple(_hasty(part, answers) for part in turn.parts))


def _hasty(part: Piece, answers: set[str]) -> Piece:
    if not isinstance(part, str) or any(answer and answer[-1] in STOPS and answer in part for answer in answers):
        return part
    words = part.rstrip(STOPS) or part
    first, _, _ = words.partition(" ")
    stays = first.partition("'")[0] == "I" or first[1:] != first[1:].lower()  # "I", and what is spelled in capitals
    return words if stays else words[:1].lower() + words[1:]
