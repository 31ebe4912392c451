"""Batches of a dataset: `batches` feeds it to training, `held_out_batches` to evaluation.

A training batch is a function of (seed, step): a resumed run sees what it would have seen, and any number of replicas
together see what one would. Images rest as uint8; a batch has them as float32 in [0, 1].
"""

import numpy as np
import tensorflow as tf

from common.cli import UserError
from common.graph import as_written
from trainers.data import mapped
from zoo.parts import noise
from zoo.parts.levels import dequantized

ROUNDS = 8  # of the cipher that permutes the rows of an epoch
ORDER, PIXELS = 0, 1  # the positions of the two keys of a step: of the epoch's permutation, of the binarisation
TEST_STREAM, DEQUANTIZATION_STREAM = (noise.stream(noise.BINARIZATION, i) for i in range(2))  # no model's


def batches(
    data,
    *,
    batch_size,
    seed,
    start_step=0,
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
      with_labels: yield (x, label).
      binarize: dynamic binarisation: a grey pixel is 1 with probability pixel / 255, else 0, anew at every step.
      split: "train" or "test".
      batches_per_step: minibatches of a step, which come as one batch.
      num_replicas, replica_ids: the batch is divided among the replicas in order; yield the shares of those listed
        (default: all), step by step. Together the shares are the batch of a single replica, bit for bit.

    Returns:
      Infinite `tf.data.Dataset` of x [batches_per_step * batch_size / num_replicas, *data.shape], or of (x, label).

    Raises:
      UserError: the data can not give what is asked for, or batch_size is larger than the set or not divisible.
    """
    images, labels = _readers(data, split, with_labels, binarize)
    num_rows = len(getattr(data, split))
    size = f"batch_size is {batch_size}" + (f", a step takes {batches_per_step} of it" if batches_per_step > 1 else "")
    if not 1 <= batch_size * batches_per_step <= num_rows:
        most = num_rows // batches_per_step
        raise UserError(f"{size}, but {data.name} has {num_rows} {split} rows: give {most} or less.")
    if batch_size * batches_per_step % num_replicas:
        raise UserError(f"{size}, which {num_replicas} replicas can not share: give a multiple.")
    batch_size *= batches_per_step
    shares = [num_replicas, batch_size // num_replicas]
    replica_ids = list(range(num_replicas) if replica_ids is None else replica_ids)

    def step_batches(step):
        row = tf.gather(tf.reshape(rows_of_step(seed, step, num_rows, batch_size), shares), replica_ids)
        # Noise for the whole batch, of which we keep our shares.
        uniform = pixels_of_step(seed, step, [*shares, *data.shape]) if binarize else None
        x = served(images(row), None if uniform is None else tf.gather(uniform, replica_ids))
        return (x, labels(row)) if with_labels else x

    return tf.data.Dataset.counter(start_step).map(as_written(step_batches)).unbatch().prefetch(2)


def _shuffled(index, words, last):
    return tf.raw_ops.RandomIndexShuffle(index=index, seed=words, max_index=last, rounds=ROUNDS)


def rows_of_step(seed, step, num_rows, batch_size, shuffled=_shuffled):
    """The numbers of the rows in the batch of a step, int64 [batch_size].

    `shuffled` is a function of (index [n], words [n, 3], last) that permutes the numbers 0 .. last by the words.
    """
    place = step * batch_size + tf.range(batch_size, dtype=tf.int64)
    epoch = place // num_rows

    def words(epoch):
        # `RandomIndexShuffle` uses as little as 8 bits of each of three words: words that count would soon repeat.
        return tf.cast(noise.uniform(noise.key(seed, epoch, noise.DATA, ORDER), [3]) * 2**23, tf.int64)

    words = tf.gather([words(epoch[0]), words(epoch[0] + 1)], epoch - epoch[0])
    return shuffled(place % num_rows, words, np.int64(num_rows - 1))


def pixels_of_step(seed, step, shape):
    """The uniform numbers by which the pixels of a step are binarised anew."""
    return noise.uniform(noise.key(seed, step, noise.DATA, PIXELS), shape)


def held_out_batches(data, batch_size, with_labels=False, binarize=False, dequantize=False, split="test", rows=None):
    """One pass over a split in its own order, each row once, the last batch smaller; otherwise as `batches`.

    `rows`, ints [n], are those to be passed, by default all. `binarize` draws each row once and for all, whatever the
    batch size and the other rows; and so does `dequantize`, which makes of a pixel k a number uniform in (k, k + 1) /
    256. The mean log-density of it, less log 256 for each number of a row, is a lower bound on the log-probability of
    8-bit pixels (Theis et al. 2016, arXiv:1511.01844, section 3.1).
    """
    images, labels = _readers(data, split, with_labels, binarize)
    rows = np.arange(len(getattr(data, split))) if rows is None else np.asarray(rows, np.int64)
    has_levels = data.train.dtype == np.uint8

    def batch(start):
        of_batch = tf.constant(rows)[start : start + batch_size]
        uniform = noise.uniform_rows(of_batch, data.shape, TEST_STREAM) if binarize else None
        x = served(images(of_batch), uniform)
        if dequantize and has_levels:
            x = dequantized(x, noise.uniform_rows(of_batch, data.shape, DEQUANTIZATION_STREAM))
        return (x, labels(of_batch)) if with_labels else x

    return tf.data.Dataset.range(0, len(rows), batch_size).map(as_written(batch)).prefetch(2)


def require_rows(data, split):
    """Raises `UserError` if a split is empty, as that for tests is where a user has few images."""
    if not len(getattr(data, split)):
        raise UserError(f"{data.name} has no {split} rows: give at least 10 images, of which one in ten is held out.")


def _readers(data, split, with_labels, binarize):
    """What gathers rows of x, and labels, of a split, after the checks that all batches share."""
    x, labels = {"train": (data.train, data.train_labels), "test": (data.test, data.test_labels)}[split]
    require_rows(data, split)
    if with_labels and labels is None:
        raise UserError(f"{data.name} has no labels: choose a dataset that has, or a model that needs none.")
    if binarize and (len(data.shape) != 3 or data.shape[2] != 1):
        raise UserError(f"binarize is for grey images, and {data.name} has shape {data.shape}: leave it off.")
    return mapped.gather(x), None if labels is None else mapped.gather(labels)


def served(x, uniform=None):
    """Rows as models take and serve them: pixels in [0, 1], binarised by uniform numbers where those are given."""
    if x.dtype != tf.uint8:
        return x
    x = tf.cast(x, tf.float32) / 255
    return x if uniform is None else tf.cast(uniform < x, tf.float32)
