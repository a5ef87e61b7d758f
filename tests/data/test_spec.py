import json
from pathlib import Path
from typing import Any

import pytest

from sensorium.data.spec import DatasetSpec
from sensorium.errors import ConfigError, DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "mine"
    for name in ("b.txt", "a.jsonl", "deep/c.jsonl.gz", "deep/picture.png", ".hidden/d.txt", ".e.txt", "f.parquet.tmp"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    return root


def test_a_folder_is_read_recursively_in_order_by_the_endings_of_its_files(folder: Path) -> None:
    files = DatasetSpec(path=folder).files()
    assert [(file.name, file.format) for file in files] == [
        ("mine/a.jsonl", "jsonl"),
        ("mine/b.txt", "text"),
        ("mine/deep/c.jsonl.gz", "jsonl"),
    ]


def test_include_keeps_what_a_glob_matches(folder: Path) -> None:
    spec = DatasetSpec(path=folder, include=("deep/*", "*.txt"), documents="line")
    assert [(file.name, file.documents) for file in spec.files()] == [
        ("mine/b.txt", "line"),
        ("mine/deep/c.jsonl.gz", "line"),
    ]
    (file,) = DatasetSpec(path=folder, include=("*.png",), format="text").files()
    assert (file.name, file.format) == ("mine/deep/picture.png", "text")


@pytest.mark.parametrize(
    ("path", "settings", "why"),
    [
        ("nowhere", {}, "nowhere does not exist"),
        ("mine/deep/picture.png", {}, r"no format is known for the ending '.png' \(known: .txt, .*; or set format\)"),
        ("mine", {"include": ("*.csv",)}, r"mine holds no file that matches \*.csv to read"),
    ],
)
def test_nothing_to_read_is_an_error(folder: Path, path: str, settings: dict[str, Any], why: str) -> None:
    with pytest.raises(DataError, match=why):
        DatasetSpec(path=folder.parent / path, **settings).files()


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({}, "a data set needs exactly one of source, path and world"),
        ({"source": "tinystories", "path": "x"}, "a data set needs exactly one of source, path and world"),
        ({"path": "x", "format": "jsnl"}, r"unknown format 'jsnl' \(did you mean 'json"),
        ({"path": "x", "wieght": 2}, r"unknown key 'wieght' \(did you mean 'weight'\?\)"),
        (
            {"path": "x", "split": "validation", "augment": {"flip": 0.5}},
            "augment varies what is trained on: leave it out of split: validation",
        ),
        ({"path": "x", "weight": 0}, "weight = 0: Input should be greater than 0"),
        ({"path": "x", "split": "test"}, "split = 'test': Input should be 'all', 'train' or 'validation'"),
        ({"path": "x", "validation_fraction": 1}, "validation_fraction = 1: Input should be less than 1"),
        ({"path": "x", "limit": 0}, "limit = 0: Input should be greater than 0"),
    ],
)
def test_settings_out_of_range_are_errors(settings: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=f"^recipe: {why}") as caught:
        DatasetSpec.parse(settings, "recipe")
    assert "\n" not in str(caught.value)


def test_a_spec_survives_json(folder: Path) -> None:
    spec = DatasetSpec(path=folder, include=("a*",), split="train", weight=0.5, limit=3)
    assert DatasetSpec.parse(json.loads(spec.model_dump_json()), "state") == spec
