"""A picture drawn, changed by words, and told of aloud; the sound is written while the sentence is still in the making.

python examples/draw_and_speak.py "Draw two red apples." --change "Make it snow." --folder pictures
"""

import argparse
import wave
from pathlib import Path

import sensorium
from sensorium import AudioDelta, TextDelta


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("request", nargs="?", default="Draw two red apples.")
    parser.add_argument("--change", default="Make it a snowy day.", help="how to change the picture")
    parser.add_argument("--question", default="What do you see?", help="what to ask about it, to be answered aloud")
    parser.add_argument("--folder", type=Path, default=Path(), help="where the files are written")
    parser.add_argument("--voice", help="a name, or a short recording of somebody")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--model", default="seedling", help="a shipped name, a folder or a hub id")
    options = parser.parse_args()

    model = sensorium.load(options.model)
    options.folder.mkdir(parents=True, exist_ok=True)
    picture = model.draw(options.request, seed=options.seed)
    (options.folder / "picture.png").write_bytes(picture.data)
    # A picture in the conversation is what the next one goes by.
    changed = model.draw(options.change, image=picture, seed=options.seed)
    (options.folder / "changed.png").write_bytes(changed.data)
    print("drawn and changed, in", options.folder.resolve())

    voice = Path(options.voice) if options.voice and options.voice not in model.voices else options.voice
    stream = model.stream(
        options.question, image=changed, reply="speech", voice=voice, seed=options.seed, max_tokens=200
    )
    with wave.open(str(options.folder / "answer.wav"), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(model.config.speech_codec.sample_rate)
        for delta in stream:
            if isinstance(delta, AudioDelta):
                sound.writeframes(delta.pcm16)  # it could be played at once
            elif isinstance(delta, TextDelta):
                print(delta.text, end="", flush=True)
    print()


if __name__ == "__main__":
    main()
