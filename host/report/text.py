"""Text of unknown origin on its way to a page."""

from __future__ import annotations


def visible(text: str) -> str:
    """``text`` with every character that cannot be seen (controls, directions, lone surrogates) as its escape.

    So nothing hides in it or turns the text beside it around; escaping for HTML is not done here.
    """
    return "".join(
        char if char.isprintable() or char == "\n" else char.encode("unicode_escape").decode() for char in text
    )
