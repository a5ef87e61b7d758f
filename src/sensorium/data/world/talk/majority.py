"""What is seen, heard and read of one matter: who agrees with whom, and what to believe."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sensorium.data.world.talk import lexicon
from sensorium.data.world.talk.setting import Setting
from sensorium.data.world.talk.types import Language

_VERBS = {
    "en": {"seen": "see", "heard": "hear", "read": "read"},
    "zh": {"seen": "看到", "heard": "听到", "read": "读到"},
}
_AGAIN: dict[Language, str] = {"en": " too", "zh": "也一样"}  # behind what another sense has said already
_COLON: dict[Language, str] = {"en": ": ", "zh": "："}
_SENSES = ("seen", "heard", "read")


@dataclass(frozen=True, slots=True)
class Claims:
    """The value that picture, voice and text give; None for one that is absent or says nothing of it."""

    seen: str | None = None
    heard: str | None = None
    read: str | None = None

    @property
    def present(self) -> dict[str, str]:
        """The claims made, by sense."""
        given = zip(_SENSES, (self.seen, self.heard, self.read), strict=True)
        return {sense: value for sense, value in given if value is not None}

    @property
    def majority(self) -> str | None:
        """What to believe: the value of all or of two against one; None when there is no such value."""
        counts = Counter(self.present.values()).most_common(2)
        if len(counts) == 2 and counts[0][1] == counts[1][1]:
            return None
        return counts[0][0] if counts else None

    @property
    def case(self) -> str:
        """How the claims lie: "agree" (all three), "miss" (fewer, at one), or "contradict"."""
        if len(set(self.present.values())) > 1:
            return "contradict"
        return "agree" if len(self.present) == 3 else "miss"

    def concluded(self, conclusion: str, names: Mapping[str, str], language: Language) -> str:
        """A conclusion behind who says what, by the names of the values, where that differs; else as it is.

        Who agrees with one before is said at once, "hear rain too": whom to believe then follows from single words.
        """
        if self.case != "contradict":
            return conclusion
        return self._claimed(names, language) + _COLON[language] + conclusion

    def doubt(self, names: Mapping[str, str], language: Language) -> str:
        """What to say without a majority: "I see ..., but I hear ...", by the names of the values."""
        return lexicon.sentence(self._claimed(names, language), language)

    def _claimed(self, names: Mapping[str, str], language: Language) -> str:
        clauses, earlier = list[str](), set[str]()
        for sense, value in self.present.items():
            between = "" if language == "zh" else " "
            again = _AGAIN[language] if value in earlier else ""
            clauses.append(f"{_VERBS[language][sense]}{between}{names[value]}{again}")
            earlier.add(value)
        if language == "zh":
            return f"我{clauses[0]}，但{clauses[1]}" if len(clauses) == 2 else f"我{'，'.join(clauses)}"
        if len(clauses) == 2:
            return f"I {clauses[0]}, but I {clauses[1]}"
        return f"I {clauses[0]}, {clauses[1]} and {clauses[2]}"


def claims_for(
    setting: Setting,
    values: Sequence[str],
    *,
    seen: bool,
    heard: bool,
    read: bool,
    agree: float = 0.5,
    scattered: float = 0.2,
) -> Claims:
    """Claims of the senses present: often at one, sometimes with one wrong, rarely all different.

    Args:
        setting: the chance.
        values: what may be claimed; at least as many as senses are present.
        seen: whether the picture claims.
        heard: whether the voice claims.
        read: whether the text claims.
        agree: how often they are at one; otherwise one is wrong.
        scattered: how often three that are not at one differ all.
    """
    senses = [sense for sense, there in zip(_SENSES, (seen, heard, read), strict=True) if there]
    truth, second, third = setting.dice.sample(list(values), 3)
    claimed = dict.fromkeys(senses, truth)
    if len(senses) > 1 and not setting.chance(agree):
        claimed[setting.pick(senses)] = second
        if len(senses) == 3 and setting.chance(scattered):
            claimed |= dict(zip(senses, (truth, second, third), strict=True))
    return Claims(**claimed)
