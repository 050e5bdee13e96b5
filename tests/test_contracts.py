"""What a class that is written outside the project gets without a line of its own."""

import dataclasses
import pickle
import re
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

import graybench
from graybench import (
    GaussianReference,
    Method,
    Normal,
    Outcome,
    Posterior,
    Task,
    UserError,
    get_method,
    get_task,
)
from graybench.tasks.errors import NotFiniteError

HERE = "graybench.tests.test_contracts"


class Shifted(Task):
    """x = θ + shift + noise, with options and without a decorator."""

    name: ClassVar[str] = "shifted"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "A shifted Gaussian."
    capabilities: ClassVar[frozenset[str]] = frozenset({"joint_score", "reference"})

    shift: float = 0.0
    fault: str = "none"

    prior = Normal()
    dim_theta = 1
    dim_x = 1

    def simulator(self, theta: torch.Tensor, generator: torch.Generator) -> Outcome:
        noise = torch.randn(theta.shape, generator=generator, dtype=theta.dtype)
        x, score = theta + self.shift + noise, noise
        if self.fault == "attached":
            x = x.requires_grad_()
        if self.fault == "attached_score":
            score = score.clone().requires_grad_()
        if self.fault == "complex":
            x = x.to(torch.complex128)
        if self.fault == "truth":
            x = x > 0
        return Outcome(x, score)

    def reference(self, x_o: torch.Tensor) -> GaussianReference:
        return GaussianReference((x_o - self.shift) / 2, torch.eye(1, dtype=torch.float64) / 2)


@dataclass(frozen=True)
class Fitted(Posterior):
    """A posterior that is a frozen dataclass, with an argument of its own."""

    shift: float

    def sample(self, n: int, x_o: torch.Tensor, seed: int, *, wide: bool = False) -> torch.Tensor:
        noise = torch.randn(len(x_o), n, 1, generator=torch.Generator().manual_seed(seed))
        return x_o.unsqueeze(1) + noise * (10 if wide else 1)

    def score(self, u_t: torch.Tensor, x_o: torch.Tensor, t: float) -> torch.Tensor:
        return -u_t


class Plain(Method):
    name: ClassVar[str] = "plain"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "Returns what its option says."

    returns: str = "posterior"

    def fit(self, simulations: graybench.Simulations, seed: int) -> Posterior:
        return Fitted(0.0) if self.returns == "posterior" else None  # type: ignore[return-value]


def test_an_option_is_an_annotated_field() -> None:
    task = get_task(f"{HERE}:Shifted", shift=2.0)
    same = type(task)(shift=2.0)
    assert task == same == pickle.loads(pickle.dumps(task))
    assert hash(task) == hash(same)
    assert task != type(task)()
    assert task.options() == {"shift": 2.0, "fault": "none"}
    assert task.label == "shifted(shift=2.0)"
    with pytest.raises(dataclasses.FrozenInstanceError, match="shifted: cannot assign to 'shift'"):
        task.shift = 3.0  # type: ignore[misc]
    with pytest.raises(UserError, match=r"no option 'shfit': did you mean shift\?"):
        get_task(f"{HERE}:Shifted", shfit=2.0)


def test_a_decorator_changes_nothing() -> None:
    @dataclass(frozen=True)
    class Decorated(Shifted):
        scale: float = 1.0

    assert Decorated(scale=2.0).settings == "scale=2.0"
    with pytest.raises(dataclasses.FrozenInstanceError):
        Decorated().scale = 3.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("base", "field"),
    [
        *[(Task, name) for name in ("dim_x", "dim_theta", "prior", "name", "n_observations", "simulator")],
        *[(Method, name) for name in ("requires", "version", "fit", "in_float32")],
        (Shifted, "observation_seed"),
    ],
)
@pytest.mark.parametrize("as_text", [False, True])
def test_an_option_cannot_shadow_the_contract(base: type, field: str, as_text: bool) -> None:
    """Such a field silently became an option. With `from __future__ import annotations` they are texts."""
    body = {"__annotations__": {field: "int" if as_text else int}, field: 1, "__module__": __name__}
    sentence = f"{__name__}:Wrong: {field} is a name of the contract and cannot be an option: annotate it as"
    with pytest.raises(UserError, match=re.escape(sentence)):
        type("Wrong", (base,), body)
    free = "ClassVar[int]" if as_text else ClassVar[int]
    type("Right", (base,), body | {"__annotations__": {field: free}})


def test_a_default_without_an_annotation_is_refused() -> None:
    """It was ignored without a word: the inherited default stayed."""
    with pytest.raises(UserError, match=r"shift is an option, so that its new default needs an annotation"):
        type("Wrong", (Shifted,), {"shift": 3.0})
    assert type("Right", (Shifted,), {"shift": 3.0, "__annotations__": {"shift": float}})().shift == 3.0


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("attached", "x of the simulator is attached to an autograd graph: detach it"),
        ("attached_score", "joint_score of the simulator is attached to an autograd graph: detach it"),
        ("complex", "x of the simulator has dtype torch.complex128: convert it to real numbers"),
        ("truth", "x of the simulator has dtype torch.bool: convert it to real numbers"),
    ],
)
def test_a_simulator_s_tensors_are_checked_for_their_kind(fault: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        Shifted(fault=fault).simulate(5, seed=1)


@pytest.mark.parametrize("x_o", [torch.zeros(2), torch.zeros(1, 1), torch.tensor([torch.nan]), [0.0]])
def test_a_reference_is_guarded(x_o: object) -> None:
    with pytest.raises(UserError, match=r"task shifted: (reference takes one observation|the observation)"):
        Shifted().reference(x_o)  # type: ignore[arg-type]


def test_fit_is_guarded() -> None:
    drawn = Shifted().simulate(20, seed=1)
    drawn.x[3] = torch.inf
    with pytest.raises(NotFiniteError, match="x of simulation 3 is not finite"):
        Plain().fit(drawn, seed=1)
    with pytest.raises(TypeError, match="method plain: fit must return a Posterior, but returns a NoneType"):
        Plain(returns="nothing").fit(Shifted().simulate(20, seed=1), seed=1)


def test_what_is_no_batch_of_simulations_is_refused() -> None:
    drawn = Shifted().simulate(20, seed=1)
    with pytest.raises(TypeError, match="missing a required argument: 'simulations'"):
        Plain().fit()  # type: ignore[call-arg]
    with pytest.raises(UserError, match="method plain: fit takes Simulations, but got a int"):
        Plain().fit(3, 1)  # type: ignore[arg-type]
    for wrong in (None, drawn.x.numpy()):
        with pytest.raises(UserError, match="x of the simulations must be a tensor, but is a"):
            Plain().fit(dataclasses.replace(drawn, x=wrong), 1)


def test_a_reference_is_a_reference_and_has_spread() -> None:
    class Nothing(Shifted):
        def reference(self, x_o: torch.Tensor) -> GaussianReference:
            return None  # type: ignore[return-value]

    with pytest.raises(TypeError, match="reference must return a Reference, but returns a NoneType"):
        Nothing().reference(torch.zeros(1))
    with pytest.raises(UserError, match="the reference has no spread in some direction"):
        GaussianReference(torch.zeros(2), torch.diag(torch.tensor([1.0, 0.0]))).sample(3, seed=1)


def test_observations_beyond_float32_are_refused_by_what_learns_in_it() -> None:
    """Their samples were NaN."""
    task = get_task("linear_gaussian")
    posterior = get_method("dsm", steps=1).fit(task.simulate(10, seed=1), 1)
    with pytest.raises(UserError, match="x_o must be finite in float32, but observation 0 is not"):
        posterior.sample(3, torch.full((1, 2), 1e39, dtype=torch.float64), 1)
    with pytest.raises(UserError, match=r"x_o has dtype torch.bool: convert it to real numbers"):
        posterior.sample(3, torch.ones(1, 2) > 0, 1)


def test_a_posterior_is_guarded_and_knows_its_dimensions() -> None:
    posterior = Plain().fit(Shifted().simulate(20, seed=1), seed=1)
    assert posterior.dims == (1, 1)
    x_o, u = torch.zeros(2, 1), torch.zeros(2, 3, 1)
    assert posterior.sample(4, x_o, 1).equal(posterior.sample(n=4, x_o=x_o, seed=1))
    assert posterior.sample(4, x_o, 1, wide=True).equal(10 * posterior.sample(4, x_o, 1))  # type: ignore[call-arg]
    assert posterior.score(u, x_o, 0.5).equal(-u)
    for call, sentence in (
        (lambda: posterior.sample(-1, x_o, 1), "Fitted: the number of samples must be a whole number from 0"),
        (lambda: posterior.sample(2.5, x_o, 1), "Fitted: the number of samples must be a whole number"),
        (lambda: posterior.sample(4, torch.zeros(1), 1), "give one observation as x_o.unsqueeze(0), (1, 1)"),
        (
            lambda: posterior.sample(4, torch.zeros(2, 2), 1),
            "x_o must have shape (m, 1), but has shape (2, 2)",
        ),
        (lambda: posterior.sample(4, x_o / 0, 1), "x_o must be finite, but observation 0 is not"),
        (
            lambda: posterior.score(u[:1], x_o, 0.5),
            "u must be a tensor of shape (2, n, 1), but has shape (1, 3, 1)",
        ),
        (lambda: posterior.score(u[..., [0, 0]], x_o, 0.5), "u must be a tensor of shape (2, n, 1)"),
        (lambda: posterior.score(u, x_o, 1.5), "the diffusion time t must be from 0 to 1, but is 1.5"),
    ):
        with pytest.raises(UserError, match=re.escape(sentence)):
            call()


def test_a_method_that_fits_replicates_together_is_guarded() -> None:
    method, task = get_method("dsm", steps=1), get_task("linear_gaussian")
    right, wrong = task.simulate(10, seed=1), task.simulate(10, seed=2)
    wrong.x[4, 0] = torch.nan
    with pytest.raises(NotFiniteError, match="x of simulation 4 is not finite"):
        method.fit_replicates([right, wrong], [1, 2])
    posteriors = method.fit_replicates([right, right], [1, 2])
    assert [posterior.dims for posterior in posteriors] == [(2, 2), (2, 2)]
    with pytest.raises(UserError, match=r"x_o must have shape \(m, 2\)"):
        method.sample_replicates(posteriors, 3, torch.zeros(1, 3), [1, 2])


def test_the_public_face_is_whole() -> None:
    assert len(set(graybench.__all__)) == len(graybench.__all__)  # ruff sorts them
    for name in graybench.__all__:
        assert getattr(graybench, name).__name__ == name
    assert set(graybench.__all__) <= set(dir(graybench))
    with pytest.raises(AttributeError, match="module 'graybench' has no attribute 'get_tasks'"):
        graybench.get_tasks  # noqa: B018
