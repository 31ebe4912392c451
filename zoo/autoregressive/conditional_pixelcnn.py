"""The conditional PixelCNN: the network of `pixelcnn.py` is told the class of x by y, the one-hot vector of its label.

    log p(x|y) = sum_i log p(x_i | x_<i, y)

What a convolution gives before its activation is moved by V y, the same at all pixels: in every layer of both stacks of
the gated network (van den Oord et al. 2016b, equation 4), and in that of n x n in each block of the plain one.

Other notation and departures are those of `pixelcnn.py`.
"""

from zoo.autoregressive.pixelcnn import PixelCNN
from zoo.conditional import Conditional


class ConditionalPixelCNN(Conditional, PixelCNN):
    """Conditional PixelCNN, for images with class labels (van den Oord et al. 2016).

    Args:
        num_classes: int, labels are 0 ... num_classes - 1.

    Example:

        model = ConditionalPixelCNN(data_shape=(28, 28, 1), num_classes=10)
        model.compile()
        model.fit(x, label, batch_size=32, epochs=10)  # x: [n, 28, 28, 1], zeros and ones, label: int64 [n]
        images = model.sample(tf.range(8, dtype=tf.int64), label=tf.fill([8], tf.constant(3, tf.int64)))

    Reference:
        A. van den Oord, N. Kalchbrenner, O. Vinyals, L. Espeholt, A. Graves and K. Kavukcuoglu. Conditional image
        generation with PixelCNN decoders. NeurIPS 2016. arXiv:1606.05328, equations 3 and 4.
    """

    def __init__(
        self, *, data_shape, num_classes, likelihood, num_levels, gated: bool = True, filters, num_blocks, kernel_size,
        first_kernel_size, output_filters, seed, name,
    ):  # fmt: skip
        super(PixelCNN, self).__init__(locals())  # whose own constructor knows no classes
