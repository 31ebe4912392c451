"""The deep Boltzmann machine in PyTorch: a training step, and a sampler."""

import itertools

import torch
from tools import binary

SIZES = (784, 500, 1000)
SWEEPS = 500  # behind a sample


def weights():
    """W and b of a new machine."""
    W = [(0.01 * torch.randn(a, b)).requires_grad_() for a, b in itertools.pairwise(SIZES)]
    return W, [torch.zeros(n, requires_grad=True) for n in SIZES]


def dbm(wrap):
    """One step along statistics of five sweeps of mean field and two of Gibbs sampling, centred."""
    W, b = weights()
    average = [p.detach().clone() for p in (*W, *b)]
    optimizer = torch.optim.SGD([*W, *b], lr=0.005, momentum=0.9)
    x = binary(100)
    chains = [torch.full((100, n), 0.5) for n in SIZES]

    def means_of_0(h1):
        return torch.sigmoid(h1 @ W[0].T + b[0])

    def means_of_1(v, h2):
        return torch.sigmoid(v @ W[0] + h2 @ W[1].T + b[1])

    def means_of_2(h1):
        return torch.sigmoid(h1 @ W[1] + b[2])

    def statistics_of(states):
        return [a.T @ c / len(a) for a, c in itertools.pairwise(states)], [a.mean(0) for a in states]

    @wrap
    def delta(v, h1, h2):
        m1 = torch.sigmoid(2 * (x @ W[0]) + b[1])
        m2, below = means_of_2(m1), x @ W[0]
        for _ in range(5):
            m1 = torch.sigmoid(below + m2 @ W[1].T + b[1])
            m2 = means_of_2(m1)
        for _ in range(2):
            v, h2 = torch.bernoulli(means_of_0(h1)), torch.bernoulli(means_of_2(h1))
            h1 = torch.bernoulli(means_of_1(v, h2))
        (dW, db), (mW, mb) = statistics_of([x, m1, m2]), statistics_of([v, means_of_1(v, h2), h2])
        dW, middle = [p - q for p, q in zip(dW, mW, strict=True)], [0.5 * (p + q) for p, q in zip(db, mb, strict=True)]
        db = [p - q for p, q in zip(db, mb, strict=True)]
        dW = [p - torch.outer(middle[i], db[i + 1]) - torch.outer(db[i], middle[i + 1]) for i, p in enumerate(dW)]
        for i, p in enumerate(dW):
            db[i], db[i + 1] = db[i] - p @ middle[i + 1], db[i + 1] - p.T @ middle[i]
        return dW + db, (v, h1, h2)

    def step():
        nonlocal chains
        with torch.no_grad():
            deltas, chains = delta(*chains)
            for parameter, change in zip((*W, *b), deltas, strict=True):
                parameter.grad = -change
            optimizer.step()
            torch._foreach_lerp_(average, [*W, *b], 0.001)

    return step


def sample_dbm(wrap, batch):
    """Draws of the visible units at the end of sweeps at rising inverse temperatures, from independent units."""
    (W_1, W_2), (b_0, b_1, b_2) = weights()
    betas = torch.linspace(0.0, 1.0, SWEEPS + 1)[1:]

    @wrap
    def sweep(v, h1, h2, beta):
        h1 = torch.bernoulli(torch.sigmoid(beta * (v @ W_1 + h2 @ W_2.T + b_1)))
        v = torch.bernoulli(torch.sigmoid(beta * (h1 @ W_1.T + b_0)))
        h2 = torch.bernoulli(torch.sigmoid(beta * (h1 @ W_2 + b_2)))
        return v, h1, h2

    def sample():
        state = [torch.bernoulli(torch.full((batch, n), 0.5)) for n in SIZES]
        for beta in betas:
            state = sweep(*state, beta)
        return state[0]

    return sample
