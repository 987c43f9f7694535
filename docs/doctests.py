"""Fits docstrings to Markdown, for the documentation's pages."""

import re

import griffe

EXAMPLE = re.compile(r"^>>> .*?(?=\n\n|\Z)", re.M | re.S)
STAR = re.compile(r"\*(?=\w)")


class Doctests(griffe.Extension):
    """Puts fences around examples, which Markdown would read as quotations.

    A star before a name, as in (batch, *sizes), would begin words in italics.
    """

    def on_object(self, *, obj: griffe.Object, **rest: object) -> None:
        if obj.docstring:
            prose = STAR.sub(r"\*", obj.docstring.value)
            obj.docstring.value = EXAMPLE.sub(r"```pycon\n\g<0>\n```", prose)
