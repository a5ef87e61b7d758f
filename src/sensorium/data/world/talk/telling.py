"""Telling: small stories, translations, and summaries of what was said.

Facts of `story`: `things`, `weather`, `time`, `answer`. Of `translate`: `source`, `target`, `source_language`,
`target_language`. Of `summarise`: `things`, `weather`, `time`, `answer`.
"""

from __future__ import annotations

from typing import Any

from sensorium.data.world.talk import lexicon
from sensorium.data.world.talk.captions import scene_facts
from sensorium.data.world.talk.lexicon import Counted
from sensorium.data.world.talk.sentences import thing_sentence
from sensorium.data.world.talk.setting import REQUESTS, Phrases, Setting, speakable
from sensorium.data.world.talk.types import LANGUAGES, Language, Piece, Seen, Spoken, Talk
from sensorium.data.world.things import TIMES, WEATHERS

STORY = Phrases(
    en=(
        "tell me a story about {about}.",
        "tell a story about {about}.",
        "write a story about {about}.",
        "make up a story about {about}.",
        "tell a small story of {about}.",
        "tell a tale of {about}.",
        "give me a short story about {about}.",
        "let me hear a story about {about}.",
        "think of a story about {about}.",
        "write a short tale of {about}.",
    ),
    zh=(
        "讲一个关于{about}的故事。",
        "写一个关于{about}的故事。",
        "编一个关于{about}的故事。",
        "说说{about}的故事。",
        "讲讲{about}的小故事。",
        "给我讲{about}的故事。",
        "写写{about}的小故事。",
        "来一个关于{about}的故事。",
        "想一个关于{about}的故事。",
        "用{about}编个故事。",
    ),
    openings=REQUESTS,
)
_PICTURE = {"en": "this picture", "zh": "这张图片"}
_MIDDLES = {
    "en": {None: "They became friends.", "sunny": "They played outside.", "cloudy": "They took a walk."}
    | {"rain": "They ran home.", "snow": "They made a ball of snow.", "storm": "They hid together."},
    "zh": {None: "他们成了朋友。", "sunny": "他们在外面玩。", "cloudy": "他们一起走走。"}
    | {"rain": "他们跑回了家。", "snow": "他们一起玩雪。", "storm": "他们躲在一起。"},
}
TRANSLATE = {
    "zh": Phrases(
        en=(
            "translate into Chinese: {text}",
            "say this in Chinese: {text}",
            "put this into Chinese: {text}",
            "write this in Chinese: {text}",
            "give the Chinese for: {text}",
        ),
        zh=(
            "翻译成中文：{text}",
            "用中文说：{text}",
            "译成中文：{text}",
            "用中文写：{text}",
            "把这句话变成中文：{text}",
        ),
        openings=REQUESTS,
    ),
    "en": Phrases(
        en=(
            "translate into English: {text}",
            "say this in English: {text}",
            "put this into English: {text}",
            "write this in English: {text}",
            "give the English for: {text}",
        ),
        zh=(
            "翻译成英文：{text}",
            "用英文说：{text}",
            "译成英文：{text}",
            "用英文写：{text}",
            "把这句话变成英文：{text}",
        ),
        openings=REQUESTS,
    ),
}
INTERPRET = {
    "zh": Phrases(
        en=(
            "translate what you hear into Chinese.",
            "say in Chinese what you hear.",
            "put the recording into Chinese.",
            "write in Chinese what is said.",
            "give the Chinese for what you hear.",
        ),
        zh=(
            "把听到的话翻译成中文。",
            "用中文说出你听到的话。",
            "把录音译成中文。",
            "用中文写出录音的内容。",
            "听录音，译成中文。",
        ),
        openings=REQUESTS,
    ),
    "en": Phrases(
        en=(
            "translate what you hear into English.",
            "say in English what you hear.",
            "put the recording into English.",
            "write in English what is said.",
            "give the English for what you hear.",
        ),
        zh=(
            "把听到的话翻译成英文。",
            "用英文说出你听到的话。",
            "把录音译成英文。",
            "用英文写出录音的内容。",
            "听录音，译成英文。",
        ),
        openings=REQUESTS,
    ),
}
SUMMARISE = Phrases(
    en=(
        "sum this up.",
        "sum up what was said.",
        "give a summary.",
        "say it in short.",
        "summarise this.",
        "summarise what was said.",
        "put it in a few words.",
        "write a short summary.",
        "make it short.",
        "tell me in short what was seen.",
    ),
    zh=(
        "总结一下。",
        "总结这段话。",
        "做个总结。",
        "简单地概括一下。",
        "概括这段话。",
        "概括说了什么。",
        "用几个词总结。",
        "写一个简短的总结。",
        "把它缩短。",
        "简短地说说看到了什么。",
    ),
    openings=REQUESTS,
)
_SAW = {
    "en": (
        ("first we saw {}.", "we saw {}."),
        ("then we saw {}.", "then came {}."),
        ("last we saw {}.", "at last we saw {}."),
    ),
    "zh": (("先看到{}。", "我们看到{}。"), ("然后看到{}。", "接着来了{}。"), ("最后看到{}。", "最后来了{}。")),
}
_IT_WAS = {"en": "it was {}.", "zh": "那是{}。"}


def story(setting: Setting) -> Talk:
    """A story about what is named, or about what a picture shows; the weather leads how it goes on."""
    language = setting.language
    groups = setting.groups(*(1,) * (1 + setting.chance(0.6)))
    if setting.chance(0.5):
        scene = setting.scene(setting.pick(("things", "mixed")), groups)
        facts, words, picture = scene_facts(scene), _PICTURE[language], Seen(scene)
    else:
        things = lexicon.added((group.count, group.colour, group.kind) for group in groups)
        weather, time = (setting.pick(WEATHERS), setting.pick(TIMES)) if setting.chance(0.5) else (None, None)
        facts = {"things": [list(thing) for thing in things], "weather": weather, "time": time}
        words, picture = _about(things, weather, time, language), None
    answer = _story(facts, language)
    pieces = setting.arranged(picture, setting.say(STORY, about=words))
    return setting.talk("story", pieces, answer, facts | {"answer": answer})


def _about(things: list[Counted], weather: str | None, time: str | None, language: Language) -> str:
    """What a story is to be about; in Chinese the sky stands within the words, as no comma may part them."""
    if language == "zh" and weather and time:
        return f"{lexicon.things_phrase(things, language)}在{lexicon.sky_phrase(weather, time, language)}"
    return lexicon.caption(things, weather, time, language)


def _story(facts: dict[str, Any], language: Language) -> str:
    names = [lexicon.counted(count, colour, kind, language) for count, colour, kind in facts["things"]]
    sky = facts["weather"] and lexicon.sky_phrase(facts["weather"], facts["time"], language)
    if language == "zh":
        met = f"{names[0]}遇见了{names[1]}" if len(names) > 1 else f"{names[0]}遇见了我"
        opening = f"一个{sky}，" if sky else "从前，"
        return f"{opening}{met}。{_MIDDLES['zh'][facts['weather']]}"
    met = f"{names[0]} met {names[1]}" if len(names) > 1 else f"{names[0]} met me"
    opening = f"One {sky}, " if sky else "Once upon a time, "
    return f"{opening}{met}. {_MIDDLES['en'][facts['weather']]}"


def translate(setting: Setting) -> Talk:
    """A sentence, written or spoken, and its translation."""
    source_language, target_language = setting.pick((LANGUAGES, LANGUAGES[::-1]))
    spoken = setting.chance(0.35)
    while True:
        both = thing_sentence(setting)
        source, target = both[source_language], both[target_language]
        if not spoken or speakable(source, source_language):
            break
    if spoken:
        heard = Spoken(source, source_language, setting.voice())
        pieces = setting.arranged(heard, setting.say(INTERPRET[target_language]))
    else:
        pieces = (setting.say(TRANSLATE[target_language], text=source),)
    facts = {"source": source, "target": target}
    facts |= {"source_language": source_language, "target_language": target_language}
    return setting.talk("translate", pieces, target, facts)


def summarise(setting: Setting) -> Talk:
    """Some sentences, written or spoken, whose things are added up in the summary."""
    mentions = [(1 + setting.dice.randrange(2), *pair) for pair in setting.pairs(1 + setting.chance(0.6))]
    again = setting.chance(0.5)
    if again:
        mentions.append((1 + setting.dice.randrange(2), *mentions[0][1:]))
    weather, time = (setting.pick(WEATHERS), setting.pick(TIMES)) if setting.chance(0.5) else (None, None)
    told = _told(setting, mentions, weather, time, again=again)
    pieces: tuple[Piece, ...] = (setting.speak(told), setting.say(SUMMARISE))
    if setting.chance(0.7):
        gap = "" if setting.language == "zh" else " "
        pieces = (f"{told}{gap}{pieces[1]}",)
    things = lexicon.added(mentions)
    answer = lexicon.caption(things, weather, time, setting.language)
    facts = {"things": [list(thing) for thing in things], "weather": weather, "time": time, "answer": answer}
    return setting.talk("summarise", pieces, answer, facts)


def _told(setting: Setting, mentions: list[Counted], weather: str | None, time: str | None, *, again: bool) -> str:
    language = setting.language
    sentences = []
    for index, mention in enumerate(mentions):
        name = lexicon.counted(*mention, language)
        if again and index == len(mentions) - 1:
            name = lexicon.counted_more(*mention, language)
        saw = _SAW[language]
        sentences.append(setting.pick(saw[min(index, len(saw) - 1)]).format(name))
    if weather and time:
        sky = lexicon.sky_phrase(weather, time, language)
        words = _IT_WAS[language].format(sky if language == "zh" else lexicon.article(sky))
        sentences.insert(setting.pick((0, len(sentences))), words)
    return ("" if language == "zh" else " ").join(text[0].upper() + text[1:] for text in sentences)
