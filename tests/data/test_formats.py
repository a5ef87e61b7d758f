import json
import re
from pathlib import Path
from typing import Any

import pytest

from sensorium.data.formats import READERS, join_characters
from sensorium.data.records import START, Bad, DataFile, Record
from sensorium.data.spec import DatasetSpec
from sensorium.data.stream import RecordStream
from sensorium.messages import Message

STORYBOOK = """\
# The {title}

##
Once there was
a hen.

##
She laughed.

##
* License: [{licence}]
* Text: Ann
* Language: en
"""


def read(path: Path, format_: str, **settings: Any) -> list[Any]:
    file = DataFile(path, path.name, format_, **settings)
    everything = list(READERS[format_](file, START))
    for index, (_, position) in enumerate(everything):
        if position is not None:  # whatever the format, reading goes on from anywhere
            assert list(READERS[format_](file, position)) == everything[index + 1 :]
    found = [item.content if isinstance(item, Record) else item for item, _ in everything]
    return [words(content) if isinstance(content, tuple) else content for content in found]


def words(messages: tuple[Message, ...]) -> list[str]:
    assert [message.role for message in messages] == ["user", "assistant"] * (len(messages) // 2)
    return [message.text for message in messages]


def made(tmp_path: Path, text: str, format_: str, **settings: Any) -> list[Any]:
    path = tmp_path / "data"
    path.write_text(text, encoding="utf-8")
    return read(path, format_, **settings)


def test_loose_stories_end_at_a_line_end_without_a_blank_line(tmp_path: Path) -> None:
    text = "one day.\n\nthen.\n\nthe end.\nonce upon.\n\nat last.\nalone.\n"
    assert made(tmp_path, text, "loose_stories") == ["one day.\nthen.\nthe end.", "once upon.\nat last.", "alone."]


def test_storybooks_lose_their_marks_and_keep_their_pages(tmp_path: Path) -> None:
    text = STORYBOOK.format(title="Hen", licence="CC-BY")
    assert made(tmp_path, text, "storybook") == ["The Hen\nOnce there was a hen.\nShe laughed."]
    assert made(tmp_path, text, "storybook", ship=True) == ["The Hen\nOnce there was a hen.\nShe laughed."]
    chinese = "# 母鸡\n\n##\n从前有一只\n母鸡。\n\n##\n* License: [CC-BY]\n"
    assert made(tmp_path, chinese, "storybook") == ["母鸡\n从前有一只母鸡。"]


@pytest.mark.parametrize("licence", ["CC-BY-NC", "CC-BY-NC-SA"])
def test_non_commercial_storybooks_are_left_out_of_what_ships(tmp_path: Path, licence: str) -> None:
    text = STORYBOOK.format(title="Hen", licence=licence)
    assert len(made(tmp_path, text, "storybook")) == 1
    assert made(tmp_path, text, "storybook", ship=True) == []
    assert made(tmp_path, "# No licence\n\n##\nA page.\n", "storybook", ship=True) == []


def test_chatterbot_keeps_words_that_yaml_would_take_for_values(tmp_path: Path) -> None:
    text = "conversations:\n- - Really?\n  - Yes\n- - How many?\n  - 42\n  - Why?\n- alone\n- - a: b\n"
    first, second, *bad = made(tmp_path, text, "chatterbot")
    assert [first, second] == [["Really?", "Yes"], ["How many?", "42"]]
    assert [item.where for item in bad] == ["data:3", "data:4"]
    assert made(tmp_path, text, "chatterbot", options={"answers": "each"}) == [
        ["Really?", "Yes"],
        ["How many?", "42"],
        ["How many?", "Why?"],
        Bad("data:4", "a dialogue must be a list of strings, not str"),
        Bad("data:5", "a dialogue must be a list of strings, not list"),
    ]


def test_dialogues_with_a_space_between_characters_are_joined(tmp_path: Path) -> None:
    assert join_characters("打 包 2 斤 牛 油 回 来 ， 谢 谢 。") == "打包2斤牛油回来，谢谢。"
    assert join_characters("我 用 windows 10 呢 ok") == "我用windows 10呢ok"
    assert made(tmp_path, "去 吗 ？\t去\t好\n", "spaced_dialogue") == [["去吗？", "去"]]
    assert made(tmp_path, json.dumps({"a": [["去 吗", "去"], ["好"]]}), "spaced_dialogue_json") == [
        ["去吗", "去"],
        Bad("data:2", "a dialogue needs a turn and its answer"),
    ]


def test_dialogues_as_turns_or_as_objects(tmp_path: Path) -> None:
    assert made(tmp_path, '{"turns": ["Hi", "Hello", "Bye"]}\n{"turns": "Hi"}\n', "turns") == [
        ["Hi", "Hello"],
        Bad("data:2", "a dialogue must be a list of strings, not str"),
    ]
    talk = {"messages": [{"message": "你好"}, {"message": "您好", "attrs": []}]}
    assert made(tmp_path, json.dumps([talk, {}]), "kdconv") == [
        ["你好", "您好"],
        Bad("data:2", "a record has no 'messages'"),
    ]


def test_babi_stories_become_conversations(tmp_path: Path) -> None:
    text = "1 Mary is in.\n2 Bill is out.\n3 Is Mary in? \tyes\t1\n4 Bill is in.\n5 Who is in? \tMary,Bill\t1 4\n"
    text += "1 The cat is up.\n2 Where is the cat?\tup\t1\n"
    assert made(tmp_path, text, "babi") == [
        ["Mary is in.\nBill is out.\nIs Mary in?", "yes", "Bill is in.\nWho is in?", "Mary,Bill"],
        ["The cat is up.\nWhere is the cat?", "up"],
    ]


def test_questions_with_their_answers(tmp_path: Path) -> None:
    sum_ = {"question": "2 and 2?", "answer": "2 + 2 = <<2+2=4>>4.\n#### 4"}
    assert made(tmp_path, json.dumps(sum_), "gsm8k") == [["2 and 2?", "2 + 2 = 4.\n#### 4"]]
    open_ = {"question": "who", "answer": ["Bo", "Bob"]}
    assert made(tmp_path, json.dumps(open_), "open_questions") == [["who", "Bo"]]
    qas = [{"question": "Who?", "answers": [{"text": "Bo"}]}, {"question": "Why?", "answers": []}]
    squad = {"data": [{"paragraphs": [{"context": "Bo came.", "qas": qas}]}]}
    assert made(tmp_path, json.dumps(squad), "squad") == [
        ["Bo came.\n\nWho?", "Bo"],
        Bad("data:2", "a question has no answer"),
    ]
    trivia = "\n#Q Which one?\n^ Sloth\nA Mouse\nB Sloth\n\n#Q Broken\nA x\n"
    assert made(tmp_path, trivia, "trivia") == [
        ["Which one?\nA Mouse\nB Sloth", "Sloth"],
        Bad("data:2", "a question has no answer"),
    ]


def test_a_trivia_question_in_another_encoding_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes("#Q Café?\n^ Yes\nA Yes\n".encode("latin-1") + b"#Q Tea?\n^ No\nA No\n")
    bad, good = read(tmp_path / "data", "trivia")
    assert bad.where == "data:1"
    assert bad.why.startswith("not UTF-8")
    assert good == ["Tea?\nA No", "No"]


def test_tales_and_the_questions_about_their_sections(tmp_path: Path) -> None:
    for name, text in (
        ("section-stories/val/fox-story.csv", 'section,text\n1,"A fox\rcame."\n2,It left.\n'),
        (
            "questions/val/fox-questions.csv",
            'cor_section,question,answer1\n1,Who came?,a fox\n"1,2",What did it do?,It left.\n9,What?,no\n2,Empty?,\n',
        ),
    ):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(text)
    assert read(tmp_path / "section-stories/val/fox-story.csv", "fairytale") == ["A fox came.\nIt left."]
    assert read(tmp_path / "questions/val/fox-questions.csv", "fairytale_questions") == [
        ["A fox came.\n\nWho came?", "a fox"],
        ["A fox came.\nIt left.\n\nWhat did it do?", "It left."],
        Bad("fox-questions.csv:3", "section '9' is not in fox-story.csv"),
        Bad("fox-questions.csv:4", "turn 1 is empty"),
    ]


def test_pairs_of_texts_become_requests(tmp_path: Path) -> None:
    options = {"forward": "To Chinese: {}", "backward": "成英文：{}"}
    assert made(tmp_path, "\ufeffHi.\t你好。\tby Ann\nalone\n", "translation", options=options) == [
        ["To Chinese: Hi.", "你好。"],
        ["成英文：你好。", "Hi."],
        Bad("data:2", "a line needs a sentence, a tab and its translation"),
    ]
    (tmp_path / "x.easy").write_text("Short.\n\n")
    (tmp_path / "x.hard").write_text("A long one.\nNothing\n")
    options = {"prompt": "Simplify: {}", "answer_ending": ".easy"}
    assert read(tmp_path / "x.hard", "parallel", options=options) == [
        ["Simplify: A long one.", "Short."],
        Bad("x.hard:2", "turn 1 is empty"),
    ]
    assert made(tmp_path, "to title\tText\tName\n", "titles", options={"prompt": "{}?"}) == [["Text?", "Name"]]


def test_reference_works_are_cut_into_articles(tmp_path: Path) -> None:
    text = " \n = One = \n \n Words . \n = = Part = = \n More . \n = Two = \n \n End . \n"
    assert made(tmp_path, text, "wikitext") == [
        " = One = \n \n Words . \n = = Part = = \n More . ",
        " = Two = \n \n End . ",
    ]
    text = '<doc id="1">\nOne\n\nWords.\n\n</doc>\n<doc id="2">\nTwo\n</doc>\n'
    assert made(tmp_path, text, "wikiextractor") == ["One\nWords.", "Two"]


def test_poems_are_found_at_any_depth(tmp_path: Path) -> None:
    book = {
        "title": "Book",
        "content": [{"type": "Odes", "content": [{"title": "A", "author": "X", "paragraphs": ["a", "b"]}]}],
    }
    assert made(tmp_path, json.dumps(book), "verses") == ["Book Odes A X\na\nb"]
    assert made(tmp_path, json.dumps([{"rhythmic": "R", "para": ["c"]}, {"paragraphs": []}]), "verses") == ["R\nc"]


@pytest.mark.usefixtures("shared_data")
@pytest.mark.parametrize(
    ("name", "records", "bad"),
    [
        ("tinystories", 7045, 0),
        ("storybooks_text", 840, 0),
        ("chatterbot_corpus", 2687, 1),
        ("dialogue_zh", 14300, 0),
        ("sgd_dialogues", 17191, 2),
        ("tatoeba_en_zh", 58310, 0),
        ("fairytaleqa", 278, 0),
        ("gsm8k", 8792, 0),
        ("wikitext2", 122, 0),
        ("chinese_poetry", 9124, 0),
    ],
)
def test_real_sources_are_read_whole(name: str, records: int, bad: int) -> None:
    stream = RecordStream(DatasetSpec(source=name), repeat=False)
    assert (sum(1 for _ in stream), len(stream.ledger)) == (records, bad)


def test_what_ships_of_the_storybooks_is_free_to_use(shared_data: Path) -> None:
    stream = RecordStream(DatasetSpec(source="storybooks_text", ship=True, include=("*",)), repeat=False)
    terms = [path.read_text(encoding="utf-8") for path in (shared_data / "storybooks_text").rglob("*.md")]
    bound = sum(re.search(r"License: .*NC", text) is not None for text in terms)
    assert bound == 135
    assert sum(1 for _ in stream) == len(terms) - bound


@pytest.mark.usefixtures("shared_data")
def test_stories_that_two_files_share_fall_on_the_same_side() -> None:
    """One file is a lower-cased copy of the beginning of another."""
    held_out = {}
    for file in ("gusjengis*", "Arnoochka*"):
        spec = DatasetSpec(source="tinystories", include=(file,), split="validation", validation_fraction=0.05)
        texts = (str(record.content).casefold() for record in RecordStream(spec, repeat=False))
        held_out[file] = {" ".join(text.split()) for text in texts}
    shared = held_out["gusjengis*"] & held_out["Arnoochka*"]
    assert len(shared) > 0.9 * len(held_out["gusjengis*"])
