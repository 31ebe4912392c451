"""Random numbers: the only source of randomness in the zoo. Nothing keeps state: a draw is a function of its arguments.

Two families over one generator (Philox4x32-10; Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011):

*Keyed* (`uniform`, `normal`, `bernoulli`), for training: one key draws a whole tensor, as fast as TensorFlow's own op.
TensorFlow's random floats differ between a graph and XLA, its bits do not: we take the bits and convert them.

*Per row* (`uniform_rows`, `normal_rows`, `bernoulli_rows`), for serving: a server merges requests into one batch, so
each row carries its own seed and comes out the same in whatever company, as TensorFlow's own op draws it.
"""

import dataclasses
import math

import numpy as np
import tensorflow as tf

from common.graph import graph, once

# Uses of keys. Each has the numbers from its own up to the next, one for a replica: no two uses share a key.
TRAINING, TEST, EVALUATION, ANNEALING, LAYERS, MOMENTS = 0, 1024, 2048, 2560, 3072, 3584
HALVES, MASKS, DATA = 3840, 4094, 4095

# What a row draws for: two uses of one row's seed share no stream. The latent point has stream 0; where it takes
# several layers from the top, the layer beneath has stream 1, and so on.
LATENT, POSTERIOR, LIKELIHOOD, CHAIN, BOUND, INPAINTING, COMPLETION, BINARIZATION = 0, 1, 2, 3, 4, 5, 6, 2**30
MEMBER = 7  # which network of several makes the row


def stream(use, index=0):
    """The stream of the per-row functions for the `index`-th draw of a use, 0 <= index < 2**32, int or tensor."""
    return use * 2**32 + (tf.cast(index, tf.int64) if tf.is_tensor(index) else index)


def key(seed, step, replica, position=0):
    """An int64 [2] key for `tf.random.stateless_*`, different for every (seed, step, replica, position).

    It is `[seed, word]`, the other three packed into the word: unlike hashes they can not coincide, and a resumed run
    sees the noise it would have seen. The word is negative, the streams of the per-row functions are not: training
    noise never returns as a served sample.

    Args:
      seed: Python int, taken modulo 2**64, or scalar integer tensor.
      step, replica, position: ints or scalar integer tensors or variables, below 2**35, 2**12 and 2**16. `replica` is
        the number of the replica added to who draws, `TRAINING` or another of the above.
    """
    if isinstance(position, int) and not 0 <= position < 2**16:
        raise ValueError(f"position must be between 0 and 2**16 - 1, got {position}; draw by fewer keys.")
    if not tf.is_tensor(seed):
        seed = (int(seed) + 2**63) % 2**64 - 2**63
    seed, step, replica, position = (tf.cast(value, tf.int64) for value in (seed, step, replica, position))
    return tf.stack([seed, (step - 2**35) * 2**28 + replica * 2**16 + position])


@dataclasses.dataclass(frozen=True)
class Noise:
    """What one row of some draw takes: `kind` is "normal" or "uniform", `shape` a tuple of ints."""

    kind: str
    shape: tuple


def of_keys(nest, leading, key_of):
    """A nest of tuples of `Noise`, or one, as tensors [*leading, *shape], leaf j from `key_of(j)`, for training."""
    draws = {"normal": normal, "uniform": uniform}
    filled = [draws[leaf.kind](key_of(j), [*leading, *leaf.shape]) for j, leaf in enumerate(tf.nest.flatten(nest))]
    return tf.nest.pack_sequence_as(nest, filled)


def of_rows(nest, seeds, use, index=0):
    """A nest of `Noise` as tensors [batch, *shape], row i a function of seeds[i], `use` and `index`, for serving.

    Leaf j of n has the stream `stream(use, n * index + j)`.
    """
    draws, leaves = {"normal": normal_rows, "uniform": uniform_rows}, tf.nest.flatten(nest)
    streams = [stream(use, len(leaves) * index + j) for j in range(len(leaves))]
    filled = [draws[leaf.kind](seeds, leaf.shape, of_leaf) for leaf, of_leaf in zip(leaves, streams, strict=True)]
    return tf.nest.pack_sequence_as(nest, filled)


def uniform(key, shape):
    """Uniform float32 strictly inside (0, 1): odd multiples of 2**-24, the same bits in eager, graph and XLA.

    `key`: integer [2], of `key`, for one draw only. `shape`: tuple or integer tensor [rank], which may be dynamic.
    """
    bits = tf.random.stateless_uniform(shape, key, minval=None, maxval=None, dtype=tf.uint32, alg="philox")
    return _unit_interval(bits) + 2.0**-24


def normal(key, shape):
    """Standard normal float32, within +-5.68; eager, graph and XLA agree to 1e-6. Arguments as for `uniform`."""
    # One of each pair of normals is thrown away: bits are cheap, and odd and dynamic shapes then need no care.
    u, v = tf.unstack(uniform(key, tf.concat([[2], tf.cast(shape, tf.int32)], axis=0)))
    return _box_muller(u, v)[0]


def bernoulli(key, probs):
    """Float32 zeros and ones, one with probability `probs` (float32, any shape, to 2**-24); 0 and 1 are certain."""
    return tf.cast(uniform(key, tf.shape(probs)) < probs, tf.float32)


def permutation(key, size):
    """A permutation of 0 ... size - 1, a NumPy array, for what is drawn when a model is made."""
    return np.argsort(uniform(key, [size]), kind="stable")


def uniform_rows(seeds, shape, stream=0):
    """Uniform float32 [batch, *shape] in [0, 1); row i is, bit for bit, `tf.random.stateless_uniform` of its seed.

    Args:
      seeds: integers [batch], taken as int64; batch may be unknown, or 0.
      shape: static shape of one row, a tuple of ints or an int.
      stream: int or int64 scalar tensor, not negative; another stream is independent noise from the same seeds.

    Raises:
      ValueError: `seeds` is a tensor of another type, `stream` one of another than int64, or `seeds` not of rank 1.
    """
    return _rows(seeds, shape, stream, _uniforms)


def normal_rows(seeds, shape, stream=0):
    """Standard normal float32; row i is `tf.random.stateless_normal` to 2e-6; arguments as for `uniform_rows`."""
    return _rows(seeds, shape, stream, _normals)


def bernoulli_rows(seeds, probs, stream=0):
    """Float32 zeros and ones, `uniform_rows < probs`; `probs` floats [batch, *static shape], 0 and 1 are certain.

    Others are met to 2**-23. Probabilities that differ in their last bit, as those of one row do in batches of two
    sizes, differ in a draw whose uniform lies between them: one in ten million.
    """
    return tf.cast(tf.cast(uniform_rows(seeds, tuple(probs.shape[1:]), stream), probs.dtype) < probs, tf.float32)


def _unit_interval(bits):
    """Low 23 bits of unsigned words to float32 in [0, 1), as in TensorFlow; exact in every compiler."""
    return tf.cast(bits & 0x7FFFFF, tf.float32) * 2.0**-23


def _box_muller(u, v):
    """Two independent standard normals from two uniforms (Box and Muller 1958), sine first, as in TensorFlow."""
    # Not `tf.math.ndtri(u)`: in the tails XLA's is 2e-5 off the kernel's. The angle is rounded once, as in TensorFlow.
    radius = tf.sqrt(-2.0 * tf.math.log(tf.maximum(u, 1e-7)))
    angle = tf.cast(2.0 * math.pi * tf.cast(v, tf.float64), tf.float32)
    return radius * tf.sin(angle), radius * tf.cos(angle)


def _uniforms(*uniforms):
    return uniforms


def _normals(u0, u1, u2, u3):
    return *_box_muller(u0, u1), *_box_muller(u2, u3)


def _rows(seeds, shape, stream, transform):
    """Rows of numbers: `transform` turns the four uniforms of a Philox block, each [batch, blocks], into four.

    It must be one of this module's functions: graphs, which have each kind of draw once, tell them by it.
    """
    seeds = tf.cast(seeds, tf.int64) if tf.is_tensor(seeds) and seeds.dtype.is_integer else seeds
    seeds, stream = tf.convert_to_tensor(seeds, tf.int64), tf.convert_to_tensor(stream, tf.int64)
    seeds.shape.assert_has_rank(1)
    return _drawn(seeds, stream, (shape,) if isinstance(shape, int) else tuple(shape), transform)


@once  # of some 60 operations: an export draws in many places
def _drawn(seeds, stream, shape, transform):
    # TensorFlow's StatelessRandomGetKeyCounter: one block under a fixed key turns a seed into a key and half a counter.
    words = [tf.cast(word, tf.uint64) for word in (seeds[:, None], stream)]  # two's complement
    k0, k1, c2, c3 = _philox(*[half(word) for word in words for half in (_low, _high)], 0x3EC8F720, 0x02461E29)
    # Whole 16-float SIMD packets: the loose end of a tensor is computed by scalar routines with other last bits, and
    # without padding it would depend on the rest of the batch which rows meet them.
    blocks = 16 * math.ceil(math.prod(shape) / 64)
    c0 = tf.cast(tf.range(blocks), tf.uint64)
    numbers = transform(*[_unit_interval(word) for word in _philox(c0, tf.zeros_like(c0), c2, c3, k0, k1)])
    rows = tf.reshape(tf.stack(numbers, axis=-1), [tf.shape(seeds)[0], 4 * blocks])
    return tf.reshape(rows[:, : math.prod(shape)], [tf.shape(seeds)[0], *shape])


@graph  # of some 120 operations: eager draws are fast by it
def _philox(c0, c1, c2, c3, k0, k1):
    """Philox4x32-10 of a counter and a key, 32-bit words in broadcastable uint64 tensors."""
    for _ in range(10):
        p0, p1 = c0 * 0xD2511F53, c2 * 0xCD9E8D57
        c0, c1, c2, c3 = _high(p1) ^ c1 ^ k0, _low(p1), _high(p0) ^ c3 ^ k1, _low(p0)
        k0, k1 = _low(k0 + 0x9E3779B9), _low(k1 + 0xBB67AE85)
    return c0, c1, c2, c3


def _low(word):
    return word & 0xFFFFFFFF


def _high(word):  # tensors have no `>>`
    return tf.bitwise.right_shift(word, tf.constant(32, tf.uint64))
