"""Lessons: arithmetic, and small instructions to follow.

Facts of `arithmetic`: `expression` ("3 + 4"), `answer` ("7"). Of `instruct`: `task`, `answer`.
"""

from __future__ import annotations

from collections.abc import Sequence

from sensorium.data.world.talk import lexicon
from sensorium.data.world.talk.sentences import thing_sentence
from sensorium.data.world.talk.setting import REQUESTS, Phrases, Setting, sentence_side, speakable
from sensorium.data.world.talk.types import Piece, Seen, Talk
from sensorium.data.world.things import COLOURS, KINDS, MAX_COUNT

_WORDS = {"en": {"+": "plus", "-": "minus", "x": "times"}, "zh": {"+": "加", "-": "减", "x": "乘"}}
_ANIMALS = ("cat", "dog", "fish", "bird")

SUM = Phrases(
    en=(
        "what is {sum}?",
        "how much is {sum}?",
        "what does {sum} make?",
        "what do you get for {sum}?",
        "what is the result of {sum}?",
        "how much does {sum} make?",
        "{sum} is how much?",
        "{sum} makes what?",
        "what does {sum} come to?",
        "do you know how much {sum} is?",
    ),
    zh=(
        "{sum}等于几？",
        "{sum}是多少？",
        "{sum}等于多少？",
        "{sum}得几？",
        "{sum}的结果是什么？",
        "算一算{sum}等于几？",
        "{sum}一共是多少？",
        "你知道{sum}是多少吗？",
        "{sum}得多少？",
        "计算{sum}是多少？",
    ),
)
MORE = Phrases(
    en=(
        "if {n} more come, how many {things} will there be?",
        "how many {things} will there be if {n} more come?",
        "how many {things} are there with {n} more?",
        "with {n} more, how many {things} are there?",
        "if you add {n}, how many {things} do you have?",
        "how many {things} do you have if you add {n}?",
    ),
    zh=(
        "再来{n}{measure}，一共有几{measure}{things}？",
        "如果再来{n}{measure}，有几{measure}{things}？",
        "再加{n}{measure}，一共有多少{measure}{things}？",
        "加上{n}{measure}，有几{measure}{things}？",
        "要是多{n}{measure}，一共有几{measure}{things}？",
        "多了{n}{measure}以后有几{measure}{things}？",
    ),
)
LISTEN = Phrases(
    en=(
        "answer the question.",
        "answer the question you hear.",
        "answer what you hear.",
        "listen and answer.",
        "solve what you hear.",
        "do the sum you hear.",
        "give the answer.",
        "work out what is asked.",
    ),
    zh=(
        "回答问题。",
        "回答你听到的问题。",
        "听问题，回答。",
        "算出你听到的题。",
        "听录音，回答问题。",
        "给出答案。",
        "解答录音里的题。",
    ),
    openings=REQUESTS,
)
REPEAT = Phrases(
    en=(
        "repeat: {text}",
        "repeat after me: {text}",
        "say this again: {text}",
        "copy these words: {text}",
        "write: {text}",
    ),
    zh=("重复：{text}", "跟我说：{text}", "再说一遍：{text}", "抄写这句话：{text}", "写：{text}"),
    openings=REQUESTS,
)
COUNT = Phrases(
    en=(
        "count from {low} to {high}.",
        "say the numbers from {low} to {high}.",
        "write the numbers from {low} to {high}.",
        "begin at {low} and count to {high}.",
        "list all numbers from {low} to {high}.",
    ),
    zh=(
        "从{low}数到{high}。",
        "说出{low}到{high}的数。",
        "写出从{low}到{high}的数。",
        "从{low}开始，数到{high}。",
        "列出{low}到{high}的所有数。",
    ),
    openings=REQUESTS,
)
EXTREME = Phrases(
    en=(
        "which number is the {most}: {items}?",
        "what is the {most} number of {items}?",
        "of {items}, which is the {most}?",
        "which is the {most} of {items}?",
        "among {items}, what is the {most}?",
    ),
    zh=(
        "哪个数最{most}：{items}？",
        "{items}里最{most}的是哪个？",
        "{items}中哪个最{most}？",
        "在{items}里，最{most}的是几？",
        "最{most}的数是哪个：{items}？",
    ),
)
ORDER = Phrases(
    en=(
        "what is the {place} word of {items}?",
        "which word comes {place}: {items}?",
        "in {items}, which word is {place}?",
        "which is the {place} of the words {items}?",
        "of the words {items}, which is {place}?",
    ),
    zh=(
        "{items}，{place}是什么词？",
        "{items}里，{place}是什么？",
        "哪个词是{place}：{items}？",
        "{place}是哪个词：{items}？",
        "在{items}中，{place}是哪个？",
    ),
)
SORT = Phrases(
    en=(
        "which of these is {sort}: {items}?",
        "which is {sort}: {items}?",
        "of {items}, which is {sort}?",
        "which word means {sort}: {items}?",
        "among {items}, what is {sort}?",
    ),
    zh=(
        "哪个是{sort}：{items}？",
        "{items}里哪个是{sort}？",
        "{items}中，哪一个是{sort}？",
        "下面哪个是{sort}：{items}？",
        "哪个词是{sort}：{items}？",
    ),
)
_PLACES = {"en": ("first", "last"), "zh": ("第一个", "最后一个")}
_MOST = {"en": ("smallest", "largest"), "zh": ("小", "大")}
_SORTS = {"en": ("an animal", "a colour"), "zh": ("动物", "颜色")}


def arithmetic(setting: Setting) -> Talk:
    """A sum in signs, in words, spoken, or of things in a picture; the answer is in digits."""
    way = setting.pick(("signs", "words", "spoken", "picture"))
    if way == "picture":
        return _sum_of_things(setting)
    one, sign, other, value = _draw_sum(setting)
    if way == "signs":
        pieces: tuple[Piece, ...] = (setting.say(SUM, sum=f"{one} {sign} {other}"),)
    else:
        text = _sum_in_words(setting, one, sign, other, spoken=way == "spoken")
        pieces = setting.arranged(setting.speak(text), setting.say(LISTEN)) if way == "spoken" else (text,)
    return setting.talk("arithmetic", pieces, str(value), _sum_facts(one, sign, other, value))


def _sum_in_words(setting: Setting, one: int, sign: str, other: int, *, spoken: bool) -> str:
    gap = " " if setting.language == "en" else ""
    names = [lexicon.number(value, setting.language) for value in (one, other)]
    words = gap.join((names[0], _WORDS[setting.language][sign], names[1]))
    while True:
        text = setting.say(SUM, sum=words)
        if not spoken or speakable(text, setting.language):
            return text


def _sum_of_things(setting: Setting) -> Talk:
    while True:
        count, more = 1 + setting.dice.randrange(MAX_COUNT), 1 + setting.dice.randrange(MAX_COUNT)
        if _sum_side(count, "+", more) == setting.split:
            break
    (group,) = setting.groups(count)
    n = lexicon.number(more, "en") if setting.language == "en" else lexicon.amount(more, "zh")[:-1]
    things, measure = lexicon.noun(group.kind, setting.language, 2), lexicon.measure(group.kind)
    asked = setting.say(MORE, n=n, things=things, measure=measure)
    pieces = setting.arranged(Seen(setting.scene("things", [group])), asked)
    return setting.talk("arithmetic", pieces, str(count + more), _sum_facts(count, "+", more, count + more))


def _draw_sum(setting: Setting) -> tuple[int, str, int, int]:
    """Two numbers, the sign between them, and the value, none above twenty."""
    while True:
        sign = setting.pick("++--x")
        one, other = setting.dice.randrange(11), setting.dice.randrange(11)
        if sign == "-":
            one, other = max(one, other), min(one, other)
        value = {"+": one + other, "-": one - other, "x": one * other}[sign]
        if value <= 20 and _sum_side(one, sign, other) == setting.split:
            return one, sign, other, value


def _sum_side(one: int, sign: str, other: int) -> str:
    """The split of a sum; a + b is on the side of b + a."""
    if sign != "-":
        one, other = sorted((one, other))
    return sentence_side(f"{one} {sign} {other}")


def _sum_facts(one: int, sign: str, other: int, value: int) -> dict[str, str]:
    return {"expression": f"{one} {sign} {other}", "answer": str(value)}


def instruct(setting: Setting) -> Talk:
    """Words alone: repeat, count, find the largest, the first, or the one of a sort."""
    task = setting.pick(tuple(_TASKS))
    asked, answer = _TASKS[task](setting)
    return setting.talk("instruct", (asked,), answer, {"task": task, "answer": answer})


def _repeat(setting: Setting) -> tuple[str, str]:
    text = thing_sentence(setting)[setting.language]
    return setting.say(REPEAT, text=text), text


def _count(setting: Setting) -> tuple[str, str]:
    low = 1 + setting.dice.randrange(8)
    high = low + 1 + setting.dice.randrange(4)
    words = [lexicon.number(value, setting.language) for value in range(low, high + 1)]
    return setting.say(COUNT, low=words[0], high=words[-1]), " ".join(words)


def _extreme(setting: Setting) -> tuple[str, str]:
    numbers = setting.dice.sample(range(1, 21), 3)
    largest = setting.chance(0.5)
    asked = setting.say(EXTREME, most=_MOST[setting.language][largest], items=_row(setting, list(map(str, numbers))))
    return asked, str(max(numbers) if largest else min(numbers))


def _order(setting: Setting) -> tuple[str, str]:
    words = [lexicon.noun(kind, setting.language) for kind in setting.dice.sample(KINDS, 3)]
    last = setting.chance(0.5)
    asked = setting.say(ORDER, place=_PLACES[setting.language][last], items=_row(setting, words))
    return asked, words[-1 if last else 0]


def _sort(setting: Setting) -> tuple[str, str]:
    colour = setting.chance(0.5)
    language = setting.language
    others = [kind for kind in setting.dice.sample(KINDS, 6) if kind not in _ANIMALS][:2]
    right = setting.pick(tuple(COLOURS) if colour else _ANIMALS)
    answer = lexicon.colour_word(right, language) if colour else lexicon.noun(right, language)
    words = [answer, *(lexicon.noun(kind, language) for kind in others)]
    setting.dice.shuffle(words)
    return setting.say(SORT, sort=_SORTS[language][colour], items=_row(setting, words)), answer


def _row(setting: Setting, words: Sequence[str]) -> str:
    return ("、" if setting.language == "zh" else ", ").join(words)


_TASKS = {"repeat": _repeat, "count": _count, "extreme": _extreme, "order": _order, "sort": _sort}
