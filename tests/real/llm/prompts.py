"""prompts.py DIRECTORY — prints a golden set: 200 prompts of 40 words each, from the prose of the Markdown files of a directory.

The same files give the same prompts. A prompt ends where its 40 words end, mostly within a sentence, so that a next token is there to
be found; they are taken from all over the directory. All of their words but one are words, and no names of files or numbers.
"""
import json
import pathlib
import re
import sys

PROMPTS, WORDS = 200, 40
LONGEST = 300  # characters: less than 100 tokens
# Lists, tables, headings, quotes, HTML, images and code that is indented are no prose.
NO_PROSE = re.compile(r"\s*([-+*#|<>!\[]|\d+[.)])|\s{4}|\t")
WORD = re.compile(r"[\"'(]?[A-Za-z]+(['’-][A-Za-z]+)*[\"')]?[.,:;?!]?")


def paragraphs(text):
    """Paragraphs without code, with the texts of links."""
    text = re.sub(r"```.*?(```|\Z)", "", text, flags=re.S)
    for paragraph in re.split(r"\n\s*\n", text):
        if not any(NO_PROSE.match(line) for line in paragraph.splitlines()):
            yield re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", paragraph).replace("`", "").replace("**", "").split()


def pieces(text):
    """Pieces of one paragraph or, where that is too short, of several that follow one another."""
    words = [word for paragraph in paragraphs(text) for word in paragraph]
    for begin in range(0, len(words) - WORDS + 1, WORDS):
        piece = words[begin:begin + WORDS]
        plain = sum(bool(WORD.fullmatch(word)) for word in piece)
        if plain >= WORDS - 1 and len(" ".join(piece)) <= LONGEST:
            yield " ".join(piece)


def main(directory):
    files = sorted(pathlib.Path(directory).rglob("*.md"), key=str)
    found = dict.fromkeys(piece for file in files for piece in pieces(file.read_text(errors="replace")))
    if len(found) < PROMPTS:
        sys.exit(f"there is prose for {len(found)} prompts below {directory}, not for {PROMPTS}")
    found = list(found)
    for i in range(PROMPTS):
        print(json.dumps({"prompt": found[i * len(found) // PROMPTS]}))


if __name__ == "__main__":
    main(sys.argv[1])
