"""The smallest game whose gradient descent does not find its solution: a bilinear one, of two numbers.

    min_x max_y  V(x, y) = f(x y),   f(t) = t,   solved by (0, 0) alone

Each move of a player is a gradient step on its own loss, V for x and -V for y, with its own learning rate eta. The
schedule of moves, `play`, decides what becomes of the distance r from (0, 0); both rates being eta, in one step

    simultaneous     x <- x - eta y,  y <- y + eta x              r grows by sqrt(1 + eta^2), turning by atan(eta)
    alternating      the same, y answering the x that has moved   x^2 + y^2 - eta x y stays: bounds r for eta < 2 only
    extragradient    x <- x - eta y~, y <- y + eta x~, where      r shrinks by sqrt(1 - eta^2 + eta^4) for eta < 1
                     (x~, y~) is a simultaneous step ahead

while in continuous time, x' = -y and y' = x, r never changes:

    x(t) = x(0) cos t - y(0) sin t,   y(t) = x(0) sin t + y(0) cos t

It is the Dirac-GAN of Mescheder et al. 2018: a generator of the one point x, a discriminator D(x) = y x, larger for
what looks made, and data that are 0. Of Wasserstein's game f is the identity; of Goodfellow's it is f(t) = log 2 -
log(1 + exp(-t)), whose slope at 0 is a half, and near (0, 0) the players do as those of the bilinear game, at half the
pace. The penalty R1, gamma / 2 |dD/dx|^2 = gamma / 2 y^2, belongs to y's loss: the flow near (0, 0) has the eigenvalues

    -gamma / 2 +- sqrt(gamma^2 / 4 - f'(0)^2)                                                           (lemma 4.1)

Their real part is negative: the players come to the solution, in a spiral where gamma < 2 |f'(0)|.

Departures from the papers: none with plain SGD; the look ahead counts in the state of another optimizer, too.
"""

import math
from typing import Literal

import keras
import numpy as np
import tensorflow as tf

from zoo.game import Game
from zoo.optimizers import unscaled
from zoo.parts.layers import Numbers

FUNCTIONS = {  # f, with f(0) = 0, and its slope there
    "identity": (tf.identity, 1.0),
    "log_sigmoid": (lambda t: math.log(2.0) - tf.math.softplus(-t), 0.5),
}


class Bilinear(Game):
    """The bilinear game min_x max_y x y, on which simultaneous gradient descent diverges.

    Args:
        data_shape: tuple of ints, the shape of data that make no difference.
        play: "simultaneous", "alternating" (x moves first) or "extragradient", the moves of one step.
        x0: float >= 0, where x starts.
        y0: float >= 0, where y starts.
        function: "identity" or "log_sigmoid", f(t) = t or f(t) = log 2 - log(1 + exp(-t)).
        gamma: float, the weight of the penalty gamma / 2 y^2.

    Example:

        model = Bilinear(data_shape=(2,), play="extragradient")
        model.compile()
        model.fit(points, batch_size=1, epochs=1)  # whatever the points: one step for each
        distance = model.whereabouts()["distance"]

    Reference:
        G. M. Korpelevich. The extragradient method for finding saddle points and other problems. Matecon 12, 1976.
        G. Gidel et al. A variational inequality perspective on generative adversarial networks. ICLR 2019.
        arXiv:1802.10551, section 3.
        I. Goodfellow. NIPS 2016 tutorial: generative adversarial networks. arXiv:1701.00160, section 8.2.
        L. Mescheder, A. Geiger and S. Nowozin. Which training methods for GANs do actually converge? ICML 2018.
        arXiv:1801.04406, sections 2.2 and 4.1.
    """

    default_optimizers = {player: {"optimizer": "sgd", "learning_rate": 0.1} for player in ("x", "y")}
    metric_names = ("position_x", "position_y", "distance")
    exceptions = {
        "I11": "The game is about two numbers and not about a distribution: it draws no samples.",
        "I13": "It draws no samples that could come nearer to the data.",
    }

    def __init__(
        self, *, data_shape, play: Literal["simultaneous", "alternating", "extragradient"] = "simultaneous",
        x0: float = 1.0, y0: float = 1.0, function: Literal[tuple(FUNCTIONS)] = "identity", gamma: float = 0.0,
        seed, name,
    ):  # fmt: skip
        super().__init__(locals())

    def make_networks(self):
        self.x, self.y = Numbers("x", position=self.x0), Numbers("y", position=self.y0)

    @property
    def moves(self):
        return {"x": [self.x], "y": [self.y]}

    @property
    def linear(self):
        """Whether `linear_map` holds wherever the players are."""
        return self.function == "identity"

    @property
    def position(self):
        """(x, y), float32 scalars."""
        return tuple(tf.convert_to_tensor(player.position.value) for player in (self.x, self.y))

    def losses(self):
        x, y = self.position
        f, _ = FUNCTIONS[self.function]
        V = f(x * y)
        return {"x": V, "y": self.gamma / 2.0 * y**2 - V}

    def whereabouts(self):
        x, y = self.position
        return {"position_x": x, "position_y": y, "distance": tf.sqrt(x**2 + y**2)}

    def train_step(self, data):
        if self.play == "simultaneous":
            self.minimize(self.losses)  # x <- x - eta y,  y <- y + eta x
        elif self.play == "alternating":
            self.minimize(lambda: {"x": self.losses()["x"]})  # x <- x - eta y
            self.minimize(lambda: {"y": self.losses()["y"]})  # y <- y + eta x, of the x that has moved
        else:
            # x <- x - eta y~,  y <- y + eta x~,  where  x~ = x - eta y,  y~ = y + eta x
            self.minimize(self.losses, lookahead=self.losses)
        self.track(self.whereabouts())
        return self.next_step()

    def test_step(self, data):
        self.track(self.losses() | self.whereabouts())
        return self.logs()

    # --- What theory says -------------------------------------------------------------------------------------------

    def linear_map(self):
        """The matrix that one step multiplies (x, y) by, near (0, 0) if f is not linear: float64 [2, 2].

        None unless both players have plain SGD.
        """
        if not self.compiled:
            return None
        settings = [unscaled(self.optimizers[player]).get_config() for player in ("x", "y")]
        eta_x, eta_y = etas = [of_player["learning_rate"] for of_player in settings]
        for eta, of_player in zip(etas, settings, strict=True):
            plain = isinstance(eta, float) and keras.optimizers.SGD(eta, name=of_player["name"]).get_config()
            if of_player != plain:
                return None
        slope = FUNCTIONS[self.function][1]
        stay, of_x = np.eye(2), np.array([[0.0, -slope * eta_x], [0.0, 0.0]])
        of_y = np.array([[0.0, 0.0], [slope * eta_y, -self.gamma * eta_y]])
        if self.play == "alternating":
            return (stay + of_y) @ (stay + of_x)
        ahead = stay + of_x + of_y
        return stay + (of_x + of_y) @ ahead if self.play == "extragradient" else ahead

    # --- Serving ----------------------------------------------------------------------------------------------------

    def move(self, x, y, matrix):
        """Where one step of the play leads from each (x, y), float32 [batch] both, `matrix` being `linear_map()`."""
        after = tf.stack([x, y], axis=1) @ tf.constant(matrix.T, tf.float32)
        return {"x": after[:, 0], "y": after[:, 1]}

    def value(self, x, y):
        """V(x, y) [batch]: what x wants small, and y large."""
        return {"value": FUNCTIONS[self.function][0](x * y)}

    def signatures(self):
        position = {name: tf.TensorSpec([None], tf.float32) for name in ("x", "y")}
        value, matrix = {"value": (self.value, position)}, self.linear_map() if self.linear else None
        return value if matrix is None else {"move": (lambda x, y: self.move(x, y, matrix), position), **value}
