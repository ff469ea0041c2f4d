"""Reads block letters, as stationctl's display draws them, off the lines of a screen."""

import functools
import pathlib
import re

SOURCE = pathlib.Path(__file__).resolve().parents[2] / "Sources" / "stationctl" / "BlockLetters.swift"


def fonts():
    """The two fonts as they are drawn in the source: {letter: rows of dots} each."""
    for text in re.findall(r'height: \d,\s+"""\n(.*?)\n +"""', SOURCE.read_text(), re.DOTALL):
        lines = [line[8:] for line in text.split("\n")]
        height = next(index for index, line in enumerate(lines[1:]) if not set(line) <= set("#. "))
        glyphs = {}
        for first in range(0, len(lines), height + 1):
            for column, letter in enumerate(lines[first]):
                if letter != " ":
                    glyphs[letter] = [row[column:].split(" ")[0] for row in lines[first + 1:first + 1 + height]]
        yield {**glyphs, " ": ["." * (height // 2)] * height}


FONTS = list(fonts())


@functools.cache
def block_forms(word):
    """A word in block letters of every size, as lines of the screen."""
    return list(drawn(word))


def drawn(word):
    for font in FONTS:
        for columns in range(1, 11):
            dots = ["".join(dot * columns for dot in ".".join(font[letter][row] for letter in word))
                    for row in range(len(font["A"]))]
            for halves in range(columns, 2 * columns + 1):
                rows = [row for row in dots for _ in range(halves)]
                rows += ["." * len(rows[0])] * (len(rows) % 2)
                yield ["".join({"##": "█", "#.": "▀", ".#": "▄", "..": " "}[upper + lower]
                               for upper, lower in zip(rows[row], rows[row + 1])) for row in range(0, len(rows), 2)]


def letters_of(lines, word):
    """How many rows the letters have in which a word is on the screen: 1 as text, 0 if it is not there."""
    text = "\n".join(lines)
    # Spaces at their ends may be missing from the lines.
    lines = [line.ljust(300) for line in lines]
    tallest = 1 if word in text or " ".join(word) in text else 0
    for form in block_forms(word.upper()):
        for number, line in enumerate(lines):
            column = line.find(form[0])
            while column >= 0 and len(form) > tallest:
                if all(row < len(lines) and lines[row].startswith(part, column) for row, part in enumerate(form, number)):
                    tallest = len(form)
                column = line.find(form[0], column + 1)
    return tallest
