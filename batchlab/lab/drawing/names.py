"""Names that a reader has chosen, for matplotlib."""

from __future__ import annotations

import unicodedata


def literal(name: str) -> str:
    """`name` as matplotlib shows it sign by sign.

    Between two dollars it would read a formula, and there are signs that no SVG may hold.
    """
    signs = ("�" if unicodedata.category(sign) in ("Cc", "Cs", "Cn") else sign for sign in name)
    return "".join(signs).replace("$", r"\$")
