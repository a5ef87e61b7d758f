import json
from pathlib import Path

import pytest
import yaml

import sensorium

TINY = {"dim": 32, "n_layers": 1, "n_heads": 2, "hidden_dim": 64, "max_positions": 64}


@pytest.fixture
def recipe(tmp_path: Path, talk_file: Path) -> Path:
    data = [{"path": str(talk_file)}]
    stage = {"data": data, "rows": 4, "time": 64, "save_every": 2, "log_every": 1}
    path = tmp_path / "recipe.yaml"
    text = yaml.safe_dump(
        {
            "name": "small",
            "model": TINY,
            "tokenizer": {"vocab_size": 400, "data": data},
            "stages": [
                {"name": "read", "objective": "causal", "budget": {"steps": 4}, "sample_every": 2, **stage},
                {"name": "talk", "objective": "chat", "budget": {"steps": 2}, "sample_every": 2, **stage},
            ],
        }
    )
    path.write_text(text)
    return path


def test_it_trains_shows_what_happens_and_prints_the_model(cli, recipe: Path, tmp_path: Path) -> None:
    outcome = cli("train", recipe, "--out", tmp_path / "run", "--threads", "1", "--prompt", "What is a cat?")
    assert (outcome.code, outcome.out) == (0, f"{tmp_path / 'run' / 'model'}\n")
    assert "stage 1 of 2, read" in outcome.err
    assert "4 steps of 256 tokens on cpu in float32" in outcome.err
    assert "read step 2: What is a cat? →" in outcome.err
    assert "talk step 2: What is a cat? →" in outcome.err
    assert isinstance(sensorium.load(tmp_path / "run" / "model").chat("Hello!", max_tokens=3).text, str)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["event"] == "step"] == [1, 2, 3, 4, 1, 2]


def test_settings_and_minutes_are_overridden(cli, refused, recipe: Path, tmp_path: Path) -> None:
    outcome = cli("train", recipe, "--out", tmp_path / "a", "--set", "stages.0.budget.steps=1", "--threads", "1")
    assert "1 steps of 256 tokens" in outcome.err
    assert "more than 0" in refused("train", recipe, "--out", tmp_path / "b", "--minutes", "0")


def test_a_run_that_is_there_is_gone_on_with_unless_fresh(cli, recipe: Path, tmp_path: Path, caplog) -> None:
    first = cli("train", recipe, "--out", tmp_path / "run", "--threads", "1")
    weights = (tmp_path / "run" / "model" / "model.safetensors").read_bytes()
    again = cli("train", recipe, "--out", tmp_path / "run", "--threads", "1")
    assert again.out == first.out
    assert "stage" not in again.err
    assert (tmp_path / "run" / "model" / "model.safetensors").read_bytes() == weights
    anew = cli("train", recipe, "--out", tmp_path / "run", "--threads", "1", "--fresh", "--set", "seed=5")
    assert anew.out == first.out
    assert f"the run that was in {tmp_path / 'run'} is now in {tmp_path / 'run.1'}" in caplog.text
    assert (tmp_path / "run.1" / "model" / "model.safetensors").read_bytes() == weights
    assert (tmp_path / "run" / "model" / "model.safetensors").read_bytes() != weights
