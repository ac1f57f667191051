"""The lab's own settings, declared once: sliders, checks, tables, recipes and tests come from here.

Those of the strategies are declared in their classes, in the same way.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

from batchlab.parameters import Parameter

# What a setting of these names changes is the data or the first weights: a run starts anew.
DATA_SETTINGS = ("label_noise", "imbalance", "seed")
SETTINGS = {
    setting.name: setting
    for setting in (
        Parameter(
            "random",
            "which sampler chooses the batches",
            choices=(),
            name="strategy",
            source="BatchLab",
        ),
        Parameter(
            32, "samples per batch", low=1, slider=(1, 256), name="batch_size", source="Sampler"
        ),
        Parameter(
            0.01,
            "size of the optimizer's steps",
            low=0,
            slider=(1e-4, 1.0),
            log=True,
            name="learning_rate",
            source="the model's optimizer",
        ),
        Parameter(
            0.0,
            "share of the training labels that are wrong; starts anew",
            low=0,
            high=1,
            slider=(0, 0.5),
            name="label_noise",
            source="datasets.with_label_noise",
        ),
        Parameter(
            1.0,
            "commonest : rarest class, at least; 1 is the data as they are; starts anew",
            low=1,
            high=1000,
            slider=(1, 100),
            log=True,
            name="imbalance",
            source="datasets.imbalanced; Cui et al. 2019, arXiv:1901.05555",
        ),
        Parameter(
            0,
            "of samplers, noise, imbalance and the default model's first weights; starts anew",
            low=0,
            high=2**31 - 1,
            slider=(0, 99),
            name="seed",
            source="Sampler",
        ),
        Parameter(
            100.0,
            "steps per second to aim at",
            low=0.1,
            slider=(1, 1000),
            log=True,
            name="speed",
            unit="steps/s",
        ),
    )
}


class Settings(dict[str, Any]):
    """Values of settings by name; printed, a table of what they are and where they come from.

    Parameters
    ----------
    values : mapping of str to value
        The present values.
    declared : mapping of str to Parameter
        Their declarations.
    """

    def __init__(self, values: Mapping[str, Any], declared: Mapping[str, Parameter]) -> None:
        super().__init__(values)
        self.declared = dict(declared)

    @property
    def rows(self) -> list[dict[str, str]]:
        """One row per setting: name, value, type, range, default, help and source, as text."""
        return [
            {
                "name": name,
                "value": str(value),
                "type": self.declared[name].kind.__name__,
                "range": self.declared[name].range,
                "default": str(self.declared[name].default),
                "help": self.declared[name].help,
                "source": self.declared[name].source,
            }
            for name, value in self.items()
        ]

    def __repr__(self) -> str:
        lines = [list(self.rows[0]), *(list(row.values()) for row in self.rows)]
        widths = [max(map(len, column)) for column in zip(*lines)]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip()
            for line in lines
        )

    def _repr_html_(self) -> str:
        def line(cells: Any, tag: str) -> str:
            inside = "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells)
            return f"<tr>{inside}</tr>"

        body = "".join(line(row.values(), "td") for row in self.rows)
        return f"<table>{line(self.rows[0], 'th')}{body}</table>"
