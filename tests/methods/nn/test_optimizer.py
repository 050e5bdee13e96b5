"""The optimizer against torch's Adam and scheduler, one parameter at a time."""

import torch

from graybench.methods.nn.optimizer import CosineAdam
from graybench.tasks.seeding import generator

STEPS = 20


def parameters():
    random, shapes = generator(1), ((3, 2, 4), (3, 1, 4), (5,))
    return [torch.randn(shape, generator=random, requires_grad=True) for shape in shapes]


def loss(values, step):
    return sum(((p - 0.1 * step) ** 2).sum() + p.sin().prod() for p in values)


def test_it_is_adam_along_a_cosine_whose_rates_differ_between_groups():
    own, plain = parameters(), parameters()
    kept = [p.detach().clone() for p in own]
    optimizer = CosineAdam([(own[:2], 0.1), (own[2:], 0.02)], STEPS)
    assert all(torch.equal(p, before) for p, before in zip(own, kept, strict=True))
    adam = torch.optim.Adam([{"params": plain[:2], "lr": 0.1}, {"params": plain[2:], "lr": 0.02}])
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(adam, STEPS)
    for step in range(STEPS):
        optimizer.step(loss(own, step))
        adam.zero_grad()
        loss(plain, step).backward()
        adam.step()
        cosine.step()
        for a, b in zip(own, plain, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    assert (own[0] - kept[0]).abs().max() > 0.1


def test_gradients_that_were_written_by_hand_are_used_once():
    (p,) = own = [torch.zeros(3, requires_grad=True)]
    optimizer = CosineAdam([(own, 0.1)], STEPS)
    p.grad.copy_(torch.tensor([1.0, -1.0, 0.0]))
    optimizer.move()
    torch.testing.assert_close(p.detach(), torch.tensor([-0.1, 0.1, 0.0]))
    assert (p.grad == 0).all()
