"""Compiled training against automatic differentiation, torch's Adam and float64."""

import copy

import pytest
import torch

from graybench.methods.nn import compiled
from graybench.methods.nn.descent import Descent
from graybench.methods.nn.network import ReplicatedMLP
from graybench.tasks.seeding import generator

R, INPUTS, OUTPUTS = 3, 7, 2
DECAY, RATE = 0.9, 0.01


def network(depth=3, width=16, replicates=R, outputs=OUTPUTS):
    random = generator(0)
    made = ReplicatedMLP(
        INPUTS, outputs, width=width, depth=depth, generators=[generator(s) for s in range(replicates)]
    )
    for p in made.parameters():  # the output layer starts at 0, where hidden layers have no gradient
        p.data += 0.3 * torch.randn(p.shape, generator=random)
    return made


def batches(*shape, outputs=OUTPUTS):
    random = generator(1)
    inputs = torch.randn(*shape, INPUTS, generator=random)
    goals = torch.randn(*shape, outputs, generator=random)
    return inputs, goals, torch.rand(*shape, 1, generator=random)


def loss(mlp, inputs, goals, weights):
    return (weights * (mlp(inputs) - goals).square()).mean((1, 2))


def values(mlp):
    return torch.cat([p.detach().flatten(1) for p in mlp.parameters()], 1)


@pytest.mark.parametrize(
    ("depth", "width", "rows", "outputs"),
    [(1, 1, 1, 1), (1, 5, 3, 2), (4, 33, 50, 10), (3, 64, 128, 2), (2, 70, 131, 35)],
)
def test_gradients_are_autograds_in_float64(depth, width, rows, outputs):
    """Adam's mean gradient after one step is a tenth of the gradient."""
    mlp = network(depth, width, outputs=outputs)
    data = batches(R, rows, outputs=outputs)
    exact = copy.deepcopy(mlp).double()
    expected = torch.autograd.grad(
        loss(exact, *(part.double() for part in data)).sum(), [*exact.parameters()]
    )
    descent = Descent(mlp, DECAY)
    descent.advance(*(part.unsqueeze(0) for part in data), [RATE])
    found = 10 * descent.moments[:, 0].double()
    gradient = torch.cat([g.flatten(1) for g in expected], 1)
    assert (found - gradient).abs().max() < 3e-6 * gradient.abs().max()


def test_steps_are_adams_and_the_average_follows():
    mlp, data = network(), batches(40, R, 50)
    plain = copy.deepcopy(mlp)
    rates = [RATE / (1 + step) for step in range(40)]
    descent = Descent(mlp, DECAY)
    average = values(plain)
    adam = torch.optim.Adam(plain.parameters())
    for step, rate in enumerate(rates):
        adam.param_groups[0]["lr"] = rate
        adam.zero_grad()
        loss(plain, *(part[step] for part in data)).sum().backward()
        adam.step()
        average = DECAY * average + (1 - DECAY) * values(plain)
    start = values(mlp)
    descent.advance(*(part[:25] for part in data), rates[:25])
    descent.advance(*(part[25:] for part in data), rates[25:])
    torch.testing.assert_close(values(mlp), values(plain), rtol=0, atol=1e-5)
    torch.testing.assert_close(descent.average.average[0], average, rtol=0, atol=1e-5)
    assert (values(mlp) - start).abs().max() > 0.02


@pytest.mark.parametrize("rows", [1, compiled.PART, 3 * compiled.PART + 5])
def test_the_average_of_least_held_out_loss_is_kept(rows):
    """The averages before and after training, by the loss that autograd's network has."""
    mlp, held_out = network(), batches(R, rows)
    descent = Descent(mlp, DECAY)
    before = values(mlp).clone()
    descent.judge(*held_out)
    torch.testing.assert_close(descent.average.best.loss, loss(mlp, *held_out).detach())
    descent.advance(*batches(60, R, 50), [RATE] * 60)
    after = descent.average.average[0].clone()
    descent.judge(*held_out)
    both = []
    for found in (before, after):
        descent.values.copy_(found)
        both.append(loss(mlp, *held_out).detach())
    first = (both[0] <= both[1]).unsqueeze(1)
    torch.testing.assert_close(descent.average.best.loss, torch.minimum(*both))
    assert torch.equal(descent.average.result()[0][0], torch.where(first, before, after))


def test_replicates_do_not_depend_on_each_other_or_on_threads():
    """Bit by bit: together on three threads, and each alone on one."""
    data, found = batches(20, R, 50), []
    mlp = network()
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        together = copy.deepcopy(mlp)
        Descent(together, DECAY).advance(*data, [RATE] * 20)
    finally:
        torch.set_num_threads(threads)
    for r in range(R):
        alone = copy.deepcopy(mlp)
        for p in alone.parameters():
            p.data = p.data[r : r + 1]
        Descent(alone, DECAY).advance(*(part[:, r : r + 1] for part in data), [RATE] * 20)
        found.append(values(alone))
    assert torch.equal(values(together), torch.cat(found))
    assert not torch.equal(found[0], found[1])


def test_a_replicate_that_is_kept_goes_on_as_if_it_had_been_alone():
    data, kept = batches(20, R, 50), [2, 0]
    mlp, undisturbed = network(), network()
    descent, whole = Descent(mlp, DECAY), Descent(undisturbed, DECAY)
    for each in (descent, whole):
        each.advance(*(part[:10] for part in data), [RATE] * 10)
        each.judge(*(part[0] for part in data))
    descent.keep(kept)
    descent.advance(*(part[10:, kept] for part in data), [RATE] * 10)
    whole.advance(*(part[10:] for part in data), [RATE] * 10)
    assert torch.equal(values(mlp), values(undisturbed)[kept])
    assert torch.equal(descent.average.average[0], whole.average.average[0][kept])
    assert torch.equal(descent.average.best.loss, whole.average.best.loss[kept])


@pytest.mark.parametrize("wrong", [0, 1, 2])
def test_what_is_not_finite_stays_visible_and_in_its_replicate(wrong):
    data = batches(2, R, 50)
    data[wrong][1, 1, 3] = torch.nan
    mlp = network()
    Descent(mlp, DECAY).advance(*data, [RATE] * 2)
    assert values(mlp).isfinite().all(1).tolist() == [True, False, True]
