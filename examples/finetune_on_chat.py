"""Chat fine-tuning on your own JSONL: a model goes on learning, from the assistant's words only.

Each line of the file is a conversation:
{"messages": [{"role": "user", "content": "Hi!"}, {"role": "assistant", "content": "Hello!"}]}

python examples/finetune_on_chat.py talk.jsonl --model seedling --out runs/mine --minutes 5 --ask "Hi!"
"""

import argparse
from pathlib import Path

import sensorium
from sensorium.train import Recipe, train


def recipe_for(talk: Path, model: str, *, lr: float, budget: dict[str, float]) -> Recipe:
    config = sensorium.load(model).config.decoder
    stage = {
        "objective": "chat",
        "data": [{"path": str(talk)}],
        "rows": 8,
        "time": min(256, config.max_positions),
        "lr": lr,
        "budget": budget,
    }
    return Recipe.parse({"name": talk.stem, "init": model, "stages": [stage]}, "this recipe")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("talk", type=Path, help="conversations, one a line")
    parser.add_argument("--model", default="seedling", help="what to start from: a name, a folder or a hub id")
    parser.add_argument("--out", type=Path, default=Path("runs/mine"))
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--lr", type=float, default=3e-4)
    parser.add_argument("--ask", default="Hello!", help="what to ask the result")
    parser.add_argument("--steps", type=int, help="train so many steps instead")
    options = parser.parse_args()

    budget = {"steps": options.steps} if options.steps else {"minutes": options.minutes}
    folder = train(recipe_for(options.talk, options.model, lr=options.lr, budget=budget), options.out)
    model = sensorium.load(folder)
    print(f"> {options.ask}\n{model.chat(options.ask, temperature=0.0, max_tokens=80).text.strip()}")
    print(f"the model is in {folder}")


if __name__ == "__main__":
    main()
