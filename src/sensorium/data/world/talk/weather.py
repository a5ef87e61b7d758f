"""Talk about the weather: a sky that is seen, a voice that is heard, words that are read; one may be missing or wrong.

Each of the three may claim a weather: the picture by its sky, the voice and the text by a remark. Voice or text may
ask instead, which claims nothing. With p, v, t the weathers claimed and - for none:

| picture | voice | text | answer | `stance` | weather |
|---|---|---|---|---|---|
| p | - | - | "It is ..." | none | p |
| - | v | - | "It is ..." | none | v |
| - | - | t | "It is ..." | none | t |
| p | p | - | "Yes, it is ..." | confirm | p |
| p | - | p | "Yes, it is ..." | confirm | p |
| - | v | v | "Yes, it is ..." | confirm | v |
| p | p | p | "Yes, it is ..." | confirm | p |
| p | v | p | "I see ..., hear ... and read ... too: no, it is ..." | correct | p |
| p | p | t | "I see ..., hear ... too and read ...: no, it is ..." | correct | p |
| p | v | v | "I see ..., hear ... and read ... too: yes, it is ..." | confirm | v (the remarks are right) |
| p | v | - | "I see ..., but I hear ..." | doubt | null |
| p | - | t | "I see ..., but I read ..." | doubt | null |
| - | v | t | "I hear ..., but I read ..." | doubt | null |
| p | v | t | "I see ..., hear ... and read ..." | doubt | null |

The time of day is known when the picture is there and right. An answer names the weather and the time where known, and
gives advice: for a clear sky when it is asked for, otherwise always.

Facts: `weather`, `time`, `stance`, `case` ("agree", "miss", "contradict"), `seen`, `heard`, `read`, `advice`, `answer`.
"""

from __future__ import annotations

from sensorium.data.world.scene import Scene
from sensorium.data.world.talk import lexicon
from sensorium.data.world.talk import remarks as said
from sensorium.data.world.talk.majority import Claims, claims_for
from sensorium.data.world.talk.setting import Setting
from sensorium.data.world.talk.types import Language, Piece, Seen, Spoken, Talk
from sensorium.data.world.things import WEATHERS

# Whether a picture is shown, and what voice and text do, with the share of each way.
_WAYS: tuple[tuple[bool, str, str, float], ...] = (
    (True, "", "asks", 2.0),
    (True, "asks", "", 2.0),
    (True, "says", "asks", 3.0),
    (True, "says", "", 1.0),
    (True, "", "says", 1.0),
    (True, "asks", "says", 1.0),
    (True, "says", "says", 1.5),
    (True, "says", "says asks", 1.0),
    (False, "says", "asks", 1.0),
    (False, "asks", "says", 0.7),
    (False, "says", "says", 0.7),
    (False, "", "says asks", 0.4),
)
_WAY_WEIGHTS = tuple(way[-1] for way in _WAYS)

_STATEMENTS: dict[str, dict[str, tuple[str, str, str]]] = {  # weather: by day, by night, and at no known time
    "en": {
        "sunny": ("it is sunny today, bright and warm", "it is clear tonight, a quiet sky", "it is clear, a fine sky"),
        "cloudy": (
            "it is cloudy today, take a jacket",
            "it is cloudy tonight, take a jacket",
            "it is cloudy, take a jacket",
        ),
        "rain": (
            "it is raining today, take an umbrella",
            "it is raining tonight, take an umbrella",
            "it is raining, take an umbrella",
        ),
        "snow": (
            "it is snowing today, dress warmly",
            "it is snowing tonight, dress warmly",
            "it is snowing, dress warmly",
        ),
        "storm": (
            "it is stormy today, stay at home",
            "it is stormy tonight, stay at home",
            "it is stormy, stay at home",
        ),
    },
    "zh": {
        "sunny": ("今天天气很好，阳光明媚", "今晚天气很好，夜空晴朗", "天气很好，天空晴朗"),
        "cloudy": ("今天是阴天，带件外套", "今晚是阴天，带件外套", "是阴天，带件外套"),
        "rain": ("今天在下雨，记得带伞", "今晚在下雨，记得带伞", "在下雨，记得带伞"),
        "snow": ("今天在下雪，多穿衣服", "今晚在下雪，多穿衣服", "在下雪，多穿衣服"),
        "storm": ("今天有暴风雨，留在家里", "今晚有暴风雨，留在家里", "有暴风雨，留在家里"),
    },
}
_CLEAR_ADVICE = {"en": ", good for a walk", "zh": "，适合散步"}
_STANCES = {"en": {"confirm": "yes, ", "correct": "no, "}, "zh": {"confirm": "是的，", "correct": "不，"}}
_NAMES = {
    "en": {"sunny": "a clear sky", "cloudy": "clouds", "rain": "rain", "snow": "snow", "storm": "a storm"},
    "zh": {"sunny": "晴天", "cloudy": "阴天", "rain": "下雨", "snow": "下雪", "storm": "暴风雨"},
}


def weather(setting: Setting) -> Talk:
    """One talk about the weather, in one of the ways of the table above."""
    shows, voice, text, _ = setting.dice.choices(_WAYS, _WAY_WEIGHTS)[0]
    claims = claims_for(setting, WEATHERS, seen=shows, heard=voice == "says", read="says" in text)
    scene = None
    if claims.seen is not None:
        scene = sky(setting, claims.seen)
    advice = "asks" in voice + text and setting.chance(0.3)
    heard = remark(setting, voice, claims.heard, scene, advice=advice)
    read = remark(setting, text, claims.read, scene, advice=advice)
    spoken: Spoken | None = setting.speak(heard) if heard else None
    shown: Piece | None = Seen(scene) if scene else None
    time = scene.time if scene else None
    answer = reply(claims, time, setting.language, advice=advice)
    facts: dict[str, str | bool | None]
    facts = {"weather": claims.majority, "time": _known(time, claims), "stance": _stance(claims), "case": claims.case}
    facts |= {"seen": claims.seen, "heard": claims.heard, "read": claims.read, "advice": advice, "answer": answer}
    return setting.talk("weather", setting.arranged(shown, spoken, read), answer, facts)


def sky(setting: Setting, weather: str) -> Scene:
    """A scene in that weather, at times with things below it."""
    return setting.scene("mixed" if setting.chance(0.15) else "sky", weather=weather)


def reply(claims: Claims, time: str | None, language: Language, *, advice: bool) -> str:
    """The one answer to what is claimed: the weather, or the doubt where there is no majority.

    `time` is that of the picture, where there is one.
    """
    names = _NAMES[language]
    if claims.majority is None:
        return claims.doubt(names, language)
    statement = _STATEMENTS[language][claims.majority][("day", "night", None).index(_known(time, claims))]
    words = _STANCES[language].get(_stance(claims), "") + statement
    if advice and claims.majority == "sunny":
        words += _CLEAR_ADVICE[language]
    return lexicon.sentence(claims.concluded(words, names, language), language)


def _known(time: str | None, claims: Claims) -> str | None:
    """The time of day, where the picture that shows it is right."""
    return time if claims.majority == claims.seen else None


def _stance(claims: Claims) -> str:
    """What the answer makes of the remarks."""
    if claims.majority is None:
        return "doubt"
    if len(claims.present) == 1:
        return "none"
    wrong = any(value not in (None, claims.majority) for value in (claims.heard, claims.read))
    return "correct" if wrong else "confirm"


def remark(setting: Setting, does: str, claim: str | None, scene: Scene | None, *, advice: bool = False) -> str:
    """What voice or text says: a remark where there is a claim, a question where it `does` ask, both, or nothing."""
    night = scene is not None and scene.time == "night"
    now = said.NOW[setting.language][night and setting.chance(0.5)]
    words = []
    if claim is not None:
        remarks = said.CLEAR if claim == "sunny" and night else said.REMARKS[claim]
        words.append(setting.say(remarks, now=now))
    if "asks" in does:
        words.append(setting.say(said.ADVICE if advice else said.HOW, now=now))
    return ("" if setting.language == "zh" else " ").join(words)
