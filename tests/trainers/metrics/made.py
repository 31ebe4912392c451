"""Made-up runs: models that are known exactly, in place of trained ones."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import tensorflow as tf

from trainers.data import Data

NUM_ROWS = 23  # of the images
MODES = np.array([[0, 0], [4, 0], [0, 4], [4, 4]], np.float32)


def options(**more):
    return SimpleNamespace(
        **{"batch_size": 10, "seed": 0, "num_model_samples": 100, "decoder_variance": 0.0, "against": None, **more}
    )


def run_of(model, path=Path()):
    settings = SimpleNamespace(dynamic_binarization=False)
    return SimpleNamespace(model=model, path=path, step=300, settings=settings, memory={})


def model_of(**parts):
    """A model that has nothing but these functions, which are its signatures too, and attributes."""
    lacking = {"conditional": False, "labelled": False, "support": None}
    return SimpleNamespace(**(lacking | parts), signatures=lambda: parts)


def encoder_of(function, space="z", draws=False):
    """A model of points that encodes x by a function, or by one of x and seeds."""

    def encode(x, seed=None):
        return {space: function(x, seed) if draws else function(x)}

    specs = {"x": None} | ({"seed": None} if draws else {})
    return SimpleNamespace(latent_size=None, conditional=False, signatures=lambda: {"encode": (encode, specs)})


def sampler_of(rows):
    """A run whose model samples row `seed` of the given rows."""
    return run_of(model_of(sample=lambda seeds: tf.gather(tf.constant(rows, tf.float32), seeds)))


def class_sampler_of(rows):
    """A run whose conditional model samples row `label` of the given rows, for every tenth seed the next row."""

    def sample(seeds, label):
        wrong = tf.cast(seeds % 10 == 0, tf.int64)
        return tf.gather(tf.constant(rows, tf.float32), (label + wrong) % len(rows))

    return run_of(model_of(conditional=True, num_classes=len(rows), sample=sample))


def data_of(train, test, modes=None, mode_std=None, labels=(None, None)):
    num_classes = None if labels[0] is None else int(labels[0].max()) + 1
    return Data("made", train, test, *labels, num_classes, "", "", modes, mode_std)


def keep(path, samples):
    """Writes samples, dict from step to rows, as a run keeps those that it draws on its way."""
    (path / "samples").mkdir()
    for step, rows in samples.items():
        np.save(path / "samples" / f"step_{step:06d}.npy", rows.astype(np.float32))
