"""One question, a picture and a voice: answered by what is seen, by what is heard, and by both; then asked on.

sensorium world --sky sunny sunny.png && sensorium world --say "今天天气真好。" voice.wav
python examples/look_and_listen.py "今天天气怎么样？" --image sunny.png --audio voice.wav
"""

import argparse
from pathlib import Path

import sensorium
from sensorium import Audio, Image, Message, Text, TextDelta


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("question", nargs="?", default="What is the weather like?")
    parser.add_argument("--image", type=Path, required=True, help="a picture: PNG, JPEG, WebP, …")
    parser.add_argument("--audio", type=Path, required=True, help="a recording: WAV, FLAC, OGG or MP3")
    parser.add_argument("--then", help="what to ask next, about the same picture and recording")
    parser.add_argument("--model", default="seedling", help="a shipped name, a folder or a hub id")
    parser.add_argument("--max-tokens", type=int, default=60)
    options = parser.parse_args()

    model = sensorium.load(options.model)
    settings = {"temperature": 0.0, "max_tokens": options.max_tokens}
    # A path or the bytes of a file may be given beside the question …
    print("seen: ", model.chat(options.question, image=options.image, **settings).text.strip())
    print("heard:", model.chat(options.question, audio=options.audio.read_bytes(), **settings).text.strip())

    # … and a message holds any number of pictures and recordings, where they belong among the words.
    parts = (Image(path=options.image), Audio(path=options.audio), Text(options.question))
    conversation = [Message.user(parts)]
    print("both:  ", end="")
    written = []
    for delta in model.stream(conversation, **settings):
        if isinstance(delta, TextDelta):
            written.append(delta.text)
            print(delta.text, end="", flush=True)
    print()

    if options.then:
        conversation += [Message.assistant("".join(written).strip()), Message.user(options.then)]
        print("then: ", model.chat(conversation, **settings).text.strip())


if __name__ == "__main__":
    main()
