"""The bilinear game against its closed forms: rates, angles, invariants, and powers of a matrix."""

import json
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainers.metrics import DoesNotApply, theory
from zoo.studies.bilinear import Bilinear

ETA, NUM_STEPS = 0.1, 150
PLAYS = ("simultaneous", "alternating", "extragradient")
of_plays = pytest.mark.parametrize("play", PLAYS)


def game(play, eta_x=ETA, eta_y=ETA, **start):
    model = Bilinear(data_shape=(2,), play=play, **start)
    model.compile({"x": keras.optimizers.SGD(eta_x), "y": keras.optimizers.SGD(eta_y)})
    return model


def path_of(model, num_steps=NUM_STEPS):
    """The positions [num_steps + 1, 2] that the model's own steps lead through."""

    @tf.function
    def walk():
        path = tf.TensorArray(tf.float32, num_steps + 1).write(0, model.position)
        for t in tf.range(num_steps):
            model.train_step(tf.zeros([1, 2]))
            path = path.write(t + 1, model.position)
        return path.stack()

    return walk().numpy()


@pytest.mark.parametrize("eta", [0.1, 0.7, 1.9])
def test_rates_angles_and_the_ellipse(eta):
    """Powers of the matrix, which paths are, grow as its eigenvalues; x moves first, hence the sign in the ellipse."""
    maps = {play: game(play, eta, eta).linear_map() for play in PLAYS}
    for play, largest, square in (
        ("simultaneous", 1 + 1j * eta, 1 + eta**2),
        ("alternating", np.exp(1j * np.arccos(1 - eta**2 / 2)), 1.0),
        ("extragradient", 1 - eta**2 + 1j * eta, 1 - eta**2 + eta**4),
    ):
        np.testing.assert_allclose(max(np.linalg.eigvals(maps[play]), key=np.imag), largest, rtol=1e-6)
        np.testing.assert_allclose(np.abs(largest) ** 2, square)
    kept, other = (np.array([[1.0, sign * eta / 2], [sign * eta / 2, 1.0]]) for sign in (-1, 1))
    before_and_after = [(form, maps["alternating"].T @ form @ maps["alternating"]) for form in (kept, other)]
    np.testing.assert_allclose(*before_and_after[0], atol=1e-6)
    assert not np.allclose(*before_and_after[1], atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("eta, bound", [(0.1, 1.03), (1.9, 20**0.5), (2.0, None), (2.5, None)])
def test_alternating_play_is_bounded_below_a_rate_of_two_only(eta, bound):
    distance = np.linalg.norm(path_of(game("alternating", eta, eta, x0=1.0, y0=0.0), 30), axis=1)
    assert distance.max() <= bound if bound else distance[-1] > 50  # r^2 (1 - eta / 2) <= x^2 + y^2 - eta x y = 1


@pytest.mark.slow
@of_plays
@pytest.mark.parametrize("eta_x, eta_y", [(0.1, 0.1), (0.05, 0.2), (0.02, 0.02)])
def test_paths_are_powers_of_the_matrix_and_are_served_as_moves(play, eta_x, eta_y):
    model = game(play, eta_x, eta_y, x0=0.3, y0=0.9)
    path, served = path_of(model), {name: function for name, (function, _) in model.signatures().items()}
    expected = [np.linalg.matrix_power(model.linear_map(), t) @ [0.3, 0.9] for t in range(NUM_STEPS + 1)]
    np.testing.assert_allclose(path, expected, atol=1e-5)
    moved = served["move"](*path[:-1].T)
    np.testing.assert_allclose(np.stack([moved["x"], moved["y"]], 1), path[1:], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(served["value"](*path.T)["value"], path[:, 0] * path[:, 1])


@pytest.mark.slow
@of_plays
def test_small_steps_follow_the_circle_of_continuous_time(play):
    eta, t = 0.002, 1.0
    end = path_of(game(play, eta, eta, x0=1.0, y0=0.5), 500)[-1]
    circle = [np.cos(t) - 0.5 * np.sin(t), np.sin(t) + 0.5 * np.cos(t)]
    np.testing.assert_allclose(end, circle, rtol=0.0, atol=2 * eta)


@pytest.mark.parametrize("optimizer", [keras.optimizers.Adam(0.1), keras.optimizers.SGD(0.1, momentum=0.9)])
def test_no_linear_map_is_claimed_of_other_optimizers(optimizer):
    model = game("simultaneous")
    model.compile({"x": optimizer, "y": keras.optimizers.SGD(0.1)})
    assert model.linear_map() is None and set(model.signatures()) == {"value"}


def report_of(model, path, folder, every=1, more="", metric=theory.play_against_theory):
    """A metric of a run whose log holds these positions, all or every second one."""
    lines = [{"step": t, "position_x": float(x), "position_y": float(y)} for t, (x, y) in enumerate(path) if t]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines[every - 1 :: every]) + more)
    run = SimpleNamespace(model=model, path=folder, step=len(lines))
    return metric(run, None, None)


@pytest.mark.slow
@of_plays
def test_metric_agrees_with_the_play_and_finds_out_another(play, tmp_path):
    path = path_of(game(play))
    report = report_of(game(play), path, tmp_path)
    factor = {"simultaneous": 1.0 + ETA**2, "alternating": 1.0, "extragradient": 1.0 - ETA**2 + ETA**4}[play]
    np.testing.assert_allclose(report["spectral_radius"], np.sqrt(factor))
    assert report["largest_deviation"] < 1e-5 and report["num_steps"] == NUM_STEPS
    np.testing.assert_allclose(report["distance"], np.linalg.norm(path[-1]))
    if play != "alternating":
        np.testing.assert_allclose(report["distance_in_theory"], np.sqrt(2.0 * factor**NUM_STEPS))
    assert (tmp_path / "path.png").stat().st_size > 1000
    assert all(report_of(game(other), path, tmp_path)["largest_deviation"] > 0.1 for other in set(PLAYS) - {play})


@pytest.mark.slow
def test_metric_needs_every_step_of_a_linear_game(tmp_path):
    model = game("alternating")
    path = path_of(model, 4)
    assert report_of(model, path, tmp_path)
    for other, more in ((model, {"every": 2}), (object(), {}), (model, {"more": '{"step"'})):
        with pytest.raises(DoesNotApply):
            report_of(other, path, tmp_path, **more)


@pytest.mark.parametrize("function, slope", [("identity", 1.0), ("log_sigmoid", 0.5)])
@pytest.mark.parametrize("gamma", [0.0, 0.4, 3.0])
def test_eigenvalues_of_the_dirac_gan(function, slope, gamma, tmp_path):
    """Lemma 4.1 of Mescheder et al. 2018: of the map of one step, and of a path that the players took."""
    model = game("simultaneous", function=function, gamma=gamma, x0=0.02, y0=0.05)
    expected = -gamma / 2 + np.emath.sqrt(gamma**2 / 4 - slope**2)
    found = np.linalg.eigvals((model.linear_map() - np.eye(2)) / ETA)
    assert min(abs(found - expected)) < 1e-6 and max(found.real) <= 1e-12
    report = report_of(model, path_of(model), tmp_path, metric=theory.eigenvalues_against_theory)
    for part in ("real", "imaginary"):
        np.testing.assert_allclose(report[f"{part}_part"], report[f"{part}_part_in_theory"], atol=1e-3)
    if gamma < 2 * slope:
        np.testing.assert_allclose(report["real_part"] + 1j * report["imaginary_part"], expected, atol=1e-3)
        assert (report["distance"] < 0.01) == (gamma > 0)  # R1's players arrive, the others never do
    x, y = (tf.constant(n) for n in (0.3, 0.7))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([x, y])
        V = model.value(x, y)["value"]
    t = 0.3 * 0.7
    f_prime = 1.0 if function == "identity" else 1 / (1 + np.exp(t))
    np.testing.assert_allclose([tape.gradient(V, x), tape.gradient(V, y)], [f_prime * 0.7, f_prime * 0.3], rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("play", ["simultaneous", "alternating"])
@pytest.mark.parametrize("x0, y0", [(1.0, 0.2), (0.3, 0.3), (1.0, 0.0), (0.1, 2.0)])
def test_of_real_eigenvalues_the_slower_ones_are_compared(play, x0, y0, tmp_path):
    """In whatever order the fitted pair comes: of the faster one only rounding is left in the path's last half."""
    model = game(play, gamma=8.0, x0=x0, y0=y0)
    path = np.float32([np.linalg.matrix_power(model.linear_map(), t) @ [x0, y0] for t in range(101)])
    report = report_of(model, path, tmp_path, metric=theory.eigenvalues_against_theory)
    np.testing.assert_allclose(report["real_part"], report["real_part_in_theory"], rtol=1e-4)
    assert report["imaginary_part"] == report["imaginary_part_in_theory"] == 0.0
