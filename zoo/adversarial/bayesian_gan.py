"""The Bayesian GAN: generators and discriminators drawn from their posteriors (Saatci and Wilson 2017).

    log p(theta_g | theta_d) = sum_n log D(G(z_n))                        - |theta_g|^2 / 2 sigma^2 + const.        (1)
    log p(theta_d | theta_g) = sum_n log D(x_n) + log(1 - D(G(z_n)))      - |theta_d|^2 / 2 sigma^2 + const.        (2)

of N rows. z is drawn anew at each step, so that what counts is the mean of these logarithms over z, where the paper has
that of p. With U minus one of them, stochastic gradient Hamiltonian Monte Carlo draws from it, alpha being its friction
and eta / N its rate (Chen et al. 2014, arXiv:1402.4102, equation 15):

    v <- (1 - alpha) v - eta grad(U / N) + n,   n ~ N(0, 2 alpha eta / N),   theta <- theta + v

but for what the size of steps does and the noise of minibatches, for which nothing is subtracted from n (beta^ = 0).

That is SGD with momentum 1 - alpha and rate eta, to whose gradient noise of variance 2 alpha / (eta N) is added, which
is how it is done here: alpha and eta are those of the optimizers. The noise times `noise` draws from the posterior to
the power of noise^-2; without any, and with J = M = 1, it is the GAN of `gan.py` with a weight decay.

Notation is that of `adversarial_game.py`, and

    J      generators that one discriminator plays, all drawn from (1)
    M      such games side by side, which do not know of each other; generator m J + j is the j-th of game m
    N      training rows, `num_train`

Departures from the paper: means over generators and their draws of z in place of sums, which would be J times as sure;
one discriminator for each game (J_d = 1, as in the experiments); D moves before G, as in Algorithm 1 of Goodfellow et
al.; other losses on request, whose "likelihood" is exp(-loss). The authors' code is another method: Adam on the mean
loss, with noise in its gradients and a prior of other strength.
"""

import tensorflow as tf

from zoo.adversarial.adversarial_game import AdversarialGame
from zoo.optimizers import unscaled
from zoo.parts import adversarial, networks, noise


class BayesianGAN(AdversarialGame):
    """Bayesian generative adversarial network with dense layers: a sample is of a generator that its seed draws, too.

    Args:
        num_train: int, N, the number of training rows.
        num_generators: int, J.
        num_chains: int, M.
        prior_std: float > 0, sigma of all weights.
        noise: float, the factor of SGHMC's noise: 1 for the posterior, less for a colder one, 0 for its maximum. With
            an optimizer other than SGD, where alpha is one less its `beta_1`, there is no such meaning.
        noise_decay: float, a factor of it for every 1,000 steps.
        generator_units: tuple of ints, widths of the generators' hidden layers.
        discriminator_units: tuple of ints, widths of the discriminators' hidden layers.
        discriminator_activation: str, the activation of the discriminators' hidden layers.

    Example:

        model = BayesianGAN(data_shape=(2,), num_train=len(points), generator_units=(128,), discriminator_units=(128,))
        model.compile()
        model.fit(points, batch_size=256, epochs=10)

    Reference:
        Y. Saatci and A. G. Wilson. Bayesian GAN. NeurIPS 2017. arXiv:1705.09558, algorithm 1.
    """

    default_optimizers = {
        "discriminator": {"optimizer": "sgd", "learning_rate": 0.005, "momentum": 0.5},
        "generator": {"optimizer": "sgd", "learning_rate": 0.02, "momentum": 0.5},
    }
    penalty, weight_constraint, packing = "none", "none", 1  # the prior keeps weights in bounds

    def __init__(
        self, *, data_shape, num_train: int, latent_size, prior, loss, loss_parameter, num_discriminator_steps,
        num_generators: int = 10, num_chains: int = 2, prior_std: float = 1.0, noise: float = 1.0,
        noise_decay: float = 1.0, generator_units: tuple[int, ...] = (1200, 1200),
        discriminator_units: tuple[int, ...] = (240, 240), discriminator_activation: networks.Activation = "leaky_relu",
        seed, name,
    ):  # fmt: skip
        super().__init__(locals())

    def check_arguments(self):
        if not self.prior_std:
            raise ValueError("prior_std must be positive, but is 0: all weights would be 0.")

    def make_networks(self):
        output_activation = "tanh" if self.data_range else None
        self.generators = [
            networks.mlp(
                (self.latent_size,), self.generator_units, self.data_shape, output_activation=output_activation
            )
            for _ in range(self.num_generators * self.num_chains)
        ]
        self.discriminators = [
            networks.mlp(self.data_shape, self.discriminator_units, (1,), activation=self.discriminator_activation)
            for _ in range(self.num_chains)
        ]

    @property
    def moves(self):
        numbered = {"discriminator": self.discriminators, "generator": self.generators}
        return {f"{kind}_{i}": [network] for kind, of_kind in numbered.items() for i, network in enumerate(of_kind)}

    @property
    def draws(self):
        k = self.num_discriminator_steps
        return (k + 1) * ("z",) + (k + 1) * ("noise",)

    def draw_z(self, x, index=0):
        """[J, m, latent_size]: all games share them."""
        return self.latent_prior.draw(self.key("z", index), [self.num_generators, tf.shape(x)[0], self.latent_size])

    def of_chain(self, m):
        """(D, [G_0 ... G_{J-1}]) of game m, with the numbers of these generators."""
        numbers = range(m * self.num_generators, (m + 1) * self.num_generators)
        return self.discriminators[m], {i: self.generators[i] for i in numbers}

    def discriminator_losses(self, x, z, key=None, training=True):
        losses, states = {}, []
        for m in range(self.num_chains):
            D, generators = self.of_chain(m)
            fakes = [G(z_j, training=training) for G, z_j in zip(generators.values(), tf.unstack(z), strict=True)]
            real = D(x, training=training)[:, 0]
            fake = tf.reshape(D(tf.concat(fakes, 0), training=training), [self.num_generators, -1])
            losses[f"discriminator_{m}"] = self.loss_pair.discriminator(real, fake)
            states.append(adversarial.state_of_game(self.loss_pair, real, fake))
        state = {name: tf.stack([of_chain[name] for of_chain in states]) for name in states[0]}
        return self.with_priors(losses, key) | state

    def generator_losses(self, z, key=None, training=True):
        losses = {}
        for m in range(self.num_chains):
            D, generators = self.of_chain(m)
            for (i, G), z_j in zip(generators.items(), tf.unstack(z), strict=True):
                fake = D(G(z_j, training=training), training=training)[:, 0]
                losses[f"generator_{i}"] = self.loss_pair.generator(fake)
        return self.with_priors(losses, key)

    def with_priors(self, losses, key):
        """U / N of each move, of its loss per example; with a key, the noise is in its gradient, not in its value."""
        thetas = {move: tf.concat([tf.reshape(w.value, [-1]) for w in self.weights_of(move)], 0) for move in losses}
        precision = 1.0 / (self.prior_std**2 * self.num_train)
        losses = {move: loss + 0.5 * precision * tf.reduce_sum(thetas[move] ** 2) for move, loss in losses.items()}
        if key is None or not self.noise:
            return losses
        sizes = [theta.shape.num_elements() for theta in thetas.values()]
        for (move, theta), n in zip(thetas.items(), tf.split(noise.normal(key, [sum(sizes)]), sizes), strict=True):
            kick = self.noise_in_gradient(move) * tf.reduce_sum(n * theta)
            losses[move] += kick - tf.stop_gradient(kick)
        return losses

    def noise_in_gradient(self, move):
        """The deviation of the noise in the gradient of U / N: that of n, divided by eta."""
        optimizer = unscaled(self.optimizers[move])
        alpha = 1.0 - getattr(optimizer, "momentum", getattr(optimizer, "beta_1", 0.0))
        eta = tf.maximum(tf.cast(optimizer.learning_rate, tf.float32), 1e-12)
        decay = self.noise_decay ** (tf.cast(self.step.value, tf.float32) / 1000.0)
        return self.noise * decay * tf.sqrt(2.0 * alpha / (eta * self.num_train))

    def train_step(self, data):
        k, (x,) = self.num_discriminator_steps, self.of_data(data)
        for i, x_i in enumerate(tf.split(x, k)):
            # all replicas have the same noise, of which their mean would have less
            z, key = self.draw_z(x_i, i), self.key("noise", i, shared=True)
            self.minimize(lambda: self.discriminator_losses(x_i, z, key))  # theta_d <- theta_d + v, of all m
        z, key = self.draw_z(x_i, k), self.key("noise", k, shared=True)
        self.minimize(lambda: self.generator_losses(z, key))  # theta_g <- theta_g + v, of all j and m
        return self.next_step()

    def D_output(self, x, training=True):
        """The mean of the discriminators' outputs [m]."""
        return tf.reduce_mean([D(x, training=training)[:, 0] for D in self.discriminators], 0)

    def generator_of(self, seeds):
        """The number of the generator that a row's seed draws, int32 [batch]."""
        u = noise.uniform_rows(seeds, (), noise.stream(noise.MEMBER))
        return tf.minimum(tf.cast(u * len(self.generators), tf.int32), len(self.generators) - 1)

    def sample(self, seeds):
        return self.sample_of(seeds, self.generator_of(seeds))

    def sample_of(self, seeds, generator):
        """Served data, row i of generator number `generator[i]`, at the latent point of seed i."""
        z = self.latent(seeds)
        x = tf.stack([G(z, training=False) for G in self.generators], axis=1)
        return self.to_served(tf.gather(x, generator, batch_dims=1))

    def signatures(self):
        """No latent point tells a sample, of which the generator is a part: none is served."""
        return {
            name: of for name, of in super().signatures().items() if name not in ("latent", "decode", "interpolate")
        }
