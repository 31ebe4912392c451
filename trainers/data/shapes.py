"""Pictures of shapes whose factors of variation are known, drawn here."""

import numpy as np

from trainers.data.dataset import Data
from trainers.data.files import sha256

# name: whether a point belongs to it, |(u, v)| <= 1. None looks the same after a turn of less than 360 degrees.
SHAPES = {
    "triangle": lambda u, v: (v > -0.5) & (abs(u) < 0.4 * (1.0 - v)),
    "L": lambda u, v: (u > -0.5) & (abs(v) < 0.8) & ((u < 0.05) | (v < -0.3)) & (u < 0.6),
    "half-disc": lambda u, v: (v > -0.4) & (np.square(u) + np.square(v + 0.4) < 0.81),
}
RADII = np.array([4.1, 6.1, 8.1, 9.9])  # of the circle round a shape, pixels: no pixel's centre is on an outline
NUM_ORIENTATIONS = 8
NUM_POSITIONS = 12  # in each direction, a pixel apart
REACH = 10  # pixels from a shape's centre to the last that it may have
NUM_TEST = 1000


def masks():
    """The shapes at their centre, bool [shape, scale, orientation, 2 * REACH + 1, 2 * REACH + 1]."""
    y, x = np.mgrid[-REACH : REACH + 1, -REACH : REACH + 1]
    angle = (np.arange(NUM_ORIENTATIONS) * (2.0 * np.pi / NUM_ORIENTATIONS))[:, None, None]
    radius = RADII[:, None, None, None]
    u, v = ((np.cos(angle - turn) * x + np.sin(angle - turn) * y) / radius for turn in (0.0, -np.pi / 2))
    return np.stack([inside(u, v) for inside in SHAPES.values()])


def shapes(data_dir):
    """All 13,824 pictures, 32x32, black and white, of 3 shapes in 4 sizes, 8 orientations and 12 x 12 positions.

    In the manner of dSprites (Higgins et al. 2017), whose square and ellipse look the same at several of its
    orientations, so that no code can tell which; these look the same at none. The set is the distribution: the training
    rows are all of it, in order of shape, scale, orientation, y and x, and the test rows 1,000 of them at random.
    """
    drawn = masks()
    counts, side = (*drawn.shape[:3], NUM_POSITIONS, NUM_POSITIONS), 2 * REACH + NUM_POSITIONS
    images = np.zeros([*counts, side, side, 1], np.uint8)
    for y, x in np.ndindex(NUM_POSITIONS, NUM_POSITIONS):
        rows, columns = slice(y, y + drawn.shape[3]), slice(x, x + drawn.shape[4])
        images[:, :, :, y, x, rows, columns, 0] = np.uint8(255) * drawn
    images = images.reshape(-1, side, side, 1)
    shape, *others = (index.ravel().astype(np.int64) for index in np.indices(counts))
    test = np.random.RandomState(0).permutation(len(images))[:NUM_TEST]
    return Data(
        "shapes",
        images,
        images[test],
        shape,
        shape[test],
        len(SHAPES),
        sha256(images),
        "Generated; needs no licence.",
        class_names=list(SHAPES),
        factors=dict(zip(("scale", "orientation", "y", "x"), others, strict=True)),
    )
