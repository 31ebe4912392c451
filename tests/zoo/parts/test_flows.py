"""Flows against Jacobians by automatic differentiation in float64, integrals of their densities, and their inverses."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from zoo.parts import flows

SIZE, ROWS = 5, 7
rng = np.random.default_rng(0)
Z = tf.constant(rng.normal(0.0, 1.5, [ROWS, SIZE]))
LOWER = rng.normal(size=[2, SIZE, SIZE]) * np.tri(SIZE, k=-1)
PLANAR, RADIAL, (VECTOR,) = (
    [rng.normal(size=[ROWS, n]) for n in sizes] for sizes in ((SIZE, SIZE, 1), (SIZE, 1, 1), (SIZE,))
)


def of(step, parameters):
    return step(*(tf.constant(p, tf.float64) for p in parameters))


def affine(z):
    return tf.sin(z @ LOWER[0].T + 0.3) + tf.reverse(z, [1]), tf.tanh(z @ LOWER[1])


def gates(z):
    return tf.sin(z @ LOWER[0].T + 0.3), z @ LOWER[1].T + 1.0


KEPT = np.array([True, False, True, True, False])
STEPS = {
    "planar": of(flows.planar, PLANAR),
    "radial": of(flows.radial, RADIAL),
    "householder": of(flows.householder, [VECTOR]),
    "coupling": flows.coupling(KEPT, affine),
    "iaf": flows.inverse_autoregressive(gates),
    "scaling": flows.scaling(tf.constant(rng.normal(size=SIZE))),
}
STEPS |= {
    "sigmoid": flows.Bijection(*reversed(flows.logit())),
    "all": flows.compose(list(STEPS.values())),
    "all with an inverse": flows.compose([step for step in STEPS.values() if step.inverse]),
    "planar, steep": of(flows.planar, [4.0 * p for p in PLANAR]),
    "planar, w = 0": of(flows.planar, [0.0 * PLANAR[0], *PLANAR[1:]]),
    "radial, steep": of(flows.radial, [4.0 * p for p in RADIAL]),
    "householder, v = 0": of(flows.householder, [0.0 * VECTOR]),
}


def jacobians(function, z):
    with tf.GradientTape() as tape:
        tape.watch(z)
        y, log_det = function(z)
    return tape.batch_jacobian(y, z).numpy(), log_det.numpy(), y


@pytest.mark.slow
@pytest.mark.parametrize("name", STEPS)
def test_log_det_is_that_of_the_jacobian(name):
    sides = [(STEPS[name].forward, Z)]
    if STEPS[name].inverse:
        y, log_det = STEPS[name].forward(Z)
        x, back = STEPS[name].inverse(y)
        np.testing.assert_allclose(x, Z, atol=1e-10)
        np.testing.assert_allclose(back, -log_det, atol=1e-10)
        sides.append((STEPS[name].inverse, y))
    for function, z in sides:
        jacobian, log_det, _ = jacobians(function, z)
        np.testing.assert_allclose(log_det, np.linalg.slogdet(jacobian)[1], atol=1e-10)


def softplus(x):
    return np.logaddexp(x, 0.0)


def one_plus(wu):
    """1 + w'u_hat of a planar step."""
    return softplus(wu + np.log(np.e - 1.0))


def test_planar_is_the_papers():
    """With ||w||^2 below, and a constant for u_hat = 0 at u = 0.

    The determinant is positive also where 1 + w'u_hat is less than float32 has beside 1.
    """
    w, u, b = PLANAR
    wu, squared = np.sum(w * u, 1, keepdims=True), np.sum(w**2, 1, keepdims=True)
    u_hat = u + (one_plus(wu) - 1.0 - wu) * w / squared
    h = np.tanh(np.sum(w * Z, 1, keepdims=True) + b)
    y, log_det = STEPS["planar"].forward(Z)
    np.testing.assert_allclose(y, Z + u_hat * h, rtol=1e-12)
    np.testing.assert_allclose(log_det, np.log(np.abs(1.0 + np.sum(u_hat * (1 - h**2) * w, axis=1))), atol=1e-10)
    big = tf.constant([[40.0, 0.0]])
    _, log_det = flows.planar(big, -big, tf.zeros([1, 1])).forward(tf.constant([[1e-3, 2.0]]))
    np.testing.assert_allclose(log_det, 2.0 * np.log(np.tanh(0.04)), rtol=1e-4)


def test_planar_begins_near_the_identity():
    """Of small w and u, whatever b is: where u_hat grows as 1 / ||w||, a first step of training makes z leap."""
    w, u, b = np.full([1, SIZE], 1e-3), np.full([1, SIZE], 1e-2), np.ones([1, 1])
    y, log_det = flows.planar(*map(tf.constant, (w, u, b))).forward(Z)
    np.testing.assert_allclose(y, Z, atol=0.02)
    np.testing.assert_allclose(log_det, 0.0, atol=0.02)


def test_radial_is_the_papers():
    centre, alpha, beta = RADIAL[0], softplus(RADIAL[1]), softplus(RADIAL[2]) - softplus(RADIAL[1])
    r = np.linalg.norm(Z - centre, axis=1, keepdims=True)
    h, slope = 1 / (alpha + r), -1 / (alpha + r) ** 2
    y, log_det = STEPS["radial"].forward(Z)
    np.testing.assert_allclose(y, Z + beta * h * (Z - centre), rtol=1e-12)
    expected = (SIZE - 1) * np.log1p(beta * h) + np.log1p(beta * h + beta * slope * r)
    np.testing.assert_allclose(log_det, expected[:, 0], atol=1e-10)


def test_householder_reflects():
    np.testing.assert_allclose(STEPS["householder"].forward(tf.constant(VECTOR))[0], -VECTOR, rtol=1e-12)
    y, _ = STEPS["householder"].forward(Z)
    np.testing.assert_allclose(np.linalg.norm(y, axis=1), np.linalg.norm(Z, axis=1), rtol=1e-12)


GRID = np.stack(np.meshgrid(*[np.linspace(-12.0, 12.0, 601)] * 2), axis=-1).reshape(-1, 2)
LINE = np.linspace(-40.0, 40.0, 400_001)


def inverse_of_planar(y, w, u, b):
    """z = y - u_hat tanh(a + b), in which a = w'z solves w'y = a + w'u_hat tanh(a + b)."""
    wu_hat = one_plus(w @ u) - 1.0
    a = np.interp(y @ w, LINE + wu_hat * np.tanh(LINE + b), LINE)
    return y - (u + (wu_hat - w @ u) * w / (w @ w)) * np.tanh(a + b)[:, None]


def inverse_of_radial(y, centre, alpha, beta):
    """The distance from the centre grows from r to r + beta_hat r / (alpha_hat + r)."""
    r, distance = LINE[LINE >= 0.0], np.linalg.norm(y - centre, axis=1)
    alpha, beta = softplus(alpha), softplus(beta) - softplus(alpha)
    found = np.interp(distance, r + beta * r / (alpha + r), r)
    return centre + (y - centre) * (found / np.maximum(distance, 1e-12))[:, None]


@pytest.mark.parametrize("step, inverse, parameters", [
    (flows.planar, inverse_of_planar, ([1.0, 2.0], [1.0, 0.5], [0.3])),
    (flows.planar, inverse_of_planar, ([1.0, 2.0], [-0.5, -0.5], [-0.5])),
    (flows.planar, inverse_of_planar, ([0.3, 0.1], [-3.0, 1.0], [1.0])),
    (flows.radial, inverse_of_radial, ([0.5, -0.5], [0.5], [2.0])),
    (flows.radial, inverse_of_radial, ([0.5, -0.5], [1.5], [-1.0])),
])  # fmt: skip
def test_the_density_in_the_plane_integrates_to_one(step, inverse, parameters):
    """q(y) = q_0(z) / |det| at z = f^-1(y), y on a grid; the inverse along the one line on which the map is curved."""
    z = inverse(GRID, *(np.squeeze(p) for p in parameters))
    y, log_det = of(step, parameters).forward(tf.constant(z))
    np.testing.assert_allclose(y, GRID, atol=1e-4)
    density = stats.multivariate_normal(np.zeros(2)).pdf(z) / np.exp(log_det)
    assert np.sum(density) * (24.0 / 600) ** 2 == pytest.approx(1.0, abs=1e-3)
    assert np.abs(y - z).max() > 0.2


Z32, CONTEXT = tf.constant(rng.normal(size=[3, 4, SIZE]), tf.float32), rng.normal(size=[4, 100])


@pytest.mark.slow
@pytest.mark.parametrize("name", flows.FLOWS)
@pytest.mark.parametrize("size", [1, SIZE])
def test_flows_of_an_encoder(name, size):
    """Each row of several draws has its own map, which the row's parameters decide, and which is inverted."""
    flow, z = flows.FLOWS[name](size, 3, (8, 8)), Z32[..., :size]
    parameters = tf.constant(CONTEXT[:, : flow.num_parameters], tf.float32)
    step = flow.bijection(parameters)
    y, log_det = step.forward(z)
    jacobian, of_rows, of_draw = jacobians(step.forward, z[1])
    np.testing.assert_allclose(of_draw, y[1], atol=1e-5)
    np.testing.assert_allclose(of_rows, log_det[1], atol=1e-5)
    np.testing.assert_allclose(of_rows, np.linalg.slogdet(jacobian)[1], atol=1e-4)
    other, _ = flow.bijection(tf.concat([parameters[:1], parameters[:0:-1]], axis=0)).forward(z)
    np.testing.assert_allclose(other[:, 0], y[:, 0], atol=1e-5)
    if (name, size) not in (("householder", 1), ("coupling", 1)):  # where there is but one map
        assert np.abs(other - y).max(axis=(0, 2))[1::2].min() > 1e-3
    if step.inverse:
        x, back = step.inverse(y)
        np.testing.assert_allclose(x, z, atol=1e-4)
        np.testing.assert_allclose(back, -log_det, atol=1e-4)


def test_two_couplings_move_every_number():
    flow = flows.FLOWS["coupling"](SIZE, 2, (8,))
    context = tf.constant(CONTEXT[:, :SIZE], tf.float32)
    assert np.abs(flow.bijection(context).forward(Z32)[0] - Z32).min() > 0.0


@pytest.mark.slow
@pytest.mark.parametrize("hidden_units", [(), (3,), (16, 16)])
def test_gates_see_what_comes_before(hidden_units):
    """m and s of z_i are functions of the z before it alone: a strictly triangular Jacobian, in either order."""
    flow = flows.FLOWS["iaf"](SIZE, 2, hidden_units)
    for i, network in enumerate(flow.networks):
        x = tf.constant(rng.normal(size=[4, 2 * SIZE]), tf.float32)
        jacobian, _, _ = jacobians(lambda x, network=network: (network(x), tf.zeros(4)), x)  # [4, 2, SIZE, 2 SIZE]
        of_z, of_context = np.split(jacobian, 2, axis=-1)
        seen = np.tri(SIZE, k=-1) if i == 0 else np.tri(SIZE, k=-1).T
        assert not of_z[:, :, seen == 0].any() and np.all(of_context.any(axis=(0, -1)))
        if hidden_units != (3,):  # too few to see all of it
            assert of_z.any(axis=0)[:, seen == 1].all()
