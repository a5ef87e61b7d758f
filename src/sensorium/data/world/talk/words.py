"""The names of the world's things in English and Chinese."""

from __future__ import annotations

# kind: English singular and plural, Chinese noun and its measure word.
NOUNS: dict[str, tuple[str, str, str, str]] = {
    "apple": ("apple", "apples", "苹果", "个"),
    "ball": ("ball", "balls", "球", "个"),
    "cat": ("cat", "cats", "猫", "只"),
    "dog": ("dog", "dogs", "狗", "只"),
    "fish": ("fish", "fish", "鱼", "条"),
    "bird": ("bird", "birds", "鸟", "只"),
    "tree": ("tree", "trees", "树", "棵"),
    "flower": ("flower", "flowers", "花", "朵"),
    "house": ("house", "houses", "房子", "座"),
    "car": ("car", "cars", "汽车", "辆"),
    "boat": ("boat", "boats", "船", "艘"),
    "star": ("star", "stars", "星星", "颗"),
    "cup": ("cup", "cups", "杯子", "个"),
    "hat": ("hat", "hats", "帽子", "顶"),
    "key": ("key", "keys", "钥匙", "把"),
    "umbrella": ("umbrella", "umbrellas", "雨伞", "把"),
}
COLOURS_ZH = {
    "red": "红色",
    "orange": "橙色",
    "yellow": "黄色",
    "green": "绿色",
    "blue": "蓝色",
    "purple": "紫色",
    "pink": "粉色",
    "brown": "棕色",
}
SIZES_ZH = {"small": "小", "large": "大"}
TEXTURES_EN = {"striped": "striped", "dotted": "spotted"}
TEXTURES_ZH = {"striped": "条纹", "dotted": "圆点"}
BACKGROUNDS_ZH = {
    "white": "白纸",
    "cream": "米色纸",
    "grey": "灰纸",
    "mint": "绿纸",
    "ice": "蓝纸",
    "lilac": "紫纸",
    "rose": "红纸",
    "meadow": "草地",
    "sand": "沙地",
    "street": "街道",
    "hills": "山丘",
}
PLACES_ZH = {
    "top left": "左上",
    "top": "上面",
    "top right": "右上",
    "left": "左边",
    "middle": "中间",
    "right": "右边",
    "bottom left": "左下",
    "bottom": "下面",
    "bottom right": "右下",
}
NUMBERS_EN = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty"
).split()
NUMBERS_ZH = "零 一 二 三 四 五 六 七 八 九 十 十一 十二 十三 十四 十五 十六 十七 十八 十九 二十".split()

# weather: one word for it in an answer; what it makes of a day or night; the thing that one sees or hears of.
WEATHER_WORDS = {
    "en": {"sunny": "sunny", "cloudy": "cloudy", "rain": "rain", "snow": "snow", "storm": "storm"},
    "zh": {"sunny": "晴天", "cloudy": "阴天", "rain": "下雨", "snow": "下雪", "storm": "暴风雨"},
}
WEATHER_ADJECTIVES = {
    "en": {"sunny": "sunny", "cloudy": "cloudy", "rain": "rainy", "snow": "snowy", "storm": "stormy"},
    "zh": {"sunny": "晴朗", "cloudy": "多云", "rain": "下雨", "snow": "下雪", "storm": "暴风雨"},
}
TIME_WORDS = {"en": {"day": "day", "night": "night"}, "zh": {"day": "白天", "night": "夜晚"}}
