"""Question answering with a GPT-2-family model: it continues a page of questions and answers.

python examples/answer_questions.py "What do bees make?" --model gpt2
"""

import argparse

import sensorium

# A base model has never been told to answer. Shown the pattern, it goes on with it.
EXAMPLES = (
    ("What colour is the sky on a clear day?", "Blue"),
    ("How many legs does a dog have?", "Four"),
    ("What is the capital of France?", "Paris"),
)


def build_prompt(question: str) -> str:
    pages = [f"Question: {asked}\nAnswer: {answer}\n" for asked, answer in EXAMPLES]
    return "\n".join([*pages, f"Question: {question}\nAnswer:"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("question")
    parser.add_argument("--model", default="gpt2", help="a hub id or a folder")
    parser.add_argument("--max-tokens", type=int, default=20)
    options = parser.parse_args()

    model = sensorium.load(options.model)
    answer = model.complete(
        build_prompt(options.question), temperature=0.0, max_tokens=options.max_tokens, stop=("\n",)
    )
    print(f"{options.question}\n-> {str(answer).strip()}")


if __name__ == "__main__":
    main()
