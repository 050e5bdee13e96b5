"""What no method can be fitted to is refused by all in the same words, before anything is computed."""

from dataclasses import replace

import pytest
import torch

from graybench.methods import REGISTRY, get_method
from graybench.tasks import get_task
from graybench.tasks.errors import NotFiniteError, UserError

LINEAR, BROWNIAN = get_task("linear_gaussian"), get_task("brownian", steps=2)
LEAST = dict.fromkeys(("sbi_npe", "sbi_nle", "sbi_fmpe", "sbi_npse", "sally"), 3)
LEAST |= {"sbi_nre": 11, "sbi_npse_suite": 2}
QUICK = {name: {"steps": 2} for name in ("dsm", "sally", "sbi_npse_suite")}


def simulations(name, n=40):
    task = BROWNIAN if name == "bridge_is" else LINEAR
    return task.simulate(n, 1, marginal_score=True)


@pytest.mark.parametrize("name", LEAST)
def test_too_few_simulations_are_refused(name):
    least = LEAST[name]
    for n in (1, least - 1):
        sentence = rf"^method {name} needs {least} simulations or more, but has {n}\.$"
        with pytest.raises(UserError, match=sentence):
            get_method(name).fit(simulations(name, n), 1)


@pytest.mark.parametrize("name", ["sbi_npe", "sbi_nre", "sbi_npse_suite", "sally"])
def test_the_least_number_of_simulations_is_enough(name):
    pytest.importorskip("sbi", reason="sbi is not installed")
    posterior = get_method(name, **QUICK.get(name, {})).fit(simulations(name, LEAST[name]), 1)
    if name != "sbi_nre":  # whose samples take seconds
        assert torch.isfinite(posterior.sample(5, LINEAR.observations().x[:1], 2)).all()


@pytest.mark.parametrize(
    ("field", "wrong", "wanted"),
    [
        ("u", lambda u: u[:, 0], r"\(40, d\), but has \(40,\)"),
        ("theta", lambda theta: theta[:39], r"\(40, 2\), but has \(39, 2\)"),
        ("x", lambda x: x[:39], r"\(40, dim_x\), but has \(39, 2\)"),
        ("x", lambda x: x[:, 0], r"\(40, dim_x\), but has \(40,\)"),
    ],
)
@pytest.mark.parametrize("name", ["prior", "rejection_abc", "dsm", "sbi_npe", "sally"])
def test_a_wrong_shape_is_refused(name, field, wrong, wanted):
    drawn = simulations(name)
    broken = replace(drawn, **{field: wrong(getattr(drawn, field))})
    with pytest.raises(UserError, match=f"^{field} of the simulations must have shape {wanted}"):
        get_method(name).fit(broken, 1)


@pytest.mark.parametrize("name", ["ltsm", "scandal", "sally"])
def test_a_score_with_too_few_columns_is_refused(name):
    """It would be broadcast."""
    drawn = simulations(name)
    sentence = r"^joint_score of the simulations must have shape \(40, 2\), but has \(40, 1\)\.$"
    with pytest.raises(UserError, match=sentence):
        get_method(name).fit(replace(drawn, joint_score=drawn.joint_score[:, :1]), 1)


@pytest.mark.parametrize("name", ["prior", "mix", "sbi_npe"])
def test_a_tensor_of_the_wrong_kind_is_refused(name):
    """`mix` failed in a deepcopy of x that hung on a graph, and `sbi_npe` in an operation in place."""
    drawn = simulations(name)
    attached = replace(drawn, x=drawn.x * torch.ones(2, requires_grad=True))
    for wrong, why in (
        (attached, "is attached to an autograd graph: detach it"),
        (replace(drawn, x=drawn.x > 0), "has dtype torch.bool: convert it to real numbers"),
        (replace(drawn, x=drawn.x.to(torch.complex128)), "has dtype torch.complex128"),
        (replace(drawn, x=drawn.x.to_sparse()), r"is a torch.sparse_coo tensor on cpu: it must be dense"),
    ):
        with pytest.raises(UserError, match=f"^x of the simulations {why}"):
            get_method(name).fit(wrong, 1)


@pytest.mark.parametrize("name", ["dsm", "sally"])
def test_data_beyond_float32_are_refused_by_what_learns_in_it(name):
    drawn = simulations(name)
    large = replace(drawn, x=drawn.x.double() * torch.tensor([1.0, 1e39], dtype=torch.float64))
    sentence = (
        rf"^method {name} learns in float32, which ends at 3.4e38: divide column 1 of x by a constant\.$"
    )
    with pytest.raises(UserError, match=sentence):
        get_method(name).fit(large, 1)


@pytest.mark.parametrize("rows", [2, (0, 1), torch.tensor(2), torch.zeros(2, 2, dtype=torch.long)])
def test_rows_are_taken_right_or_refused(rows):
    with pytest.raises(UserError, match=r"take rows by a slice, a list or a one-dimensional tensor"):
        simulations("dsm")[rows]


def test_a_list_and_a_mask_take_the_rows_that_they_name():
    drawn = simulations("dsm")
    mask = torch.zeros(40, dtype=torch.bool).index_fill(0, torch.tensor([2, 5]), True)
    for rows in ([2, 5], torch.tensor([2, 5]), mask, slice(2, 6, 3)):
        taken = drawn[rows]
        assert torch.equal(taken.x, torch.stack([drawn.x[2], drawn.x[5]]))
        assert torch.equal(taken.joint_score, torch.stack([drawn.joint_score[2], drawn.joint_score[5]]))


@pytest.mark.parametrize("name", REGISTRY.names())
def test_what_is_not_finite_is_refused(name):
    drawn = simulations(name)
    drawn.x[7, 0] = torch.nan
    with pytest.raises(NotFiniteError, match=r"^x of simulation 7 is not finite"):
        get_method(name).fit(drawn, 1)


def test_a_score_that_is_not_finite_matters_to_methods_that_see_it():
    drawn = simulations("dsm")
    drawn.joint_score[3] = torch.inf
    with pytest.raises(NotFiniteError, match=r"^joint_score of simulation 3 is not finite"):
        get_method("ltsm").fit(drawn, 1)
    get_method("dsm", **QUICK["dsm"]).fit(drawn, 1)


@pytest.mark.parametrize("name", [name for name in REGISTRY.names() if get_method(name).in_float32])
def test_a_column_that_float32_makes_constant_is_refused(name):
    """Floats near 3e8 are 32 apart, and the data lie within 10."""
    drawn = simulations(name)
    shifted = replace(drawn, x=drawn.x + torch.tensor([0.0, 3e8]))
    sentence = rf"^method {name} learns in float32, where column 1 of x does not vary: subtract"
    with pytest.raises(UserError, match=sentence):
        get_method(name).fit(shifted, 1)


@pytest.mark.parametrize("constant", [3.0, 0.1, 3e8])
def test_constant_data_are_no_mistake(constant):
    """Nor are those that rounding alone lets vary, by one part in 1e16."""
    drawn = simulations("dsm")
    same = torch.full_like(drawn.x, constant)
    same[::2, 0] = torch.nextafter(same[0, 0], torch.tensor(torch.inf, dtype=same.dtype))
    posterior = get_method("dsm", **QUICK["dsm"]).fit(replace(drawn, x=same), 1)
    assert posterior.sample(20, same[:2], 1).isfinite().all()
