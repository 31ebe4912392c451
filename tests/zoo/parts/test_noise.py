"""Random numbers against TensorFlow's own ops, against their distributions, and against numbers written down."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from zoo.parts import noise

ZERO = 601077  # number 10 of this seed is a uniform of exactly 0, the worst case of the logarithm
SEEDS = [0, 1, 42, -1, 2**53, 2**63 - 1, -(2**63), ZERO]
KEY = tf.constant([42, -7], tf.int64)
PROBS = tf.constant([0.0, 0.25, 0.5, 1.0])
ROWS = {
    "uniform": noise.uniform_rows,
    "normal": noise.normal_rows,
    "bernoulli": lambda seeds, size: noise.bernoulli_rows(seeds, tf.fill([tf.size(seeds), size], 0.3)),
}
DRAWS = {  # name -> (draw, tolerance between eager, graph and XLA)
    "uniform": (lambda: noise.uniform(KEY, (1001,)), 0),
    "normal": (lambda: noise.normal(KEY, (99, 1001)), 1e-6),
    "bernoulli": (lambda: noise.bernoulli(KEY, tf.linspace(0.0, 1.0, 1001)), 0),
    "keys": (lambda: tf.stack([noise.key(2**40 + 1, tf.constant(5), tf.constant(3), i) for i in range(4)]), 0),
    "uniform_rows": (lambda: noise.uniform_rows(SEEDS, (3, 7)), 0),
    "normal_rows": (lambda: noise.normal_rows(SEEDS, (3, 701)), 1e-6),
    "bernoulli_rows": (lambda: noise.bernoulli_rows(SEEDS, tf.fill([len(SEEDS), 37], 0.3)), 0),
}


@pytest.mark.parametrize("stream", [0, 1, 7])
@pytest.mark.parametrize("size", [1, 3, 4, 37, 100])
def test_rows_are_tensorflows(size, stream):
    for kind, tolerance in [("uniform", 0), ("normal", 2e-6)]:
        stock = getattr(tf.random, f"stateless_{kind}")
        expected = [stock([size], tf.constant([seed, stream], tf.int64), alg="philox") for seed in SEEDS]
        for stream_argument in (stream, tf.constant(stream, tf.int64)):
            np.testing.assert_allclose(ROWS[kind](SEEDS, size, stream_argument), expected, rtol=0, atol=tolerance)


def test_uniform_is_tensorflows_shifted_off_zero():
    stock = tf.random.stateless_uniform([1000], KEY, alg="philox")
    np.testing.assert_array_equal(noise.uniform(KEY, [1000]), stock + 2.0**-24)


@pytest.mark.parametrize("kind", ROWS)
@pytest.mark.parametrize("size", [1, 37])
def test_rows_do_not_know_their_batch(kind, size):
    draw = tf.function(lambda seeds: ROWS[kind](seeds, size), input_signature=[tf.TensorSpec([None], tf.int64)])
    seeds = np.random.default_rng(0).integers(-(2**63), 2**63 - 1, 64)
    rows, order = draw(seeds).numpy(), np.random.default_rng(1).permutation(64)
    np.testing.assert_array_equal(draw(seeds[order]), rows[order])
    for batch in (1, 3):
        np.testing.assert_array_equal(draw(seeds[5 : 5 + batch]), rows[5 : 5 + batch])
    assert draw(seeds[:0]).shape == (0, size)
    types = {operation.type for operation in draw.get_concrete_function().graph.get_operations()}
    assert not [name for name in types if "Bitcast" in name or "Random" in name or "Xla" in name or "While" in name]


@pytest.mark.slow
@pytest.mark.parametrize("draw, tolerance", DRAWS.values(), ids=DRAWS)
def test_eager_graph_and_xla_agree(draw, tolerance):
    for jit_compile in (False, True):
        np.testing.assert_allclose(tf.function(draw, jit_compile=jit_compile)(), draw(), rtol=0, atol=tolerance)


def test_float_conversion_at_the_extremes():
    for dtype in (tf.uint32, tf.uint64):
        units = noise._unit_interval(tf.constant([0, 0xFFFFFFFF], dtype))
        np.testing.assert_array_equal(units, np.float32([0, 1 - 2**-23]))
        np.testing.assert_array_equal(units + 2.0**-24, np.float32([2**-24, 1 - 2**-24]))
    assert noise.uniform_rows([ZERO], 11)[0, 10] == 0
    np.testing.assert_array_equal(noise.bernoulli_rows([ZERO], tf.zeros([1, 11])), np.zeros([1, 11]))
    # The longest radius magnifies an error of the angle most; TensorFlow rounds the angle to float32, once.
    v = np.linspace(0, 1, 2**14, endpoint=False, dtype=np.float32)
    angle, radius = np.float64(np.float32(2 * np.pi * np.float64(v))), np.sqrt(-2 * np.log(1e-7))
    expected = radius * np.sin(angle), radius * np.cos(angle)
    np.testing.assert_allclose(noise._box_muller(tf.zeros_like(v), v), expected, rtol=0, atol=1.5e-6)


@pytest.mark.parametrize("shape", [(), (3,), (2, 0), (2, 3, 5)])
def test_shapes(shape):
    def draw(shape):
        return noise.uniform(KEY, shape), noise.normal(KEY, shape)

    static, dynamic = draw(shape), tf.function(draw)(tf.constant(shape, tf.int32))
    tf.nest.map_structure(np.testing.assert_array_equal, dynamic, static)
    assert static[0].shape == static[1].shape == shape
    assert noise.normal_rows(SEEDS, shape).shape == (len(SEEDS), *shape)


@pytest.mark.parametrize("by_row", [False, True])
def test_distributions(by_row):
    seeds = tf.range(400, dtype=tf.int64)  # neighbours, as clients will choose them
    shape, source = ((100,), seeds) if by_row else ((400, 100), KEY)
    suffix = "_rows" if by_row else ""
    uniform, normal = (getattr(noise, kind + suffix)(source, shape).numpy() for kind in ("uniform", "normal"))
    assert stats.kstest(uniform.ravel(), "uniform").pvalue > 0.01
    assert stats.kstest(normal.ravel(), "norm").pvalue > 0.01
    np.testing.assert_allclose([normal.mean(), normal.var(), (normal**4).mean()], [0, 1, 3], atol=0.1)
    for axis in (normal, normal.T):  # neither neighbouring rows nor neighbouring columns are correlated
        assert abs(np.mean(axis[1:] * axis[:-1])) < 0.02
    draws = getattr(noise, "bernoulli" + suffix)(source, tf.broadcast_to(PROBS, [400, 100, 4])).numpy()
    np.testing.assert_allclose(draws.mean((0, 1)), PROBS, atol=0.01)
    assert set(np.unique(draws)) == {0, 1} and not draws[..., 0].any() and draws[..., 3].all()


def test_keys_are_all_different():
    seeds, steps = [0, 1, -1, 5 - 2**40, 2**32, 2**63 - 1, -(2**63)], [0, 1, 2**12, 2**31, 2**35 - 1]
    grid = itertools.product(seeds, steps, [0, 1, 2**12 - 1])
    all_keys = np.stack([noise.key(*arguments, i) for arguments in grid for i in range(4)])
    assert len(np.unique(all_keys, axis=0)) == len(all_keys) == 7 * 5 * 3 * 4
    assert (all_keys[:, 1] < 0).all()  # the seeds of rows never
    np.testing.assert_array_equal(noise.key(2**64 - 1, 0, 0), noise.key(tf.constant(-1, tf.int64), 0, 0))


def test_contract_is_frozen():
    key = noise.key(42, tf.Variable(7, dtype=tf.int64), tf.constant(3), 1)
    np.testing.assert_array_equal(key, [42, -9223372034975531007])
    np.testing.assert_array_equal(noise.uniform(key, [3]) * 2**24, [10937815, 6013027, 11297173])
    np.testing.assert_allclose(noise.normal(key, [3]), [-0.19252345, 1.3869461, 0.04472105], atol=1e-6)
    np.testing.assert_array_equal(noise.bernoulli(key, tf.fill([8], 0.5)), [0, 1, 0, 0, 1, 1, 1, 1])
    np.testing.assert_array_equal(noise.uniform_rows([42], 3, stream=1) * 2**23, [[4429211, 2041654, 3162750]])
    np.testing.assert_allclose(noise.normal_rows([42], 3, stream=1), [[1.1292034, 0.04696672, 0.95944476]], atol=2e-6)


@pytest.mark.parametrize("call, message", [
    (lambda: noise.key(0, 0, 0, 2**16), "position must be"),
    (lambda: noise.key(0, 0, 0, -1), "position must be"),
    (lambda: noise.normal_rows(tf.zeros([2]), 3), "int64"),
    (lambda: noise.normal_rows([[1, 2]], 3), "rank 1"),
])  # fmt: skip
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# --- What draws take --------------------------------------------------------------------------------------------------

NORMAL, UNIFORM = noise.Noise("normal", (3,)), noise.Noise("uniform", (2, 2))
NESTS = [(), NORMAL, (NORMAL, UNIFORM), (NORMAL, (UNIFORM, (), NORMAL), NORMAL)]


def key_of(leaf):
    return noise.key(5, 0, 0, leaf)


@pytest.mark.parametrize("nest", NESTS)
def test_nests_are_filled_alike_by_keys_and_by_rows(nest):
    seeds, leaves = tf.constant([4, 7, 4], tf.int64), tf.nest.flatten(nest)
    by_keys, by_rows = noise.of_keys(nest, [6, 3], key_of), noise.of_rows(nest, seeds, noise.CHAIN, 2)
    for filled, leading, draws in (
        (by_keys, (6, 3), [getattr(noise, leaf.kind)(key_of(j), [6, 3, *leaf.shape]) for j, leaf in enumerate(leaves)]),
        (by_rows, (3,), [
            getattr(noise, f"{leaf.kind}_rows")(seeds, leaf.shape, noise.CHAIN * 2**32 + 2 * len(leaves) + j)
            for j, leaf in enumerate(leaves)
        ]),
    ):  # fmt: skip
        assert tf.nest.map_structure(lambda x: 0, filled) == tf.nest.map_structure(lambda leaf: 0, nest)
        found = tf.nest.flatten(filled)
        assert [x.shape for x in found] == [(*leading, *leaf.shape) for leaf in leaves]
        for x, expected in zip(found, draws, strict=True):
            np.testing.assert_array_equal(x, expected)
        first_numbers = [np.ravel(x)[0] for x in found]
        assert len(set(first_numbers)) == len(first_numbers)
    alone = tf.nest.flatten(noise.of_rows(nest, seeds[1:2], noise.CHAIN, 2))
    for x, of_one in zip(tf.nest.flatten(by_rows), alone, strict=True):
        np.testing.assert_array_equal(x[1], of_one[0])
        np.testing.assert_array_equal(x[0], x[2])
        assert np.all(x[0] != x[1])


def test_no_two_draws_share_a_stream():
    uses = [noise.LATENT, noise.POSTERIOR, noise.LIKELIHOOD, noise.CHAIN, noise.BOUND, noise.BINARIZATION]
    indices = [0, 1, 2, 999, 2**31, 2**32 - 1]
    streams = [noise.stream(use, index) for use in uses for index in indices]
    assert len(set(streams)) == len(streams) and min(streams) == 0 and max(streams) < 2**63
    again = [noise.stream(use, tf.constant(index, tf.int64)) for use in uses for index in indices]
    assert [int(stream) for stream in again] == streams
