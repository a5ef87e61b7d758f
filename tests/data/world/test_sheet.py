"""Contact sheets show every picture and say what it is."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sensorium.data.world import sheet
from sensorium.data.world.sheet import contact_sheet
from sensorium.errors import DataError

RED = np.full((8, 8, 3), (255, 0, 0), dtype=np.uint8)


def test_every_picture_is_on_the_page(tmp_path: Path) -> None:
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (200, 0, 200), (0, 200, 200)]
    pictures = [np.full((16, 24, 3), colour, dtype=np.uint8) for colour in colours]
    page = Image.open(contact_sheet(pictures, ["one", "two", "three", "four", "five"], tmp_path / "sheet.png"))
    shown = {colour: count for count, colour in page.getcolors(2**16)}
    assert len({shown[colour] for colour in colours}) == 1
    assert shown[colours[0]] == 176 * 117


def test_columns_say_how_wide_the_page_is(tmp_path: Path) -> None:
    wide = Image.open(contact_sheet([RED] * 6, [""] * 6, tmp_path / "wide.png", columns=6))
    tall = Image.open(contact_sheet([RED] * 6, [""] * 6, tmp_path / "tall.png", columns=1))
    assert wide.width > 5 * tall.width
    assert tall.height > 4 * wide.height


def test_pictures_of_any_mode_and_shape_are_shown(tmp_path: Path) -> None:
    pictures = [Image.new("RGBA", (300, 20)), Image.new("L", (3, 500)), np.zeros((5, 5), np.uint8), RED]
    assert contact_sheet(pictures, ["a", "b", "c", "d"], tmp_path / "new" / "sheet.jpg").stat().st_size > 0


@pytest.mark.parametrize("caption", ["", "word", "many words " * 40, "unbroken" * 40, "三只红苹果和一只猫", "🙂 é\n\t"])
def test_captions_never_leave_their_cell(tmp_path: Path, caption: str) -> None:
    page = Image.open(contact_sheet([RED, RED], [caption, ""], tmp_path / "sheet.png", columns=2)).convert("L")
    assert (np.asarray(page)[:, 12 + 176 + 2 : 12 + 176 + 10] == 255).all()


def test_characters_without_a_font_are_shown_as_question_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sheet, "_wide_font", lambda: None)
    assert sheet._broken("3 只 cats") == ["3 ? cats"]
    assert not sheet.can_write("三只猫")
    assert sheet.can_write("3 cats")


@pytest.mark.parametrize(
    ("n_pictures", "n_captions", "columns", "message"),
    [
        (0, 0, None, "0 pictures: give at least one"),
        (2000, 2000, None, "2000 pictures exceeds 1024"),
        (2, 3, None, "2 pictures with 3 captions: give one caption each"),
        (2, 2, 0, "0 columns: give at least 1"),
    ],
)
def test_an_impossible_sheet_is_refused(
    tmp_path: Path, n_pictures: int, n_captions: int, columns: int | None, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        contact_sheet([RED] * n_pictures, ["x"] * n_captions, tmp_path / "sheet.png", columns=columns)


@pytest.mark.parametrize("name", ["sheet.what", "sheet", "."])
def test_a_file_that_cannot_be_written_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=r"cannot write the picture .* \(end its name in \.png\)"):
        contact_sheet([RED], ["x"], tmp_path / name)
