"""Talks whose answers are shown or spoken: pictures to draw, words to say aloud.

A picture comes behind a sketch in words: what will stand where is settled before any of it is drawn.

Facts of `draw`, `draw_freely` and `vary`: `things`, `weather`, `time`. Of `discuss` also `questions` and `answers`. Of
`speak`: `transcript`, and `question` where one was asked. Of `recite`: `transcript`.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from sensorium.clauses import clauses
from sensorium.data.world.hand import in_own_hand
from sensorium.data.world.scene import Group, Scene, draw_seed
from sensorium.data.world.talk import lexicon
from sensorium.data.world.talk.captions import CAPTION, WHAT, describe, scene_facts
from sensorium.data.world.talk.hearing import digits_aloud, draw_digits
from sensorium.data.world.talk.places import sketch
from sensorium.data.world.talk.questions import Question, asked_scene, questions_about
from sensorium.data.world.talk.sentences import heard_sentence
from sensorium.data.world.talk.setting import REQUESTS, Maker, Phrases, Setting, shown, speakable
from sensorium.data.world.talk.types import Language, Piece, Seen, Spoken, Talk, Turn

VOICE = 0  # whose voice answers, among those of training

DRAW = Phrases(
    en=(
        "draw {what}.",
        "draw me {what}.",
        "paint {what}.",
        "paint me {what}.",
        "make a picture of {what}.",
        "draw a picture of {what}.",
        "show me {what}.",
        "create a picture with {what}.",
        "give me a picture of {what}.",
        "let me see {what}.",
    ),
    zh=(
        "画{what}。",
        "给我画{what}。",
        "画一张图：{what}。",
        "画出{what}。",
        "做一张有{what}的图片。",
        "给我看{what}。",
        "生成一张图片：{what}。",
        "画一幅画，{what}。",
        "帮我画{what}。",
        "让我看看{what}。",
    ),
    openings=REQUESTS,
)
VARY = Phrases(
    en=(
        "draw another one like this.",
        "draw the same in another way.",
        "vary this picture.",
        "make another picture of the same.",
        "draw this picture anew.",
    ),
    zh=("再画一张这样的图。", "换个样子画同样的内容。", "把这张图变个样子。", "照这张图另画一张。", "重新画这张图。"),
    openings=REQUESTS,
)
ALOUD = Phrases(
    en=(
        "answer aloud.",
        "speak the answer.",
        "say the answer aloud.",
        "tell me the answer in your voice.",
        "let me hear the answer.",
        "answer with your voice.",
    ),
    zh=("大声回答。", "说出答案。", "用声音回答。", "让我听到答案。", "把答案说出来。", "开口回答。"),
    openings=REQUESTS,
)
READ = Phrases(
    en=(
        "say: {text}",
        "read aloud: {text}",
        "speak these words: {text}",
        "read this out: {text}",
        "let me hear: {text}",
    ),
    zh=(
        "说：{text}",
        "朗读：{text}",
        "念出这句话：{text}",
        "读一读：{text}",
        "读出来：{text}",
        "念一念：{text}",
        "大声说：{text}",
        "开口说：{text}",
    ),
    openings=REQUESTS,
)


def draw(setting: Setting, *, kind: str = "draw", freely: bool = False) -> Talk:
    """A request, written or spoken, and the picture that it asks for; seldom there was another one before.

    Args:
        setting: the chance.
        kind: the name of the talk.
        freely: whether the request names things of different kinds and leaves their colours open.
    """
    theme = setting.dice.choices(("things", "mixed", "sky"), (0.6, 0.25, 0.0 if freely else 0.15))[0]
    spoken = setting.chance(0.3)
    while True:
        scene = setting.scene(theme, _of_different_kinds(setting) if freely else None)
        what = _uncoloured(scene, setting.language) if freely else describe(scene, setting.language)
        text = setting.say(DRAW, what=what)
        if not spoken or speakable(text, setting.language):
            break
    scene = in_own_hand(scene, setting.rng)
    asked: Piece = setting.speak(text) if spoken else text
    earlier: tuple[Turn, ...] = ()
    if setting.chance(0.1):  # it is not the first picture that is asked for
        earlier = asked_and_drawn(setting, in_own_hand(setting.scene("things"), setting.rng))
    turns = (*earlier, Turn("user", (asked,)), Turn("assistant", (sketch(scene, setting.language), Seen(scene))))
    return Talk(kind, setting.language, turns, scene_facts(scene))


def _of_different_kinds(setting: Setting) -> list[Group]:
    return setting.groups(*setting.pick(((1,), (2,), (1, 1), (1, 2), (2, 1), (1, 1, 1))))  # room for all under a sky


def _uncoloured(scene: Scene, language: Language) -> str:
    """The caption of a scene, but for all colours."""
    things = [(count, "", kind) for count, _, kind in lexicon.contents(scene)]
    return lexicon.caption(things, scene.weather, scene.time, language)


def asked_and_drawn(setting: Setting, scene: Scene) -> tuple[Turn, Turn]:
    """A request for a picture, and the picture."""
    asked = setting.say(DRAW, what=describe(scene, setting.language))
    return Turn("user", (asked,)), Turn("assistant", (sketch(scene, setting.language), Seen(scene)))


def discuss(setting: Setting) -> Talk:
    """A picture that the assistant draws, and questions about it, or what it shows."""
    scene = in_own_hand(setting.scene("mixed" if setting.chance(0.4) else "things"), setting.rng)
    questions = questions_about(setting, scene, 1 + setting.dice.randrange(4))
    if setting.chance(0.5):
        asked = setting.say(CAPTION if setting.chance(0.5) else WHAT)
        questions.insert(
            setting.dice.randrange(len(questions) + 1), Question("caption", asked, describe(scene, setting.language))
        )
    turns = list(asked_and_drawn(setting, scene))
    for question in questions:
        turns += [Turn("user", (question.text,)), Turn("assistant", (question.answer,))]
    facts = {"questions": [each.sort for each in questions], "answers": [each.answer for each in questions]}
    return Talk("discuss", setting.language, tuple(turns), scene_facts(scene) | facts)


def vary(setting: Setting) -> Talk:
    """A picture, of any style or the assistant's own, and another of the same."""
    before = setting.scene(setting.dice.choices(("things", "mixed", "sky"), (0.6, 0.25, 0.15))[0])
    if setting.chance(0.5):
        before = in_own_hand(before, setting.rng)
    after = in_own_hand(replace(before, seed=draw_seed(setting.rng, setting.split)), setting.rng)
    answer = (sketch(after, setting.language), Seen(after))
    turns = (Turn("user", setting.arranged(*shown(before, setting.say(VARY)))), Turn("assistant", answer))
    return Talk("vary", setting.language, turns, scene_facts(after))


DRAWN: dict[str, Maker] = {"draw": draw, "draw_freely": partial(draw, kind="draw_freely", freely=True)}


def speak(setting: Setting) -> Talk:
    """A question about a picture, or a sentence to read; the answer is written and said."""
    facts: dict[str, str] = {}
    if setting.chance(0.5):
        scene, question = asked_scene(setting, spoken=True)
        asked = setting.speak(question.text) if setting.chance(0.5) else question.text
        pieces, answer = setting.arranged(Seen(scene), asked, setting.say(ALOUD)), question.answer
        facts["question"] = question.sort
    else:
        answer = heard_sentence(setting)
        pieces = (setting.say(READ, text=answer),)
    turns = (Turn("user", pieces), Turn("assistant", said_by_clause(answer, setting.language)))
    return Talk("speak", setting.language, turns, facts | {"transcript": answer})


def recite(setting: Setting) -> Talk:
    """A clause, an answer or digits to read aloud, in any voice: one recording with its words, to judge speech by."""
    way = setting.dice.random()
    if way < 0.6:
        text = setting.pick(clauses(heard_sentence(setting))).strip()
    elif way < 0.9:
        text = asked_scene(setting, spoken=True)[1].answer
    else:
        text = digits_aloud(draw_digits(setting), setting.language)
    turns = (
        Turn("user", (setting.say(READ, text=text),)),
        Turn("assistant", (text, Spoken(text, setting.language))),
    )
    return Talk("recite", setting.language, turns, {"transcript": text})


def said_by_clause(answer: str, language: Language) -> tuple[Piece, ...]:
    """An answer as it is spoken: the words of a clause, then their sound, and the next."""
    return tuple(
        piece for words in clauses(answer) for piece in (words, Spoken(words.strip(), language, VOICE, own=True))
    )
