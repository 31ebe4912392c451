"""The judge of a labelled set of images: a classifier, trained here, in whose last hidden layer samples are measured.

It is trained once for a dataset and kept in `$KERAS_HOME/judges` (default `~/.keras`), under a name that holds a
digest of the data, the network and the settings. On one kind of machine the same training gives the same bits.
"""

import contextlib
import hashlib
import inspect
import sys
import zipfile

import keras
import numpy as np
import tensorflow as tf

from trainers import rundir
from trainers.data import batches
from trainers.data.files import cache, plain
from zoo.parts.layers import Dropout

layers = keras.layers
BATCH_SIZE, NUM_STEPS, RATE, SEED, NUM_FEATURES = 100, 6000, 2e-3, 0, 128


class Judge:
    """A trained classifier.

    Attributes:
        accuracy: float, the share of test rows that it is right on.
        checksum: str, the start of the sha256 of its weights; stands beside every number that is made with it.
    """

    def __init__(self, network, accuracy):
        self.accuracy = accuracy
        weights = (np.ascontiguousarray(w, np.float32).tobytes() for w in network.get_weights())
        self.checksum = hashlib.sha256(b"".join(weights)).hexdigest()[:16]
        features = network.get_layer("features").output
        self._network = keras.Model(network.inputs, [features, *network.outputs])

    def features(self, images):
        """float32 [n, 128], at least 0, of images [n, *data.shape] in [0, 1]."""
        return self._network.predict(images, batch_size=500, verbose=0)[0]

    def classes(self, images):
        """The most probable class, int64 [n], of images in [0, 1]."""
        return self.probabilities(images).argmax(axis=1)

    def probabilities(self, images):
        """Those of the classes, float32 [n, num_classes], of images in [0, 1]."""
        logits = self._network.predict(images, batch_size=500, verbose=0)[1]
        return tf.nn.softmax(logits).numpy()


class StackedJudge:
    """The judge of images whose channels are images of their own (`Data.channel`), by a `Judge` of one channel.

    Attributes:
        accuracy: float, the chance that it is right on all channels, which are independent.
        checksum: str, that of the judge of a channel.
    """

    def __init__(self, judge, data):
        self.accuracy, self.checksum = judge.accuracy ** data.shape[2], judge.checksum
        self._judge, self._classes = judge, data.shape[2] * (data.channel.num_classes,)

    def features(self, images):
        """float32 [n, 128 * channels], those of the channels side by side, of images in [0, 1]."""
        return np.concatenate(self._of_channels(self._judge.features, images), axis=1)

    def classes(self, images):
        """The label that the most probable class of each channel makes, int64 [n], of images in [0, 1]."""
        return np.ravel_multi_index(self._of_channels(self._judge.classes, images), self._classes)

    def _of_channels(self, function, images):
        return [function(np.ascontiguousarray(channel)) for channel in np.split(images, images.shape[3], axis=3)]


def has_judge(data):
    """Whether there can be a judge of a dataset: of images with labels of several classes."""
    return len(data.shape) == 3 and (data.num_classes or 0) > 1


def judge_of(data, num_steps=NUM_STEPS):
    """The `Judge` of a dataset of images with labels, out of the cache or trained now; of stacks a `StackedJudge`.

    Raises:
        UserError: if the cache can not be written.
    """
    if data.channel is not None:
        return StackedJudge(judge_of(data.channel, num_steps), data)
    keras.utils.set_random_seed(SEED)
    network = network_of(data.shape, data.num_classes)
    settings = (data.checksum, data.shape, inspect.getsource(network_of), BATCH_SIZE, RATE, SEED, num_steps)
    digest = hashlib.sha256(repr(settings).encode()).hexdigest()[:16]
    file = cache("judges", f"{plain(data.name)}_{digest}.npz")
    if file.exists():
        damage = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)
        with contextlib.suppress(*damage), np.load(file) as content:
            arrays = dict(content)
            accuracy = float(arrays.pop("accuracy"))
            network.set_weights(list(arrays.values()))
            return Judge(network, accuracy)
    tf.config.experimental.enable_op_determinism()
    print(f"training a classifier of {data.name}, to be kept in {file}")
    rate = keras.optimizers.schedules.CosineDecay(RATE, num_steps)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(keras.optimizers.Adam(rate), loss, steps_per_execution=10)
    batch_size = min(BATCH_SIZE, len(data.train))
    rows = batches(data, batch_size=batch_size, seed=SEED, with_labels=True)
    network.fit(rows.take(num_steps), shuffle=False, verbose=int(sys.stdout.isatty()))
    logits = network.predict(data.test / np.float32(255.0), batch_size=500, verbose=0)
    accuracy = float(np.mean(logits.argmax(axis=1) == data.test_labels))

    def write(path):
        with open(path, "wb") as opened:
            np.savez(opened, *network.get_weights(), accuracy=accuracy)

    rundir.write_atomically(file, write)
    return Judge(network, accuracy)


def network_of(shape, num_classes):
    """Three convolutions, each normalised and pooled, and a dense layer of features between two of dropout."""
    stack = [keras.Input(shape)]
    for filters in (32, 64, 128):
        stack += [
            layers.Conv2D(filters, 3, padding="same", use_bias=False, data_format="channels_last"),
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(),
            layers.MaxPool2D(padding="same", data_format="channels_last"),
        ]
    stack += [layers.Flatten(data_format="channels_last"), Dropout(0.3)]
    stack += [layers.Dense(NUM_FEATURES, use_bias=False), layers.BatchNormalization(momentum=0.9)]
    stack += [layers.ReLU(name="features"), Dropout(0.5), layers.Dense(num_classes)]
    return keras.Sequential(stack)
