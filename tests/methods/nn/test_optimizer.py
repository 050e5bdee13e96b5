"""The optimizer against torch's Adam and scheduler, one parameter at a time."""

import torch

from graybench.methods.nn.optimizer import CosineAdam, FlatAdam
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


def test_a_replicate_that_is_kept_goes_on_as_if_it_had_been_alone():
    """The others are dropped after five steps; parameters and both moments of Adam must follow."""
    random, kept = generator(2), [1, 3]
    start = [torch.randn(4, *shape, generator=random) for shape in ((2, 3), (1, 3))]

    def own_loss(values, step, scale):
        return sum((scale * (p - 0.1 * step) ** 2).sum() for p in values)

    together = [p.clone().requires_grad_() for p in start]
    alone = [p[kept].clone().requires_grad_() for p in start]
    scale = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(4, 1, 1)
    batched, separate = FlatAdam([(together, 0.1)]), FlatAdam([(alone[:1], 0.1), (alone[1:], 0.1)])
    for step in range(12):
        if step == 5:
            batched.keep(kept)
            scale = scale[kept]
        batched.step(own_loss(together, step, scale))
        separate.step(own_loss(alone, step, torch.tensor([2.0, 4.0]).view(2, 1, 1)))
    for a, b in zip(together, alone, strict=True):
        assert a.shape == b.shape
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)
