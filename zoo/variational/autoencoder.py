"""What variational autoencoders have in common: an encoder q(z|x), a decoder p(x|z), a prior p(z), and their bounds.

    log p(x)  >=  E_{q(z|x)}[log w],   w = p(x|z) p(z) / q(z|x)

Notation:

    x    data, [batch, *data_shape], pixels in [0, 1]
    z    latent, [..., batch, latent_size]
    q    posterior, an object of `zoo/parts/posteriors.py`
    p    likelihood, a `tfd.Distribution` of x
"""

from typing import Literal

import keras
import numpy as np
import tensorflow as tf

from zoo.configuration import Argument
from zoo.game import Game
from zoo.parts import distributions, estimators, flows, networks, noise
from zoo.parts.posteriors import Flow, Gaussian


class Autoencoder(Game):
    """An encoder and a decoder; a subclass says by `q` what the posterior is, and what it learns by if not its bound.

    Class attributes that a subclass may set:
        encodes_by_draws: whether `encode` draws z from q, because q has no mean that could be computed, as a flow's.
        has_proposal: whether there is a density near q(z|x) to propose z, without which no bound is known.
        infers: whether q(z|x) is to be near p(z|x), so that `inpaint` can draw by it.
        proposes_by_q: whether that is q(z|x) itself, so that the mean of log-weights is the model's ELBO.
    """

    shared_arguments = Game.shared_arguments | {
        "likelihood": Argument(distributions.LikelihoodName, "bernoulli", 'p(x|z): "bernoulli" for data in [0, 1], of '
                               'which only 0 and 1 have a probability; "gaussian"; or, of grey levels of images, '
                               '"binomial", "poisson", "discretized_logistic" or "categorical".'),
        "likelihood_variance": Argument(float, 0.0, "float, the variance of every number under a gaussian likelihood; "
                                        "0 for one each, which the decoder gives."),
        "inpaint_steps": Argument(int, 100, "int, draws of z and x, in turns, behind each row that the exported "
                                  "`inpaint` completes."),
        "posterior": Argument(Literal["gaussian", *flows.FLOWS], "gaussian", 'q(z|x): "gaussian", or a flow of one: '
                              '"planar", "radial", "householder", "coupling" (NICE), "iaf" (inverse autoregressive).'),
        "num_flow_steps": Argument(int, 10, "int, T, the steps of the flow."),
        "flow_units": Argument(tuple[int, ...], (64,), "tuple of ints, widths of the hidden layers of each step "
                               "(coupling, iaf)."),
        "log_prob_samples": Argument(int, 100, "int, draws of z behind each row that the exported `log_prob` scores."),
        "estimator": Argument(Literal[tuple(estimators.ESTIMATORS)], "elbo", '"elbo" (by the analytic KL where q has '
                              'one), "iwae" or "jvi", what is maximised.'),
        "jackknife_order": Argument(int, 1, 'int >= 0 and below num_samples, m, the order of "jvi"; 0 is "iwae".'),
        "num_samples": Argument(int, 1, "int, K, draws of z for each example."),
        "beta": Argument(float, 1.0, "float >= 0, the weight of the KL term (elbo); 1 is a bound on log p(x)."),
    }  # fmt: skip
    default_optimizers = {"autoencoder": {"optimizer": "adam", "learning_rate": 1e-3}}
    metric_names = ("reconstruction", "kl")
    draws = ("epsilon",)
    latent_prior = distributions.PRIORS["normal"]
    posterior, estimator, num_samples, jackknife_order, beta = "gaussian", "elbo", 1, 1, 1.0
    condition_size = 0
    zero_allowed = (*Game.zero_allowed, "jackknife_order")
    has_proposal = proposes_by_q = infers = True

    def check_arguments(self):
        if self.support == "levels" and self.data_name != "images":
            raise ValueError(f"points have no grey levels, as the likelihood {self.likelihood} needs: choose gaussian.")
        if self.likelihood_variance and self.likelihood != "gaussian":
            raise ValueError(f"likelihood_variance is a gaussian's: leave it at 0 with {self.likelihood}.")
        if self.posterior == "coupling" and self.latent_size < 2:
            raise ValueError("posterior=coupling moves one half of z by the other: latent_size must be at least 2.")
        if self.estimator != "elbo" and self.beta != 1.0:
            raise ValueError(f"beta={self.beta:g} weighs the KL, which {self.estimator} has no term of: choose elbo.")
        if self.estimator == "jvi" and self.num_samples <= self.jackknife_order:
            needed = f"estimator=jvi with jackknife_order={self.jackknife_order} leaves so many draws out"
            raise ValueError(f"{needed}: num_samples must be greater, but is {self.num_samples}.")

    # --- Networks ----------------------------------------------------------------------------------------------------

    def make_networks(self):
        """Builds `encoder`, which gives a Gaussian and what a flow takes, the flow's networks, and `decoder`."""
        size, self.flow, self.flow_networks = 2 * self.latent_size, None, []
        if self.posterior != "gaussian":
            self.flow = flows.FLOWS[self.posterior](self.latent_size, self.num_flow_steps, self.flow_units)
            size, self.flow_networks = size + self.flow.num_parameters, self.flow.networks
        if self.condition_size:
            self.encoder = self.network_of_x_and(self.condition_size, networks.mlp, self.hidden_units, size)
        else:
            self.encoder = self.network_of_x(size)
        self.decoder = self.network_of_z()

    @property
    def moves(self):
        return {"autoencoder": [self.encoder, *self.flow_networks, self.decoder]}

    def network_of_x(self, output_size):
        """A network from x to vectors [batch, output_size]."""
        f = self.activation
        if self.network == "mlp":
            return networks.mlp(self.data_shape, self.hidden_units, (output_size,), activation=f)
        return networks.convolutional_encoder(self.data_shape, output_size, filters=self.filters, activation=f)

    def network_of_x_and(self, size, make, units, output_size):
        """A network, as `make` gives it, of [x, a vector of `size`], x flat or seen through convolutions."""
        x, vector = keras.Input(self.data_shape), keras.Input((size,))
        if self.network == "convolutional" and not self.hidden_units:
            raise ValueError("hidden_units must not be empty: the first is the width of what convolutions see of x.")
        flatten = keras.layers.Flatten(data_format="channels_last")
        seen = flatten if self.network == "mlp" else self.network_of_x(self.hidden_units[0])
        both = keras.layers.Concatenate()([seen(x), vector])
        network = make(both.shape[1:], units, (output_size,), activation=self.activation)
        return keras.Model([x, vector], network(both))

    def network_of_z(self, size=None):
        """The decoder's network, from z and y, or a vector of another size, to the parameters of p(x|z)."""
        size = size or self.latent_size + self.condition_size
        num_parameters = self.family.num_parameters
        output_shape, f = (*self.data_shape[:-1], num_parameters * self.data_shape[-1]), self.activation
        if self.network == "mlp":
            return networks.mlp((size,), self.hidden_units[::-1], output_shape, activation=f)
        return networks.convolutional_decoder(size, output_shape, filters=self.filters, activation=f)

    def begin_at(self, mean):
        """Gives the decoder's output biases by which, without its weights, x has the mean [*data_shape] in [0, 1].

        Raises:
            ValueError: unless x is binary and the network an mlp, whose output has a bias for each pixel.
        """
        if self.support != "binary" or getattr(self, "network", "mlp") != "mlp":
            raise ValueError("the output has no bias for each pixel: choose likelihood=bernoulli, network=mlp.")
        p = np.clip(np.ravel(mean), 0.001, 0.999)  # as in the code of Burda et al. 2016
        self.decoder.weights[-1].assign(np.log(p / (1.0 - p)))

    # --- Densities ---------------------------------------------------------------------------------------------------

    @property
    def data_range(self):
        return (0.0, 1.0) if self.support == "binary" else super().data_range

    @property
    def family(self):
        """The `distributions.Likelihood` that p(x|z) is of."""
        return distributions.likelihood(self.likelihood, self.num_levels, self.likelihood_variance)

    @property
    def support(self):
        return self.family.support

    @property
    def prior(self):
        """The density p(z) of one vector."""
        return self.latent_prior.density(self.latent_size)

    def q(self, x, *y, training=False):
        """The posterior q(z|x), of a model of rows of a class q(z|x, y)."""
        told = [networks.of_x_and_vectors(self.encoder, x, each, training) for each in y]
        (parameters,) = told or [self.encoder(x, training=training)]
        if self.posterior == "gaussian":
            return Gaussian.of(parameters)
        of_base, of_flow = tf.split(parameters, [2 * self.latent_size, self.flow.num_parameters], axis=-1)
        return Flow(Gaussian.of(of_base), self.flow.bijection(of_flow).forward)

    def p(self, z, *y, training=False):
        """The likelihood p(x|z), or p(x|z, y), for z [..., latent_size]."""
        z = tf.concat([z, *(tf.broadcast_to(each, [*tf.unstack(tf.shape(z)[:-1]), each.shape[-1]]) for each in y)], -1)
        parameters = networks.over_leading_axes(self.decoder, z, training=training)
        return self.family.density(parameters, event_ndims=len(self.data_shape))

    def proposal(self, x, *y):
        """What importance samples of z come from, a posterior with a density: q(z|x)."""
        return self.q(x, *y)

    def log_joint(self, x, z, *y):
        """log p(x, z) = log p(x|z) + log p(z) in nats [..., batch]; given y, where there is one."""
        return self.p(z, *y).log_prob(x) + self.prior.log_prob(z)

    def log_weight(self, x, q, epsilon, *y):
        """log w = log p(x, z) - log q(z|x) in nats [..., batch], z drawn from q by the noise `epsilon`.

        Whatever q is, `elbo` and `iwae` of them are at most log p(x) in the mean (Burda et al. 2016, section 3); `jvi`
        is an estimate, no bound.
        """
        z, log_q = q.draw(epsilon)
        return self.log_joint(x, z, *y) - log_q

    def log_weights(self, x, num_samples, *y):
        """`log_weight` of fresh draws from the proposal, [num_samples, batch]."""
        q = self.proposal(x, *y)
        return self.log_weight(x, q, self.draw_noise(q, [num_samples, tf.shape(x)[0]]), *y)

    def draw_noise(self, q, leading, name="epsilon"):
        """The noise of draws [*leading] from q, by the keys of this name."""
        return noise.of_keys(q.noise, leading, lambda j: self.key(name, j))

    # --- Learning ----------------------------------------------------------------------------------------------------

    def more_divergence(self, q, z, log_qz):
        """What a model adds to the KL, nats [K, batch] of draws z from q, and what of it is logged, a dict."""
        return 0.0, {}

    def negative_bound(self, x, *y, training):
        """Minus the bound that is maximised, over K draws of z, and its two terms, each in nats [batch].

        Where q has auxiliary variables, its log q(z|x) and the term `kl` have their cost in them.
        """
        q = self.q(x, *y, training=training)
        z, log_qz = q.draw(self.draw_noise(q, [self.num_samples, tf.shape(x)[0]]))
        log_px = self.p(z, *y, training=training).log_prob(x)
        log_ratio = self.prior.log_prob(z) - log_qz
        if hasattr(q, "kl"):  # the expectation of log p(z) - log q(z|x) is known then: it is -KL
            kl = q.kl(self.latent_prior)
            log_ratio = -kl if self.estimator == "elbo" else log_ratio
        else:
            kl = -tf.reduce_mean(log_ratio, axis=0)
        more, logged = self.more_divergence(q, z, log_qz)
        estimate = estimators.estimator(self.estimator, self.jackknife_order)
        bound = estimate(log_px + self.beta * (log_ratio - more))
        return {"autoencoder": -bound, "reconstruction": -tf.reduce_mean(log_px, axis=0), "kl": kl, **logged}

    def train_step(self, data):
        self.minimize(lambda: self.negative_bound(*self.of_data(data), training=True))
        return self.next_step()

    def test_step(self, data):
        self.track(self.negative_bound(*self.of_data(data), training=False))
        return self.logs()

    # --- Serving -----------------------------------------------------------------------------------------------------

    @property
    def encodes_by_draws(self):
        return self.posterior != "gaussian"

    def decode(self, z, **label):
        return self.to_served(self.p(z, *self.conditions(**label)).mean())

    def sample(self, seeds, **label):
        """A draw x ~ p(x|z), z ~ p(z), for each int64 seed [batch], as it is served: pixels are clipped to [0, 1]."""
        p = self.p(self.latent(seeds), *self.conditions(**label))
        return self.to_served(self.family.rows(p, seeds))

    def sample_mean(self, seeds, **label):
        """The mean of p(x|z), z ~ p(z), for each int64 seed [batch]: what `sample` scatters round."""
        return self.decode(self.latent(seeds), **label)

    def encode(self, x, seeds=None, **label):
        """Mean and log-variance of q(z|x) for served data x; of a q without a mean a draw, row i by seeds[i] alone."""
        return self.q(self.from_served(x), *self.conditions(**label)).encoding(seeds)

    def inpaint(self, x, known, seeds, **label):
        """Completes served data x, of which bool `known`, of its shape, says what is given; row i draws by seeds[i].

        A chain from the sample of the seed: z ~ q(z|x), then of p(x|z) what is missing, `inpaint_steps` times. Were q
        the exact posterior, it would be Gibbs sampling of p(missing | known); where it is near, so is what the chain
        converges to (Rezende et al. 2014, arXiv:1401.4082, appendix F). Two batches may round a probability to two
        sides of a uniform number, in one of ten million draws, and part there.

        Returns:
            The last draw of x, and the mean of p(x|z) that it is of; both are x where it is known.
        """
        given, y = self.from_served(x), self.conditions(**label)

        def completed(values):
            return tf.where(known, given, values)

        def step(k, x, mean):
            q = self.q(x, *y)
            z, _ = q.draw(noise.of_rows(q.noise, seeds, noise.INPAINTING, k))
            p = self.p(z, *y)
            draw = self.family.rows(p, seeds, noise.stream(noise.COMPLETION, k))
            return k + 1, completed(draw), completed(p.mean())

        first = self.p(self.latent(seeds), *y)
        start = completed(self.family.rows(first, seeds)), completed(first.mean())
        _, *found = tf.while_loop(lambda k, *_: k < self.inpaint_steps, step, [0, *start])
        return [self.to_served(values) for values in found]

    def log_prob(self, x, seeds, **label):
        """Bounds on log p(x) of served data, in nats, the ELBO and the importance-weighted; row i draws by seeds[i].

        Under grey levels log p(x) is that of the levels next to the pixels. Grey pixels have no probability under a
        Bernoulli likelihood: in place of log p(x|z) stands minus their cross-entropy then, and what is bounded is no
        log-probability. A Gaussian one scores pixels as they are given, not dequantised.
        """
        x, y = self.from_served(x), self.conditions(**label)
        q = self.proposal(x, *y)

        def log_weight(draw):
            return self.log_weight(x, q, noise.of_rows(q.noise, seeds, noise.BOUND, draw), *y)

        bounds = estimators.bounds_of_rows(log_weight, self.log_prob_samples)
        return bounds if self.proposes_by_q else {"log_prob_lower_bound": bounds["log_prob_lower_bound"]}

    def signatures(self):
        def log_prob(seed, **inputs):
            return self.log_prob(inputs.pop(self.data_name), seed, **inputs)

        signatures = super().signatures() | self.encoder_signatures(self.encodes_by_draws)
        signatures |= self.inpaint_signature() if self.infers else {}
        scores = {"log_prob": (log_prob, self.data_spec | self.seed_spec | self.label_spec)}
        return signatures | (scores if self.has_proposal else {})
