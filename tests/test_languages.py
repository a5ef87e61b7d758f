import pytest

from sensorium.languages import is_chinese, run_on


@pytest.mark.parametrize(
    ("text", "chinese"),
    [
        ("猫坐在垫子上。", True),
        ("The cat.", False),
        ("Say: 猫坐在垫子上", True),
        ("一只 cat", False),
        ("", False),
        ("3 + 4", False),
    ],
)
def test_most_letters_tell(text: str, chinese: bool) -> None:
    assert is_chinese(text) == chinese


@pytest.mark.parametrize(
    ("texts", "together"),
    [
        (["It rains.", " It snows. "], "It rains. It snows."),
        (["在下雨。", "It rains.", "在下雪。"], "在下雨。It rains. 在下雪。"),
        (["", "A cat", " "], "A cat"),
        ([], ""),
    ],
)
def test_texts_run_on_with_a_blank_but_after_chinese(texts: list[str], together: str) -> None:
    assert run_on(texts) == together
