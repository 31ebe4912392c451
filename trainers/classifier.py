"""A classifier of images, trained here: the judge of whether a conditional model draws the class that it is asked for.

It is trained once for a dataset and kept in `$KERAS_HOME/classifiers` (default `~/.keras`), under a name that holds a
digest of the data, their shape and this file.
"""

import contextlib
import hashlib
import os
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from trainers import rundir
from trainers.data import batches
from zoo.parts.layers import Dropout

layers = keras.layers
BATCH_SIZE, NUM_STEPS, SEED = 100, 6000, 0


def trained(data, num_steps=NUM_STEPS):
    """The classifier of a dataset of images, out of the cache or trained now.

    Returns:
        Keras model from images [batch, *data.shape] in [0, 1] to logits [batch, num_classes].

    Raises:
        UserError: if the cache can not be written.
    """
    digest = hashlib.sha256(Path(__file__).read_bytes())
    digest.update(repr((data.checksum, data.shape, num_steps)).encode())
    folder = Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser() / "classifiers"
    file = folder / f"{data.name}_{digest.hexdigest()[:16]}.npz"
    keras.utils.set_random_seed(SEED)
    model = network(data.shape, data.num_classes)
    if file.exists():
        damage = (OSError, ValueError, EOFError, zipfile.BadZipFile)
        with contextlib.suppress(*damage), np.load(file) as weights:
            model.set_weights(list(weights.values()))
            return model
    tf.config.experimental.enable_op_determinism()
    print(f"training a classifier of {data.name}, to be kept in {file}")
    rate = keras.optimizers.schedules.CosineDecay(2e-3, num_steps)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(rate), loss, steps_per_execution=10)
    batch_size = min(BATCH_SIZE, len(data.train))
    rows = batches(data, batch_size=batch_size, seed=SEED, with_labels=True)
    model.fit(rows.take(num_steps), shuffle=False, verbose=int(sys.stdout.isatty()))

    def write(path):
        with open(path, "wb") as opened:
            np.savez(opened, *model.get_weights())

    rundir.write_atomically(file, write)
    return model


def network(shape, num_classes):
    """Two convolutions of stride 2, normalised, and a dense layer behind dropout."""
    model = keras.Sequential([keras.Input(shape)])
    for filters in (32, 64):
        model.add(layers.Conv2D(filters, 5, strides=2, padding="same", use_bias=False, data_format="channels_last"))
        model.add(layers.BatchNormalization(momentum=0.9))
        model.add(layers.ReLU())
    model.add(layers.Flatten(data_format="channels_last"))
    model.add(Dropout(0.5))
    model.add(layers.Dense(num_classes))
    return model


def classes_of(model, images):
    """The most probable class, int64 [n], of images in [0, 1]."""
    return model.predict(images, batch_size=500, verbose=0).argmax(axis=1)
