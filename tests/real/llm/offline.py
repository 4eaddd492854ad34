"""offline.py DIRECTORY — prints the likeliest next token of each model below models/ after each prompt of golden.jsonl, as JSON.

No server is in it: what guardbit counts is held against this.
"""
import json
import pathlib
import sys

from llama_cpp import Llama

CONTEXT, MOST_TOKENS = 512, 100


def tokens(model, prompts):
    """One thread, and nothing kept from prompt to prompt, so that nothing but the weights makes a difference."""
    llama = Llama(str(model), n_ctx=CONTEXT, n_threads=1, n_threads_batch=1, verbose=False)
    for prompt in prompts:
        if len(llama.tokenize(prompt.encode())) > MOST_TOKENS:
            sys.exit(f"this prompt has more than {MOST_TOKENS} tokens: {prompt}")
        llama.reset()
        answer = llama.create_completion(prompt, max_tokens=1, temperature=0, repeat_penalty=1)
        yield answer["choices"][0]["text"]


def main(directory):
    prompts = [json.loads(line)["prompt"] for line in (directory / "golden.jsonl").read_text().splitlines()]
    found = {model.stem: list(tokens(model, prompts)) for model in sorted((directory / "models").iterdir())}
    for name, answers in found.items():
        differ = sum(a != b for a, b in zip(answers, found["F16"]))
        print(f"offline: {name} differs from F16 after {differ} of {len(prompts)} prompts", file=sys.stderr)
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
