"""The ways of remarking on the weather and of asking about it."""

from __future__ import annotations

from sensorium.data.world.talk.setting import Phrases

NOW = {"en": ("today", "tonight"), "zh": ("今天", "今晚")}
_REMARKING = {
    "en": ("{}", "Look, {}", "I think {}", "I tell you, {}"),
    "zh": ("{}", "你看，{}", "我觉得{}", "我告诉你，{}"),
}

# A clear sky, by day or night.
_CLEAR_EN = (
    "the weather is fine {now}.",
    "the sky is clear {now}.",
    "the weather is good.",
    "we have fine weather {now}.",
    "the weather is nice {now}.",
    "there is a clear sky.",
)
_CLEAR_ZH = (
    "{now}天气很好。",
    "{now}天气真好。",
    "{now}天气不错。",
    "{now}天空很晴朗。",
    "天气很晴朗。",
    "{now}是个好天气。",
)
CLEAR = Phrases(_CLEAR_EN, _CLEAR_ZH, _REMARKING)
REMARKS = {
    "sunny": Phrases(
        en=(*_CLEAR_EN, "it is sunny {now}.", "the sun is shining.", "it is a sunny day.", "there is sunshine {now}."),
        zh=(*_CLEAR_ZH, "{now}是晴天。", "{now}阳光明媚。", "太阳出来了。", "外面阳光很好。"),
        openings=_REMARKING,
    ),
    "cloudy": Phrases(
        en=(
            "it is cloudy {now}.",
            "the sky is full of clouds.",
            "there are clouds in the sky.",
            "it is overcast {now}.",
            "the sky is cloudy.",
            "there are many clouds {now}.",
            "the weather is cloudy {now}.",
            "clouds cover the sky.",
            "there are clouds everywhere {now}.",
            "it is a cloudy sky.",
        ),
        zh=(
            "{now}是阴天。",
            "{now}多云。",
            "天阴了。",
            "天上有很多云。",
            "{now}天气很阴。",
            "外面是阴天。",
            "{now}云很多。",
            "天空布满了云。",
            "{now}阴沉沉的。",
            "到处都是云。",
        ),
        openings=_REMARKING,
    ),
    "rain": Phrases(
        en=(
            "it is raining {now}.",
            "it is raining outside.",
            "the rain is falling.",
            "there is rain {now}.",
            "it is rainy {now}.",
            "we have rain {now}.",
            "the weather is rainy.",
            "rain is coming down.",
            "it is raining now.",
            "there is rain outside.",
        ),
        zh=(
            "{now}在下雨。",
            "{now}下雨了。",
            "外面在下雨。",
            "{now}是雨天。",
            "正在下雨。",
            "下起雨来了。",
            "{now}有雨。",
            "雨下个不停。",
            "外面下着雨。",
            "{now}一直下雨。",
        ),
        openings=_REMARKING,
    ),
    "snow": Phrases(
        en=(
            "it is snowing {now}.",
            "it is snowing outside.",
            "the snow is falling.",
            "there is snow {now}.",
            "it is snowy {now}.",
            "we have snow {now}.",
            "the weather is snowy.",
            "snow is coming down.",
            "it is snowing now.",
            "there is snow outside.",
        ),
        zh=(
            "{now}在下雪。",
            "{now}下雪了。",
            "外面在下雪。",
            "{now}是雪天。",
            "正在下雪。",
            "下起雪来了。",
            "{now}有雪。",
            "雪花飘下来了。",
            "外面下着雪。",
            "{now}一直下雪。",
        ),
        openings=_REMARKING,
    ),
    "storm": Phrases(
        en=(
            "there is a storm {now}.",
            "it is stormy {now}.",
            "there is a storm outside.",
            "we have a thunderstorm {now}.",
            "there is thunder and lightning.",
            "a storm is here.",
            "the weather is stormy.",
            "there is thunder {now}.",
            "there is lightning in the sky.",
            "a big storm is coming down.",
        ),
        zh=(
            "{now}有暴风雨。",
            "外面有暴风雨。",
            "暴风雨来了。",
            "{now}电闪雷鸣。",
            "外面在打雷。",
            "{now}有雷雨。",
            "天上有闪电。",
            "{now}打雷了。",
            "{now}是暴风雨天气。",
            "外面雷声很大。",
        ),
        openings=_REMARKING,
    ),
}
HOW = Phrases(
    en=(
        "how is the weather {now}?",
        "what is the weather like {now}?",
        "what is the weather {now}?",
        "how is the weather?",
        "what is the weather like?",
        "what kind of weather is it {now}?",
        "what kind of weather do we have {now}?",
        "how does the weather look {now}?",
        "what does the weather look like?",
        "how is it outside {now}?",
        "what is it like outside {now}?",
    ),
    zh=(
        "{now}天气怎么样？",
        "{now}的天气怎么样？",
        "天气怎么样？",
        "{now}天气如何？",
        "{now}是什么天气？",
        "外面天气怎么样？",
        "现在天气怎么样？",
        "{now}外面怎么样？",
        "{now}外面天气如何？",
        "现在是什么天气？",
        "外面是什么天气？",
    ),
)
ADVICE = Phrases(
    en=(
        "what should I do {now}?",
        "what should I take with me {now}?",
        "what should I wear {now}?",
        "can I go out {now}?",
        "should I go out {now}?",
        "what is your advice for {now}?",
        "what advice do you have for this weather?",
        "how should I dress {now}?",
        "do I need an umbrella {now}?",
        "can I go for a walk {now}?",
    ),
    zh=(
        "{now}我该做什么？",
        "{now}出门要带什么？",
        "{now}该穿什么？",
        "{now}可以出门吗？",
        "{now}适合出门吗？",
        "{now}你有什么建议？",
        "这样的天气你有什么建议？",
        "{now}要带伞吗？",
        "{now}可以散步吗？",
        "{now}能出去玩吗？",
    ),
)
