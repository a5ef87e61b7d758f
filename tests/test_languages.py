import pytest

from sensorium.languages import is_chinese


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
