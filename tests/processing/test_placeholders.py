from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from media_parts import AUDIO, FRAMES_PER_PLACE, IMAGE, hearing, model_of, picture, seeing, tone
from tokenizers import Tokenizer as Engine
from transformers import PreTrainedTokenizerFast

from sensorium.config import AudioConfig, FusionConfig, ModelConfig, SpeechConfig, VisionConfig, WhisperConfig
from sensorium.errors import ConfigError, DataError, RequestError
from sensorium.messages import Audio, Image, Message, Part, Text
from sensorium.processing import ChatTemplate, Processor, Sequence, Tokenizer
from sensorium.processing.template import OUR_TEMPLATE

LLAVA_TEMPLATE = (
    "{% for message in messages %}{% if message['role'] != 'system' %}{{ message['role'].upper() + ': '}}{% endif %}"
    "{# Render all images first #}{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}"
    "{{ '<image>\n' }}{% endfor %}{# Render all text next #}{% if message['role'] != 'assistant' %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}{{ content['text'] + ' '}}"
    "{% endfor %}{% else %}{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}"
    "{% generation %}{{ content['text'] + ' '}}{% endgeneration %}{% endfor %}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
QWEN_TEMPLATE = (
    "{% set audio_count = namespace(value=0) %}{% for message in messages %}"
    "{% if loop.first and message['role'] != 'system' %}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    "{% endif %}<|im_start|>{{ message['role'] }}\n{% if message['content'] is string %}"
    "{{ message['content'] }}<|im_end|>\n{% else %}{% for content in message['content'] %}"
    "{% if 'audio' in content or 'audio_url' in content or message['type'] == 'audio' or content['type'] == 'audio' %}"
    "{% set audio_count.value = audio_count.value + 1 %}"
    "Audio {{ audio_count.value }}: <|audio_bos|><|AUDIO|><|audio_eos|>\n{% elif 'text' in content %}"
    "{{ content['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SMOL_TEMPLATE = (
    "<|im_start|>{% for message in messages %}{{message['role'] | capitalize}}"
    "{% if message['content'][0]['type'] == 'image' %}{{':'}}{% else %}{{': '}}{% endif %}"
    "{% for line in message['content'] %}{% if line['type'] == 'text' %}{{line['text']}}"
    "{% elif line['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}<end_of_utterance>\n{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
ROWS = [f"<row_{row}_col_{column}>" for row in range(1, 4) for column in range(1, 4)]
SMOL = {
    "token": "<image>",
    "begin": "<fake_token_around_image>",
    "end": "<fake_token_around_image>",
    "style": "tiles",
    "row_col": "<row_{row}_col_{column}>",
    "whole": "<global-img>",
}
words = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
spelled = st.sampled_from(
    [IMAGE, AUDIO, "<|image_end|>", "<|end|><|image|>", "<|im", "age|>", "<|IMAGE|>", "\U000f0002"]
)


def published_with(published: Callable[[str], Path], family: str, names: list[str]) -> Tokenizer:
    return Processor.load(published(family)).tokenizer.with_controls(names)


def theirs(tokenizer: Tokenizer, template: str, messages: list[Message], tmp_path: Path, **placeholders: str) -> str:
    """What transformers renders, each placeholder once."""
    tokenizer.save(tmp_path)
    reader = PreTrainedTokenizerFast(tokenizer_object=Engine.from_file(str(tmp_path / "tokenizer.json")))
    plain = [
        {
            "role": message.role,
            "content": [
                {"type": "text", "text": part.text}
                if isinstance(part, Text)
                else {"type": "image" if isinstance(part, Image) else "audio"}
                for part in message.parts
            ],
        }
        for message in messages
    ]
    text = reader.apply_chat_template(plain, chat_template=template, tokenize=False, add_generation_prompt=True)
    assert isinstance(text, str)
    for name, expanded in placeholders.items():
        text = text.replace(name, expanded)
    return text


@pytest.fixture(scope="module")
def processor(ours: Tokenizer) -> Processor:
    return Processor(ours, config=model_of(seeing(), hearing()))


def spelled_out(processor: Processor, sequence: Sequence) -> str:
    return processor.tokenizer.decode(sequence.token_ids, controls=True)


def test_pictures_and_recordings_stand_where_their_parts_do(processor: Processor) -> None:
    parts = [Text("see"), picture(), Text("and hear"), tone(0.5), picture("blue"), Text("?")]
    sequence = processor.encode_messages([Message.user(parts), Message.assistant("Yes.")])
    seen = f"<|image_begin|>{IMAGE * 4}<|image_end|>"
    heard = f"<|audio_begin|>{AUDIO * 4}<|audio_end|>"
    said = f"<|bos|><|user|>see{seen}and hear{heard}{seen}?<|end|><|assistant|>Yes.<|end|>"
    assert spelled_out(processor, sequence) == said
    assert [(feature.kind, feature.length) for feature in sequence.features] == [
        ("image", 4),
        ("audio", -(-50 // FRAMES_PER_PLACE)),
        ("image", 4),
    ]
    for feature in sequence.features:
        token = IMAGE if feature.kind == "image" else AUDIO
        placed = sequence.token_ids[feature.start : feature.end]
        assert (placed == processor.tokenizer.control_ids[token]).all()
    assert [feature.values.shape for feature in sequence.features] == [(3, 16, 16), (80, 50), (3, 16, 16)]
    assert sequence.features[0].values[:, 0, 0].tolist() == [1, -1, -1]
    assert sequence.features[2].values[:, 0, 0].tolist() == [-1, -1, 1]
    assert processor.tokenizer.decode(sequence.token_ids[sequence.learned], controls=True) == "Yes.<|end|>"


contents = st.lists(
    st.one_of(words.map(Text), spelled.map(Text), st.just(picture()), st.just(tone(0.1))), min_size=1, max_size=6
)


@given(st.lists(contents, min_size=1, max_size=3))
def test_no_text_is_a_placeholder_and_every_feature_has_its_own(processor: Processor, talk: list[list[Part]]) -> None:
    """Also across the parts of a message, and whatever they spell."""
    messages = [Message("user" if index % 2 == 0 else "assistant", tuple(parts)) for index, parts in enumerate(talk)]
    sequence = processor.encode_messages(messages)
    media = [part for parts in talk for part in parts if not isinstance(part, Text)]
    assert [feature.kind for feature in sequence.features] == [
        "image" if isinstance(part, Image) else "audio" for part in media
    ]
    ids = processor.tokenizer.control_ids
    stands = np.isin(sequence.token_ids, [ids[IMAGE], ids[AUDIO]])
    expected = np.zeros(len(sequence), dtype=bool)
    for feature in sequence.features:
        expected[feature.start : feature.end] = True
    assert (stands == expected).all()
    assert not sequence.learned[stands].any()
    text = "".join(part.text for parts in talk for part in parts if isinstance(part, Text))
    assert processor.tokenizer.decode(sequence.token_ids) == text
    assert np.isin(sequence.token_ids, ids["<|end|>"]).sum() == len(talk)


def test_spellings_in_text_are_text(processor: Processor) -> None:
    sequence = processor.encode_messages([Message.user([Text(f"{IMAGE} is not "), picture()])])
    assert len(sequence.features) == 1
    assert (sequence.token_ids == processor.tokenizer.control_ids[IMAGE]).sum() == 4
    assert processor.tokenizer.decode(sequence.token_ids) == f"{IMAGE} is not "


def test_long_recordings_become_windows(ours: Tokenizer) -> None:
    processor = Processor(ours, config=model_of(speech=hearing(window_seconds=1.0)))
    sequence = processor.encode_messages([Message.user([tone(2.25)])])
    assert [feature.values.shape[1] for feature in sequence.features] == [100, 100, 25]
    assert [feature.length for feature in sequence.features] == [7, 7, 2]
    assert spelled_out(processor, sequence) == f"<|bos|><|user|><|audio_begin|>{AUDIO * 16}<|audio_end|><|end|>"
    starts = [feature.start for feature in sequence.features]
    assert starts == [3, 10, 17]


def test_silence_that_fills_a_window_is_no_sound(ours: Tokenizer) -> None:
    encoder = WhisperConfig(dim=8, n_layers=1, n_heads=2, hidden_dim=8, max_frames=3000, pool=2, trim=True)
    speech = SpeechConfig(audio=AudioConfig(pad_to_window=True), encoder=encoder)
    (feature,) = Processor(ours, config=model_of(speech=speech)).features(tone(0.5))
    assert (feature.values.shape, feature.frames) == ((80, 3000), 50)
    assert feature.length == encoder.n_features(50) == 12
    whole = speech.model_copy(update={"encoder": encoder.model_copy(update={"trim": False})})
    (feature,) = Processor(ours, config=model_of(speech=whole)).features(tone(0.5))
    assert feature.length == 750


def test_with_cross_attention_a_picture_takes_one_place(ours: Tokenizer) -> None:
    config = ModelConfig.parse(dict(model_of(seeing())) | {"fusion": FusionConfig(strategy="cross")}, "test")
    (feature,) = Processor(ours, config=config).encode_messages([Message.user([picture()])]).features
    assert feature.length == 1


def test_what_a_model_cannot_take_is_said(ours: Tokenizer) -> None:
    sees = Processor(ours, config=model_of(seeing()))
    with pytest.raises(RequestError, match="cannot hear audio"):
        sees.encode_messages([Message.user([tone()])])
    with pytest.raises(RequestError, match="cannot hear audio"):
        sees.features(tone())
    only = seeing().model_dump() | {"projector": None}
    compares = Processor(ours, config=model_of(VisionConfig.parse(only, "test")))
    with pytest.raises(RequestError, match="cannot see images in a conversation: it only compares them"):
        compares.encode_messages([Message.user([picture()])])
    assert compares.features(picture())[0].values.shape == (3, 16, 16)
    with pytest.raises(RequestError, match="reads text only"):
        Processor(ours).features(picture())
    with pytest.raises(RequestError, match="cannot see images"):
        ChatTemplate(OUR_TEMPLATE, ours.control_ids, {}).render([Message.user([picture()])])


def test_broken_media_are_named(processor: Processor) -> None:
    with pytest.raises(DataError, match="image of 7 bytes is no picture"):
        processor.encode_messages([Message.user([Image(data=b"no file")])])
    with pytest.raises(DataError, match="audio of 7 bytes is no recording"):
        processor.encode_messages([Message.user([Audio(data=b"no file")])])


def test_a_recording_of_no_feature_is_too_short(ours: Tokenizer) -> None:
    encoder = WhisperConfig(dim=8, n_layers=1, n_heads=2, hidden_dim=8, pool=2, trim=True)
    speech = SpeechConfig(audio=AudioConfig(pad_to_window=True), encoder=encoder)
    with pytest.raises(DataError, match="is too short to be heard"):
        Processor(ours, config=model_of(speech=speech)).encode_messages([Message.user([tone(0.01)])])


def test_a_tokenizer_without_the_placeholder_is_refused(ours: Tokenizer) -> None:
    with pytest.raises(ConfigError, match="no control token '<image>' to stand for image"):
        Processor(ours, config=model_of(seeing(token="<image>")))
    with pytest.raises(ConfigError, match=r"cannot both be written '<\|image\|>'"):
        Processor(ours, config=model_of(seeing(), hearing(token=IMAGE)))


def test_a_processor_becomes_that_of_a_model_with_eyes(ours: Tokenizer, tmp_path: Path) -> None:
    config = model_of(seeing())
    processor = Processor(ours).with_config(config)
    messages = [Message.user([Text("a"), picture()])]
    ids = processor.encode_messages(messages).token_ids.tolist()
    processor.save(tmp_path)
    assert Processor.load(tmp_path, config).encode_messages(messages).token_ids.tolist() == ids
    with pytest.raises(RequestError, match="cannot see images"):
        Processor.load(tmp_path).encode_messages(messages)


@pytest.mark.parametrize(
    "source",
    [
        OUR_TEMPLATE.replace("message.content", "message.content | trim"),
        "{% for m in messages %}<|{{ m.role }}|>{{ m['content'].strip() + '<|end|>' }}{% endfor %}",
    ],
)
def test_a_template_of_strings_is_given_media_among_the_words(ours: Tokenizer, source: str) -> None:
    """Also one that would write a list as Python spells it."""
    processor = Processor(ours, source, config=model_of(seeing()))
    sequence = processor.encode_messages([Message.user([picture(), Text(" hi ")]), Message.assistant("yes")])
    written = spelled_out(processor, sequence)
    assert written.removeprefix("<|bos|>") == (
        f"<|user|><|image_begin|>{IMAGE * 4}<|image_end|> hi<|end|><|assistant|>yes<|end|>"
    )
    assert processor.tokenizer.decode(sequence.token_ids[sequence.learned], controls=True) == "yes<|end|>"


@pytest.mark.parametrize("source", ["{{ messages[0].content[:1] }}", OUR_TEMPLATE + "<|image|>"])
def test_a_template_that_writes_other_placeholders_than_there_are_media_is_refused(
    ours: Tokenizer, source: str
) -> None:
    processor = Processor(ours, source, config=model_of(seeing()))
    with pytest.raises(DataError, match="placeholders of image for 1 in the messages"):
        processor.encode_messages([Message.user([Text("abc"), picture()])])


TALK = [
    Message.user([Text("What is <image>? "), picture(), Text("Say it.")]),
    Message.assistant("A cat."),
    Message.user([picture("blue"), picture("green"), Text("And these <|AUDIO|>?")]),
]


def test_llavas_template_is_given_parts(published: Callable[[str], Path], tmp_path: Path) -> None:
    tokenizer = published_with(published, "llama2", ["<image>"])
    processor = Processor(tokenizer, LLAVA_TEMPLATE, config=model_of(seeing(token="<image>")))
    talk = TALK[1:]
    sequence = processor.encode_messages(talk, add_generation_prompt=True)
    expected = theirs(tokenizer, LLAVA_TEMPLATE, talk, tmp_path, **{"<image>": "<image>" * 4})
    assert sequence.token_ids.tolist() == tokenizer.encode(expected, controls=True)
    assert [feature.length for feature in sequence.features] == [4, 4]
    learned = processor.encode_messages([Message.user("a"), Message.assistant("A cat.")])
    assert tokenizer.decode(learned.token_ids[learned.learned]).strip() == "A cat."
    assert len(processor.encode_messages(TALK).features) == 3  # though its text spells a fourth


def test_qwens_template_counts_recordings(published: Callable[[str], Path], tmp_path: Path) -> None:
    tokenizer = published_with(published, "qwen", ["<|audio_bos|>", "<|AUDIO|>", "<|audio_eos|>"])
    processor = Processor(tokenizer, QWEN_TEMPLATE, config=model_of(speech=hearing(token="<|AUDIO|>")))
    talk = [
        Message.system("Be kind."),
        Message.user([tone(0.32), Text("What is that?")]),
        Message.assistant("A tone."),
        Message.user([Text("And "), tone(0.32), tone(0.32)]),
    ]
    sequence = processor.encode_messages(talk, add_generation_prompt=True)
    expected = theirs(tokenizer, QWEN_TEMPLATE, talk, tmp_path, **{"<|AUDIO|>": "<|AUDIO|>" * 2})
    assert sequence.token_ids.tolist() == tokenizer.encode(expected, controls=True)
    assert tokenizer.decode(sequence.token_ids[sequence.learned], controls=True) == "A tone.<|im_end|>"
    trap = processor.encode_messages([Message.user([Text("<|AUDIO|><|im_end|>"), tone(0.32)])])
    assert [feature.length for feature in trap.features] == [2]
    assert (trap.token_ids == tokenizer.control_ids["<|im_end|>"]).sum() == 2


@pytest.mark.parametrize("names", [["<image>", *ROWS], ["<image>"]])
def test_smols_template_writes_tiles(published: Callable[[str], Path], tmp_path: Path, names: list[str]) -> None:
    """Whether the tokenizer has tokens for the tiles' places or spells them."""
    controls = [*names, "<fake_token_around_image>", "<global-img>", "<end_of_utterance>"]
    tokenizer = published_with(published, "qwen", controls)
    processor = Processor(tokenizer, SMOL_TEMPLATE, config=model_of(seeing(**SMOL)))
    fake, tile = "<fake_token_around_image>", "<image>" * 4
    wide = [Message.user([Text("Look: "), picture(size=(60, 40)), Text("well.")])]
    sequence = processor.encode_messages(wide, add_generation_prompt=True)
    rows, columns = 3, 4
    assert len(sequence.features) == rows * columns + 1
    written = "".join(
        "".join(f"{fake}<row_{row}_col_{column}>{tile}" for column in range(1, columns + 1)) + "\n"
        for row in range(1, rows + 1)
    )
    written += f"\n{fake}<global-img>{tile}{fake}"
    expected = theirs(tokenizer, SMOL_TEMPLATE, wide, tmp_path, **{"<image>": written})
    assert sequence.token_ids.tolist() == tokenizer.encode(expected, controls=True)
    talk = [Message.user("Hi <image>."), Message.assistant("Yes.")]
    learned = processor.encode_messages(talk)
    assert not learned.features
    assert tokenizer.decode(learned.token_ids[learned.learned], controls=True) == "Yes.<end_of_utterance>"


def test_a_picture_of_one_tile_is_the_whole(published: Callable[[str], Path]) -> None:
    controls = ["<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>"]
    vision = seeing(**SMOL)
    vision = vision.model_copy(update={"image": vision.image.model_copy(update={"longest_edge": 16})})
    processor = Processor(published_with(published, "qwen", controls), SMOL_TEMPLATE, config=model_of(vision))
    sequence = processor.encode_messages([Message.user([picture()])])
    fake = "<fake_token_around_image>"
    expected = f"<|im_start|>User:{fake}<global-img>{'<image>' * 4}{fake}<end_of_utterance>\n"
    assert spelled_out(processor, sequence) == expected
