from pathlib import Path

import pytest

from sensorium.config import Config, ModelConfig, RopeScaling, SamplingConfig, TransformerConfig, nearest, read_json
from sensorium.errors import ConfigError, SensoriumError, TrainingError

SMALL = {"vocab_size": 32, "dim": 16, "n_layers": 2, "n_heads": 4, "hidden_dim": 32, "max_positions": 8}


def refused(kind: type[Config], data: object) -> str:
    with pytest.raises(ConfigError) as caught:
        kind.parse(data, "file.json")
    message = str(caught.value)
    assert message.startswith("file.json: ")
    assert "\n" not in message
    return message.removeprefix("file.json: ")


def test_what_is_not_said_follows_from_what_is() -> None:
    config = TransformerConfig.parse(SMALL, "here")
    assert (config.kv_heads, config.head_size, config.window_of(0)) == (4, 4, None)
    grouped = TransformerConfig.parse(SMALL | {"n_kv_heads": 2, "head_dim": 6}, "here")
    assert (grouped.kv_heads, grouped.head_size) == (2, 6)


def test_sliding_windows_are_per_layer() -> None:
    everywhere = TransformerConfig.parse(SMALL | {"sliding_window": 3}, "here")
    assert [everywhere.window_of(layer) for layer in range(2)] == [3, 3]
    second = TransformerConfig.parse(SMALL | {"sliding_window": 3, "sliding_layers": [1]}, "here")
    assert [second.window_of(layer) for layer in range(2)] == [None, 3]


def test_settings_are_immutable() -> None:
    config = TransformerConfig.parse(SMALL, "here")
    with pytest.raises(ValueError, match="frozen"):
        config.dim = 8  # type: ignore[misc]


def test_a_file_is_read_back(tmp_path: Path) -> None:
    config = ModelConfig.parse({"decoder": SMALL | {"rope_scaling": {"kind": "linear", "factor": 2}}}, "here")
    path = tmp_path / "config.json"
    path.write_text(config.model_dump_json(), encoding="utf-8")
    assert ModelConfig.read(path) == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"droput": 0.1}, "unknown key 'droput' (did you mean 'dropout'?)"),
        ({"zzz": 1, "dim": "x"}, "unknown key 'zzz' (one of: activation"),
        ({"dim": "wide"}, "dim = 'wide': Input should be a valid integer"),
        ({"sliding_layers": "1"}, "sliding_layers = '1': give a list, such as [a, b]"),
        ({"dim": 0}, "dim = 0: Input should be greater than 0"),
        ({"n_layers": 10**9}, "n_layers = 1000000000: Input should be less than or equal to 4096"),
        ({"vocab_size": 2**62}, "Input should be less than or equal to 16777216"),
        ({"dropout": 1.0}, "dropout = 1.0: Input should be less than 1"),
        ({"norm_eps": float("nan")}, "norm_eps = nan: "),
        ({"activation": "swish"}, "activation = 'swish': Input should be 'silu', 'gelu'"),
        ({"dim": 18}, "dim 18 is not a multiple of n_heads 4 (set head_dim)"),
        ({"n_kv_heads": 3}, "n_heads 4 is not a multiple of n_kv_heads 3"),
        ({"head_dim": 5}, "rotary positions need an even head size, not 5"),
        ({"positions": "sinusoidal", "dim": 15, "head_dim": 4}, "sinusoidal positions need an even dim, not 15"),
        ({"sliding_layers": [0]}, "sliding_layers needs sliding_window"),
        ({"sliding_layers": [0, 2], "sliding_window": 2}, "sliding_layers [2] lie outside 0..1"),
        ({"rope_scaling": {"kind": "yarn", "factor": 2}}, "rope scaling 'yarn' needs original_positions"),
        ({"rope_scaling": {"kind": "linear", "factr": 2}}, "unknown key 'rope_scaling.factr' (did you mean 'factor'?)"),
        (
            {"rope_scaling": {"kind": "linear", "factor": -1}},
            "rope_scaling.factor = -1: Input should be greater than 0",
        ),
    ],
)
def test_a_wrong_setting_is_named_with_its_value_and_limit(change: dict[str, object], message: str) -> None:
    assert message in refused(TransformerConfig, SMALL | change)


def test_a_missing_setting_is_named() -> None:
    assert refused(TransformerConfig, {k: v for k, v in SMALL.items() if k != "dim"}) == "'dim' is required but missing"
    assert "'decoder' is required" in refused(ModelConfig, {})
    assert "(and 5 more)" in refused(TransformerConfig, {})


@pytest.mark.parametrize("data", [None, [], "text", 3])
def test_what_is_no_mapping_is_refused(data: object) -> None:
    assert "dictionary" in refused(SamplingConfig, data)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"temperature": -0.1}, "temperature = -0.1: Input should be greater than or equal to 0"),
        ({"temperature": float("inf")}, "temperature = inf"),
        ({"top_p": 0.0}, "top_p = 0.0: Input should be greater than 0"),
        ({"top_p": 1.01}, "top_p = 1.01: Input should be less than or equal to 1"),
        ({"top_k": -1}, "top_k = -1"),
        ({"min_p": 2}, "min_p = 2"),
        ({"repetition_penalty": 0}, "repetition_penalty = 0"),
        ({"presence_penalty": 2.1}, "presence_penalty = 2.1"),
        ({"frequency_penalty": -2.1}, "frequency_penalty = -2.1"),
        ({"n": 0}, "n = 0: Input should be greater than or equal to 1"),
        ({"n": 129}, "n = 129: Input should be less than or equal to 128"),
        ({"max_tokens": 0}, "max_tokens = 0"),
        ({"seed": -1}, "seed = -1"),
        ({"seed": 2**63}, "seed = 9223372036854775808"),
        ({"logprobs": 21}, "logprobs = 21: Input should be less than or equal to 20"),
        ({"logit_bias": {"x": 1}}, "logit_bias.x"),
        ({"temprature": 1}, "unknown key 'temprature' (did you mean 'temperature'?)"),
    ],
)
def test_sampling_values_out_of_range_are_refused(change: dict[str, object], message: str) -> None:
    assert message in refused(SamplingConfig, change)


def test_limits_of_sampling_are_allowed() -> None:
    edges = {
        "temperature": 0.0,
        "top_p": 1.0,
        "min_p": 1.0,
        "n": 128,
        "logprobs": 0,
        "seed": 0,
        "presence_penalty": -2.0,
    }
    assert SamplingConfig.parse(edges, "here").model_dump(include=set(edges)) == edges


def test_rope_scaling_by_wavelength_knows_its_original() -> None:
    assert RopeScaling.parse({"kind": "llama3", "factor": 8, "original_positions": 64}, "x").original_positions == 64


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "is not valid JSON: "),
        (b'{"a": 1,}', "is not valid JSON: "),
        (b"\xff", "cannot be read"),
        (b"[" * 100_000, "is not valid JSON"),
        (b"9" * 5_000, "is not valid JSON"),
        (b"", "is not valid JSON"),
    ],
)
def test_broken_files_are_refused_in_one_line(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message) as caught:
        read_json(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_absent_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        SamplingConfig.read(tmp_path / "none.json")
    with pytest.raises(ConfigError, match="cannot be read"):
        SamplingConfig.read(tmp_path)


def test_the_nearest_name_is_offered_or_all_of_them() -> None:
    assert nearest("temprature", ["temperature", "top_p"]) == " (did you mean 'temperature'?)"
    assert nearest("qqq", ["b", "a"]) == " (one of: a, b)"


def test_errors_tell_scripts_whose_fault_it_was() -> None:
    assert (SensoriumError.exit_code, ConfigError.exit_code, TrainingError.exit_code) == (2, 2, 1)


@pytest.mark.parametrize("seconds", [0.01, 0.99, -1, float("nan"), "foo"])
def test_what_is_listened_to_at_a_time_holds_words(seconds: object) -> None:
    assert refused(SamplingConfig, {"listen_seconds": seconds}).startswith("listen_seconds = ")
    assert SamplingConfig(listen_seconds=0).listen_seconds == 0
