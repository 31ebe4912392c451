"""What steps of models in PyTorch share."""

import itertools

import torch
from torch import nn


def binary(batch):
    return (torch.rand(batch, 784) < 0.13).float()


def dense(*widths, activation):
    layers = [layer for a, b in itertools.pairwise(widths) for layer in (nn.Linear(a, b), activation())]
    return nn.Sequential(*layers[:-1])


def adam(networks, **settings):
    return torch.optim.Adam([p for network in networks for p in network.parameters()], fused=True, **settings)


def adamw(networks, **settings):
    return torch.optim.AdamW([p for network in networks for p in network.parameters()], fused=True, **settings)


def in_turn(losses, optimizers):
    """A step of each optimizer after the other, along its own loss."""

    def step():
        for loss, optimizer in zip(losses, optimizers, strict=True):
            optimizer.zero_grad()
            loss().backward()
            optimizer.step()

    return step


def simultaneous(losses, parameters, optimizers):
    """A step of all optimizers at once, each along its own loss by its own parameters."""

    def step():
        found = losses()
        grads = [
            torch.autograd.grad(loss, of_move, retain_graph=True)
            for loss, of_move in zip(found, parameters, strict=True)
        ]
        for optimizer, of_move, of_loss in zip(optimizers, parameters, grads, strict=True):
            for parameter, grad in zip(of_move, of_loss, strict=True):
                parameter.grad = grad
            optimizer.step()

    return step
