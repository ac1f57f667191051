"""The one list of what may be set: sliders, checks, tables, recipes and tests come from here.

Every strategy adds the parameters that its class declares, in the same way.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from batchlab.parameters import Parameter, parameters_of
from batchlab.samplers import HandPickedSampler, Sampler
from batchlab.style import THEMES

Change = tuple[Any, ...]  # name, value, and whether it goes on with a drag


@dataclass(eq=False)
class Setting(Parameter):
    """A parameter of the lab's own.

    Parameters
    ----------
    scope : {"run", "data", "panel"}
        What it belongs to. Those of a run change between two batches and are events; those of the
        data (or the first weights) start the run anew; those of the panel change no batch.
    """

    scope: str = "run"


SETTINGS = {
    setting.name: setting
    for setting in (
        Setting(
            "random",
            "which sampler chooses the batches",
            choices=(),
            name="strategy",
            source="BatchLab",
        ),
        Setting(
            32, "samples per batch", low=1, slider=(1, 256), name="batch_size", source="Sampler"
        ),
        Setting(
            0.01,
            "size of the optimizer's steps",
            low=0,
            slider=(1e-4, 1.0),
            log=True,
            name="learning_rate",
            source="the model's optimizer",
        ),
        Setting(
            0.0,
            "share of the training labels that are wrong; starts anew",
            low=0,
            high=1,
            slider=(0, 0.5),
            name="label_noise",
            source="datasets.with_label_noise",
            scope="data",
        ),
        Setting(
            1.0,
            "commonest : rarest class, at least; 1 is the data as they are; starts anew",
            low=1,
            high=1000,
            slider=(1, 100),
            log=True,
            name="imbalance",
            source="datasets.imbalanced; Cui et al. 2019, arXiv:1901.05555",
            scope="data",
        ),
        Setting(
            0,
            "of samplers, noise, imbalance and the default model's first weights; starts anew",
            low=0,
            high=2**31 - 1,
            slider=(0, 99),
            name="seed",
            source="Sampler",
            scope="data",
        ),
        Setting(
            100.0,
            "how fast to train",
            low=0.1,
            slider=(1, 1000),
            log=True,
            name="speed",
            unit="steps/s",
            scope="panel",
        ),
        Setting(
            "step",
            "same steps, or same time",
            choices=("step", "time"),
            name="pace",
            scope="panel",
        ),
        Setting(
            "auto",
            "colours of the picture",
            choices=("auto", *THEMES),
            name="theme",
            scope="panel",
        ),
        Setting(
            "auto",
            "layout of the picture; narrow suits 800 pixels, auto takes what there is room for",
            choices=("auto", "wide", "narrow"),
            name="width",
            scope="panel",
        ),
    )
}
DATA_SETTINGS = tuple(name for name, setting in SETTINGS.items() if setting.scope == "data")
# What every sampler has: its batch size is declared above, the other two are fixed within a run.
COMMON = tuple(parameters_of(Sampler))
HAND = tuple(parameters_of(HandPickedSampler))


def own_settings(sampler: Any) -> dict[str, Parameter]:
    """The settings that `sampler` has and others may not have, by name."""
    declared = parameters_of(sampler).items()
    return {name: parameter for name, parameter in declared if name not in (*COMMON, *HAND)}


def hand_settings(sampler: Any) -> dict[str, Parameter]:
    """What may be picked by hand of `sampler`, by name; nothing where it is another's."""
    declared = parameters_of(sampler)
    return {name: declared[name] for name in HAND if name in declared}


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


def pairs(changes: Any, step: int) -> list[Change]:
    """The changes of a step in order: where a dict gives none, a new strategy comes first."""
    if isinstance(changes, Mapping):
        return strategy_first(changes)
    if isinstance(changes, Sequence) and all(
        isinstance(change, Sequence) and len(change) in (2, 3) for change in changes
    ):
        return list(map(tuple, changes))
    raise TypeError(
        f"Session: events must give a dict from setting to value for step {step}, got {changes!r}."
    )


def strategy_first(changes: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The changes in an order in which the other settings are those of the new strategy."""
    return sorted(changes.items(), key=lambda item: item[0] != "strategy")
