"""Fill-mask with a BERT-family model: the likeliest words for each gap.

python examples/fill_mask.py "The cat sat on the [MASK]." --model google-bert/bert-base-uncased
"""

import argparse

import sensorium


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", help="with [MASK] at each gap")
    parser.add_argument("--model", default="google-bert/bert-base-uncased", help="a hub id or a folder")
    parser.add_argument("--top-k", type=int, default=5)
    options = parser.parse_args()

    model = sensorium.load(options.model)
    for number, candidates in enumerate(model.fill_mask(options.text, top_k=options.top_k), start=1):
        print(f"mask {number}:")
        for word, probability in candidates:
            print(f"  {probability:6.1%}  {word.strip()}")


if __name__ == "__main__":
    main()
