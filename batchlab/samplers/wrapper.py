"""A sampler around another one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchlab.parameters import Parameter, parameters_of
from batchlab.samplers.base import Sampler
from batchlab.samplers.draws.built import Built


class Wrapper(Built):
    """Base of what stands around a sampler: whatever is not done here, the one inside does.

    Settings, feedback, importance weights, ``listens``, ``weighs``, position and state are those of
    the sampler inside; so are its other attributes, also when they are set. A subclass changes what
    comes out, in :meth:`__iter__` and :meth:`batches_ahead`.

    Parameters
    ----------
    sampler : Sampler or Wrapper
        The sampler inside.

    Raises
    ------
    TypeError
        If `sampler` is none.
    """

    sampler: Any

    def __init__(self, sampler: Sampler | Wrapper) -> None:
        if not isinstance(sampler, (Sampler, Wrapper)):
            raise TypeError(
                f"{type(self).__name__}: sampler must be a batchlab sampler, got "
                f"{type(sampler).__name__}. Derive your own from Sampler."
            )
        self.sampler = sampler

    @property
    def own_parameters(self) -> Mapping[str, Parameter]:
        """The settings of the sampler inside."""
        return parameters_of(self.sampler)

    def __getattr__(self, name: str) -> Any:
        if name == "sampler" or name.startswith("__"):  # not built yet, or asked by copy and pickle
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}.")
        return getattr(self.sampler, name)

    def __setattr__(self, name: str, value: Any) -> None:
        own = name.startswith("_") or name in vars(self) or hasattr(type(self), name)
        if not own and "sampler" in vars(self) and hasattr(self.sampler, name):
            setattr(self.sampler, name, value)
        else:
            super().__setattr__(name, value)

    def __len__(self) -> int:
        """Batches per epoch."""
        return len(self.sampler)

    def __iter__(self) -> Iterator[NDArray[np.int64]]:
        return iter(self.sampler)

    def batches_ahead(self, most: int) -> NDArray[np.int64]:
        """See :meth:`Sampler.batches_ahead`."""
        return self.sampler.batches_ahead(most)

    def state_dict(self) -> dict[str, Any]:
        """The state of the sampler inside, as plain JSON."""
        return {"sampler": type(self).__name__, "inside": self.sampler.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to the position of `state`; see :meth:`Sampler.load_state_dict`."""
        name = type(self).__name__
        if not isinstance(state, dict) or state.get("sampler") != name or "inside" not in state:
            raise ValueError(f"{name}: cannot load this state: it is not that of a {name}.")
        self.sampler.load_state_dict(state["inside"])
