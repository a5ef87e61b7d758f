"""Captions: what is in the picture, in the one form of `lexicon.caption`.

Facts: `things` (a list of [count, colour, kind]), `weather` and `time` (null without a sky).
"""

from __future__ import annotations

from typing import Any

from sensorium.data.world.scene import Scene
from sensorium.data.world.talk import lexicon
from sensorium.data.world.talk.setting import REQUESTS, Phrases, Setting, shown
from sensorium.data.world.talk.types import Language, Talk

CAPTION = Phrases(
    en=(
        "describe the picture.",
        "describe this picture.",
        "say what is in the picture.",
        "say what you see.",
        "write a caption for this picture.",
        "caption the picture.",
        "give this picture a caption.",
        "name everything in the picture.",
        "put the picture into words.",
        "count and name what you see.",
        "tell me what the picture shows.",
    ),
    zh=(
        "描述这张图片。",
        "描述一下图片。",
        "说说图里有什么。",
        "说说你看到了什么。",
        "给这张图片写一句说明。",
        "为图片写个标题。",
        "用一句话描述图片。",
        "说出图里的东西。",
        "讲讲图片的内容。",
        "数一数图里都有什么。",
        "告诉我图里画了什么。",
    ),
    openings=REQUESTS,
)
WHAT = Phrases(
    en=("what do you see?", "what is in the picture?", "what does this picture show?", "what is in front of you?"),
    zh=("你看到了什么？", "图里有什么？", "这张图片上有什么？", "你面前有什么？"),
)


def caption(setting: Setting) -> Talk:
    """A picture of things, of a sky, or of both, and a request to describe it."""
    theme = setting.dice.choices(("things", "mixed", "sky"), (0.6, 0.3, 0.1))[0]
    scene = setting.scene(theme)
    asked = setting.say(CAPTION if setting.chance(0.7) else WHAT)
    pieces = setting.arranged(*shown(scene, asked))
    return setting.talk("caption", pieces, describe(scene, setting.language), scene_facts(scene))


def describe(scene: Scene, language: Language) -> str:
    """The caption of a scene."""
    return lexicon.caption(lexicon.contents(scene), scene.weather, scene.time, language)


def scene_facts(scene: Scene) -> dict[str, Any]:
    """What a caption must say: the things counted, the weather and the time of day."""
    things = [list(thing) for thing in lexicon.contents(scene)]
    return {"things": things, "weather": scene.weather, "time": scene.time}
