"""Times of sampling: against sbi's posteriors at equal numbers of network evaluations, and with x given once.

    draws      1,000 draws for each of 5 observations from 5 replicates on the Galton board. The suite samples
               everything as one batch; sbi's `sample_batched` takes the observations together, and one
               replicate after the other. Both SDE samplers are Euler-Maruyama, sbi's default. The ODE sampler
               of sbi is zuko's adaptive solver at its default tolerances; the suite's flow uses as many
               evaluations as that. The last step of the suite's samplers is part of their evaluations
    network    the suite's network, in both; then the network that sbi builds for 3 layers of 64 given x
    the score of as many draws from 5 replicates with 2 parameters, with x repeated in every row, or
               given once by `methods.score.conditioning`

Training does not change these times and is short. `solver_errors` measures the quality of the samples.
"""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from ...methods import get_method
from ...methods.nn.network import ReplicatedMLP
from ...methods.rivals.private_randomness import private_randomness, quiet
from ...methods.rivals.sbi import estimator_class
from ...methods.rivals.sbi_trainers import make_trainer
from ...methods.score import last_step
from ...methods.score.conditioning import condition
from ...methods.score.posterior import ScorePosterior, sample_together
from ...methods.score.recipes import Preconditioned
from ...methods.score.samplers import SAMPLERS
from ...methods.score.score_matching import DSM
from ...methods.score.trainer import ScoreModel
from ...tasks.classic.galton import Galton
from ...tasks.seeding import generator
from ...tasks.simulations import Simulations
from .timing import Timing, take_turns

REPLICATES, DRAWS = 5, 1000
EVALUATIONS = SAMPLERS["ode"].cost(SAMPLERS["ode"].steps, d=1)
LAST = last_step.evaluations(d=1)
BUDGET, STEPS, SBI_EPOCHS = 1000, 100, 2
COLUMNS = (1, 10, 100, 400)
ROUNDS, QUICK_ROUNDS = 5, 1

Sampler = Callable[[], object]


def rows(quick: bool) -> list[Timing]:
    """Time sampling, by the suite and by sbi."""
    rounds = QUICK_ROUNDS if quick else ROUNDS
    return [*against_sbi(rounds), *given_observations(rounds)]


def against_sbi(rounds: int) -> list[Timing]:
    """Time samplers of the same network at the same numbers of evaluations."""
    task = Galton()
    simulations, x_o = [task.simulate(BUDGET, r) for r in range(REPLICATES)], task.observations().x
    fitted = get_method("dsm", steps=STEPS).fit_replicates(simulations, range(REPLICATES))
    of_score = [p for p in fitted if isinstance(p, ScorePosterior)]
    models = [p.model for p in of_score]

    def ours(sampler: str, evaluations: int) -> Sampler:
        steps = (evaluations - LAST) // SAMPLERS[sampler].evaluations
        posteriors = [ScorePosterior(p.model, p.gate, None, sampler, steps, p.method) for p in of_score]
        return lambda: sample_together(posteriors, DRAWS, x_o, range(REPLICATES))

    half = (EVALUATIONS + LAST) // 2  # with as many steps
    what = f"{DRAWS:,} draws × {len(x_o)} observations × {REPLICATES} replicates"
    contestants = {
        f"{what}: SDE, {EVALUATIONS} evaluations": ours("sde", EVALUATIONS),
        f"flow with corrected steps, {EVALUATIONS} evaluations": ours("ode", EVALUATIONS),
        f"flow by the exponential integrator, {half} evaluations": ours("exponential", half),
    }
    held_to = dict.fromkeys(contestants, next(iter(contestants)))
    if find_spec("sbi") is not None:
        for network, estimators in (
            ("the same network", _suite_estimators(models, simulations)),
            ("its own network", _own_estimators(simulations)),
        ):
            adaptive, evaluations = _sbi(estimators, simulations, x_o, "ode")
            like = f"flow by the exponential integrator, {evaluations} evaluations"
            contestants[like] = ours("exponential", evaluations)
            held_to[like] = like
            contestants[f"sbi, {network}, ODE, {evaluations} evaluations"] = adaptive
            held_to[f"sbi, {network}, ODE, {evaluations} evaluations"] = like
            euler, evaluations = _sbi(estimators, simulations, x_o, "sde")
            contestants[f"sbi, {network}, SDE, {evaluations} evaluations"] = euler
            held_to[f"sbi, {network}, SDE, {evaluations} evaluations"] = next(iter(contestants))
    taken = take_turns(contestants, rounds)
    return [Timing(name, taken[name], taken[name] / taken[held_to[name]]) for name in contestants]


def given_observations(rounds: int) -> list[Timing]:
    """Time one evaluation of the score with x repeated in every row, and with x given once."""
    table, d, m = [], 2, 5
    for dim_x in COLUMNS:
        random = generator(dim_x)
        recipe = Preconditioned(*(torch.randn(REPLICATES, 500, k, generator=random) for k in (d, dim_x)))
        mlp = ReplicatedMLP(
            recipe.n_inputs, d, width=DSM.width, depth=DSM.depth, generators=[random] * REPLICATES
        )
        model, x = ScoreModel(recipe, mlp), torch.randn(REPLICATES, m, dim_x, generator=random)
        u_t, t = torch.randn(REPLICATES * m, DRAWS, d, generator=random), torch.full((1, 1, 1), 0.3)
        given = condition(model, x)
        taken = take_turns(
            {"told": _told(model, x, u_t, t), "given": _evaluate(given, u_t, u_t[..., :0], t)}, rounds
        )
        what = f"a score of {DRAWS * m * REPLICATES:,} draws, dim x = {dim_x}"
        table += [
            Timing(f"{what}: x told in every row", taken["told"], 1),
            Timing(f"{what}: x given once", taken["given"], taken["given"] / taken["told"]),
        ]
    return table


def _told(model: ScoreModel, x: Tensor, u_t: Tensor, t: Tensor) -> Sampler:
    return _evaluate(model, u_t.reshape(REPLICATES, -1, u_t.shape[-1]), x.repeat_interleave(DRAWS, 1), t)


@torch.no_grad()
def _evaluate(model: ScoreModel, u_t: Tensor, x: Tensor, t: Tensor) -> Sampler:
    model = model.requires_grad_(False)
    return lambda: model(u_t, x, t)


def _suite_estimators(models: Sequence[ScoreModel], simulations: Sequence[Simulations]) -> list[Any]:
    made = zip(models, simulations, strict=True)
    return [estimator_class()(model, s.u.float(), s.x.float()) for model, s in made]


def _own_estimators(simulations: Sequence[Simulations]) -> list[Any]:
    from sbi.neural_nets import posterior_score_nn

    network = posterior_score_nn(hidden_features=DSM.width, num_layers=DSM.depth, sde_type="vp")
    estimators = []
    for r, s in enumerate(simulations):
        with private_randomness(r), quiet():
            made = make_trainer("bench", "NPSE", s.u.shape[1], vf_estimator=network)
            made.append_simulations(s.u.float(), s.x.float())
            estimators.append(made.train(max_num_epochs=SBI_EPOCHS))
    return estimators


def _sbi(
    estimators: Sequence[Any], simulations: Sequence[Simulations], x_o: Tensor, sampler: str
) -> tuple[Sampler, int]:
    """Return a function that samples every replicate by sbi, and its mean evaluations for a draw."""
    posteriors, calls = [], []
    for estimator, s in zip(estimators, simulations, strict=True):
        made = make_trainer("bench", "NPSE", s.u.shape[1])
        made.append_simulations(s.u.float(), s.x.float())
        posteriors.append(made.build_posterior(estimator, sample_with=sampler))
    options = {"steps": EVALUATIONS + 1} if sampler == "sde" else {}  # sbi counts times, one more than steps

    def sample() -> None:
        for posterior in posteriors:
            with private_randomness(1), quiet():
                posterior.sample_batched((DRAWS,), x=x_o.float(), show_progress_bars=False, **options)

    nets = [posterior.vector_field_estimator.net for posterior in posteriors]
    hooks = [net.register_forward_hook(lambda *_: calls.append(1)) for net in nets]
    sample()
    for hook in hooks:
        hook.remove()
    return sample, round(len(calls) / len(nets))
