"""The Laplacian pyramid of adversarial networks: a GAN for each level of a pyramid, from a small image up.

    I_0 = x,   I_{k+1} = down(I_k),   l_k = up(I_{k+1})                                      (`zoo/parts/pyramid.py`)

    level k < K:  min_{G_k} max_{D_k}  E_data[log D_k(I_k)] + E_{data, p(z_k)}[log(1 - D_k(l_k + G_k(z_k, l_k)))]
    level K:      min_{G_K} max_{D_K}  E_data[log D_K(I_K)] + E_{p(z_K)}[log(1 - D_K(G_K(z_K)))]

G_k learns what the next smaller image lacks, h_k = I_k - l_k, given that image of the *data*; so the levels are games
of their own, which share a minibatch and nothing else. A sample goes from the coarsest up:

    x_K = G_K(z_K),   x_k = up(x_{k+1}) + G_k(z_k, up(x_{k+1})),   x = x_0                                          (5)

Notation, beside that of `adversarial_game.py`:

    K      halvings of the side; level 0 is the data's own
    h_k    band-pass image of level k
    z_k    for k < K a plane of noise, one number for each pixel, which G_k sees beside the channels of l_k
    z      the latent, (z_K, z_{K-1}, ..., z_0) in one vector, [m, latent_size]
    y      of a conditional model, the one-hot vector of a label: beside z_K, else one more plane, linear in y

As in the paper G_K and D_K have two dense hidden layers, D_K with dropout; G_k has three convolutions and D_k two, or
one where the side is 4 or less.

Departures from the paper: Adam instead of momentum; the pyramid's filter is that of Burt and Adelson; 5x5 convolutions,
those of D_k with stride 2, and leaky ReLUs of slope 0.2 in D_k. G_K ends in tanh, for images in [-1, 1]; a sum of bands
may leave that range, and what is served is cut off there. The noise of a penalty is the same on all levels.
"""

import functools

import tensorflow as tf

from zoo.adversarial.adversarial_game import AdversarialGame
from zoo.conditional import Conditional
from zoo.parts import networks, pyramid


class LAPGAN(Conditional, AdversarialGame):
    """Laplacian pyramid of generative adversarial networks, with or without labels, for square images.

    Args:
        num_classes: int, of a conditional model: labels are 0 ... num_classes - 1.
        coarsest_latent_size: int, the length of z_K.
        num_halvings: int, K, each halving rounded up, as 28 by 3 to 4 pixels; 0 for as many as go evenly, to 4 to 7
            pixels.
        generator_units: tuple of ints, widths of the hidden layers of G_K.
        discriminator_units: tuple of ints, widths of the hidden layers of D_K.
        dropout: float in [0, 1), the share of D_K's hidden units that is dropped in training.
        filters: int, channels of the convolutions of G_k, and of the first one of D_k, whose second has twice as many.

    Example:

        model = LAPGAN(data_shape=(32, 32, 3), num_halvings=2)
        model.compile()
        model.fit(x, batch_size=128, epochs=20)  # x: [n, 32, 32, 3], float32 in [0, 1] or uint8
        images = model.sample(tf.range(64, dtype=tf.int64))

    Reference:
        E. Denton, S. Chintala, A. Szlam and R. Fergus. Deep generative image models using a Laplacian pyramid of
        adversarial networks. NeurIPS 2015. arXiv:1506.05751, sections 2 and 3.
    """

    conditional = False

    def __init__(
        self, *, data_shape, num_classes=None, conditional, coarsest_latent_size: int = 100, prior, loss,
        loss_parameter, penalty, penalty_weight, penalty_decay, weight_constraint, clip_value, packing,
        num_discriminator_steps, num_halvings, generator_units: tuple[int, ...] = (1200, 1200),
        discriminator_units: tuple[int, ...] = (600, 600), dropout=0.5, filters=64, seed, name,
    ):  # fmt: skip
        super().__init__(locals())

    def make_networks(self):
        *small_to_large, side = networks.sides_of(self.data_shape, self.num_halvings)
        self.sides = [side, *reversed(small_to_large)]
        *finer, coarsest = [(side, side, self.data_shape[-1]) for side in self.sides]
        told, planes = self.condition_size, int(self.conditional)
        packed = [(*shape[:2], self.packing * shape[2] + planes) for shape in (*finer, coarsest)]
        spectral_norm = self.weight_constraint == "spectral_norm"
        self.generators = [
            networks.convolutional((*shape[:2], shape[2] + 1 + planes), 2 * (self.filters,), shape[2])
            for shape in finer
        ]
        self.discriminators = [
            networks.convolutional_encoder(
                shape, 1, filters=self.filters, num_halvings=2 if shape[0] > 4 else 1,
                activation="leaky_relu", spectral_norm=spectral_norm,
            )
            for shape in packed[:-1]
        ]  # fmt: skip
        z_and_y = (self.coarsest_latent_size + told,)
        self.generators.append(networks.mlp(z_and_y, self.generator_units, coarsest, output_activation="tanh"))
        options = {"dropout": self.dropout, "spectral_norm": spectral_norm}
        self.discriminators.append(networks.mlp(packed[-1], self.discriminator_units, (1,), **options))

        def plane(shape, size, **options):  # y as a channel
            return [networks.mlp((size,), (), (*shape[:2], 1), **options)] if planes else []

        self.generator_planes = [plane(shape, told) for shape in finer] + [[]]
        self.discriminator_planes = [plane(shape, self.packing * told, spectral_norm=spectral_norm) for shape in packed]

    @property
    def moves(self):
        levels = range(len(self.sides))
        discriminators = {f"discriminator_{k}": [self.discriminators[k], *self.discriminator_planes[k]] for k in levels}
        return discriminators | {f"generator_{k}": [self.generators[k], *self.generator_planes[k]] for k in levels}

    @property
    def metric_names(self):
        names = super().metric_names
        return tuple(f"{name}_{k}" for k in range(len(self.sides)) for name in names)

    @property
    def latent_sizes(self):
        """Of z_K, z_{K-1}, ..., z_0."""
        return [self.coarsest_latent_size, *(side**2 for side in reversed(self.sides[:-1]))]

    @property
    def latent_size(self):
        return sum(self.latent_sizes)

    def of_levels(self, z):
        """[z_0, ..., z_K]."""
        return tf.split(z, self.latent_sizes, axis=1)[::-1]

    def G_k(self, k, z_k, l_k, *y, training=True):
        """h_k for k < K, [m, *shape of l_k]; of level K, whose l_k is None, the image itself."""
        if l_k is None:
            return self.generators[k](tf.concat([z_k, *y], axis=1), training=training)
        planes = [plane(each, training=training) for plane, each in zip(self.generator_planes[k], y, strict=True)]
        noise = tf.reshape(z_k, [-1, *l_k.shape[1:3], 1])
        return self.generators[k](tf.concat([l_k, noise, *planes], axis=-1), training=training)

    def G(self, z, *y, training=True):
        *finer, z_K = self.of_levels(z)
        x_K = self.G_k(len(finer), z_K, None, *y, training=training)
        h = [lambda l_k, k=k, z_k=z_k: self.G_k(k, z_k, l_k, *y, training=training) for k, z_k in enumerate(finer)]
        return pyramid.rebuilt(x_K, self.sides[:-1], h)

    def D_output(self, x, *y, training=True, k=0):
        planes = [plane(each, training=training) for plane, each in zip(self.discriminator_planes[k], y, strict=True)]
        return self.discriminators[k](tf.concat([x, *planes], axis=-1), training=training)[:, 0]

    def levels(self, x, z, *y, training=True):
        """Of each level k, from 0 to K: D_k as a function of images, I_k of the data x, and the image made of z_k."""
        real = pyramid.images(x, len(self.sides) - 1)
        for k, (I_k, l_k, z_k) in enumerate(zip(real, [*pyramid.coarser(real), None], self.of_levels(z), strict=True)):
            h_k = self.G_k(k, z_k, l_k, *y, training=training)
            yield functools.partial(self.D_output, k=k), I_k, h_k if l_k is None else l_k + h_k

    def of_data(self, data):
        x, *y = super().of_data(data)
        return [x, x, *y]  # beside y, games of levels are told the coarser images of the data

    def discriminator_losses(self, x, z, _, *y, key=None, training=True):
        losses = [
            self.discriminator_loss(D_k, real, fake, *y, key=key, training=training)
            for D_k, real, fake in self.levels(x, z, *y, training=training)
        ]
        return {f"{name}_{k}": values for k, of_level in enumerate(losses) for name, values in of_level.items()}

    def generator_losses(self, z, x, *y, training=True):
        levels = enumerate(self.levels(x, z, *y, training=training))
        return {f"generator_{k}": self.generator_loss(D_k, fake, *y, training=training) for k, (D_k, _, fake) in levels}
