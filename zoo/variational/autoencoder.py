"""What variational autoencoders have in common: an encoder q(z|x), a decoder p(x|z), a prior p(z), and their bounds.

    log p(x)  >=  E_{q(z|x)}[log w],   w = p(x|z) p(z) / q(z|x)

Notation:

    x    data, [batch, *data_shape], pixels in [0, 1]
    z    latent, [..., batch, latent_size]
    q    posterior, an object of `zoo/parts/posteriors.py`
    p    likelihood, a `tfd.Distribution` of x
"""

import keras
import tensorflow as tf

from zoo.configuration import Argument
from zoo.game import Game
from zoo.parts import distributions, estimators, networks, noise


class Autoencoder(Game):
    """An encoder and a decoder; a subclass says what they descend and, by `q`, what the posterior is.

    Class attributes that a subclass may set:
        encodes_by_draws: whether `encode` draws z from q, because q has no mean that could be computed.
        has_proposal: whether there is a density near q(z|x) to propose z, without which no bound is known.
        proposes_by_q: whether that is q(z|x) itself, so that the mean of log-weights is the model's ELBO.
    """

    shared_arguments = Game.shared_arguments | {
        "likelihood": Argument(distributions.LikelihoodName, "bernoulli", 'p(x|z): "bernoulli" for data in [0, 1], of '
                               'which only 0 and 1 have a probability; "gaussian"; or, of grey levels of images, '
                               '"binomial", "poisson", "discretized_logistic" or "categorical".'),
        "num_levels": Argument(int, 256, "int >= 2, how many grey levels there are: a pixel x is level "
                               "round((num_levels - 1) x). 17 for the digits."),
        "likelihood_variance": Argument(float, 0.0, "float, the variance of every number under a gaussian likelihood; "
                                        "0 for one each, which the decoder gives."),
        "log_prob_samples": Argument(int, 100, "int, draws of z behind each row that the exported `log_prob` scores."),
    }  # fmt: skip
    latent_prior = distributions.PRIORS["normal"]
    encodes_by_draws = False
    has_proposal = proposes_by_q = True

    def check_arguments(self):
        if self.num_levels < 2:
            raise ValueError(f"num_levels must be at least 2, not {self.num_levels}.")
        if self.support == "levels" and self.data_name != "images":
            raise ValueError(f"points have no grey levels, as the likelihood {self.likelihood} needs: choose gaussian.")
        if self.likelihood_variance and self.likelihood != "gaussian":
            raise ValueError(f"likelihood_variance is a gaussian's: leave it at 0 with {self.likelihood}.")

    # --- Networks ----------------------------------------------------------------------------------------------------

    def network_of_x(self, output_size):
        """A network from x to vectors [batch, output_size]."""
        f = self.activation
        if self.network == "mlp":
            return networks.mlp(self.data_shape, self.hidden_units, (output_size,), activation=f)
        return networks.convolutional_encoder(self.data_shape, output_size, filters=self.filters, activation=f)

    def network_of_x_and(self, size, make, units, output_size):
        """A network, as `make` gives it, of [x, a vector of `size`], x flat or seen through convolutions."""
        x, vector = keras.Input(self.data_shape), keras.Input((size,))
        flatten = keras.layers.Flatten(data_format="channels_last")
        seen = flatten if self.network == "mlp" else self.network_of_x(self.hidden_units[0])
        both = keras.layers.Concatenate()([seen(x), vector])
        network = make(both.shape[1:], units, (output_size,), activation=self.activation)
        return keras.Model([x, vector], network(both))

    def network_of_z(self):
        """The decoder's network, from z to the parameters of p(x|z)."""
        num_parameters = self.family.num_parameters
        output_shape, f = (*self.data_shape[:-1], num_parameters * self.data_shape[-1]), self.activation
        if self.network == "mlp":
            return networks.mlp((self.latent_size,), self.hidden_units[::-1], output_shape, activation=f)
        return networks.convolutional_decoder(self.latent_size, output_shape, filters=self.filters, activation=f)

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

    def q(self, x, training=False):
        """The posterior q(z|x)."""
        raise NotImplementedError(f"{type(self).__name__} has no posterior.")

    def p(self, z, training=False):
        """The likelihood p(x|z), for z [..., latent_size]."""
        parameters = networks.over_leading_axes(self.decoder, z, training=training)
        return self.family.density(parameters, event_ndims=len(self.data_shape))

    def proposal(self, x):
        """What importance samples of z come from, a posterior with a density: q(z|x)."""
        return self.q(x)

    def log_weight(self, x, q, epsilon):
        """log w = log p(x|z) + log p(z) - log q(z|x) in nats [..., batch], z drawn from q by the noise `epsilon`.

        Their `estimators` bound log p(x) whatever q is (Burda et al. 2016, equation 7).
        """
        z, log_q = q.draw(epsilon)
        return self.p(z).log_prob(x) + self.prior.log_prob(z) - log_q

    def log_weights(self, x, num_samples):
        """`log_weight` of fresh draws from the proposal, [num_samples, batch]."""
        q = self.proposal(x)
        return self.log_weight(x, q, self.draw_noise(q, [num_samples, tf.shape(x)[0]]))

    def draw_noise(self, q, leading):
        """The noise of draws [*leading] from q, by the keys "epsilon"."""
        return noise.of_keys(q.noise, leading, lambda j: self.key("epsilon", j))

    # --- Serving -----------------------------------------------------------------------------------------------------

    def decode(self, z):
        return self.to_served(self.p(z).mean())

    def sample(self, seeds):
        """A draw x ~ p(x|z), z ~ p(z), for each int64 seed [batch], as it is served: pixels are clipped to [0, 1]."""
        return self.to_served(self.family.rows(self.p(self.latent(seeds)), seeds))

    def sample_mean(self, seeds):
        """The mean of p(x|z), z ~ p(z), for each int64 seed [batch]: what `sample` scatters round."""
        return self.decode(self.latent(seeds))

    def encode(self, x, seeds=None):
        """Mean and log-variance of q(z|x) for served data x; of a q without a mean a draw, row i by seeds[i] alone."""
        return self.q(self.from_served(x)).encoding(seeds)

    def log_prob(self, x, seeds):
        """Bounds on log p(x) of served data, in nats, the ELBO and the importance-weighted; row i draws by seeds[i].

        Under grey levels log p(x) is that of the levels next to the pixels. Grey pixels have no probability under a
        Bernoulli likelihood: in place of log p(x|z) stands minus their cross-entropy then, and what is bounded is no
        log-probability. A Gaussian one scores pixels as they are given, not dequantised.
        """
        x = self.from_served(x)
        q = self.proposal(x)

        def log_weight(draw):
            return self.log_weight(x, q, noise.of_rows(q.noise, seeds, noise.BOUND, draw))

        bounds = estimators.bounds_of_rows(log_weight, self.log_prob_samples)
        return bounds if self.proposes_by_q else {"log_prob_lower_bound": bounds["log_prob_lower_bound"]}

    def signatures(self):
        def log_prob(seed, **inputs):
            return self.log_prob(inputs[self.data_name], seed)

        signatures = super().signatures() | self.encoder_signatures(draws=self.encodes_by_draws)
        scores = {"log_prob": (log_prob, self.data_spec | self.seed_spec)}
        return signatures | (scores if self.has_proposal else {})
