"""Sweep files: which tasks, methods, budgets and metrics to run, and the cells that follow.

name: budgets
tasks: [galton]
methods: [dsm, {name: mix, gate: [scalar, learned]}]    # a list of values is an axis
budgets: [100, 1000]
metrics: [mmd]
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails

from ...methods import get_method
from ...methods.method import Method
from ...tasks import get_task
from ...tasks.errors import UserError
from ...tasks.plugin import Plugin, nearest
from ...tasks.task import Task
from ..metrics.catalogue import METRICS
from .cell import Cell
from .yaml_loader import Loader

SWEEPS = Path(__file__).parents[1] / "sweeps"  # those that come with graybench
LARGEST_SEED, LARGEST_BUDGET = 2**63 - 1, 10**9

P = TypeVar("P", bound=Plugin)


class Entry(BaseModel):
    """A task or method with options; each option has one value or a list of values."""

    model_config = ConfigDict(extra="allow", strict=True)

    name: str

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    def variants(self) -> Iterator[dict[str, Any]]:
        """Yield every combination of the options' values; the last option varies fastest."""
        options = self.model_extra or {}
        axes = [value if isinstance(value, list) else [value] for value in options.values()]
        for values in product(*axes):
            yield dict(zip(options, values, strict=True))


def _checked(get: Callable[..., Plugin]) -> Callable[[Entry], Entry]:
    def check(entry: Entry) -> Entry:
        for option, value in (entry.model_extra or {}).items():
            if value == []:
                raise UserError(f"option {option!r} of {entry.name!r} has an empty list of values.")
        for options in entry.variants():
            get(entry.name, **options)
        return entry

    return check


def _known_metric(name: str) -> str:
    if name not in METRICS:
        raise UserError(f"there is no metric {name!r}: {nearest(name, METRICS)}")
    return name


class Sweep(BaseModel):
    """A validated sweep file.

    Attributes:
        name: letters, digits, - and _; the default result folder is `runs/<name>`.
        root_seed: the seed from which all random streams derive.
        tasks: what to simulate.
        methods: what to fit.
        budgets: numbers of simulations.
        budgets_in: "simulations", or "items" if budgets count items, so that methods are compared on as many
            of them. Then a method that composes items learns from `budget` simulations of the task with one
            item, and any other method from budget/n simulations of the task with its n items, rounded down.
        replicates: number of independent training sets for each task, method and budget.
        metrics: names in `METRICS`.
        posterior_samples: number of samples for each replicate and observation.
        observations: number of each task's observations to use, the first ones; None for all.
        timeout: seconds after which a cell is given up; None for never.
        keep_samples: number of posterior draws of each cell to keep, for corner plots; also ranks, for
            calibration curves, if a metric needs them. At most `posterior_samples`.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
    root_seed: int = Field(default=0, ge=0, le=LARGEST_SEED)
    tasks: list[Annotated[Entry, AfterValidator(_checked(get_task))]] = Field(min_length=1)
    methods: list[Annotated[Entry, AfterValidator(_checked(get_method))]] = Field(min_length=1)
    budgets: list[Annotated[int, Field(ge=1, le=LARGEST_BUDGET)]] = Field(min_length=1)
    budgets_in: Literal["simulations", "items"] = "simulations"
    replicates: int = Field(default=5, ge=1)
    metrics: list[Annotated[str, AfterValidator(_known_metric)]] = Field(min_length=1)
    posterior_samples: int = Field(default=1000, ge=5)
    observations: int | None = Field(default=None, ge=1)
    timeout: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    keep_samples: int = Field(default=0, ge=0)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a sweep file.

        Raises:
            UserError: the file cannot be read or has a mistake; the message names the file and the place in
                it.
        """
        content = _read_mapping(path)
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise UserError(f"{path}: {_sentence(error, cls)}") from error

    @field_validator("tasks")
    @classmethod
    def _each_task_once(cls, entries: list[Entry]) -> list[Entry]:
        _require_unique([task.label for task in _build(entries, get_task)])
        return entries

    @field_validator("methods")
    @classmethod
    def _each_method_once(cls, entries: list[Entry]) -> list[Entry]:
        _require_unique([method.label for method in _build(entries, get_method)])
        return entries

    @field_validator("budgets", "metrics")
    @classmethod
    def _each_value_once(cls, values: list[Any]) -> list[Any]:
        _require_unique(values)
        return values

    @model_validator(mode="after")
    def _enough_observations(self) -> Self:
        for task in self.all_tasks():
            if self.observations is not None and self.observations > task.n_observations:
                available = f"task {task.label} has only {task.n_observations} observations"
                raise UserError(f"observations: {available}, but {self.observations} are asked for.")
        return self

    @model_validator(mode="after")
    def _enough_samples(self) -> Self:
        if self.keep_samples > self.posterior_samples:
            drawn = f"only {self.posterior_samples} posterior_samples are drawn"
            raise UserError(f"keep_samples: {drawn}, but {self.keep_samples} are to be kept.")
        return self

    @model_validator(mode="after")
    def _items_to_count(self) -> Self:
        if self.budgets_in == "items":
            for task in self.all_tasks():
                task.with_items(1)
        return self

    def all_tasks(self) -> list[Task]:
        """Return the tasks, with every combination of their options."""
        return _build(self.tasks, get_task)

    def all_methods(self) -> list[Method]:
        """Return the methods, with every combination of their options."""
        return _build(self.methods, get_method)

    def cells(self) -> list[Cell]:
        """Return every cell: tasks vary slowest, then budgets, then methods."""
        return self.select()

    def select(
        self, tasks: Sequence[str] = (), methods: Sequence[str] = (), budgets: Sequence[int] = ()
    ) -> list[Cell]:
        """Return the cells of the given tasks, methods and budgets; an empty sequence selects all.

        Tasks and methods are given by name or by label: `mix` or `mix(gate=learned)`.

        Raises:
            UserError: a name or budget is not in the sweep.
        """
        methods_asked = _named(self.all_methods(), methods, f"method in sweep {self.name}")
        return [
            Cell(
                task=task,
                method=method,
                budget=budget,
                replicates=self.replicates,
                metrics=tuple(self.metrics),
                posterior_samples=self.posterior_samples,
                observations=self.observations,
                root_seed=self.root_seed,
                timeout=self.timeout,
                budget_in_items=self.budgets_in == "items",
                keep_samples=self.keep_samples,
            )
            for task in _named(self.all_tasks(), tasks, f"task in sweep {self.name}")
            for budget in self._listed(budgets)
            for method in methods_asked
        ]

    def _listed(self, budgets: Sequence[int]) -> list[int]:
        for budget in budgets:
            if budget not in self.budgets:
                listed = ", ".join(map(str, self.budgets))
                raise UserError(f"there is no budget {budget} in sweep {self.name}: there are {listed}.")
        return [budget for budget in self.budgets if not budgets or budget in budgets]


def _build(entries: list[Entry], get: Callable[..., P]) -> list[P]:
    return [get(entry.name, **options) for entry in entries for options in entry.variants()]


def _named(plugins: list[P], wanted: Sequence[str], what: str) -> list[P]:
    names = {name for plugin in plugins for name in (plugin.name, plugin.label)}
    for name in wanted:
        if name not in names:
            raise UserError(f"there is no {what} called {name!r}: {nearest(name, names)}")
    return [plugin for plugin in plugins if not wanted or {plugin.name, plugin.label} & set(wanted)]


def _require_unique(values: Sequence[Any]) -> None:
    for index, value in enumerate(values):
        if value in values[:index]:
            raise UserError(f"{value} is given twice.")


def sweep_file(named: Path) -> Path:
    """Return the file of a sweep: a path as it is, or that of a sweep of graybench, such as "quick".

    Raises:
        UserError: it is a name, and neither a file nor a sweep of graybench.
    """
    shipped = {path.stem: path for path in SWEEPS.glob("*.yaml")}
    if named.is_file() or named.suffix or len(named.parts) != 1:
        return named
    if str(named) not in shipped:
        raise UserError(f"there is no sweep {str(named)!r}, and no such file: {nearest(str(named), shipped)}")
    return shipped[str(named)]


def _read_mapping(path: Path) -> dict[Any, Any]:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=Loader)
    except FileNotFoundError as error:
        raise UserError(f"{path}: there is no such file.") from error
    except OSError as error:
        raise UserError(f"{path}: it cannot be read: {error.strerror}.") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise UserError(f"{path}: {place}invalid YAML: {error.problem}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: invalid YAML: the file is not text in UTF-8.") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: a sweep must be a mapping of keys to values.")
    return content


MESSAGES = {
    "missing": "it is missing",
    "too_short": "it must not be empty",
    "greater_than_equal": "must be at least {ge}, but is {input}",
    "less_than_equal": "must be at most {le}, but is {input}",
    "greater_than": "must be above {gt:g}, but is {input}",
    "int_type": "must be a whole number, but is {input!r}",
    "float_type": "must be a number, but is {input!r}",
    "finite_number": "must be a finite number, but is {input}",
    "string_type": "must be a name, but is {input!r}",
    "string_pattern_mismatch": "must be made of letters, digits, - and _, but is {input!r}",
    "literal_error": "must be {expected}, but is {input!r}",
    "list_type": "must be a list, but is {input!r}",
    "model_type": "must be a name or a mapping with a name, but is {input!r}",
    "value_error": "{error}",
}


def _sentence(error: ValidationError, model: type[BaseModel]) -> str:
    """Return the first mistake as one sentence; unknown keys come first, as they often explain others."""
    details: ErrorDetails = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    if details["type"] == "extra_forbidden":
        key = str(details["loc"][-1])
        return f"there is no key {key!r}: {nearest(key, model.model_fields)}"
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in details["loc"])
    template = MESSAGES.get(details["type"], "{msg}")
    message = template.format(msg=details["msg"], input=details["input"], **details.get("ctx", {}))
    sentence = f"{place.lstrip('.')}: {message}" if place else message
    return sentence if sentence.endswith((".", "?")) else f"{sentence}."
