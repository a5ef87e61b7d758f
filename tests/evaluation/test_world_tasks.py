"""Whole tasks of the generated world, on made-up answers and on a small random model with eyes and ears."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import fusing
import numpy as np
import pytest
from typer.testing import CliRunner

import sensorium
from sensorium.api import Model
from sensorium.cli.main import app
from sensorium.config import SamplingConfig
from sensorium.data.world.settings import WorldSpec
from sensorium.data.world.source import World
from sensorium.errors import ConfigError, DataError, RequestError
from sensorium.evaluation import scoring
from sensorium.evaluation.examples import draw_examples, training_references
from sensorium.evaluation.runner import evaluate, takes
from sensorium.evaluation.task import Task, load_task
from sensorium.hub.pretrained import Pretrained
from sensorium.messages import Audio, Image, Message, Text
from sensorium.nn.omni import Omni
from sensorium.processing.processor import Processor
from sensorium.processing.tokenizer import Tokenizer


class Knowing:
    """Knows the true answer to what it is asked with picture and recording, and else says one thing."""

    name = "knowing"

    def __init__(self, task: Task, n: int, otherwise: str = "yes", *, wrong: Sequence[int] = ()) -> None:
        examples = draw_examples(task, limit=n, seed=0)
        self.answers = {
            example.context: otherwise if index in wrong else example.reference
            for index, example in enumerate(examples)
        }
        self.otherwise = otherwise
        self.asked: list[SimpleNamespace] = []

    def chat(self, messages: list[Message], *, temperature: float, n: int, max_tokens: int, reply: str) -> Message:
        assert reply == "text"
        self.asked.append(SimpleNamespace(messages=messages, temperature=temperature, n=n, max_tokens=max_tokens))
        return Message.assistant(self.answers.get(tuple(messages), self.otherwise))


# --- examples --------------------------------------------------------------------------------------------------------


def test_languages_take_turns_and_the_facts_come_along() -> None:
    task = load_task("vqa")
    drawn = draw_examples(task, limit=9, seed=0)
    assert [example.language for example in drawn] == ["en", "zh"] * 4 + ["en"]
    for example in drawn:
        assert example.facts["answer"] == example.reference
        assert [type(part) for part in example.context[-1].parts].count(Image) == 1
    assert drawn == draw_examples(task, limit=9, seed=0)
    # Another seed asks other questions of the same held-out world.
    assert not {example.context for example in drawn} & {e.context for e in draw_examples(task, limit=9, seed=7)}
    # The languages do not ask about the same scenes.
    assert drawn[0].context[-1].parts[0] != drawn[1].context[-1].parts[0]


def test_the_usual_answers_come_from_the_training_side() -> None:
    task = load_task("detect")
    shown = [reference for _, reference in training_references(task, most=40, seed=0)]
    assert len(shown) == 80
    held_out = {example.reference for example in draw_examples(task, limit=40, seed=0)} - {"none", "没有"}
    assert not held_out & set(shown)


@pytest.mark.parametrize("name", ["dictation", "spoken_vqa", "digits"])
def test_the_usual_answers_need_no_voice(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(World, "realise", None)
    shown = list(training_references(load_task(name), most=12, seed=0))
    assert [language for language, _ in shown] == ["en"] * 12 + ["zh"] * 12
    assert all(reference for _, reference in shown)


def test_a_world_without_answers_in_words_has_no_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    task = load_task("vqa")
    monkeypatch.setattr(World, "realise", lambda *_: ())
    data = [
        spec.model_copy(update={"world": WorldSpec(kinds={"draw": 1.0}, languages=("en",), size=16)})
        for spec in task.data[:1]
    ]
    with pytest.raises(DataError, match="the world of draw holds no example"):
        draw_examples(task.model_copy(update={"data": tuple(data)}), limit=2, seed=0)


def test_without_media_the_words_alone_are_left() -> None:
    task = load_task("vqa")
    (example,) = draw_examples(task, limit=1, seed=0)
    bare = example.without_media()
    assert [type(part) for part in bare.context[-1].parts] == [Text]
    assert bare.context[-1].text == example.context[-1].text
    assert (bare.reference, bare.facts) == (example.reference, example.facts)


@pytest.mark.usefixtures("world_extra")
def test_a_spoken_question_without_its_recording_is_empty() -> None:
    (example,) = draw_examples(load_task("spoken_vqa"), limit=1, seed=0)
    assert {Image, Audio} == {type(part) for part in example.context[-1].parts}
    assert example.without_media().context == (Message.user(""),)


# --- made-up answers -------------------------------------------------------------------------------------------------


def test_true_answers_are_right_in_each_language_and_part() -> None:
    task = load_task("vqa")
    model = Knowing(task, 40, "no", wrong=(0, 1, 2))  # two of English, one of Chinese
    result = evaluate(model, [task], limit=40).tasks["vqa"]
    references = {e.context: (e.language, e.reference) for e in draw_examples(task, limit=40, seed=0)}
    wrong = [said for said in list(references.values())[:3] if said[1] != "no"]
    assert result.score == 1 - len(wrong) / 40
    assert {language: score.n for language, score in result.languages.items()} == {"en": 20, "zh": 20}
    assert result.languages["zh"].score == 1 - sum(language == "zh" for language, _ in wrong) / 20
    assert sum(score.n for score in result.parts.values()) == 40
    assert {"what", "colour", "count"} <= result.parts.keys()
    # Without the picture it says "no" to everything: right as often as that is the answer.
    said_no = sum(reference == "no" for _, reference in references.values())
    assert result.baselines["text_only"] == said_no / 40
    assert result.languages["zh"].baselines["text_only"] == 0
    assert 0 <= result.baselines["most_frequent"] < 0.5
    # Each is asked twice, with and without picture, and answers greedily within the task's limit.
    assert len(model.asked) == 80
    assert {(each.temperature, each.n, each.max_tokens) for each in model.asked} == {(0.0, 1, task.parser.max_tokens)}


def test_boxes_have_a_further_score() -> None:
    task = load_task("detect")
    result = evaluate(Knowing(task, 12, wrong=(5,)), [task], limit=12).tasks["detect"]
    assert result.score == result.also["f1"] == pytest.approx(11 / 12)
    data = json.loads(json.dumps(result.to_dict()))
    assert data["also"] == {"f1": pytest.approx(11 / 12)}
    assert data["better"] == "higher"
    assert data["baselines"].keys() == data["languages"]["zh"]["baselines"].keys() == {"most_frequent", "text_only"}


@pytest.mark.usefixtures("world_extra")
def test_errors_of_all_answers_are_counted_together() -> None:
    task = load_task("dictation")
    examples = draw_examples(task, limit=6, seed=0)
    result = evaluate(Knowing(task, 6, "", wrong=(2,)), [task], limit=6).tasks["dictation"]
    words = [len(example.reference.split()) for example in examples[::2]]
    letters = sum(sum(map(str.isalnum, example.reference)) for example in examples[1::2])
    assert result.languages["en"].score == pytest.approx(words[1] / sum(words))  # one was not written at all
    assert result.languages["zh"].score == 0
    assert result.score == pytest.approx(words[1] / (sum(words) + letters))
    assert result.baselines["text_only"] == 1
    assert result.lower_is_better
    assert result.to_dict()["better"] == "lower"


# --- a random model --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def looker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a random model with eyes and ears."""
    tokenizer = Tokenizer.train(["The cat sat on the mat. 猫坐在垫子上。 Where is the cat?"] * 4, 420)
    config = fusing.make_config(vocab_size=tokenizer.vocab_size, max_positions=1024)
    omni = fusing.randomised(Omni(config))
    model = Model(
        Pretrained(config, omni, Processor(tokenizer).with_config(config), SamplingConfig(), name="looker"), threads=1
    )
    model.save(folder := tmp_path_factory.mktemp("models") / "looker")
    return folder


@pytest.mark.usefixtures("world_extra")
def test_a_random_model_is_scored_from_end_to_end(looker: Path) -> None:
    short = [
        task.model_copy(update={"parser": task.parser.model_copy(update={"max_tokens": 6})})
        for task in map(load_task, ("weather", "spoken_vqa", "dictation", "digits"))
    ]
    report = evaluate(sensorium.load(looker), short, limit=2)
    assert list(report.tasks) == ["weather", "spoken_vqa", "dictation", "digits"]
    for result in report.tasks.values():
        assert result.n == 2
        assert result.languages.keys() == {"en", "zh"}
        low, high = result.ci95
        assert low <= result.score <= high
    assert report.tasks["weather"].score == 0
    assert report.tasks["dictation"].score > 0.8


def test_what_a_reply_costs_depends_on_the_picture(looker: Path) -> None:
    model = sensorium.load(looker)
    one, other = draw_examples(load_task("vqa"), limit=4, seed=0)[::2]
    question = one.context[-1].text
    pictures = [next(part for part in e.context[-1].parts if isinstance(part, Image)) for e in (one, other)]
    costs = [
        scoring.reply_cost(model, [Message.user([picture, Text(question)])], "the cat").bits for picture in pictures
    ]
    sequence = model.processor.encode_messages(
        [Message.user([pictures[0], Text(question)]), Message.assistant("the cat")]
    )
    scores = model.logits(sequence.token_ids.tolist(), sequence.features).astype(np.float64)
    probabilities = np.exp(scores - scores.max(-1, keepdims=True))
    probabilities /= probabilities.sum(-1, keepdims=True)
    learned = np.flatnonzero(sequence.learned)
    bits = -sum(np.log2(probabilities[at - 1, sequence.token_ids[at]]) for at in learned)
    assert costs[0] == pytest.approx(bits, rel=1e-5)
    assert abs(costs[0] - costs[1]) > 1e-3
    long = "the cat " * 600
    with pytest.raises(RequestError, match="leave the longest out"):
        scoring.reply_cost(model, [Message.user([pictures[0], Text(question)])], long)


def test_the_command_prints_json_and_a_table(looker: Path) -> None:
    arguments = ["eval", str(looker), "--task", "vqa", "--limit", "2"]
    printed = CliRunner().invoke(app, [*arguments, "--json"])
    assert printed.exit_code == 0, printed.output
    result = json.loads(printed.stdout)["tasks"]["vqa"]
    assert result["n"] == 2
    assert result["languages"].keys() == {"en", "zh"}
    table = CliRunner().invoke(app, arguments).stdout
    assert all(word in table for word in ("vqa", "exact_match", " en ", " zh ", "most_frequent", "text_only"))


def test_a_model_of_words_is_asked_for_nothing_else_unless_it_is_named(talker: Path) -> None:
    model = sensorium.load(talker)
    assert takes(model, load_task("dialogue"))
    assert not takes(model, load_task("vqa"))
    with pytest.raises(RequestError, match="cannot see"):
        evaluate(model, [load_task("vqa")], limit=1)


def test_without_the_extra_world_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    from sensorium.data.world import espeak

    for cached in vars(espeak).values():
        if hasattr(cached, "cache_clear"):
            cached.cache_clear()
    with pytest.raises(ConfigError, match=r"sensorium\[world\]"):
        draw_examples(load_task("dictation"), limit=1, seed=0)


# --- real pictures and recordings ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("shared_data")
@pytest.mark.parametrize(
    ("name", "language"), [("fsdd", "en"), ("librispeech", "en"), ("aishell", "zh"), ("mandarin_words", "zh")]
)
def test_real_recordings_are_asked_about(name: str, language: str) -> None:
    task = load_task(name)
    drawn = draw_examples(task, limit=5, seed=0)
    assert {example.language for example in drawn} == {language}
    assert all(type(example.context[-1].parts[0]) is Audio for example in drawn)
    assert len(list(training_references(task, most=5, seed=0))) == 5


@pytest.mark.usefixtures("shared_data")
@pytest.mark.parametrize("name", ["mnist", "nlvr", "noto_emoji"])
def test_real_pictures_are_asked_about(name: str) -> None:
    drawn = draw_examples(load_task(name), limit=6, seed=0)
    assert len(drawn) == 6
    assert all(type(example.context[-1].parts[0]) is Image for example in drawn)
    assert {example.language for example in drawn} == ({"en", "zh"} if name == "noto_emoji" else {"en"})
