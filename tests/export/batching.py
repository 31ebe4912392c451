"""Requests of many clients that TensorFlow's own batching kernel merges, as it does in TensorFlow Serving."""

import concurrent.futures

import numpy as np
import tensorflow as tf

from tests.export.exported import Loaded, assert_same

REQUESTS, THREADS, MOST_ROWS = 200, 24, 64


def batching(core, name):
    """A signature behind TensorFlow's batching kernel: a function of inputs to (answers, rows of the merged batch)."""
    signature, specs = core.loaded.signatures[name], core.specs(name)
    outputs = sorted(signature.structured_outputs)

    @tf.nondifferentiable_batch_function(2, MOST_ROWS, batch_timeout_micros=20_000, max_enqueued_batches=1000)
    def merged(*values):
        answers = signature(**dict(zip(specs, values, strict=True)))
        return [*(answers[key] for key in outputs), tf.fill(tf.shape(values[0])[:1], tf.shape(values[0])[0])]

    @tf.function(input_signature=list(specs.values()))
    def batched(*values):
        with tf.name_scope(name):  # requests with the same scope meet in one queue
            return merged(*values)

    def ask(inputs):
        *answers, rows = batched(*(tf.constant(inputs[key]) for key in specs))
        return {key: value.numpy() for key, value in zip(outputs, answers, strict=True)}, rows.numpy()

    return ask


def spoil(inputs, num_classes):
    """Makes the middle row of inputs bad; returns which are still good, all where a row can not be bad."""
    good = np.full(len(next(iter(inputs.values()))), True)
    for key, value in inputs.items():
        if key != "seed":
            good[len(good) // 2] = False
            value[len(good) // 2] = num_classes if key == "label" else np.nan
            break
    return good


def batched_with_strangers(version, num_classes):
    """200 requests of 1 to 8 rows from 24 threads get, merged, the answers that they get alone; bad rows are theirs."""
    core = Loaded(version, num_classes)
    rng = np.random.default_rng(1)
    for name in sorted({*core.loaded.signatures} - {"serving_default"}):  # the default is one of the others
        ask = batching(core, name)
        requests, goods = [], []
        for i in range(REQUESTS):
            requests.append(core.rows(name, rng.integers(1, 9), rng))
            rows = len(next(iter(requests[-1].values())))
            goods.append(spoil(requests[-1], num_classes) if i % 10 == 0 else np.full(rows, True))
        ask(requests[0]), core.call(name, requests[0])  # or else every thread would prepare the function
        with concurrent.futures.ThreadPoolExecutor(THREADS) as threads:
            answers = list(threads.map(ask, requests))
            alone = list(threads.map(lambda inputs: core.call(name, inputs), requests))
        merged = 0
        for expected, good, (answer, batch) in zip(alone, goods, answers, strict=True):
            assert_same(answer, expected, 1e-5, pixel_tolerance=1)
            if "valid" in answer:
                np.testing.assert_array_equal(answer["valid"], good)
            assert (batch <= MOST_ROWS).all()
            merged += (batch > len(good)).any()
        assert merged > REQUESTS / 2, name
