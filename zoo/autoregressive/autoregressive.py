"""What autoregressive models have in common: each pixel has a distribution given those before it, in some order.

    log p(x)  =  sum_i log p(x_i | x_before(i))                                   of one order, or mask
    log p(x)  =  log 1/K sum_k p_k(x)                                             of several, k = 1 ... K

It is exact: nothing is bounded, and no latent variable integrated. Samples are drawn one pixel after the other.

Notation:

    x    data, [batch, *data_shape], pixels in [0, 1]; flat, [batch, D]
    k    number of a mask, whose order has x_i in the place orders[k, i] of 0 ... D - 1
    p    `tfd.Distribution` of pixels, given those before

The mean over masks is one of probabilities, not of logits: a draw of it is one by a mask that is drawn first.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
import tensorflow as tf

from common.graph import graph, of_each
from zoo.configuration import Argument
from zoo.game import Game
from zoo.parts import distributions, levels, noise


class Walk(NamedTuple):
    """A model as draws use it, from one pixel to the next; each row has a pixel of its own, int [batch], at each place.

    start: a nest of tensors [batch, ...], what is kept of the pixels seen, of which there are none yet.
    parameters(state, place, pixel): those of the distribution of the pixel in this place, [batch, num_parameters], and
        the state, in which there may be more now.
    seen(state, place, pixel, value): the state after that pixel was seen, whose values are [batch].
    """

    start: Any
    parameters: Callable
    seen: Callable


class Autoregressive(Game):
    """A subclass has `orders`, ints [K, D], and, for flat x, `log_probs` and `walk`.

    Of a model that is told the classes of rows, both take y [batch, condition_size] after k, and p is p(x|y).

        log_probs(x, k): log p_k(x_i | x_before(i)) in nats [batch, D] under mask k, an int or scalar tensor.
        walk(k): the `Walk` of rows whose masks are k [batch], in float64: draws are thresholds, which a rounding error
            that depends on the batch could cross.

    A class attribute that it may set:
        num_masks: K, how many masks there are; also an argument.
    """

    shared_arguments = Game.shared_arguments | {
        "likelihood": Argument(Literal["bernoulli", *levels.FAMILIES], "bernoulli", 'p(x_i|x_before): "bernoulli" for '
                               "data in [0, 1], of which only 0 and 1 have a probability; or, of grey levels of "
                               'images, "categorical", "binomial", "poisson" or "discretized_logistic".'),
        "order": Argument(Literal["natural", "random"], "natural", 'the order of the pixels: "natural" by lines, from '
                          'the upper left, or "random", by the seed.'),
    }  # fmt: skip
    default_optimizers = {"conditionals": {"optimizer": "adam", "learning_rate": 1e-3}}
    data_range = (0.0, 1.0)
    num_masks = 1

    def check_arguments(self):
        if self.support == "levels" and self.data_name != "images":
            raise ValueError(f"points have no grey levels for the likelihood {self.likelihood}: choose bernoulli.")

    @property
    def moves(self):
        return {"conditionals": [self.conditionals]}

    @property
    def size(self):
        return math.prod(self.data_shape)  # D

    @property
    def family(self):
        """The `distributions.Likelihood` that each p(x_i|x_before) is of."""
        return distributions.likelihood(self.likelihood, self.num_levels)

    @property
    def support(self):
        return self.family.support

    # --- Learning ----------------------------------------------------------------------------------------------------

    def of_pixels(self, x, parameters):
        """log p of flat x [batch, D] by parameters [batch, num_parameters, D] of its pixels: nats [batch, D]."""
        of_each = tf.reshape(tf.linalg.matrix_transpose(parameters), [-1, self.size, self.family.num_parameters])
        return self.family.density(of_each).log_prob(x[..., None])

    def log_prob_of_mask(self, k, x, *y):
        """log p_k(x) in nats [batch], for x [batch, *data_shape]."""
        return tf.reduce_sum(self.log_probs(tf.reshape(x, [-1, self.size]), k, *y), axis=-1)

    def exact_log_prob(self, x, *y):
        """log p(x) in nats [batch], for x [batch, *data_shape]: of several masks that of the mean of their p_k(x)."""
        log_p = self.of_masks(lambda k: self.log_prob_of_mask(k, x, *y))
        return tf.reduce_logsumexp(log_p, axis=0) - math.log(self.num_masks)

    def of_masks(self, function):
        """What a function of k gives, float32 [batch], of one mask after the other: [K, batch]."""
        if self.num_masks == 1:
            return function(0)[None]
        return of_each(function, tf.range(self.num_masks))

    def train_step(self, data):
        k = 0 if self.num_masks == 1 else self.step.value % self.num_masks
        self.minimize(lambda: {"conditionals": -self.log_prob_of_mask(k, *self.of_data(data))})
        return self.next_step()

    def test_step(self, data):
        self.track({"conditionals": -self.exact_log_prob(*self.of_data(data))})
        return self.logs()

    # --- Serving -----------------------------------------------------------------------------------------------------

    @functools.cached_property
    def draws_in_graph(self):
        """`draws_and_means` as a graph: what draws has it once, and one by one its operations would take far longer."""
        return graph(self.draws_and_means)

    def draws_and_means(self, seeds, *y, x=None, known=None):
        """A draw, and the mean of each of its pixels' distributions given those before: both float32 [batch, D].

        Each pixel takes one uniform number, by the inverse of its distribution function. Where bool `known` [batch, D]
        is given, its pixels are those of x.
        """
        k = self.mask_of_rows(seeds, x, known, *y)
        uniform = noise.uniform_rows(seeds, self.size, noise.stream(noise.LIKELIHOOD))
        pixels, walk = tf.gather(np.argsort(self.orders).astype(np.int32), k), self.walk(k, *y)

        def step(place, state, draw, mean):
            pixel = pixels[:, place]
            here = tf.range(self.size) == pixel[:, None]
            parameters, state = walk.parameters(state, place, pixel)
            p = self.family.density(parameters)
            values = self.family.quantile(p, uniform[:, place, None]), tf.cast(p.mean(), tf.float32)
            if known is not None:
                values = [tf.where(known, x, value) for value in values]
            draw, mean = (tf.where(here, value, rows) for value, rows in zip(values, (draw, mean), strict=True))
            value = tf.reduce_sum(tf.where(here, draw, 0.0), axis=1)
            return place + 1, walk.seen(state, place, pixel, value), draw, mean

        none = tf.zeros_like(uniform)
        _, _, *found = tf.while_loop(lambda place, *_: place < self.size, step, [0, walk.start, none, none])
        return found

    def mask_of_rows(self, seeds, x, known, *y):
        """The number of the mask that each row is drawn by, int [batch], as p(k) or p(k | leading known pixels) has it.

        All masks are as probable a priori. Pixels that are known tell of k, which is told apart only where all masks
        have one order, and the known pixels in question come before all others in it.
        """
        log_p = tf.zeros([self.num_masks, tf.shape(seeds)[0]])
        if known is not None and self.num_masks > 1 and self.order == "natural":
            leading = tf.math.cumprod(tf.cast(known, tf.float32), axis=1) > 0.0
            log_p = self.of_masks(lambda k: tf.reduce_sum(tf.where(leading, self.log_probs(x, k, *y), 0.0), axis=1))
        below = tf.cumsum(tf.nn.softmax(log_p, axis=0))[:-1] <= noise.uniform_rows(seeds, 1, noise.LATENT)[:, 0]
        return tf.reduce_sum(tf.cast(below, tf.int32), axis=0)

    def sample(self, seeds, **label):
        """A draw x ~ p(x) for each int64 seed [batch]."""
        return self.served_rows(self.draws_in_graph(seeds, *self.conditions(**label))[0])

    def sample_mean(self, seeds, **label):
        """The means that `sample` draws its pixels round, each given the pixels drawn before; no mean of p(x)."""
        return self.served_rows(self.draws_in_graph(seeds, *self.conditions(**label))[1])

    def served_rows(self, flat):
        return self.to_served(tf.reshape(flat, [-1, *self.data_shape]))

    def inpaint(self, x, known, seeds, **label):
        """Completes served data x, of which bool `known`, of its shape, says what is given; row i draws by seeds[i].

        What is missing is drawn in the order, each pixel given those before it, known and drawn. That is a draw of
        p(missing | known) where the known pixels come first in the order, as the upper half of a picture does in the
        natural one; else a known pixel tells nothing of the missing ones before it. Of several masks with random orders
        it is by any of them.

        Returns:
            The draw, and the means of its pixels given those before; both are x where it is known.
        """
        x, known = (tf.reshape(each, [-1, self.size]) for each in (self.from_served(x), known))
        found = self.draws_in_graph(seeds, *self.conditions(**label), x=x, known=known)
        return [self.served_rows(rows) for rows in found]

    def log_prob(self, x, **label):
        """log p(x) of served data in nats, exactly; of grey levels that of those next to the pixels."""
        return {"log_prob": self.exact_log_prob(self.from_served(x), *self.conditions(**label))}

    def signatures(self):
        return super().signatures() | self.score_signature() | self.inpaint_signature()
