"""The one place where TensorFlow is first imported, with its start-up log lines off the screen.

Everything else writes ``from batchlab.backend import keras, tf``.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator


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


# Level 2 leaves errors visible; it must be set before the import. A user's own setting wins.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
with _standard_error_held():
    import tensorflow as tf

    tf.config.list_physical_devices()  # looks for a GPU now, so that its log lines come now

import keras  # noqa: E402  (after TensorFlow, which it would import with all its log lines)

if keras.backend.backend() != "tensorflow":
    raise ImportError(
        f"batchlab trains with TensorFlow, but Keras is set to {keras.backend.backend()!r}. "
        "Set the environment variable KERAS_BACKEND=tensorflow before Keras is imported."
    )

__all__ = ["keras", "tf"]
