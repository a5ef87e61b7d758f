"""Every kind of bad input: one line that names the value, the limit and the way out, and nothing half-written."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

GOOD = {
    "model": {"dim": 32, "n_layers": 1, "n_heads": 2, "hidden_dim": 64, "max_positions": 64},
    "tokenizer": {"vocab_size": 400, "data": [{"path": "data.txt"}]},
    "data": [{"path": "data.txt"}],
    "time": 32,
    "budget": {"steps": 1},
}


@pytest.fixture
def recipe(tmp_path: Path):
    """Writes a recipe (a mapping, or raw text) beside a small data file."""
    (tmp_path / "data.txt").write_text("Once upon a time there was a cat.\n" * 20)

    def write(content: object) -> Path:
        path = tmp_path / "recipe.yaml"
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
        return path

    return write


@pytest.fixture
def refuses_to_train(refused, recipe, tmp_path: Path):
    def call(content: object, *options: str) -> str:
        line = refused("train", recipe(content), "--out", tmp_path / "run", *options)
        assert not (tmp_path / "run" / "model").exists()
        for path in (tmp_path / "run").rglob("*.safetensors"):
            load_file(path)  # whole, or it would not load
        assert not [path for path in (tmp_path / "run").rglob("*") if "tmp" in path.name or "partial" in path.name]
        return line

    return call


@pytest.fixture
def broken_model(talker: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(talker, tmp_path / "broken"))


def test_broken_yaml(refuses_to_train) -> None:
    line = refuses_to_train("model: {dim: 32\nstages: [")
    assert "recipe.yaml:" in line
    assert "not valid YAML" in line


@pytest.mark.parametrize(
    ("changes", "key", "hint"),
    [
        ({"xyzzy": 1}, "xyzzy", "one of"),
        ({"budgett": 1}, "budgett", "did you mean 'budget'"),
        ({"model": {**GOOD["model"], "n_layer": 2}}, "n_layer", "did you mean 'n_layers'"),
        ({"data": [{"path": "data.txt", "wieght": 2}]}, "wieght", "did you mean 'weight'"),
    ],
)
def test_unknown_key(refuses_to_train, changes: dict[str, object], key: str, hint: str) -> None:
    line = refuses_to_train({**GOOD, **changes})
    assert key in line
    assert hint in line


def test_unknown_key_in_an_override(refuses_to_train) -> None:
    assert "did you mean 'lr'" in refuses_to_train(GOOD, "--set", "stages.0.lrr=1")
    assert "'nonsense'" in refuses_to_train(GOOD, "--set", "nonsense")


@pytest.mark.parametrize(("key", "value", "limit"), [("rows", 0, "greater than 0"), ("lr", -1, "greater than 0")])
def test_out_of_range_setting(refuses_to_train, key: str, value: float, limit: str) -> None:
    line = refuses_to_train({**GOOD, key: value})
    assert f"{key} = {value}" in line
    assert limit in line


def test_missing_recipe(refused, tmp_path: Path) -> None:
    assert "absent.yaml does not exist" in refused("train", "absent.yaml", "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_missing_data_file(refuses_to_train) -> None:
    line = refuses_to_train({**GOOD, "data": [{"path": "absent.txt"}]})
    assert "absent.txt does not exist" in line


def test_missing_model(refused) -> None:
    assert "no model './absent'" in refused("info", "./absent")
    assert "no model 'not a name'" in refused("ask", "x", "-m", "not a name")


def test_empty_data_set(refuses_to_train, tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("\n\n")
    line = refuses_to_train({**GOOD, "data": [{"path": "empty.jsonl"}]})
    assert "empty.jsonl holds no usable record" in line
    assert "give it more data" in line


def test_too_many_corrupt_lines(refuses_to_train, tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text('{"text": "good"}\n' + "{\n" * 3)
    line = refuses_to_train({**GOOD, "data": [{"path": "bad.jsonl", "max_bad": 2}]})
    assert "more than 2 corrupt records" in line
    assert "bad.jsonl:2" in line


def test_truncated_safetensors(refused, broken_model: Path, tmp_path: Path) -> None:
    weights = broken_model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert "model.safetensors" in refused("ask", "x", "-m", broken_model)
    assert "model.safetensors" in refused("export", broken_model, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    weights.write_bytes(weights.read_bytes()[:20])
    assert "model.safetensors" in refused("import", broken_model, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_vocabulary_that_does_not_fit_the_weights(refused, broken_model: Path, tmp_path: Path) -> None:
    config = json.loads((broken_model / "config.json").read_text())
    size = config["decoder"]["vocab_size"]
    config["decoder"]["vocab_size"] = 64
    (broken_model / "config.json").write_text(json.dumps(config))
    line = refused("import", broken_model, tmp_path / "out")
    assert str(size) in line
    assert "64" in line
    assert not (tmp_path / "out").exists()


def test_a_config_that_does_not_fit_the_weights(refused, broken_model: Path) -> None:
    config = json.loads((broken_model / "config.json").read_text())
    config["decoder"]["hidden_dim"] = 128
    (broken_model / "config.json").write_text(json.dumps(config))
    line = refused("info", broken_model)
    assert "mlp" in line
    assert "128" in line


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_missing_file_of_a_model(refused, broken_model: Path, name: str) -> None:
    (broken_model / name).unlink()
    assert refused("ask", "Hello!", "-m", broken_model)


def test_a_config_that_is_not_json(refused, broken_model: Path) -> None:
    (broken_model / "config.json").write_text("{")
    assert "config.json is not valid JSON" in refused("info", broken_model)


def test_context_longer_than_the_models(refused, refuses_to_train, talker: Path) -> None:
    line = refused("ask", "What is a cat? " * 60, "-m", talker)
    assert "96" in line
    line = refuses_to_train({**GOOD, "time": 100})
    assert "100" in line
    assert "64" in line


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--temperature", "-1"], "temperature = -1.0: Input should be greater than or equal to 0"),
        (["--top-p", "1.5"], "top_p = 1.5: Input should be less than or equal to 1"),
        (["--top-k", "-3"], "top_k = -3"),
        (["--max-tokens", "0"], "max_tokens = 0"),
        (["--set", "min_p=2"], "min_p = 2"),
        (["--set", "temperature=nan"], "temperature"),
        (["--set", "repetition_penalty=0"], "repetition_penalty = 0"),
        (["--set", "presence_penalty=3"], "presence_penalty = 3"),
        (["--set", "temprature=1"], "did you mean 'temperature'"),
        (["--set", "top_p"], "write it as key=value"),
    ],
)
@pytest.mark.parametrize("command", ["ask", "chat"])
def test_sampling_out_of_range(refused, talker: Path, command: str, options: list[str], words: str) -> None:
    question = ["Hello!"] if command == "ask" else []
    assert words in refused(command, *question, "-m", talker, *options)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("data: [", "not valid YAML"),
        ("- 1", "must be a mapping"),
        ("metricc: x", "did you mean 'metric'"),
    ],
)
def test_a_broken_task(refused, talker: Path, tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "mine.yaml").write_text(content)
    assert words in refused("eval", talker, "--task", tmp_path / "mine.yaml")


def test_an_unknown_task(refused, talker: Path) -> None:
    assert "unknown task 'dialog' (did you mean 'dialogue'?)" in refused("eval", talker, "--task", "dialog")
    assert "absent.yaml does not exist" in refused("eval", talker, "--task", "absent.yaml")


def test_an_unknown_device(refused, talker: Path) -> None:
    assert "unknown device 'gpu9'" in refused("ask", "x", "-m", talker, "--device", "gpu9")


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
def test_a_gpu_that_is_not_there(refused, talker: Path, refuses_to_train) -> None:
    assert "sees no GPU" in refused("ask", "x", "-m", talker, "--device", "cuda")
    assert "cuda" in refuses_to_train(GOOD, "--device", "cuda")
