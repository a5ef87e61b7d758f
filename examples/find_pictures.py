"""Search your pictures by words, by a voice or by another picture: all three are vectors in one space.

python examples/find_pictures.py photos/ "two red apples" --top 5
python examples/find_pictures.py photos/ question.wav sketch.png
"""

import argparse
from pathlib import Path

import numpy as np

import sensorium

ENDINGS = {".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="pictures, also in folders below")
    parser.add_argument("queries", nargs="+", help="words, or a picture's or recording's file")
    parser.add_argument("--model", default="seedling", help="a model with an embedder, such as one of CLIP's family")
    parser.add_argument("--top", type=int, default=3)
    options = parser.parse_args()
    pictures = sorted(path for path in options.folder.rglob("*") if path.suffix.lower() in ENDINGS)
    if not pictures:
        parser.error(f"no picture is in {options.folder}")

    model = sensorium.load(options.model)
    vectors = np.stack([model.embed(picture) for picture in pictures])  # (pictures, dim), each of length 1
    for query in options.queries:
        file = Path(query)
        cosines = vectors @ model.embed(file if file.is_file() else query)
        print(query)
        for index in np.argsort(-cosines, kind="stable")[: options.top]:
            print(f"  {cosines[index]:.3f}  {pictures[index]}")


if __name__ == "__main__":
    main()
