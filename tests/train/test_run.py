"""Whole runs: chained, resumed to the bit, refused, stopped, and never half-written."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from sensorium.errors import ConfigError, DataError, TrainingError
from sensorium.hub.folder import load_pretrained
from sensorium.nn.omni import Omni
from sensorium.processing.processor import Processor
from sensorium.train import Callback, load_recipe, train
from sensorium.train.callbacks import Sample, StageInfo, StepMetrics, ValidationMetrics
from sensorium.train.interrupts import TrainingInterruptedError

WriteRecipe = Callable[..., Path]

# Settings under which a resumed run must equal one that never stopped.
COURSES: dict[str, dict[str, Any]] = {
    "causal with dropout": {"dropout": 0.2, "accumulate": 2},
    "muon with average": {"optimizer": "muon", "ema": 0.9, "schedule": "wsd"},
    "masked": {"objective": "masked", "model": {"causal": False, "dropout": 0.1}},
}


class StopAfter(Callback):
    """Fails once a step is done, as a crash would."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step(self, metrics: StepMetrics) -> None:
        if metrics.step == self.step:
            raise RuntimeError("crash")


class Recorder(Callback):
    """Keeps all it is told."""

    def __init__(self) -> None:
        self.infos: list[StageInfo] = []
        self.steps: list[StepMetrics] = []
        self.validations: list[ValidationMetrics] = []
        self.samples: list[tuple[int, Sample]] = []
        self.ends: list[tuple[str, int, Path | None]] = []

    def on_start(self, info: StageInfo) -> None:
        self.infos.append(info)

    def on_step(self, metrics: StepMetrics) -> None:
        self.steps.append(metrics)

    def on_validation(self, metrics: ValidationMetrics) -> None:
        self.validations.append(metrics)

    def on_samples(self, stage: str, step: int, samples: Sequence[Sample]) -> None:  # noqa: ARG002
        self.samples += [(step, sample) for sample in samples]

    def on_end(self, stage: str, step: int, model_folder: Path | None) -> None:
        self.ends.append((stage, step, model_folder))


def go(recipe: Path, out: Path, *callbacks: Callback, overrides: Sequence[str] = (), **options: Any) -> Path:
    return train(load_recipe(recipe, overrides), out, device="cpu", threads=1, callbacks=callbacks, **options)


def checkpoints(out: Path, stage: str = "0-*") -> list[Path]:
    return sorted(next((out / "stages").glob(stage)).glob("checkpoints/step-*"))


def assert_same_state(left: Path, right: Path) -> None:
    """Two checkpoints hold the same bits, but for the seconds they took."""
    assert left.name == right.name
    assert {path.name for path in left.iterdir()} == {path.name for path in right.iterdir()}
    states = [json.loads((side / "state.json").read_text(encoding="utf-8")) for side in (left, right)]
    for state in states:
        assert (state.pop("seconds") > 0) is (state["step"] > 0)
    assert states[0] == states[1]
    for path in left.glob("*.safetensors"):
        mine, theirs = load_file(path), load_file(right / path.name)
        assert mine.keys() == theirs.keys()
        for name in mine:
            assert torch.equal(mine[name], theirs[name]), f"{path.name}: {name}"


def disturb_random_state() -> None:
    torch.manual_seed(12345)
    random.seed(12345)
    np.random.seed(12345)


@pytest.mark.parametrize("course", COURSES)
def test_a_resumed_run_equals_one_that_never_stopped(tmp_path: Path, write_recipe: WriteRecipe, course: str) -> None:
    recipe = write_recipe(**COURSES[course])
    go(recipe, tmp_path / "whole")
    disturb_random_state()
    with pytest.raises(RuntimeError, match="crash"):
        go(recipe, tmp_path / "broken", StopAfter(5))
    assert [path.name for path in checkpoints(tmp_path / "broken")] == ["step-00000000", "step-00000003"]
    disturb_random_state()
    resumed = Recorder()
    go(recipe, tmp_path / "broken", resumed)
    assert [metrics.step for metrics in resumed.steps] == [4, 5, 6]
    for whole, broken in zip(checkpoints(tmp_path / "whole"), checkpoints(tmp_path / "broken"), strict=True):
        assert_same_state(whole, broken)
    weights = [load_file(tmp_path / run / "model" / "model.safetensors") for run in ("whole", "broken")]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    lines = (tmp_path / "broken" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    steps = [line["step"] for line in map(json.loads, lines) if line["event"] == "step"]
    assert steps == sorted(set(steps))


KILLED = """
import os, signal, sys
from pathlib import Path
from sensorium.train import Callback, checkpoint, load_recipe, train

class Kill(Callback):
    def on_step(self, metrics):
        if metrics.step == 5:
            os.kill(os.getpid(), signal.SIGKILL)

if sys.argv[3] == "writing":
    save_file = checkpoint.save_file
    def torn(tensors, path):
        save_file(tensors, path)
        if "step-00000006" in str(path) and "optimizer" in path.name:
            path.write_bytes(path.read_bytes()[:100])
            os.kill(os.getpid(), signal.SIGKILL)
    checkpoint.save_file = torn
callbacks = [Kill()] if sys.argv[3] == "stepping" else []
train(load_recipe(sys.argv[1]), sys.argv[2], device="cpu", threads=1, callbacks=callbacks)
"""


def test_a_kill_loses_no_more_than_the_steps_since_the_last_checkpoint(
    tmp_path: Path, write_recipe: WriteRecipe
) -> None:
    recipe = write_recipe(dropout=0.1, budget={"steps": 7})
    go(recipe, tmp_path / "whole")
    runs = {
        moment: subprocess.Popen([sys.executable, "-c", KILLED, str(recipe), str(tmp_path / moment), moment])
        for moment in ("stepping", "writing")
    }
    for moment, process in runs.items():
        assert process.wait(timeout=120) == -signal.SIGKILL, moment
        out = tmp_path / moment
        assert [path.name for path in checkpoints(out)] == ["step-00000000", "step-00000003"]
        assert not (out / "model").exists()
        resumed = Recorder()
        go(recipe, out, resumed)
        assert [metrics.step for metrics in resumed.steps] == [4, 5, 6, 7]
        assert_same_state(checkpoints(tmp_path / "whole")[-1], checkpoints(out)[-1])
        left = [path for path in out.rglob("*") if path.name.startswith(".") and path.name != ".lock"]
        assert left == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_stops(tmp_path: Path, write_recipe: WriteRecipe, number: signal.Signals) -> None:
    class Press(Callback):
        def on_step(self, metrics: StepMetrics) -> None:
            if metrics.step == 2:
                os.kill(os.getpid(), number)

    recipe, recorder = write_recipe(), Recorder()
    handlers = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(TrainingInterruptedError, match=rf"stopped by {number.name} at step 2 .* saved") as caught:
        go(recipe, tmp_path / "run", Press(), recorder)
    assert caught.value.exit_code == 128 + number
    assert checkpoints(tmp_path / "run")[-1].name == "step-00000002"
    assert recorder.ends == [("causal", 2, None)]
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == handlers
    again = Recorder()
    go(recipe, tmp_path / "run", again)
    assert again.infos[0].step == 2
    assert [metrics.step for metrics in again.steps] == [3, 4, 5, 6]


@pytest.mark.parametrize("writer", ["checkpoint", "metrics", "model"])
def test_a_full_disk_stops_the_run_with_the_last_good_checkpoint_intact(
    tmp_path: Path, write_recipe: WriteRecipe, monkeypatch: pytest.MonkeyPatch, writer: str
) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    out = tmp_path / "run"

    def refuse(*_: Any, **__: Any) -> None:
        if not (out / "stages").exists() or len(checkpoints(out)) >= 2:
            raise full

    recipe = write_recipe(log_every=1)
    target = {
        "checkpoint": "sensorium.train.checkpoint.save_file",
        "metrics": "sensorium.train.callbacks._append",
        "model": "sensorium.hub.folder.write_weights",
    }[writer]
    module, _, name = target.rpartition(".")
    original = getattr(sys.modules[module], name)
    monkeypatch.setattr(target, lambda *given: (refuse(), original(*given))[1])
    step = {"checkpoint": 6, "metrics": 4, "model": 6}[writer]
    with pytest.raises(TrainingError, match=rf"stopped at step {step}.*No space left on device.*last .*checkpoint"):
        go(recipe, out)
    assert checkpoints(out)[-1].name == ("step-00000006" if writer == "model" else "step-00000003")
    assert not (out / "model").exists()
    monkeypatch.undo()
    go(recipe, out)
    assert (out / "model" / "config.json").exists()


def test_a_disk_that_fills_as_the_logs_are_closed_is_told_like_any_other(
    tmp_path: Path, write_recipe: WriteRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("sensorium.train.callbacks.TensorBoard.on_end", refuse)
    with pytest.raises(TrainingError, match=r"stopped at step 6 .*No space left on device; the last checkpoint"):
        go(write_recipe(), tmp_path / "run")


def test_a_gpu_without_memory_stops_the_run_in_one_line(
    tmp_path: Path, write_recipe: WriteRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nSee the documentation.")

    monkeypatch.setattr(Omni, "loss", exhausted)
    with pytest.raises(TrainingError, match=r"^stopped at step 0 .*: CUDA out of memory \(.*fewer rows.*\); .*intact$"):
        go(write_recipe(), tmp_path / "run")


def test_a_loss_that_is_no_number_stops_the_run(
    tmp_path: Path, write_recipe: WriteRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = write_recipe()
    with pytest.raises(RuntimeError):
        go(recipe, tmp_path / "run", StopAfter(4))
    loss = Omni.loss
    monkeypatch.setattr(Omni, "loss", lambda *given, **named: loss(*given, **named) * float("nan"))
    with pytest.raises(TrainingError, match="stopped at step 4 of stage 'causal': the loss is nan"):
        go(recipe, tmp_path / "run")
    assert checkpoints(tmp_path / "run")[-1].name == "step-00000003"


def two_stages(write_recipe: WriteRecipe, chats: Path, **talking: Any) -> Path:
    path = write_recipe()
    recipe = yaml.safe_load(path.read_text(encoding="utf-8"))
    keys = ("data", "rows", "time", "budget", "eval_every", "save_every", "keep")
    reading = {"name": "reading", **{key: recipe.pop(key) for key in keys}}
    chat = {**reading, "name": "talking", "objective": "chat", "data": [{"path": str(chats), "split": "train"}]}
    path.write_text(yaml.safe_dump({**recipe, "stages": [reading, {**chat, **talking}]}), encoding="utf-8")
    return path


def test_stages_follow_each_other_and_a_resumed_run_picks_up_at_the_right_one(
    tmp_path: Path, write_recipe: WriteRecipe, chats: Path
) -> None:
    recipe = two_stages(write_recipe, chats)

    class InTalking(Callback):
        def on_step(self, metrics: StepMetrics) -> None:
            if (metrics.stage, metrics.step) == ("talking", 4):
                raise RuntimeError("crash")

    with pytest.raises(RuntimeError):
        go(recipe, tmp_path / "run", InTalking())
    recorder = Recorder()
    model = go(recipe, tmp_path / "run", recorder)
    assert [(metrics.stage, metrics.step) for metrics in recorder.steps] == [
        ("talking", 4),
        ("talking", 5),
        ("talking", 6),
    ]
    assert model == tmp_path / "run" / "model"
    go(recipe, tmp_path / "whole")
    weights = {
        where: load_file(tmp_path / where / "model.safetensors")
        for where in ("run/model", "whole/model", "run/stages/0-reading/model", "run/stages/1-talking/model")
    }
    for name, tensor in weights["run/model"].items():
        assert torch.equal(tensor, weights["whole/model"][name])
        assert torch.equal(tensor, weights["run/stages/1-talking/model"][name])
        assert not torch.equal(tensor, weights["run/stages/0-reading/model"][name])
    idle = Recorder()
    assert go(recipe, tmp_path / "run", idle) == model
    assert idle.steps == []


@pytest.mark.parametrize(
    ("talking", "message"),
    [
        ({"freeze": ["decoder.block.*"]}, r"stage 'talking': freeze: 'decoder\.block\.\*' matches no weight"),
        ({"freeze": ["*"]}, "stage 'talking': freeze: .* nothing to train"),
        ({"lr_scale": {"x": 2}}, "stage 'talking': lr_scale: 'x' matches no weight"),
        ({"data": [{"path": "nowhere.jsonl"}]}, r"stage 'talking': nowhere\.jsonl does not exist"),
        ({"validation": [{"path": "nowhere.jsonl"}]}, r"stage 'talking': nowhere\.jsonl does not exist"),
    ],
)
def test_a_mistake_in_a_later_stage_does_not_wait_for_it(
    tmp_path: Path, write_recipe: WriteRecipe, chats: Path, talking: dict[str, Any], message: str
) -> None:
    recorder = Recorder()
    with pytest.raises((ConfigError, DataError), match=message):
        go(two_stages(write_recipe, chats, **talking), tmp_path / "run", recorder)
    assert recorder.steps == []


def test_the_final_model_is_the_average_where_there_is_one(tmp_path: Path, write_recipe: WriteRecipe) -> None:
    model = go(write_recipe(ema=0.5), tmp_path / "run")
    stored, last = load_file(model / "model.safetensors"), checkpoints(tmp_path / "run")[-1]
    average, weights = load_file(last / "ema.safetensors"), load_file(last / "weights.safetensors")
    assert all(torch.equal(stored[name], average[name]) for name in stored)
    assert any(not torch.equal(stored[name], weights[name]) for name in stored)


def test_the_model_loads_with_its_processor_at_the_precision_asked_for(
    tmp_path: Path, write_recipe: WriteRecipe
) -> None:
    model = go(write_recipe(save_dtype="float16", budget={"steps": 1}), tmp_path / "run")
    assert {tensor.dtype for tensor in load_file(model / "model.safetensors").values()} == {torch.float16}
    pretrained = load_pretrained(model)
    assert pretrained.processor is not None
    assert pretrained.processor.encode_text("the cat sees the moon.").token_ids.max() < 320
    assert pretrained.name == "model"


def test_a_new_run_starts_from_a_stages_model(tmp_path: Path, write_recipe: WriteRecipe, corpus: Path) -> None:
    go(write_recipe(budget={"steps": 2}), tmp_path / "first")
    start = tmp_path / "first" / "stages" / "0-causal" / "model"
    path = tmp_path / "second.yaml"
    stage = {"data": [{"path": str(corpus)}], "rows": 2, "time": 32, "budget": {"steps": 1}, "freeze": ["*embeddings*"]}
    path.write_text(yaml.safe_dump({"init": str(start), "save_dtype": "float32", **stage}), encoding="utf-8")
    go(path, tmp_path / "second")
    before, after = (
        load_file(start / "model.safetensors"),
        load_file(tmp_path / "second" / "model" / "model.safetensors"),
    )
    table = "decoder.embeddings.token.weight"
    assert torch.equal(before[table], after[table])
    assert not torch.equal(before["decoder.blocks.0.mlp.up.weight"], after["decoder.blocks.0.mlp.up.weight"])
    assert (tmp_path / "second" / "tokenizer.json").read_bytes() == (start / "tokenizer.json").read_bytes()


def test_a_changed_recipe_is_refused_by_the_name_of_the_key(
    tmp_path: Path, write_recipe: WriteRecipe, chats: Path
) -> None:
    recipe, out = two_stages(write_recipe, chats), tmp_path / "run"
    with pytest.raises(RuntimeError):
        go(recipe, out, StopAfter(2))
    for override, message in [
        ("stages.0.lr=0.5", r"stages\.0\.lr was 0\.001, now 0\.5 \(set it back, choose another folder, or start over"),
        ("seed=4", r"seed was 3, now 4"),
        ("model.dim=32", r"model\.dim was 16, now 32"),
    ]:
        with pytest.raises(ConfigError, match=message):
            go(recipe, out, overrides=[override])
    # What has not begun may change, and so may what only watches.
    go(recipe, out, overrides=["stages.1.lr=0.5", "stages.0.save_every=2", "stages.0.eval_every=2"])


def test_starting_over_moves_the_former_run_aside_and_nothing_else(
    tmp_path: Path, write_recipe: WriteRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, out, strange = write_recipe(), tmp_path / "run", tmp_path / "mine"
    (tmp_path / "run.1").mkdir()
    go(recipe, out)
    weights = (out / "model" / "model.safetensors").read_bytes()

    class Fresh(Callback):
        def on_start(self, info: StageInfo) -> None:  # noqa: ARG002
            with pytest.raises(ConfigError, match="in use by process"):
                go(recipe, out, resume=False)

    again = Recorder()
    go(recipe, out, again, Fresh(), resume=False)
    assert [metrics.step for metrics in again.steps] == [1, 2, 3, 4, 5, 6]
    assert (tmp_path / "run.2" / "model" / "model.safetensors").read_bytes() == weights
    assert sorted(path.name for path in tmp_path.glob("run*")) == ["run", "run.1", "run.2"]
    monkeypatch.chdir(out)
    with pytest.raises(ConfigError, match="cannot be moved aside from inside of it"):
        go(recipe, Path(), resume=False)
    strange.mkdir()
    (strange / "thesis.txt").write_text("precious", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"holds 'thesis\.txt' and no run"):
        go(recipe, strange, resume=False)
    assert (strange / "thesis.txt").exists()


def test_moved_data_goes_on_and_other_data_does_not(tmp_path: Path, write_recipe: WriteRecipe, corpus: Path) -> None:
    recipe, out = write_recipe(), tmp_path / "run"
    with pytest.raises(RuntimeError):
        go(recipe, out, StopAfter(4))
    moved, other = tmp_path / "elsewhere" / corpus.name, tmp_path / "other.txt"
    moved.parent.mkdir()
    moved.write_bytes(corpus.read_bytes())
    other.write_bytes(corpus.read_bytes() + b"More.")
    with pytest.raises(DataError, match="belongs to other data"):
        go(recipe, out, overrides=[f"data.0.path={other}"])
    go(recipe, out, overrides=[f"data.0.path={moved}"])
    go(recipe, tmp_path / "whole")
    assert_same_state(checkpoints(tmp_path / "whole")[-1], checkpoints(out)[-1])


def test_a_run_goes_on_when_the_model_it_began_with_was_moved(
    tmp_path: Path, write_recipe: WriteRecipe, corpus: Path
) -> None:
    go(write_recipe(budget={"steps": 1}), tmp_path / "first")
    start, moved, out = tmp_path / "first" / "model", tmp_path / "elsewhere", tmp_path / "run"
    path = tmp_path / "second.yaml"
    stage = {"data": [{"path": str(corpus)}], "rows": 2, "time": 32, "budget": {"steps": 4}, "save_every": 2}
    path.write_text(yaml.safe_dump({"init": str(start), **stage}), encoding="utf-8")
    with pytest.raises(RuntimeError, match="crash"):
        go(path, out, StopAfter(3))
    shutil.copytree(start, moved)
    with pytest.raises(ConfigError, match=r"init was .*set it back"):
        go(path, out, overrides=[f"init={moved}"])
    shutil.rmtree(start)
    resumed = Recorder()
    go(path, out, resumed, overrides=[f"init={moved}"])
    assert [metrics.step for metrics in resumed.steps] == [3, 4]


def test_a_run_that_failed_before_its_first_step_begins_anew_under_another_recipe(
    tmp_path: Path, write_recipe: WriteRecipe
) -> None:
    recipe, out = write_recipe(), tmp_path / "run"
    with pytest.raises(DataError, match="missing"):
        go(recipe, out, overrides=[f"data.0.path={tmp_path}/missing.txt", "tokenizer.vocab_size=310"])
    assert (out / "tokenizer.json").exists()
    model = go(recipe, out, resume=False)
    pretrained = load_pretrained(model)
    assert pretrained.processor is not None
    assert pretrained.processor.tokenizer.vocab_size == 320


def test_a_budget_grows_where_the_schedule_does_not_jump(tmp_path: Path, write_recipe: WriteRecipe) -> None:
    constant = write_recipe("constant.yaml", schedule="constant", warmup=2)
    go(constant, tmp_path / "constant")
    more = Recorder()
    go(constant, tmp_path / "constant", more, overrides=["budget={steps: 8}"])
    assert [metrics.step for metrics in more.steps] == [7, 8]
    go(constant, tmp_path / "whole", overrides=["budget={steps: 8}"])
    assert_same_state(checkpoints(tmp_path / "constant")[-1], checkpoints(tmp_path / "whole")[-1])
    cosine = write_recipe("cosine.yaml")
    with pytest.raises(RuntimeError):
        go(cosine, tmp_path / "cosine", StopAfter(4))
    with pytest.raises(ConfigError, match="cannot change its budget at step 3 of 6: the cosine schedule would jump"):
        go(cosine, tmp_path / "cosine", overrides=["budget={steps: 9}"])
    with pytest.raises(ConfigError, match="began with a budget in steps, so it cannot go on in minutes"):
        go(cosine, tmp_path / "cosine", overrides=["budget={minutes: 9}"])
    with pytest.raises(ConfigError, match="has done 8 steps already, above the 4 now asked for"):
        go(constant, tmp_path / "constant", overrides=["budget={steps: 4}"])


def test_minutes_fix_the_horizon_once_and_the_run_is_that_of_so_many_steps(
    tmp_path: Path, write_recipe: WriteRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, first = write_recipe(dropout=0.2), Recorder()
    ticks = iter(range(100_000))
    monkeypatch.setattr("sensorium.train.horizon.now", lambda _: float(next(ticks)))  # each look takes a second
    with pytest.raises(RuntimeError):
        go(recipe, tmp_path / "timed", first, StopAfter(4), minutes=0.6)
    horizon = first.infos[0].horizon
    assert 10 < horizon < 36
    assert first.steps[-1].horizon == horizon
    second = Recorder()
    monkeypatch.setattr("sensorium.train.horizon.now", lambda _: 1e3 * next(ticks))
    go(recipe, tmp_path / "timed", second, minutes=0.6)
    assert second.infos[0].horizon == second.steps[-1].step == horizon
    go(recipe, tmp_path / "counted", overrides=[f"budget={{steps: {horizon}}}"])
    counted, timed = (checkpoints(tmp_path / run)[-1] for run in ("counted", "timed"))
    for name in ("weights", "optimizer", "random"):
        mine, theirs = load_file(counted / f"{name}.safetensors"), load_file(timed / f"{name}.safetensors")
        assert all(torch.equal(mine[key], theirs[key]) for key in mine | theirs)


def test_two_runs_in_one_folder_are_refused(tmp_path: Path, write_recipe: WriteRecipe) -> None:
    recipe = write_recipe()

    class Second(Callback):
        def on_step(self, metrics: StepMetrics) -> None:
            if metrics.step == 1:
                with pytest.raises(ConfigError, match=rf"in use by process {os.getpid()} \(wait for it"):
                    go(recipe, tmp_path / "run")

    go(recipe, tmp_path / "run", Second())


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path: Path, write_recipe: WriteRecipe) -> None:
    recipe, out = write_recipe(), tmp_path / "mine"
    out.mkdir()
    (out / "thesis.txt").write_text("precious", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"holds 'thesis\.txt' and no run"):
        go(recipe, out)
    assert sorted(path.name for path in out.iterdir() if path.name != ".lock") == ["thesis.txt"]


def test_samples_are_asked_for_and_change_nothing(tmp_path: Path, write_recipe: WriteRecipe) -> None:
    class Sampler(Callback):
        def sample(self, model: Omni, processor: Processor, stage: str, step: int) -> Sequence[Sample]:
            assert not model.training
            assert stage == "causal"
            with torch.no_grad():
                scores = model.logits(torch.tensor([processor.encode_text("the cat").token_ids.tolist()]))
            drawn = torch.multinomial(scores[0, -1].softmax(-1), 1)  # moves the random state
            return [Sample("the cat", f"{step}:{int(drawn)}")]

    recipe, recorder = write_recipe(dropout=0.2, ema=0.9), Recorder()
    go(recipe, tmp_path / "sampled", Sampler(), recorder, overrides=["sample_every=2", "eval_every=2"])
    go(recipe, tmp_path / "plain")
    assert [step for step, _ in recorder.samples] == [2, 4, 6]
    lines = (tmp_path / "sampled" / "samples.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["step"] for line in lines] == [2, 4, 6]
    for left, right in zip(checkpoints(tmp_path / "sampled"), checkpoints(tmp_path / "plain"), strict=True):
        assert_same_state(left, right)


def test_a_sampler_that_fails_costs_no_steps_and_what_it_draws_does_not_show(
    tmp_path: Path, write_recipe: WriteRecipe
) -> None:
    class Sampler(Callback):
        def __init__(self, fails_at: int | None) -> None:
            self.fails_at = fails_at

        def sample(self, model: Omni, processor: Processor, stage: str, step: int) -> Sequence[Sample]:  # noqa: ARG002
            disturb_random_state()
            if step == self.fails_at:
                raise RuntimeError("no sample")
            return ()

    recipe = write_recipe(dropout=0.2, sample_every=3)
    go(recipe, tmp_path / "whole", Sampler(None))
    with pytest.raises(RuntimeError, match="no sample"):
        go(recipe, tmp_path / "broken", Sampler(3))
    assert checkpoints(tmp_path / "broken")[-1].name == "step-00000003"
    resumed = Recorder()
    go(recipe, tmp_path / "broken", Sampler(None), resumed)
    assert [metrics.step for metrics in resumed.steps] == [4, 5, 6]
    for left, right in zip(checkpoints(tmp_path / "whole"), checkpoints(tmp_path / "broken"), strict=True):
        assert_same_state(left, right)


def test_a_run_stopped_after_its_last_step_is_still_validated_and_sampled(
    tmp_path: Path, write_recipe: WriteRecipe
) -> None:
    recipe, asked = write_recipe(sample_every=3, eval_every=3), Recorder()

    class Sampler(Callback):
        def sample(self, model: Omni, processor: Processor, stage: str, step: int) -> Sequence[Sample]:  # noqa: ARG002
            return [Sample("the cat", str(step))]

        def on_validation(self, metrics: ValidationMetrics) -> None:
            if metrics.step == 6:
                raise RuntimeError("crash")

    with pytest.raises(RuntimeError, match="crash"):
        go(recipe, tmp_path / "run", Sampler())
    assert checkpoints(tmp_path / "run")[-1].name == "step-00000006"
    Sampler.on_validation = Callback.on_validation  # type: ignore[method-assign]
    go(recipe, tmp_path / "run", Sampler(), asked)
    assert asked.steps == []
    assert [metrics.step for metrics in asked.validations] == [6]
    assert [step for step, _ in asked.samples] == [6]


def test_metrics_go_to_json_lines_and_tensorboard(tmp_path: Path, write_recipe: WriteRecipe) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    recorder = Recorder()
    go(write_recipe(log_every=2, eval_every=3), tmp_path / "run", recorder)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text("utf-8").splitlines()]
    steps = {line["step"]: line for line in lines if line["event"] == "step"}
    assert list(steps) == [1, 2, 4, 6]
    assert [steps[step]["loss"] for step in steps] == [recorder.steps[step - 1].loss for step in steps]
    validations = [line for line in lines if line["event"] == "validation"]
    assert [line["step"] for line in validations] == [3, 6]
    assert validations[-1]["bits_per_byte"] == recorder.validations[-1].bits_per_byte
    board = EventAccumulator(str(tmp_path / "run" / "tensorboard" / "causal")).Reload()
    assert [event.step for event in board.Scalars("train/loss")] == [2, 4, 6]
    assert board.Scalars("validation/bits_per_byte")[-1].value == pytest.approx(validations[-1]["bits_per_byte"])


def test_a_vocabulary_below_the_tokenizers_is_refused(tmp_path: Path, write_recipe: WriteRecipe) -> None:
    with pytest.raises(ConfigError, match=r"model\.vocab_size = 300, below the 320 tokens of the tokenizer"):
        go(write_recipe(model={"vocab_size": 300}), tmp_path / "run")
