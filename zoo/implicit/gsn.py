"""Generative stochastic networks: a Markov chain whose step is learned, so that its draws are those of the data.

A step of the chain, and what is maximised, with x_0 = x a row of data (Bengio et al. 2014; walkback, K > 1: the same
row is to be found again from wherever the chain has gone):

    x~ ~ C(x~|x),   h ~ f(x~, h),   x ~ p(x|h_1)                             h = (h_1 ... h_L), at first 0
    max_theta  E_data sum_{k=1..K} log p(x_0|h_1 after k steps)

With one hidden layer, and p(x|h_1) = P(x|h_1), the share of x among the data that became h_1, the chain leaves the
distribution of the data as it is: of data x and their h_1 first one is drawn anew given the other, then the other given
it (Bengio et al. 2013). With K > 1 what x became h_1 by is a mixture of up to K steps of the chain, which has the same
stationary distribution as one.

Two things keep p(x|h_1) from that. The numbers in x are independent under it: the chain is off by what they are not
under P, the more the farther x has been corrupted. And where there are layers above the first, which remember earlier
steps, it is learned within K steps of h = 0, but used after many.

The hidden layers are swept as those of a deep Boltzmann machine are, those of odd number first:

    h_1 = tanh(a_1),   h_i = tanh(a_i + s eta) + s eta', i > 1,   a_i = b_i + h_{i-1} W_i + h_{i+1} W_{i+1}^T,  h_0 = x~

Notation:

    x, x~     state of the chain, and what corruption has left of it, [batch, *data_shape]
    C         salt and pepper: each pixel becomes 0 or 1, each with probability `corruption` / 2, else stays what it is;
              of a gaussian likelihood x~ = x + `corruption` eta
    h         hidden units, a list of [batch, n_i]; eta, eta' standard normal noise of these shapes, s = `hidden_noise`
    p         likelihood, a `tfd.Distribution` of x, by parameters c + h_1 V

With one hidden layer h is a function of x~ alone, without noise: a generalised denoising autoencoder.

Departures from the paper: V is no transpose of W_1, so that any likelihood will do; Adam in place of stochastic
gradient descent with momentum; the chain is served from a draw of p(x|h_1 = 0) in place of a row of data. It computes
in float32, and the served chain in float64.
"""

import itertools
import math
from typing import NamedTuple

import keras
import tensorflow as tf

from zoo.game import Game
from zoo.parts import distributions, noise
from zoo.parts.boltzmann import Machine, layer_input
from zoo.parts.layers import Numbers
from zoo.parts.noise import Noise


class State(NamedTuple):
    """Of chains: x [batch, *data_shape], the mean of p that it was drawn from, and h."""

    x: tf.Tensor
    mean: tf.Tensor
    h: list


class Draws(NamedTuple):
    """The noise of one step, or what a row of it takes: of x~, of each hidden layer above the first, and of x."""

    x_tilde: Noise
    h: list
    x: Noise


class GSN(Game):
    """Generative stochastic network (Bengio et al. 2014), with one hidden layer a denoising autoencoder.

    Args:
        likelihood: p(x|h_1): "bernoulli" for data in [0, 1]; "gaussian"; or, of grey levels of images, "binomial",
            "poisson", "discretized_logistic" or "categorical".
        hidden_units: tuple of ints, n_1 ... n_L.
        corruption: float > 0, the probability that a pixel is replaced by black or white; of a gaussian likelihood, the
            standard deviation of the noise that is added.
        hidden_noise: float, s, the standard deviation of the noise in hidden layers above the first.
        num_walkback_steps: int, K, steps of the chain from each row of data, of which each is to find the row again.
        num_sample_steps: int, steps of the chain behind each sample.

    Example:

        model = GSN(data_shape=(28, 28, 1))
        model.compile()
        model.fit(x, batch_size=100, epochs=10)  # x: float32 [n, 28, 28, 1], zeros and ones
        images = model.sample(tf.range(64, dtype=tf.int64))

    Reference:
        Y. Bengio, E. Thibodeau-Laufer, G. Alain and J. Yosinski. Deep generative stochastic networks trainable by
        backprop. ICML 2014. arXiv:1306.1091.
        Y. Bengio, L. Yao, G. Alain and P. Vincent. Generalized denoising auto-encoders as generative models. NeurIPS
        2013. arXiv:1305.6663, algorithms 1 and 2.
    """

    default_optimizers = {"transition": {"optimizer": "adam", "learning_rate": 1e-3}}
    metric_names = ("reconstruction",)

    def __init__(
        self, *, data_shape, likelihood: distributions.LikelihoodName = "bernoulli", num_levels,
        hidden_units: tuple[int, ...] = (1000, 1000), corruption: float = 0.4, hidden_noise: float = 2.0,
        num_walkback_steps: int = 6, num_sample_steps: int = 500, seed, name,
    ):  # fmt: skip
        super().__init__(locals())

    def check_arguments(self):
        if self.family.support == "levels" and self.data_name != "images":
            raise ValueError(f"points have no grey levels, as the likelihood {self.likelihood} needs: choose gaussian.")
        if not self.hidden_units:
            raise ValueError("hidden_units must have one number at least: x is found again through a hidden layer.")
        if not self.corruption or (self.corruption > 1.0 and self.family.support != "reals"):
            of_pixels = " and, a probability, at most 1" if self.family.support != "reals" else ""
            raise ValueError(f"corruption must be positive{of_pixels}, not {self.corruption:g}.")

    def make_networks(self):
        size, glorot = math.prod(self.data_shape), keras.initializers.GlorotUniform
        W = [glorot()(shape).numpy() for shape in itertools.pairwise((size, *self.hidden_units))]
        V = glorot()([self.hidden_units[0], size * self.family.num_parameters]).numpy()
        start = {f"W{i}": of_layer for i, of_layer in enumerate(W, start=1)}
        start |= {f"b{i}": 0.0 * of_layer[0] for i, of_layer in enumerate(W, start=1)}
        self.transition = Numbers("transition", V=V, c=0.0 * V[0], **start)

    @property
    def moves(self):
        return {"transition": [self.transition]}

    @property
    def family(self):
        """The `distributions.Likelihood` that p(x|h_1) is of."""
        return distributions.likelihood(self.likelihood, self.num_levels)

    @property
    def data_range(self):
        return (0.0, 1.0) if self.family.support == "binary" else super().data_range

    # --- A step of the chain -----------------------------------------------------------------------------------------

    @property
    def noise_of_step(self):
        of_x = Noise("normal" if self.family.support == "reals" else "uniform", self.data_shape)
        return Draws(of_x, [Noise("normal", (2, n)) for n in self.hidden_units[1:]], of_x)

    def weights_as(self, dtype):
        """The hidden layers, as a `Machine` whose lowest bias is c, and V."""

        def tensor(name):
            return tf.cast(tf.convert_to_tensor(getattr(self.transition, name).value), dtype)

        layers = range(1, len(self.hidden_units) + 1)
        W, b = ([tensor(f"{name}{i}") for i in layers] for name in "Wb")
        return Machine(W, [tensor("c"), *b]), tensor("V")

    def corrupt(self, x, noise):
        """x~ ~ C(x~|x), by noise of the shape of x."""
        if self.family.support == "reals":
            return x + self.corruption * noise
        half = self.corruption / 2.0
        return tf.where(noise < half, 0.0, tf.where(noise < 1.0 - half, x, 1.0))

    def sweep(self, machine, states, eta):
        """[x~, *h] after h has been drawn anew: layers of odd number given those of even number, then these."""
        layers, states = range(1, len(states)), list(states)
        scaled = [tf.unstack(self.hidden_noise * tf.cast(pair, states[1].dtype), axis=1) for pair in eta]
        for i in [*layers[::2], *layers[1::2]]:
            before, after = [(0.0, 0.0), *scaled][i - 1]
            states[i] = tf.tanh(layer_input(machine, states, i) + before) + after
        return states

    def p(self, theta, h):
        """The likelihood p(x|h_1)."""
        machine, V = theta
        shape = [-1, *self.data_shape[:-1], self.data_shape[-1] * self.family.num_parameters]
        return self.family.density(tf.reshape(machine.biases[0] + h[0] @ V, shape), event_ndims=len(self.data_shape))

    def draw(self, p, noise):
        """x ~ p, by noise of its shape."""
        return self.family.quantile(p, noise) if self.family.quantile else p.mean() + p.stddev() * noise

    def step_from(self, theta, x, h, draws):
        """p(x|h_1) after a step from x and h, and h after it."""
        x_tilde = tf.reshape(self.corrupt(x, draws.x_tilde), [-1, math.prod(self.data_shape)])
        _, *h = self.sweep(theta[0], [tf.cast(x_tilde, h[0].dtype), *h], draws.h)
        return self.p(theta, h), h

    def no_h(self, rows, dtype=tf.float32):
        """What h is at first, for as many rows."""
        return [tf.zeros([tf.shape(rows)[0], n], dtype) for n in self.hidden_units]

    # --- Learning ----------------------------------------------------------------------------------------------------

    @property
    def draws(self):
        return ("step",) * (len(tf.nest.flatten(self.noise_of_step)) * self.num_walkback_steps)

    def log_probs(self, x):
        """log p(x_0|h_1) of data x_0 after each of K steps of the chain from them, nats [K, batch]."""
        theta, x_0, h, found = self.weights_as(tf.float32), x, self.no_h(x), []
        num = len(self.draws) // self.num_walkback_steps
        for k in range(self.num_walkback_steps):
            draws = noise.of_keys(self.noise_of_step, [tf.shape(x)[0]], lambda j: self.key("step", num * k + j))
            p, h = self.step_from(theta, x, h, draws)
            found.append(p.log_prob(x_0))
            x = tf.stop_gradient(self.draw(p, draws.x))
        return tf.stack(found)

    def losses(self, x):
        log_p = self.log_probs(x)
        return {"transition": -tf.reduce_sum(log_p, axis=0), "reconstruction": -log_p[0]}

    def train_step(self, x):
        self.minimize(lambda: self.losses(x))
        return self.next_step()

    def test_step(self, x):
        self.track(self.losses(x))
        return self.logs()

    # --- Serving -----------------------------------------------------------------------------------------------------

    def start(self, seeds):
        """The `State` that the chains of these seeds set out from: no h, and x ~ p(x|h_1 = 0)."""
        h = self.no_h(seeds, tf.float64)  # or a rounding error that depends on the batch would lead a row elsewhere
        p = self.p(self.weights_as(tf.float64), h)
        return self.drawn(p, noise.of_rows(self.noise_of_step.x, seeds, noise.LIKELIHOOD), h)

    def next_state(self, state, seeds, k):
        """The `State` after the chains' step number k = 0, 1, ..., an int or scalar tensor, from another."""
        draws = noise.of_rows(self.noise_of_step, seeds, noise.CHAIN, k)
        p, h = self.step_from(self.weights_as(tf.float64), state.x, state.h, draws)
        return self.drawn(p, draws.x, h)

    def drawn(self, p, noise, h):
        return State(self.draw(p, noise), tf.cast(p.mean(), tf.float32), h)

    def end(self, seeds, hold=lambda state: state):
        """The `State` after `num_sample_steps` of the chain, each of which begins with what `hold` makes of it."""

        def step(k, state):
            return k + 1, hold(self.next_state(state, seeds, k))

        return tf.while_loop(lambda k, _: k < self.num_sample_steps, step, [0, hold(self.start(seeds))])[1]

    def sample(self, seeds):
        """The x that a chain ends with, which sets out from a draw of p(x|h_1 = 0)."""
        return self.to_served(self.end(seeds).x)

    def sample_mean(self, seeds):
        """The mean of the p(x|h_1) that `sample` draws from."""
        return self.to_served(self.end(seeds).mean)

    def inpaint(self, x, known, seeds):
        """Completes served data x, of which bool `known`, of its shape, says what is given; row i draws by seeds[i].

        The chain of `sample`, into whose x the known part is put back after each step. Were p(x|h_1), under which
        pixels are independent, the exact P(x|x~), what is missing would converge to a draw given what is known (Bengio
        et al. 2014, proposition 1).

        Returns:
            The last draw of x, and the mean of p(x|h_1) that it is of; both are x where it is known.
        """
        given = self.from_served(x)

        def hold(state):
            x, mean = (tf.where(known, given, values) for values in state[:2])
            return State(x, mean, state.h)

        return [self.to_served(values) for values in self.end(seeds, hold)[:2]]

    def reconstruct(self, x):
        """Means of p(x|h_1), of served data that are taken for corrupted ones, without noise."""
        theta, rows = self.weights_as(tf.float32), tf.reshape(self.from_served(x), [-1, math.prod(self.data_shape)])
        h_1 = tf.tanh(layer_input(theta[0], [rows, *self.no_h(rows)], 1))
        return self.to_served(self.p(theta, [h_1]).mean())

    def signatures(self):
        def reconstruct(**inputs):
            return {self.data_name: self.reconstruct(inputs[self.data_name])}

        return super().signatures() | {"reconstruct": (reconstruct, self.data_spec)} | self.inpaint_signature()
