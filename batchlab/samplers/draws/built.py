"""What an object was built with: kept, so that a recipe need not guess it back."""

from __future__ import annotations

import inspect
from typing import Any


class Given(dict[str, Any]):
    """Arguments by name. Copies of the object share them: they are the user's, and may be large."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Given:
        return self


class Built:
    """Base of classes whose objects know the arguments they were built with, as given.

    Attributes
    ----------
    built_with : dict from str to object
        Without those that were left to their defaults. ``type(it)(**it.built_with)`` builds another.
    """

    built_with: Given
    __signature__: inspect.Signature

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        # Python 3.10 would show that of __new__ where a class has no __init__ of its own.
        of_init = inspect.signature(cls.__init__)
        cls.__signature__ = of_init.replace(parameters=list(of_init.parameters.values())[1:])

    def __new__(cls, *args: Any, **options: Any) -> Any:
        built = super().__new__(cls)
        try:
            bound = inspect.signature(cls).bind(*args, **options)
        except TypeError:  # __init__ will say what is wrong; copy and pickle call without arguments
            return built
        given = Given(bound.arguments)
        for parameter in bound.signature.parameters.values():
            if parameter.kind is parameter.VAR_KEYWORD:
                given.update(given.pop(parameter.name, {}))
        vars(built)["built_with"] = given
        return built
