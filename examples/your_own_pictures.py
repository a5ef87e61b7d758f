"""A model learns to name your own pictures, from a folder of folders: the folder a picture is in says what it shows.

sensorium data check photos/ --sheet photos.png
python examples/your_own_pictures.py photos/ --out runs/photos --minutes 5
"""

import argparse
from pathlib import Path

import sensorium
from sensorium.data.spec import DatasetSpec
from sensorium.data.streams import record_stream
from sensorium.train import Recipe, train


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="class_name/picture.jpg, and so on")
    parser.add_argument("--model", default="seedling", help="what to start from: any model with eyes")
    parser.add_argument("--out", type=Path, default=Path("runs/pictures"))
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--question", default="What is this?")
    parser.add_argument("--steps", type=int, help="train so many steps instead")
    options = parser.parse_args()

    # A fifth is held out by a hash of the content, so that copies of one picture are on the same side.
    data = {"path": str(options.folder), "validation_fraction": 0.2, "prompts": [options.question]}
    stage = {
        "objective": "chat",
        "data": [{**data, "split": "train", "augment": {"brightness": 0.2, "crop": 0.8}}],
        "rows": 8,
        "time": min(256, sensorium.load(options.model).config.decoder.max_positions),
        "lr": options.lr,
        "lr_scale": {"decoder.*": 0.1},  # it speaks already: its eyes have more to learn
        "budget": {"steps": options.steps} if options.steps else {"minutes": options.minutes},
    }
    recipe = Recipe.parse({"name": options.out.name, "init": options.model, "stages": [stage]}, "this recipe")
    folder = train(recipe, options.out)

    model = sensorium.load(folder)
    right = total = 0
    for record in record_stream(DatasetSpec(**data, split="validation"), shuffle=False, repeat=False):
        *asked, answer = record.content
        right += model.chat(asked, temperature=0.0, max_tokens=20).text.strip() == answer.text
        total += 1
    print(f"right: {right} of {total} pictures that were held out")
    print(f"the model is in {folder}")


if __name__ == "__main__":
    main()
