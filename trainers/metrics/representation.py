"""What the latents and the features of an encoder tell of the labels."""

import numpy as np
import tensorflow as tf
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

from common import pictures
from common.graph import graph
from trainers.metrics.rows import batches, require, served_batches
from zoo.parts import noise


def nearest_neighbour_accuracy(run, data, options):
    """Share of test rows whose nearest training row (Euclidean distance) has their label, in several spaces.

    `z` is what `encode` returns, `features` the encoder's last hidden layer where the model serves it: the space of
    Donahue et al. 2016 (BiGAN, table 1, by their code). `data` is what a representation has to beat.
    """
    require(hasattr(run.model, "encode"), "the model does not encode")
    require(data.train_labels is not None, "the data have no labels")
    train, test = (_representations(run, data, options, split) for split in ("train", "test"))
    accuracy = {}
    for space in train:
        neighbours = KNeighborsClassifier(n_neighbors=1).fit(train[space], data.train_labels)
        accuracy[space] = float(neighbours.score(test[space], data.test_labels))
    return accuracy | {"num_train": len(data.train), "num_test": len(data.test)}


def latent_map(run, data, options):
    """Draws two latents for each test example, as a picture coloured by label: RUN_DIR/latents.png.

    The number beside it is the share of draws whose nearest neighbour has the same label.
    """
    model = run.model
    require(getattr(model, "latent_size", None) == 2, "latents are not of 2 numbers")
    require("encode" in model.signatures(), "the model does not encode")
    require(data.test_labels is not None, "the data have no labels")
    encode, specs = model.signatures()["encode"]
    encode, draws = graph(encode), []
    for i, x in enumerate(batches(run, data, options, "latent map")):
        seeds = i * options.batch_size + tf.range(len(x), dtype=tf.int64)
        given = {model.data_name: x, "seed": seeds}
        encoded = encode(**{name: given[name] for name in specs})
        z = encoded["z"]
        if "z_log_var" in encoded:  # then z is the mean of a Gaussian
            z += tf.exp(0.5 * encoded["z_log_var"]) * noise.normal_rows(seeds, 2, noise.stream(noise.POSTERIOR))
        draws.append(z)
    z = np.concatenate(draws)
    pictures.scatter(z, run.path / "latents.png", labels=data.test_labels, symbol="z")
    neighbours = NearestNeighbors(n_neighbors=1).fit(z).kneighbors(return_distance=False)[:, 0]
    return {
        "neighbour_agreement": float(np.mean(data.test_labels[neighbours] == data.test_labels)),
        "num_examples": len(z),
    }


def _representations(run, data, options, split):
    """Dict, space -> float [N, size] of a split: of the data themselves, and of what the model makes of each row."""
    signatures = run.model.signatures()
    functions = [
        (space, graph(signatures[name][0]), signatures[name][1])
        for name, space in (("encode", "z"), ("features", "features"))
        if name in signatures
    ]
    row, parts = {"train": 0, "test": len(data.train)}[split], {"data": []}
    for x in served_batches(run, data, options, split):
        seeds = tf.range(row, row + len(x), dtype=tf.int64) + options.seed  # for an encoder that draws noise
        row += len(x)
        parts["data"].append(np.reshape(x, [len(x), -1]))
        for space, function, specs in functions:
            outputs = function(**{name: seeds if name == "seed" else x for name in specs})
            parts.setdefault(space, []).append(outputs[space].numpy())
    return {space: np.concatenate(rows) for space, rows in parts.items()}
