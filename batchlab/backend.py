"""The one place where Keras and TensorFlow are first imported, their start-up log lines off the screen.

Everything else writes ``from batchlab.backend import keras, tf``. Where Keras is set to another
backend, TensorFlow is not imported, and `tf` says so when it is used.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import traceback
from collections.abc import Iterator
from typing import Any, NoReturn


@contextlib.contextmanager
def _standard_error_held() -> Iterator[None]:
    """Hold back what C++ code writes to file descriptor 2; show it if the import fails."""
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(saved, held.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def need_tensorflow(owner: str) -> None:
    """Refuse to go on where Keras is set to another backend.

    Raises
    ------
    RuntimeError
        With what does work there.
    """
    if keras.backend.backend() != "tensorflow":
        _refuse(owner)


def _refuse(owner: str) -> NoReturn:
    raise RuntimeError(
        f"{owner}: this needs TensorFlow, but Keras is set to {keras.backend.backend()!r}. Samplers, "
        "History, checks and Loader work there, with `for` loops and model.fit(loader, shuffle=False). "
        "For the rest set the environment variable KERAS_BACKEND=tensorflow before Keras is imported."
    )


def builds_a_model() -> bool:
    """Whether Keras only looks at a batch, in its ``_symbolic_build`` (read in Keras 3.12 to 3.16).

    Nothing that it asks of a ``PyDataset`` meanwhile tells this from an epoch of few batches.
    """
    return any(
        frame.f_code.co_name.endswith("_symbolic_build")
        and frame.f_globals.get("__name__", "").startswith("keras.")
        for frame, _ in traceback.walk_stack(None)
    )


class _NoTensorFlow:
    """Stands in the place of TensorFlow where it is not to be had."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # someone only looks what it is
            raise AttributeError(name)
        _refuse(f"tf.{name}")


# Level 2 leaves errors visible; it must be set before the import. A user's own setting wins.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
with _standard_error_held():
    import keras

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.list_physical_devices()  # looks for a GPU now, so that its log lines come now
    else:
        tf = _NoTensorFlow()

__all__ = ["builds_a_model", "keras", "need_tensorflow", "tf"]
