"""What a trained model answers: samples, latent points, decoded data, and the table of these as an export serves it."""

import tensorflow as tf

from common.graph import of_each


class Serving:
    """Of a model whose data have `data_shape`: what is served, in which range, under which names.

    Class attributes that a subclass sets:
        conditional: whether `sample` takes the `label` of each row.
        interpolates: whether there are latent points between two of them, as there are none of zeros and ones.
    """

    conditional = False
    interpolates = True

    @property
    def data_range(self):
        """`(low, high)` of the pixels the networks work with; None for points, which are taken as they are."""
        return (0.0, 1.0) if len(self.data_shape) == 3 else None

    @property
    def data_name(self):
        """What signatures call one row of data: "images" or "points"."""
        return "images" if len(self.data_shape) == 3 else "points"

    def to_served(self, x):
        """From the networks' range to what is served: float32, pixels in [0, 1]."""
        x = tf.cast(x, tf.float32)
        if self.data_range is None:
            return x
        low, high = self.data_range
        return tf.clip_by_value((x - low) / (high - low), 0.0, 1.0)

    def from_served(self, x):
        """The inverse of `to_served`."""
        if self.data_range is None:
            return x
        low, high = self.data_range
        return low + (high - low) * x

    def conditions(self, **label):
        """List of what the networks are told beside z and x: [y] of the labels [batch], or nothing."""
        return []

    def decode(self, z, **label):
        """Served data [batch, *data_shape] at latent points z [batch, latent_size]; of a likelihood p(x|z) its mean."""
        raise NotImplementedError(f"{type(self).__name__} has no decoder.")

    def latent(self, seeds):
        """The latent point z [batch, latent_size], float32, that `sample` decodes for each int64 seed [batch]."""
        return self.latent_prior.rows(seeds, self.latent_size)

    def call(self, seeds, label=None):
        """Samples, as Keras calls a model: `model(seeds)`, `model(seeds, label)`, or of both in a list or a dict.

        Raises:
            ValueError: for seeds that are no integers, or a model that draws no samples.
        """
        with tf.init_scope():  # what there is can depend on weights, which a graph knows no numbers of
            found = self.signatures()
        if "sample" not in found:
            raise ValueError(f"{type(self).__name__} draws no samples: it answers {', '.join(found)}.")
        if isinstance(seeds, dict):
            seeds, label = seeds["seed"], seeds.get("label")
        elif isinstance(seeds, list | tuple):
            seeds, label = (*seeds, label)[:2]
        seeds = tf.convert_to_tensor(seeds)
        if not seeds.dtype.is_integer or seeds.shape.rank != 1:
            raise ValueError(f"a call draws samples of seeds, integers [n], and got {seeds.dtype.name} {seeds.shape}.")
        return self.sample(seeds, **({"label": tf.cast(label, tf.int64)} if label is not None else {}))

    def export(self, export_dir, **options):
        """Publishes what is served as the next version in `export_dir`, with averaged weights where there are any.

        `options` are those of `export.saved_model.export_model`. Returns the version's path.

        Raises:
            UserError: for a model that can not be served.
        """
        from export.saved_model import export_model

        with self.averaged():
            metadata = {"estimates": self.before_export({})}
            return export_model(self, export_dir, metadata=options.pop("metadata", {}) | metadata, **options)

    def sample(self, seeds, **label):
        """One row of served data per int64 seed [batch], a draw of p(x); no row depends on another.

        A model with a likelihood p(x|z) has `sample_mean`, too: its mean at the latent point of the same seed.
        """
        return self.decode(self.latent(seeds), **label)

    def interpolate(self, z_from, z_to, alpha, **label):
        """`decode` on the straight line from `z_from` (alpha = 0) to `z_to` (alpha = 1), as in Radford et al. 2015.

        Raises:
            ValueError: for a model of discrete latents.
        """
        if not self.interpolates:
            raise ValueError(f"latents of {type(self).__name__} are discrete: no latent point lies between two others.")
        return self.decode(z_from + alpha[:, None] * (z_to - z_from), **label)

    def signatures(self):
        """The export contract: dict, name -> (function of named tensors that returns a dict, dict of input specs).

        Dimension 0 of every input and output is the batch, and every row is independent of the others. The first is the
        default of a server; a model that draws no samples has no "sample" here.
        """
        seed = self.seed_spec | self.label_spec
        samplers = {name: getattr(self, name) for name in ("sample", "sample_mean") if getattr(self, name, None)}

        def rows(sampler):
            return lambda seed, **label: {self.data_name: sampler(seed, **label)}

        def png(sampler):
            return lambda seed, **label: {"image_bytes": encode_png(sampler(seed, **label))}

        signatures = {name: (rows(sampler), seed) for name, sampler in samplers.items()}
        if hasattr(self, "latent_size"):
            latent = {"z": tf.TensorSpec([None, self.latent_size], tf.float32)}
            ends = {"z_from": latent["z"], "z_to": latent["z"], "alpha": tf.TensorSpec([None], tf.float32)}
            signatures |= {
                "latent": (lambda seed: {"z": self.latent(seed)}, self.seed_spec),
                "decode": (lambda **inputs: {self.data_name: self.decode(**inputs)}, latent | self.label_spec),
            }
            line = {
                "interpolate": (lambda **inputs: {self.data_name: self.interpolate(**inputs)}, ends | self.label_spec),
            }
            signatures |= line if self.interpolates else {}
        if self.data_name == "images":
            return signatures | {f"{name}_png": (png(sampler), seed) for name, sampler in samplers.items()}
        return signatures

    def encoder_signatures(self, draws):
        """`encode` and `reconstruct`, for a model with a method `encode(x, seeds)` whose answer has the latent point z.

        `draws` is whether the encoder draws noise, so that a request has a seed for each row.
        """

        def encode(seed=None, **inputs):
            return self.encode(inputs.pop(self.data_name), seed, **inputs)

        def reconstruct(**inputs):
            label = {name: inputs[name] for name in self.label_spec}
            return {self.data_name: self.decode(encode(**inputs)["z"], **label)}

        specs = self.data_spec | (self.seed_spec if draws else {}) | self.label_spec
        return {"encode": (encode, specs), "reconstruct": (reconstruct, specs)}

    def score_signature(self):
        """`log_prob`, for a model whose method `log_prob(x)` needs no draws: of served data, in nats."""

        def log_prob(**inputs):
            return self.log_prob(inputs.pop(self.data_name), **inputs)

        return {"log_prob": (log_prob, self.data_spec | self.label_spec)}

    def inpaint_signature(self):
        """`inpaint`, for a model with a method `inpaint(x, known, seeds)` that returns a draw and its mean."""

        def inpaint(mask, seed, **inputs):
            draw, mean = self.inpaint(inputs.pop(self.data_name), mask > 0.5, seed, **inputs)
            return {self.data_name: draw, "mean": mean}

        mask = {"mask": tf.TensorSpec([None, *self.data_shape], tf.float32)}
        return {"inpaint": (inpaint, self.data_spec | mask | self.seed_spec | self.label_spec)}

    def before_export(self, results):
        """Completes a trained model that needs more than its weights to be served; returns numbers for the model card.

        `results` is a dict, metric -> dict of numbers that `trainers.evaluate` measured at this step; may be empty.
        """
        return {}

    @property
    def seed_spec(self):
        return {"seed": tf.TensorSpec([None], tf.int64)}

    @property
    def data_spec(self):
        return {self.data_name: tf.TensorSpec([None, *self.data_shape], tf.float32)}

    @property
    def label_spec(self):
        return {"label": tf.TensorSpec([None], tf.int64)} if self.conditional else {}


def encode_png(images):
    """PNG files, string [batch], of images [batch, height, width, 1 or 3] in [0, 1]."""
    pixels = tf.cast(tf.round(images * 255.0), tf.uint8)
    return of_each(tf.io.encode_png, pixels, tf.string)
