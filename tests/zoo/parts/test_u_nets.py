"""Networks of two images: the fields that patches see, skips that reach, and their layers against the paper's."""

import numpy as np
import pytest
import tensorflow as tf

from zoo.parts import u_nets


@pytest.mark.parametrize("num_strides, field", [(1, 16), (2, 34), (3, 70)])
def test_the_sides_of_patches(num_strides, field):
    """Isola et al. 2017, section 6.1.2: PatchGANs of 16 and 70 pixels."""
    network = u_nets.patch_discriminator((112, 112, 1), filters=1, num_strides=num_strides)
    for w in network.weights:
        w.assign(tf.abs(w) + 0.1)  # so that no unit is off and no two paths cancel
    x = tf.Variable(tf.ones([1, 112, 112, 1]))
    with tf.GradientTape() as tape:
        output = network(x)[-1]
        middle = output.shape[1] // 2
        logit = output[0, middle, middle, 0]
    seen = np.abs(tape.gradient(logit, x)[0, ..., 0]) > 0
    assert seen.any(0).sum() == seen.any(1).sum() == field and seen.sum() == field**2
    assert len(network.outputs) == num_strides + 2 and output.shape[1] == 112 // 2**num_strides


@pytest.mark.parametrize("side, num_halvings, sides", [(28, 0, [14, 7]), (28, 3, [14, 7, 4]), (64, 0, [32, 16, 8, 4])])
def test_a_u_net_goes_down_and_up_through_the_same_sides(side, num_halvings, sides):
    network = u_nets.u_net((side, side, 2), 3, vector_size=5, filters=2, num_halvings=num_halvings)
    assert network.output_shape == (None, side, side, 3)
    layers = {"Conv2D": [], "Conv2DTranspose": [], "BatchNormalization": []}
    for layer in network.layers:
        layers.get(type(layer).__name__, []).append(layer.output.shape[1:])
    widths = [2 * min(2**i, 8) for i in range(len(sides))]
    assert layers["Conv2D"] == [(s, s, width) for s, width in zip(sides, widths, strict=True)]
    assert [shape[2] for shape in layers["Conv2DTranspose"]] == [*reversed(widths[:-1]), 3]
    assert len(layers["BatchNormalization"]) == 2 * (len(sides) - 1)
    joined = [la.output.shape[1:] for la in network.layers if type(la).__name__ == "Concatenate"]
    skips = [(s, s, 2 * width) for s, width in zip(sides[-2::-1], widths[-2::-1], strict=True)]
    assert joined == [(sides[-1], sides[-1], widths[-1] + 5), *skips]


def test_without_a_vector_it_is_a_function_of_the_image():
    network = u_nets.u_net((8, 8, 1), 1, filters=2, num_halvings=2, output_activation="tanh")
    y = network(np.random.default_rng(0).normal(size=[4, 8, 8, 1]))
    assert len(network.inputs) == 1 and y.shape == (4, 8, 8, 1) and np.abs(y).max() <= 1.0
