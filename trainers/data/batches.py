"""Batches of a dataset: `batches` feeds it to training, `held_out_batches` to evaluation.

A training batch is a function of (seed, step): a resumed run sees what it would have seen, and any number of replicas
together see what one would. Images rest as uint8 and are scaled when a batch is made.
"""

import numpy as np
import tensorflow as tf

from common.cli import UserError
from common.graph import as_written
from zoo.parts import noise

ORDER, PIXELS = 0, 1  # the positions of the two keys of a step: of the epoch's permutation, of the binarisation
TEST_STREAM = noise.stream(noise.BINARIZATION)  # no model samples from it


def batches(
    data,
    *,
    batch_size,
    seed,
    start_step=0,
    data_range=None,
    with_labels=False,
    binarize=False,
    split="train",
    num_replicas=1,
    replica_ids=None,
    batches_per_step=1,
):
    """Training batches without end, those of step s being a function of (seed, s).

    Each epoch is a permutation of its own; a batch may straddle two, so that all are full and nothing is dropped.

    Args:
      batch_size: rows of a minibatch, over all replicas.
      start_step: the first step; a run that resumes at step s passes s.
      data_range: (low, high): images become float32, pixel 0 being low and 255 high, and points must lie within it, as
        they do for a model of probabilities. None: all stay as they are.
      with_labels: yield (x, label).
      binarize: dynamic binarisation: a grey pixel is 255 with probability pixel / 255, else 0, anew at every step.
      split: "train" or "test".
      batches_per_step: minibatches of a step, which come as one batch.
      num_replicas, replica_ids: the batch is divided among the replicas in order; yield the shares of those listed
        (default: all), step by step. Together the shares are the batch of a single replica, bit for bit.

    Returns:
      Infinite `tf.data.Dataset` of x [batches_per_step * batch_size / num_replicas, *data.shape], or of (x, label).

    Raises:
      UserError: the data can not give what is asked for, or batch_size is larger than the set or not divisible.
    """
    images, labels = _tensors(data, split, data_range, with_labels, binarize)
    num_rows, example_shape = images.shape[0], images.shape[1:]
    size = f"batch_size is {batch_size}" + (f", a step takes {batches_per_step} of it" if batches_per_step > 1 else "")
    if not 1 <= batch_size * batches_per_step <= num_rows:
        most = num_rows // batches_per_step
        raise UserError(f"{size}, but {data.name} has {num_rows} {split} rows: give {most} or less.")
    if batch_size * batches_per_step % num_replicas:
        raise UserError(f"{size}, which {num_replicas} replicas can not share: give a multiple.")
    batch_size *= batches_per_step
    shares = [num_replicas, batch_size // num_replicas]
    replica_ids = list(range(num_replicas) if replica_ids is None else replica_ids)

    def permutation(epoch):
        # `RandomIndexShuffle` uses as little as 8 bits of each of three words: words that count would soon repeat.
        return tf.cast(noise.uniform(noise.key(seed, epoch, noise.DATA, ORDER), [3]) * 2**23, tf.int64)

    def step_batches(step):
        place = step * batch_size + tf.range(batch_size, dtype=tf.int64)
        epoch = place // num_rows
        words = tf.gather([permutation(epoch[0]), permutation(epoch[0] + 1)], epoch - epoch[0])
        last = np.int64(num_rows - 1)
        row = tf.raw_ops.RandomIndexShuffle(index=place % num_rows, seed=words, max_index=last, rounds=8)
        row = tf.gather(tf.reshape(row, shares), replica_ids)
        # Noise for the whole batch, of which we keep our shares.
        uniform = None
        if binarize:
            key = noise.key(seed, step, noise.DATA, PIXELS)
            uniform = tf.gather(noise.uniform(key, [*shares, *example_shape]), replica_ids)
        x = _pixels(tf.gather(images, row), data_range, uniform)
        return (x, tf.gather(labels, row)) if with_labels else x

    return tf.data.Dataset.counter(start_step).map(as_written(step_batches)).unbatch().prefetch(2)


def held_out_batches(data, batch_size, data_range, with_labels=False, binarize=False, split="test"):
    """One pass over a split in its own order, each row once, the last batch smaller; otherwise as `batches`.

    `binarize` draws each row once and for all, whatever the batch size.
    """
    images, labels = _tensors(data, split, data_range, with_labels, binarize)
    num_rows = images.shape[0]

    def batch(start):
        stop = tf.minimum(start + batch_size, num_rows)
        uniform = noise.uniform_rows(tf.range(start, stop), images.shape[1:], TEST_STREAM) if binarize else None
        x = _pixels(images[start:stop], data_range, uniform)
        return (x, labels[start:stop]) if with_labels else x

    return tf.data.Dataset.range(0, num_rows, batch_size).map(as_written(batch)).prefetch(2)


def _tensors(data, split, data_range, with_labels, binarize):
    """(x, labels) of a split as tensors, after the checks that all batches share."""
    x, labels = {"train": (data.train, data.train_labels), "test": (data.test, data.test_labels)}[split]
    if not len(x):
        raise UserError(f"{data.name} has no {split} rows: give at least 10 images, of which one in ten is held out.")
    if with_labels and labels is None:
        raise UserError(f"{data.name} has no labels: choose a dataset that has, or a model that needs none.")
    if binarize and (len(data.shape) != 3 or data.shape[2] != 1):
        raise UserError(f"binarize is for grey images, and {data.name} has shape {data.shape}: leave it off.")
    if data_range is not None and len(data.shape) != 3 and (x.min() < data_range[0] or x.max() > data_range[1]):
        raise UserError(
            f"{data.name} holds points between {x.min():.3g} and {x.max():.3g}, and the model takes those in "
            f"{list(data_range)}: choose other data, or settings that take any, such as a gaussian likelihood."
        )
    with tf.device("CPU"):  # beside the pipeline, also where there is a GPU
        return tf.constant(x), None if labels is None else tf.constant(labels)


def _pixels(x, data_range, uniform=None):
    """Images scaled to `data_range`, where that is given, and binarised by uniform numbers, where those are."""
    low, high = np.array([0, 255], np.uint8) if data_range is None else np.float32(data_range)
    if uniform is not None:
        return tf.where(uniform < tf.cast(x, tf.float32) / 255, high, low)
    is_scaled = data_range is None or x.dtype != tf.uint8
    return x if is_scaled else tf.cast(x, tf.float32) / 255 * (high - low) + low
