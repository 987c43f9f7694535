"""Tables in documents, between the marks that name them."""

from pathlib import Path


def write_between(page: Path, start: str, text: str, end: str) -> None:
    """Puts `text` on the lines between two marks of a page.

    Raises ValueError where the marks do not stand there, once, in this order.
    """
    before, found, rest = page.read_text().partition(start)
    _, ended, after = rest.partition(end)
    if not (found and ended) or start in rest:
        raise ValueError(f"{page} has no one place between {start!r} and {end!r}")
    page.write_text(f"{before}{start}\n{text}\n{end}{after}")
