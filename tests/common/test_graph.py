"""What graphs have once, and what is not rewritten."""

import sys

import numpy as np
import tensorflow as tf

from common.graph import graph, of_each, once


def test_a_graph_has_once_what_it_calls_twice():
    calls = []
    double = once(lambda x: calls.append(1) or 2.0 * x)
    quadruple = graph(lambda x: double(double(x)))
    assert quadruple(tf.constant(3.0)).numpy() == 12.0 and len(calls) == 1
    assert double(tf.constant(3.0)).numpy() == 6.0 and len(calls) == 2  # eagerly as it is


def test_a_function_of_each_row_is_not_rewritten():
    files = []

    def square(x):
        files.append(sys._getframe().f_code.co_filename)
        return x**2

    np.testing.assert_array_equal(of_each(square, tf.constant([1.0, 2.0])), [1.0, 4.0])
    assert set(files) == {__file__}
