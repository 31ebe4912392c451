"""Every signature of every model as a server runs it: without Python, batched with strangers, and asked nonsense."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from export.saved_model import PIXEL_TOLERANCE
from tests import models
from tests.export.batching import MOST_ROWS, check_alone, merged_by_the_kernel, strangers
from tests.export.exported import ROUNDED, Exported, InC, InSession, Refused, Sampler, assert_same
from zoo import MODELS
from zoo.parts import noise

pytestmark = pytest.mark.slow


# --- Without Python --------------------------------------------------------------------------------------------------

LATENTS = {"z", "z_log_var"}


def test_every_signature_answers_without_python_as_in_python(core, server):
    rng = np.random.default_rng(0)
    assert set(core.signature_def) == {"serving_default", *core.model.signatures()}
    for name, batch in itertools.product(core.signature_def, (0, 1, 5, 16)):
        inputs = core.rows(name, batch, rng)
        latents = LATENTS & set(core.signature_def[name].outputs)
        answer, expected = server.run(name, inputs), core.call(name, inputs, optimised=bool(latents))
        assert_same(answer, expected, *((1e-6, 0) if latents else (ROUNDED, 1)))
        for key in latents:
            np.testing.assert_array_equal(answer[key], expected[key])
        assert answer.pop("valid", np.True_).all()


class Noise(Sampler):
    """A model that is nothing but its noise."""

    def __init__(self):
        self.variable = tf.Variable(0.5)

    def sample(self, seed):
        """Noise of every kind in the first streams."""
        probs = tf.fill([tf.size(seed), 7], self.variable)
        kinds = {
            f"{kind}_{stream}": draw(seed, shape, stream=stream)
            for kind, draw, shape in [
                ("normal", noise.normal_rows, (3, 5)),
                ("uniform", noise.uniform_rows, (100,)),
                ("bernoulli", noise.bernoulli_rows, probs),
            ]
            for stream in range(2)
        }
        points = tf.concat([tf.reshape(value, [tf.size(seed), -1]) for value in kinds.values()], axis=1)
        return {"points": tf.ensure_shape(points, [None, 2 * (15 + 100 + 7)])}


def test_noise_without_python_has_the_same_bits(program, tmp_path):
    exported = Exported(Noise(), tmp_path)
    seeds = np.array([0, 1, -1, 7, 2**63 - 1, -(2**63)])
    expected = Noise().sample(tf.constant(seeds))["points"].numpy()
    assert np.unique(expected, axis=0).shape == expected.shape
    server = InC(program, exported.version) if program else InSession(exported)
    np.testing.assert_array_equal(server.run("sample", {"seed": seeds})["points"], expected)
    server.close()


def test_the_program_serves_no_xla_like_the_stock_server(program, tmp_path):
    if not program:
        pytest.skip("needs a C compiler: a session would compile it")
    module = tf.Module()
    double = tf.function(lambda x: {"y": 2.0 * x}, jit_compile=True)
    concrete = tf.function(lambda x: double(x)).get_concrete_function(tf.TensorSpec([None], tf.float32))
    tf.saved_model.save(module, str(tmp_path), signatures=concrete)
    server = InC(program, tmp_path)
    with pytest.raises(Refused, match="XLA compilation disabled"):
        server.run("serving_default", {"x": np.ones(2, np.float32)})
    server.close()


# --- Batched with strangers ------------------------------------------------------------------------------------------


def test_batched_with_strangers(core, server):
    """All requests as one, which is what a server makes of them."""
    for name, asked in strangers(core).items():
        keys, sizes = asked[0][0], [len(good) for _, good in asked]
        merged = server.run(name, {key: np.concatenate([inputs[key] for inputs, _ in asked]) for key in keys})
        parts = {key: np.split(value, np.cumsum(sizes)[:-1]) for key, value in merged.items()}
        for i, (inputs, good) in enumerate(asked):
            check_alone({key: values[i] for key, values in parts.items()}, server.run(name, inputs), good)


@pytest.mark.parametrize("core", models.of_each_model(["cgan", "vae"]), indirect=True)
def test_batched_by_the_kernel_of_servers(core):
    answers = merged_by_the_kernel(core)
    for name, asked in strangers(core).items():
        for (inputs, good), (answer, batch) in zip(asked, answers[name], strict=True):
            check_alone(answer, core.call(name, inputs, optimised=False), good)
            assert (batch <= MOST_ROWS).all()
        assert sum((batch > len(batch)).any() for _, batch in answers[name]) > len(asked) / 2, name


# --- Asked nonsense --------------------------------------------------------------------------------------------------

NONSENSE = max(100, -(-2000 // len(MODELS)))  # requests to each model; to all together 2,000 at least
CLEAR = "(?i)expect|shape|takes|not an input|no signature|must match|rank"  # what the message of a refusal says


def nonsense(core, rng):
    """Endless malformed requests: (signature, inputs, what must come: "refused", or which rows are good, None: any)."""
    while True:
        for name in core.signature_def:
            specs = core.specs(name)
            batch = int(rng.integers(1, 6))
            clean = core.rows(name, batch, rng)
            key = rng.choice(list(specs))
            value = clean[key]

            def but(replaced, key=key, clean=clean):
                return {**clean, key: replaced}

            dtype = rng.choice([t for t in ("f8", "f2", "i4", "u1", "?", "i8", "f4") if np.dtype(t) != value.dtype])
            wrong = [np.zeros(value.shape, dtype), np.full(value.shape, b"1", object)]
            wrong += [value[0], value[None], value[..., None]]
            if value.ndim > 1:
                axis = int(rng.integers(1, value.ndim))
                wrong += [np.take(value, [], axis), value.repeat(2, axis), np.delete(value, 0, axis)]
            if len(specs) > 1:  # the last must not be broadcast
                wrong += [value.repeat(2, 0), value[:0], *([value[:1]] if batch > 1 else [])]
            without = {k: v for k, v in clean.items() if k != key}
            named = [without, {}, {**clean, "num_samples": np.array([3])}, {**without, "x" + key: value}]
            yield from ((name, inputs, "refused") for inputs in [*map(but, wrong), *named])
            yield name + "s", clean, "refused"
            yield name, {k: v[:0] for k, v in clean.items()}, np.full(0, True)

            row = int(rng.integers(batch))
            bad = value.copy()
            if key == "seed":
                bad[row] = rng.choice([-(2**63), 2**63 - 1, 0])
                yield name, but(bad), np.full(batch, True)
            elif key == "label":
                bad[row] = rng.choice([-1, core.num_classes, 2**62, -(2**63)])
                yield name, but(bad), np.arange(batch) != row
            else:
                for nonfinite in (np.nan, np.inf, -np.inf):
                    bad.reshape(batch, -1)[row, rng.integers(bad[row].size)] = nonfinite
                    yield name, but(bad), np.arange(batch) != row
                huge = value * np.float32(rng.choice([1e10, 1e37, -1e37]))
                if key.endswith("images"):
                    huge += 1 + 2 * PIXEL_TOLERANCE
                    yield name, but(huge), np.full(batch, False)
                else:
                    yield name, but(huge), None


def test_nonsense_is_refused_or_answered_row_by_row(core, server):
    rng = np.random.default_rng(2)
    known = {name: core.rows(name, 2, np.random.default_rng(3)) for name in core.signature_def}
    before = {name: server.run(name, inputs) for name, inputs in known.items()}
    refused = 0
    for i, (name, inputs, expected) in enumerate(itertools.islice(nonsense(core, rng), NONSENSE)):
        described = f"request {i} to {name}: { ({k: (v.dtype, v.shape) for k, v in inputs.items()}) }"
        if isinstance(expected, str):
            with pytest.raises(Refused, match=CLEAR):
                print(described, server.run(name, inputs))
            refused += 1
        else:
            answer = server.run(name, inputs)
            batch = len(next(iter(inputs.values())))
            assert all(len(value) == batch for value in answer.values()), described
            assert all(np.isfinite(value).all() for value in answer.values() if value.dtype.kind == "f"), described
            valid = answer.pop("valid", np.full(batch, True))
            if expected is not None:
                np.testing.assert_array_equal(valid, expected, err_msg=described)
            assert not any(value[~valid].any() for value in answer.values()), described
        good = name if name in known else next(iter(known))
        assert_same(server.run(good, known[good]), before[good], 0)
    assert 0.5 * NONSENSE < refused < NONSENSE


def test_a_large_batch(core, server):
    """Of more rows than any operation keeps in one thread, or a queue merges."""
    for name in core.model.signatures():
        inputs = core.rows(name, 1024, np.random.default_rng(4))
        answer = server.run(name, inputs)
        last = server.run(name, {key: value[-3:] for key, value in inputs.items()})
        assert_same({key: value[-3:] for key, value in answer.items()}, last, 1e-5, pixel_tolerance=1)
        assert answer.pop("valid", np.True_).all()
