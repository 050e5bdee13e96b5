"""The optimizer against torch's own schedule."""

import torch

from graybench.methods.nn.optimizer import CosineAdam
from graybench.tasks.seeding import generator

STEPS = 20


def parameters():
    random, shapes = generator(1), ((3, 2, 4), (3, 1, 4), (5,))
    return [torch.randn(shape, generator=random, requires_grad=True) for shape in shapes]


def loss(values, step):
    return sum(((p - 0.1 * step) ** 2).sum() + p.sin().prod() for p in values)


def test_it_is_adam_along_a_cosine():
    own, plain = parameters(), parameters()
    kept = [p.detach().clone() for p in own]
    optimizer = CosineAdam(own, 0.1, STEPS)
    adam = torch.optim.Adam(plain, 0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, STEPS)
    for step in range(STEPS):
        optimizer.step(loss(own, step))
        adam.zero_grad()
        loss(plain, step).backward()
        adam.step()
        schedule.step()
        for a, b in zip(own, plain, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    assert (own[0] - kept[0]).abs().max() > 0.1
