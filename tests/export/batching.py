"""Requests of many clients that TensorFlow's own batching kernel merges, as it does in TensorFlow Serving."""

import concurrent.futures
import multiprocessing

import numpy as np
import tensorflow as tf

from common.graph import graph
from tests.export.exported import assert_same, tensors

REQUESTS, THREADS, MOST_ROWS = 20, 20, 64  # of 4 or 5 rows: more than one batch takes


def batching(name, signature):
    """A signature behind TensorFlow's batching kernel: a function of inputs to (answers, rows of the merged batch)."""
    specs, outputs = signature.structured_input_signature[1], sorted(signature.structured_outputs)

    @tf.nondifferentiable_batch_function(2, MOST_ROWS, 20_000, max_enqueued_batches=1000, autograph=False)
    def merged(*values):
        answers = signature(**dict(zip(specs, values, strict=True)))
        return [*(answers[key] for key in outputs), tf.fill(tf.shape(values[0])[:1], tf.shape(values[0])[0])]

    @graph(input_signature=list(specs.values()))
    def batched(*values):
        with tf.name_scope(name):  # requests with the same scope meet in one queue
            return merged(*values)

    def ask(inputs):
        *answers, rows = batched(*(tensors(inputs)[key] for key in specs))
        return {key: value.numpy() for key, value in zip(outputs, answers, strict=True)}, rows.numpy()

    return ask


def ask_merged(version, requests):
    """What requests, dict of signature -> list of inputs, are answered by many threads at once."""
    # To optimise the graphs, which those without Python are, would take a third of the time of this process.
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    loaded, answers = tf.saved_model.load(str(version)), {}
    for name, asked in requests.items():
        ask = batching(name, loaded.signatures[name])
        ask(asked[0])  # or else every thread would prepare the function
        with concurrent.futures.ThreadPoolExecutor(THREADS) as threads:
            answers[name] = list(threads.map(ask, asked))
    return answers


def spoil(inputs, num_classes):
    """Makes the middle row of inputs bad; returns which are still good, all where a row can not be bad."""
    good = np.full(len(next(iter(inputs.values()))), True)
    for key, value in inputs.items():
        if key != "seed":
            good[len(good) // 2] = False
            value[len(good) // 2] = num_classes if key == "label" else np.nan
            break
    return good


def strangers(core):
    """Requests of 1 to 8 rows, some with a bad row: dict, signature -> list of (inputs, which rows are good)."""
    rng, names = np.random.default_rng(1), sorted({*core.signature_def} - {"serving_default"})  # which is one of them
    sizes = rng.integers(1, 9, REQUESTS)
    requests = {name: [(core.rows(name, size, rng), np.full(size, True)) for size in sizes] for name in names}
    for asked in requests.values():
        for i in range(0, REQUESTS, 5):
            inputs, _ = asked[i]
            asked[i] = inputs, spoil(inputs, core.num_classes)
    return requests


def check_alone(answer, alone, good):
    """What a request was answered among others is what it is answered alone; bad rows are its own."""
    assert_same(answer, alone, 1e-5, pixel_tolerance=1)
    np.testing.assert_array_equal(answer.get("valid", good), good)


def merged_by_the_kernel(core):
    """The answers to these requests and the rows of the batch of each: dict, signature -> list of pairs.

    They are merged in a process of its own, because the threads of a batching kernel never rest.
    """
    requests = {name: [inputs for inputs, _ in asked] for name, asked in strangers(core).items()}
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])  # TensorFlow is imported once
    with concurrent.futures.ProcessPoolExecutor(1, context) as process:
        return process.submit(ask_merged, core.version, requests).result()
