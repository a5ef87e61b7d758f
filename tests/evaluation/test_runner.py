import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import sensorium
from sensorium.config import ModelConfig
from sensorium.errors import RequestError
from sensorium.evaluation import scoring
from sensorium.evaluation.examples import draw_examples
from sensorium.evaluation.runner import evaluate
from sensorium.evaluation.task import Task, load_task
from sensorium.hub.folder import load_pretrained
from sensorium.messages import Message


@pytest.fixture(scope="module")
def model(talker: Path) -> sensorium.Model:
    return sensorium.load(talker)


def task(path: Path, *, prompt: str = "reply", parser: str, metric: str, baselines: tuple[str, ...] = ()) -> Task:
    return Task.parse(
        {
            "name": "mine",
            "description": "",
            "data": [{"path": str(path)}],
            "prompt": {"kind": prompt},
            "parser": {"kind": parser, "candidates": 4},
            "metric": metric,
            "baselines": baselines,
        },
        "mine",
    )


# --- likelihood ------------------------------------------------------------------------------------------------------


def test_cost_of_a_document_is_the_sum_over_its_tokens(model: sensorium.Model) -> None:
    text = "A cat is red."
    ids = model.processor.encode_text(text).token_ids.tolist()
    logits = model.logits(ids).astype(np.float64)
    bits = 0.0
    for position in range(1, len(ids)):
        probabilities = np.exp(logits[position - 1] - logits[position - 1].max())
        bits -= math.log2(probabilities[ids[position]] / probabilities.sum())
    cost = scoring.document_cost(model, text)
    assert cost.bits == pytest.approx(bits, rel=1e-6)
    assert cost.n_bytes == len(text.encode())


def test_a_long_document_is_read_in_windows_and_every_byte_paid_once(model: sensorium.Model) -> None:
    text = "What is a cat? A cat is red. " * 40
    ids = model.processor.encode_text(text).token_ids.tolist()
    context = model.config.decoder.max_positions
    assert len(ids) > 3 * context
    cost = scoring.document_cost(model, text)
    assert cost.n_bytes == len(text.encode())
    # By hand: each window gives what the one before did not reach.
    bits, paid = 0.0, 1
    for begin in range(0, len(ids), context // 2):
        end = min(begin + context, len(ids))
        logits = model.logits(ids[begin:end]).astype(np.float64)
        for position in range(paid, end):
            row = logits[position - 1 - begin]
            bits -= (row[ids[position]] - row.max() - np.log(np.exp(row - row.max()).sum())) / np.log(2)
        paid = end
        if end == len(ids):
            break
    assert cost.bits == pytest.approx(bits, rel=1e-6)


def test_a_reply_learned_by_heart_costs_next_to_nothing(model: sensorium.Model) -> None:
    context = [Message.user("What is a cat?")]
    known = scoring.reply_cost(model, context, "A cat is red.")
    assert known.n_bytes == len("A cat is red.")
    assert known.bits_per_byte < 0.1 < 1 < scoring.reply_cost(model, context, "Come here, lion!").bits_per_byte


def test_the_cost_of_a_reply_is_what_sampling_says(model: sensorium.Model) -> None:
    """The same bits as the log-probabilities of the tokens, when the model writes that reply itself."""
    deltas = list(model.stream("Bye.", temperature=0.0, logprobs=0))
    told = -sum(t.logprob for delta in deltas if isinstance(delta, sensorium.TextDelta) for t in delta.logprobs)
    cost = scoring.reply_cost(model, [Message.user("Bye.")], "See you soon.")
    end = model.tokenizer.control_ids["<|end|>"]
    sequence = model.processor.encode_messages([Message.user("Bye."), Message.assistant("See you soon.")])
    row = model.logits(sequence.token_ids[:-1].tolist())[-1].astype(np.float64)
    ending = -(row[end] - row.max() - np.log(np.exp(row - row.max()).sum()))
    assert cost.bits * np.log(2) == pytest.approx(told + ending, abs=1e-4)


def test_old_turns_go_where_the_context_is_short(model: sensorium.Model) -> None:
    turn = [Message.user("What is a dog?"), Message.assistant("A dog is blue.")]
    long = [Message.system("Be kind."), *turn * 20, Message.user("What is a cat?")]
    # Dropped turn by turn, from the oldest on, until the rest fits; the instructions stay.
    fitting = next(
        [long[0], *long[start:]]
        for start in range(1, len(long))
        if len(model.processor.encode_messages([long[0], *long[start:], Message.assistant("A cat is red.")])) <= 96
    )
    assert 2 < len(fitting) < len(long)
    assert scoring.reply_cost(model, long, "A cat is red.") == scoring.reply_cost(model, fitting, "A cat is red.")
    endless = scoring.reply_cost(model, [Message.user("What is a cat?")], "A cat is red. " * 40)
    assert endless.n_bytes == len("A cat is red. " * 40)
    assert 0 < endless.bits < float("inf")


def test_a_model_that_reads_both_ways_has_no_such_cost(talker: Path) -> None:
    pretrained = load_pretrained(talker)
    decoder = pretrained.config.decoder.model_copy(update={"causal": False})
    both_ways = sensorium.Model(replace(pretrained, config=ModelConfig(decoder=decoder)))
    with pytest.raises(RequestError, match="reads both ways"):
        scoring.document_cost(both_ways, "A cat is red.")


# --- answers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kind", "answer"),
    [
        (" Yes.\nNo. ", "text", "Yes.\nNo."),
        (" Yes.\nNo. ", "first_line", "Yes."),
        ("*Yes*, it is", "first_word", "Yes"),
        ("?", "first_word", ""),
        ("2 + 1,000.5 is 1,002.5.", "number", "1002.5"),
        ("It fell to -3", "number", "-3"),
        ("none", "number", ""),
    ],
)
def test_what_counts_of_an_answer(text: str, kind: str, answer: str) -> None:
    assert scoring.read_answer(text, kind) == answer


# --- whole tasks -----------------------------------------------------------------------------------------------------


def test_a_model_picks_what_it_learned_and_the_report_has_its_form(model: sensorium.Model, talk_file: Path) -> None:
    mine = task(talk_file, parser="choice", metric="accuracy", baselines=("random", "longest"))
    seen: list[tuple[str, int, int]] = []
    report = evaluate(model, [mine], seed=0, progress=lambda *news: seen.append(news))
    data = json.loads(json.dumps(report.to_dict()))
    assert data["model"] == model.name
    result = data["tasks"]["mine"]
    assert list(result) == ["score", "metric", "better", "n", "ci95", "baselines", "languages"]
    assert result["languages"] == {"en": {key: result[key] for key in ("score", "n", "ci95", "baselines")}}
    assert result["better"] == "higher"
    assert result["metric"] == "accuracy"
    assert result["n"] == 22
    assert result["score"] == 1.0
    low, high = result["ci95"]
    assert 0.8 < low < high == 1.0
    assert result["baselines"]["random"] == pytest.approx(0.25)
    assert result["baselines"]["longest"] < 0.7
    assert seen == [("mine", done, 22) for done in range(1, 23)]


def test_a_model_that_answers_by_heart_matches_exactly(model: sensorium.Model, talk_file: Path) -> None:
    mine = task(talk_file, parser="text", metric="exact_match", baselines=("most_frequent",))
    result = evaluate(model, [mine], limit=10).tasks["mine"]
    assert (result.score, result.n) == (1.0, 10)
    assert result.baselines["most_frequent"] == pytest.approx(0.1)
    overlap = evaluate(model, [task(talk_file, parser="first_word", metric="token_f1")], limit=5).tasks["mine"]
    assert overlap.score == 1.0
    assert overlap.ci95 == (1.0, 1.0)


def test_bits_per_byte_of_learned_and_of_strange_text(model: sensorium.Model, talk_file: Path, tmp_path: Path) -> None:
    learned = task(talk_file, parser="likelihood", metric="bits_per_byte", baselines=("uniform",))
    strange = tmp_path / "strange.txt"
    strange.write_text("Quarterly zinc exports rose; vexed jurors quizzed him.\n\nPhysics, fjords and quartz hum.\n")
    report = evaluate(model, [learned], limit=22)
    odd = task(strange, prompt="document", parser="likelihood", metric="bits_per_byte", baselines=("byte_entropy",))
    assert report.tasks["mine"].score < 0.1
    assert report.to_dict()["tasks"]["mine"]["better"] == "lower"
    result = evaluate(model, [odd]).tasks["mine"]
    assert result.score > result.baselines["byte_entropy"] > 3
    assert result.ci95[0] <= result.score <= result.ci95[1]


def test_the_score_pools_bits_and_bytes(model: sensorium.Model, talk_file: Path) -> None:
    mine = task(talk_file, parser="likelihood", metric="bits_per_byte")
    costs = [
        scoring.reply_cost(model, example.context, example.reference)
        for example in draw_examples(mine, limit=5, seed=4)
    ]
    expected = sum(cost.bits for cost in costs) / sum(cost.n_bytes for cost in costs)
    assert evaluate(model, [mine], limit=5, seed=4).tasks["mine"].score == pytest.approx(expected)


@pytest.mark.usefixtures("shared_data")
def test_the_tasks_of_the_package_run_on_real_data(model: sensorium.Model) -> None:
    report = evaluate(model, [load_task("bpb"), load_task("dialogue")], limit=6)
    bits, dialogue = report.tasks["bpb"], report.tasks["dialogue"]
    assert (bits.n, dialogue.n) == (6, 6)
    # A model that has read 22 sentences is lost here, and worse than a compressor.
    assert bits.score > bits.baselines["xz"]
    assert 1.5 < bits.baselines["xz"] < bits.baselines["byte_entropy"] < bits.baselines["uniform"] == 8.0
    assert dialogue.baselines["random"] == 0.125
    assert dialogue.ci95[0] <= dialogue.score <= dialogue.ci95[1]
