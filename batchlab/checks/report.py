"""What a check found: findings with a stable code and a place, as text and as HTML."""

from __future__ import annotations

import html
from dataclasses import dataclass, field
from functools import partial

_MARKS = {"fault": "✗", "warning": "!", "passed": "✓", "note": "·"}


@dataclass(frozen=True)
class Finding:
    """One line of a report.

    Attributes
    ----------
    level : str
        ``"fault"``, ``"warning"`` (probably not what was meant), ``"passed"`` or ``"note"``.
    code : str
        What was looked at, and what was found, in words that stay: ``"epochs/replayed"``.
    message, mend : str
        What was found and what it means; the line that mends it, if any.
    epoch, batch, index : int or None
        Where: the epoch and the batch, from 0, and the number of the sample.
    """

    level: str
    code: str
    message: str
    mend: str = ""
    epoch: int | None = None
    batch: int | None = None
    index: int | None = None

    @property
    def topic(self) -> str:
        """What was looked at."""
        return self.code.split("/")[0]

    def __str__(self) -> str:
        return f"{self.topic}: {self.message} {self.mend}".rstrip()


fault, warning, passed, note = (partial(Finding, level) for level in _MARKS)


@dataclass
class Report:
    """What a check found: printed as text, and a table with pictures in a notebook.

    Attributes
    ----------
    name : str
        What was checked.
    findings : list of Finding
        Faults first.
    pictures : list of str
        Small drawings, as SVG.
    """

    name: str
    findings: list[Finding] = field(default_factory=list)
    pictures: list[str] = field(default_factory=list)

    def add(self, finding: Finding) -> None:
        """Take in a finding, at its place."""
        self.findings.append(finding)
        self.findings.sort(key=lambda each: list(_MARKS).index(each.level))

    @property
    def ok(self) -> bool:
        """Whether no fault was found."""
        return not self.faults

    @property
    def faults(self) -> list[str]:
        """All faults, as text."""
        return [str(each) for each in self.findings if each.level == "fault"]

    @property
    def warnings(self) -> list[str]:
        """What is probably not what was meant, as text."""
        return [str(each) for each in self.findings if each.level == "warning"]

    def _title(self) -> str:
        faults, warnings = len(self.faults), len(self.warnings)
        return f"{self.name}: {faults or 'no'} faults, {warnings or 'no'} warnings"

    def __str__(self) -> str:
        return "\n".join([self._title(), *(f"{_MARKS[f.level]} {f}" for f in self.findings)])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{_MARKS[f.level]} {f.level}</td><td>{html.escape(f.topic)}</td><td style="
            f"'text-align:left'>{html.escape(f.message)} <b>{html.escape(f.mend)}</b></td></tr>"
            for f in self.findings
        )
        title, pictures = html.escape(self._title()), " ".join(self.pictures)
        return f"<p><b>{title}</b></p>{pictures}<table>{rows}</table>"
