"""Imports TensorFlow without the lines that its C++ parts print on every start.

On a machine without a GPU they are half a screen of warnings about drivers that nobody misses, on a
machine with one they are build flags; the one line that matters is the logged `device=`. They come
before any setting can stop them, so stderr is turned aside for that moment and replayed only if the
import fails.
"""

from __future__ import annotations

import os
import sys
import tempfile

from foundation import progress


def import_tensorflow(keras: bool = True) -> None:
    """Imports TensorFlow and looks for GPUs, quietly; call it before any other import of it.

    Sets TF_CPP_MIN_LOG_LEVEL to 2 (errors) unless the environment says otherwise; 0 shows all.

    Args:
        keras: whether the process needs Keras. TensorFlow imports it if it can, and Keras imports
            scikit-learn: without them the import took 3.8 s in place of 6.2 s on one machine.
    """
    if not keras and "keras" not in sys.modules:
        # None means "cannot be imported", which TensorFlow takes for "not installed".
        sys.modules["keras"] = None  # type: ignore[assignment]
        try:
            import_tensorflow()
        finally:
            del sys.modules["keras"]
        return
    if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2") == "0":
        return
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as aside:
        os.dup2(aside.fileno(), 2)
        try:
            with progress.waiting("importing TensorFlow", kept):
                import tensorflow as tf

                tf.config.list_physical_devices()
        except BaseException:
            aside.seek(0)
            os.write(kept, aside.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
