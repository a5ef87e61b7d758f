"""Recipes: what is accepted, what is refused and how, overrides, and the differences between two."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sensorium.errors import ConfigError
from sensorium.train.recipe import Budget, changes, dump_recipe, load_recipe

SHORT = """
seed: 7
model: {dim: 32, n_layers: 2, n_heads: 4, hidden_dim: 64, max_positions: 64}
tokenizer: {vocab_size: 400}
data: [{path: text.txt}]
time: 64
budget: {steps: 10}
lr: 0.002
"""

LONG = """
model: {dim: 32, n_layers: 2, n_heads: 4, hidden_dim: 64, max_positions: 64}
tokenizer: {vocab_size: 400}
stages:
  - {name: read, data: [{path: text.txt}], time: 64, budget: {minutes: 30}}
  - {objective: chat, data: [{path: chat.jsonl}], time: 32, budget: {minutes: 10}}
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def error_of(tmp_path: Path, text: str, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_recipe(written(tmp_path, text), overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_short_form_is_one_stage(tmp_path: Path) -> None:
    recipe = load_recipe(written(tmp_path, SHORT))
    (stage,) = recipe.stages
    assert (recipe.seed, stage.name, stage.time, stage.lr) == (7, "causal", 64, 0.002)
    assert stage.budget == Budget(steps=10)


def test_stages_are_called_by_name_or_objective(tmp_path: Path) -> None:
    recipe = load_recipe(written(tmp_path, LONG))
    assert [stage.name for stage in recipe.stages] == ["read", "chat"]


def test_overrides_are_yaml_and_the_last_one_wins(tmp_path: Path) -> None:
    path = written(tmp_path, LONG)
    recipe = load_recipe(
        path, ["stages.0.lr=1", "stages.0.lr=3e-4", "stages.1.freeze=[decoder.embeddings.*]", "model.dropout=0.1"]
    )
    assert recipe.stages[0].lr == 3e-4
    assert recipe.stages[1].freeze == ("decoder.embeddings.*",)
    assert recipe.model is not None
    assert recipe.model.dropout == 0.1


def test_overrides_of_a_single_stage_may_leave_out_stages(tmp_path: Path) -> None:
    path = written(tmp_path, SHORT)
    assert load_recipe(path, ["lr=0.5"]) == load_recipe(path, ["stages.0.lr=0.5"])
    assert load_recipe(path, ["ema=0.9"]).stages[0].ema == 0.9


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stages.0.lrr=1", "unknown key 'stages.0.lrr' (did you mean 'lr'?)"),
        ("stages.2.lr=1", "'2' is not an index into a list of 2"),
        ("stages.0.lr", "must read a.b.c=value"),
        ("stages.0.lr=[1", "not valid YAML"),
        ("stages.0.lr.x=1", "stages.0.lr is 0.5, with no keys in it"),
        ("lr=1", "which stage? (write stages.0.lr=…)"),
        ("stages.0.lr=-1", "stages.0.lr = -1: Input should be greater than 0"),
        ("stages.0.budget.steps=5", "exactly one of steps, tokens and minutes, not steps and minutes"),
        ("stages.1.name=read", "two stages are called 'read'"),
        ("stages.0.time=65", "stage 'read' reads 65 tokens at a time, above max_positions 64"),
        ("stages.0.objective=masked", "set model.causal: false"),
        ("model.causal=false", "which needs model.causal: true"),
        ("model.dimm=5", "unknown key 'model.dimm' (did you mean 'dim'?)"),
        ("init=seedling", "either model (settings of a new one) or init"),
        ("tokenizer.from=x", "either vocab_size (and data)"),
        ("stages.0.name=../up", "stages.0.name = '../up'"),
        ("stages.0.data.0.sourc=x", "(did you mean 'source'?)"),
    ],
)
def test_a_wrong_override_says_what_is_wrong(tmp_path: Path, override: str, message: str) -> None:
    assert message in error_of(tmp_path, LONG, "stages.0.lr=0.5", override)


def test_broken_yaml_names_its_line(tmp_path: Path) -> None:
    message = error_of(tmp_path, "model:\n  dim: 32\n bad: [\n")
    assert "recipe.yaml:3: not valid YAML" in message


@pytest.mark.parametrize(
    "text",
    ["lr: {{ lr }}", "? [a]\n: 1", "name: 2024-13-45", "lr: !!int x", "betas: &a [*a]", "name: " + "[" * 3000],
)
def test_what_yaml_cannot_mean_is_one_line(tmp_path: Path, text: str) -> None:
    assert "recipe.yaml" in error_of(tmp_path, SHORT.replace("lr: 0.002\n", text + "\n"))


@pytest.mark.parametrize("override", ["lr={{ lr }}", "name=2024-13-45"])
def test_what_an_override_cannot_mean_is_one_line(tmp_path: Path, override: str) -> None:
    assert "not valid YAML" in error_of(tmp_path, SHORT, override)


def test_a_folder_with_a_models_name_is_not_that_model(tmp_path: Path) -> None:
    (tmp_path / "seedling").mkdir()
    path = written(tmp_path, "init: seedling\ndata: [{path: text.txt}]\nbudget: {steps: 1}\n")
    assert load_recipe(path).init == "seedling"
    (tmp_path / "seedling" / "config.json").write_text("{}", encoding="utf-8")
    assert load_recipe(path).init == str(tmp_path / "seedling")
    endless = load_recipe(path, [f"data.0.path={'x' * 5000}"])  # no file can be called that
    assert str(endless.stages[0].data[0].path) == "x" * 5000


def test_a_key_given_twice_is_refused(tmp_path: Path) -> None:
    assert "recipe.yaml:2: not valid YAML: the key 'seed' stands twice" in error_of(tmp_path, "seed: 1\nseed: 2\n")


@pytest.mark.parametrize(("text", "kind"), [("", "an empty file"), ("- 1", "list"), ("hello", "str")])
def test_a_recipe_is_a_mapping(tmp_path: Path, text: str, kind: str) -> None:
    assert error_of(tmp_path, text).endswith(f"a recipe must be a mapping of settings, not {kind}")


def test_an_unknown_key_of_the_short_form_names_the_nearest_of_either_kind(tmp_path: Path) -> None:
    assert "unknown key 'budgt' (did you mean 'budget'?)" in error_of(tmp_path, SHORT + "budgt: 1\n")
    assert "unknown key 'tokeniser' (did you mean 'tokenizer'?)" in error_of(tmp_path, SHORT + "tokeniser: {}\n")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing\.yaml does not exist"):
        load_recipe(tmp_path / "nothing.yaml")


def test_paths_start_from_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("Words.", encoding="utf-8")
    recipe = load_recipe(written(tmp_path, SHORT))
    assert recipe.stages[0].data[0].path == tmp_path / "text.txt"


def test_a_written_recipe_reads_back_equal(tmp_path: Path) -> None:
    for text in (SHORT, LONG):
        recipe = load_recipe(written(tmp_path, text), ["model.rope_theta=5000"])
        copy = tmp_path / "copy.yaml"
        copy.write_text(dump_recipe(recipe), encoding="utf-8")
        assert changes(recipe, load_recipe(copy)) == []
        assert load_recipe(copy).model == recipe.model


def test_changes_name_what_differs_and_pass_over_what_only_watches(tmp_path: Path) -> None:
    path = written(tmp_path, LONG)
    old = load_recipe(path)
    assert changes(old, load_recipe(path, ["stages.1.lr=0.5", "model.dim=64"])) == ["model.dim", "stages.1.lr"]
    watching = ["stages.0.eval_every=1", "stages.0.save_every=9", "stages.1.keep=7", "stages.0.data.0.max_bad=1"]
    assert changes(old, load_recipe(path, watching)) == []


def test_minutes_are_shared_as_the_budgets_are(tmp_path: Path) -> None:
    path = written(tmp_path, LONG)
    assert [stage.budget.minutes for stage in load_recipe(path).with_minutes(20).stages] == [15, 5]
    by_steps = ["stages.0.budget={steps: 30}", "stages.1.budget={steps: 20}"]  # of 64 and 32 tokens a row
    assert [stage.budget.minutes for stage in load_recipe(path, by_steps).with_minutes(20).stages] == [15, 5]
    with pytest.raises(ConfigError, match="minutes cannot be shared"):
        load_recipe(path, by_steps[:1]).with_minutes(20)


def test_the_shipped_recipes_are_valid() -> None:
    recipes = sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml"))
    assert {"tiny.yaml"} <= {path.name for path in recipes}
    for path in recipes:
        assert load_recipe(path).stages


def test_an_error_in_one_stage_is_counted_once(write_recipe: Callable[..., Path]) -> None:
    recipe = write_recipe(lr=-1)
    with pytest.raises(ConfigError) as error:
        load_recipe(recipe)
    assert "lr = -1" in str(error.value)
    assert "more)" not in str(error.value)


def test_a_tokenizer_is_taken_over_or_trained_not_both(write_recipe: Callable[..., Path]) -> None:
    with pytest.raises(ConfigError, match="is not trained: leave data out"):
        load_recipe(write_recipe(tokenizer={"from": "seedling", "data": [{"path": "x"}]}))
