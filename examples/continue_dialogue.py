"""Dialogue continuation with sampling: several next turns of one conversation, each with its own dice.

python examples/continue_dialogue.py "Hello!" "Hi! How are you?" "Tell me a story." --temperature 0.9 --top-p 0.95
"""

import argparse

import sensorium
from sensorium import Message


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("turns", nargs="+", help="the dialogue so far; you speak first and last")
    parser.add_argument("--model", default="seedling", help="a shipped name, a folder or a hub id")
    parser.add_argument("--temperature", type=float, default=0.9)
    parser.add_argument("--top-p", type=float, default=0.95)
    parser.add_argument("--max-tokens", type=int, default=80)
    parser.add_argument("--n", type=int, default=3, help="how many continuations")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if len(options.turns) % 2 == 0:
        parser.error("give an odd number of turns: the last one is yours")

    model = sensorium.load(options.model)
    speakers = (Message.user, Message.assistant)
    dialogue = [speakers[index % 2](turn) for index, turn in enumerate(options.turns)]
    for number in range(options.n):
        reply = model.chat(
            dialogue,
            temperature=options.temperature,
            top_p=options.top_p,
            max_tokens=options.max_tokens,
            seed=options.seed + number,
        )
        print(f"{number + 1}. {reply.text.strip()}")


if __name__ == "__main__":
    main()
