"""Pretraining on your own text file: a tokenizer and a small language model from nothing, then a first page by it.

python examples/pretrain_on_text.py book.txt --out runs/book --minutes 10 --prompt "Once upon a time"
"""

import argparse
from pathlib import Path

import sensorium
from sensorium.train import Recipe, train


def recipe_for(text: Path, *, dim: int, vocab_size: int, budget: dict[str, float]) -> Recipe:
    data = [{"path": str(text), "documents": "paragraph", "split": "train", "validation_fraction": 0.02}]
    return Recipe.parse(
        {
            "name": text.stem,
            "model": {"dim": dim, "n_layers": 4, "n_heads": 4, "hidden_dim": 2 * dim, "max_positions": 256},
            "tokenizer": {"vocab_size": vocab_size, "data": data},
            "stages": [
                {"objective": "causal", "data": data, "rows": 8, "time": 256, "budget": budget},
            ],
        },
        "this recipe",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path, help="plain text, its documents apart by blank lines")
    parser.add_argument("--out", type=Path, default=Path("runs/mine"))
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--dim", type=int, default=192, help="width of the model")
    parser.add_argument("--vocab-size", type=int, default=2048)
    parser.add_argument("--prompt", default="Once upon a time")
    parser.add_argument("--steps", type=int, help="train so many steps instead")
    options = parser.parse_args()

    budget = {"steps": options.steps} if options.steps else {"minutes": options.minutes}
    recipe = recipe_for(options.text, dim=options.dim, vocab_size=options.vocab_size, budget=budget)
    folder = train(recipe, options.out)
    model = sensorium.load(folder)
    print(options.prompt + str(model.complete(options.prompt, temperature=0.8, max_tokens=60, seed=0)))
    print(f"the model is in {folder}")


if __name__ == "__main__":
    main()
