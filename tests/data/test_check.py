import io
import json
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from media_parts import picture, tone

from sensorium.data.check import Checker, Report, Spread, script_of, write_sheet
from sensorium.data.records import Content
from sensorium.data.spec import DatasetSpec
from sensorium.errors import DataError


def checked(path: Path, **settings: Any) -> Report:
    return Checker(DatasetSpec(path=path, **settings)).run()


def png(size: tuple[int, int], colour: str) -> bytes:
    stream = io.BytesIO()
    PIL.Image.new("RGB", size, colour).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    root = tmp_path / "pets"
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
    (root / "cat/1.png").write_bytes(png((20, 10), "red"))
    (root / "cat/2.png").write_bytes(png((30, 40), "blue"))
    (root / "cat/again.png").write_bytes(png((20, 10), "red"))
    (root / "dog/same.png").write_bytes(png((20, 10), "red"))
    (root / "dog/bark.wav").write_bytes(tone(0.25).data or b"")
    (root / "dog/cut.png").write_bytes((picture("red", (64, 64)).data or b"")[:60])
    (root / "lost.png").write_bytes(png((1, 1), "red"))
    return root


def test_what_a_folder_of_pictures_and_recordings_holds(pets: Path) -> None:
    report = checked(pets)
    assert (report.files, report.records, report.documents, report.turns) == (1, 5, 0, 10)
    assert report.formats == {"classes": 5}
    assert report.shown == {"image": 4, "audio": 1}
    assert report.distinct == {"image": 2, "audio": 1}
    assert sorted(report.widths) == [20, 30]
    assert sorted(report.heights) == [10, 40]
    assert report.seconds == [0.25]
    assert report.media_bytes["image"] == len(png((20, 10), "red")) + len(png((30, 40), "blue"))
    assert report.duplicates == 1  # a cat twice; as a dog it is another record
    assert sorted((bad.where, bad.why.split(" ")[0]) for bad in report.bad) == [
        ("pets/dog/cut.png", f"{pets}/dog/cut.png"),
        ("pets/lost.png", "it"),
    ]


def test_what_documents_and_conversations_hold(tmp_path: Path) -> None:
    talk = [{"role": "user", "content": "你好吗？"}, {"role": "assistant", "content": "我很好。"}]
    rows: list[Any] = [{"text": "Once upon a time."}, {"text": " once  upon a TIME."}, {"messages": talk}, {"text": ""}]
    (tmp_path / "data.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\nno json\n")
    spec = DatasetSpec(path=tmp_path / "data.jsonl")

    def count(content: Content) -> int:
        return 3 if isinstance(content, str) else 7

    report = Checker(spec, count_tokens=count).run()
    assert (report.documents, report.conversations, report.turns) == (2, 1, 2)
    assert sorted(report.characters) == [8, 17, 19]
    assert report.tokens == [3, 3, 7]
    assert report.duplicates == 1
    assert report.scripts == {"latin": 2, "han": 1}
    assert [bad.where.rsplit(":")[-1] for bad in report.bad] == ["4", "5"]
    assert report.shown == {}


def test_a_file_that_is_broken_as_a_whole_is_one_bad_item(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"no parquet")
    (tmp_path / "b.jsonl").write_text('{"text": "fine"}\n')
    report = checked(tmp_path)
    assert report.records == 1
    (bad,) = report.bad
    assert "a.parquet is not a sound parquet file" in bad.why


def test_a_limit_looks_at_the_first_records_and_a_split_at_its_own(tmp_path: Path) -> None:
    rows = [json.dumps({"text": f"record {index}"}) for index in range(100)]
    (tmp_path / "data.jsonl").write_text("\n".join(rows))
    assert checked(tmp_path, limit=7).records == 7
    sides = [checked(tmp_path, split=split, validation_fraction=0.3).records for split in ("train", "validation")]
    assert sum(sides) == 100
    assert 15 < sides[1] < 45


def test_the_report_is_plain_json(pets: Path) -> None:
    report = checked(pets).to_dict()
    assert json.loads(json.dumps(report)) == report
    assert report["records"] == 5
    assert report["widths"] == {"total": 50, "least": 20, "median": 25.0, "p95": 30, "most": 30}
    assert report["tokens"] is None
    assert {"where", "why"} == set(report["bad"][0])


def test_a_sheet_shows_each_picture_once_with_its_words(pets: Path, tmp_path: Path) -> None:
    checker = Checker(DatasetSpec(path=pets), pictures=8)
    checker.run()
    assert sorted(caption for _, caption in checker.samples) in (["cat", "cat"], ["cat", "dog"])
    assert write_sheet(checker, tmp_path / "sheet.png") == tmp_path / "sheet.png"
    assert PIL.Image.open(tmp_path / "sheet.png").size[0] > 300


def test_the_same_few_pictures_are_shown_every_time(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    for shade in range(0, 250, 10):
        (tmp_path / "cat" / f"{shade}.png").write_bytes(png((400, 4), f"#{shade:02x}0000"))
    samples = []
    for _ in range(2):
        checker = Checker(DatasetSpec(path=tmp_path), pictures=5)
        checker.run()
        samples.append([picture.getpixel((0, 0)) for picture, _ in checker.samples])
        assert all(max(picture.size) <= 176 for picture, _ in checker.samples)
    assert len(set(samples[0])) == 5
    assert samples[0] == samples[1]


def test_a_sheet_of_nothing_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("words")
    checker = Checker(DatasetSpec(path=tmp_path), pictures=5)
    checker.run()
    with pytest.raises(DataError, match="holds no picture that can be shown"):
        write_sheet(checker, tmp_path / "sheet.png")


def test_spread() -> None:
    assert Spread.of([]) is None
    assert Spread.of([3]) == Spread(3, 3, 3, 3, 3)
    assert Spread.of(list(range(100, -1, -1))) == Spread(5050, 0, 50, 95, 100)


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("Hello, 世界!", "latin"),
        ("你好 world 今天天气很好", "han"),
        ("今日は天気がいい", "japanese"),
        ("привет", "cyrillic"),
        ("안녕", "hangul"),
        ("12 + 3 = 15", "none"),
        ("", "none"),
    ],
)
def test_the_script_of_a_text(text: str, script: str) -> None:
    assert script_of(text) == script
