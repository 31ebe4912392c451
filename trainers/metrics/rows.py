"""Rows to measure: samples of a run's model, and held-out data as the model takes or serves them."""

import sys

import keras
import numpy as np
import tensorflow as tf

from common.graph import graph
from trainers.data import held_out_batches

NUM_MODEL_SAMPLES = 2500  # where neither the user nor the metric has another number


def served(x):
    """Data at rest as the model serves it."""
    return x / np.float32(255.0) if x.dtype == np.uint8 else x


def samples_of(run, num, options, labels=None):
    """Samples of consecutive seeds; of a conditional model, those of the `labels`, by default each class in turn."""
    sample = graph(run.model.sample)
    inputs = {"seeds": tf.range(options.seed, options.seed + num, dtype=tf.int64)}
    if run.model.conditional:
        labels = np.arange(num) % run.model.num_classes if labels is None else labels
        inputs["label"] = tf.constant(labels, tf.int64)
    starts = range(0, num, options.batch_size)
    return np.concatenate([sample(**{k: v[i : i + options.batch_size] for k, v in inputs.items()}) for i in starts])


def kept_samples(run):
    """The samples that a run drew on its way: dict, step -> points [n, size]."""
    files = sorted((run.path / "samples").glob("step_*.npy"))
    samples = {int(file.stem.removeprefix("step_")): np.load(file) for file in files}
    return {step: points for step, points in samples.items() if step <= run.step}


def served_batches(run, data, options, split="test"):
    """A split in batches as the model's signatures take it."""
    return held_out_batches(data, options.batch_size, binarize=run.settings.dynamic_binarization, split=split)


def held_out(run, data, batch_size, **options):
    """The test set in batches as the run's model takes it; `options` are more of `held_out_batches`."""
    binarize = run.settings.dynamic_binarization
    return held_out_batches(data, batch_size, with_labels=run.model.labelled, binarize=binarize, **options)


def batches(run, data, options, title, **more):
    """The same, with a progress bar."""
    bar = progress(title, len(data.test), "example")
    for batch in held_out(run, data, options.batch_size, **more):
        yield batch
        bar.add(len(batch[0] if run.model.labelled else batch))


def progress(title, num, unit):
    """A progress bar under a title; what is no terminal sees the title only."""
    print(title)
    return keras.utils.Progbar(num, unit_name=unit, verbose=int(sys.stdout.isatty()))
