"""Random numbers of compiled loops: published sequences, laws of uniforms and exponentials, extremes."""

import importlib
import math
from pathlib import Path

import numpy as np
from numba import njit
from numba.core.dispatcher import Dispatcher
from scipy import stats

from graybench import tasks
from graybench.tasks.jump.jump_process import bits, exponential, row_seeds, start, uniform
from graybench.tasks.seeding import generator


@njit
def draw(seed, n):
    """n uniforms and n exponentials of one row."""
    state = np.empty(2, np.uint64)
    start(state, seed)
    uniforms, exponentials = np.empty(n), np.empty(n)
    for k in range(n):
        uniforms[k] = uniform(state)
    for k in range(n):
        exponentials[k] = exponential(state)
    return uniforms, exponentials


@njit
def first_of_each(seeds):
    state, first = np.empty(2, np.uint64), np.empty(len(seeds))
    for row in range(len(seeds)):
        start(state, seeds[row])
        first[row] = uniform(state)
    return first


def test_bits_are_those_of_the_published_generators():
    state = np.zeros(2, np.uint64)
    start(state, 1234567)  # the widely published outputs of splitmix64 for this seed
    assert state.tolist() == [6457827717110365317, 3203168211198807973]
    state[:] = 1, 2  # the test vector of xoroshiro128++ in the crate rand_xoshiro
    assert [int(bits(state)) for _ in range(5)] == [
        *(393217, 669327710093319, 1732421326133921491, 11394790081659126983, 9555452776773192676)
    ]


def test_uniforms_and_exponentials_have_their_laws():
    """Kolmogorov and Smirnov; each of the four fails a correct generator once in 10,000 seeds."""
    uniforms, exponentials = draw(-5, 200_000)
    assert stats.kstest(uniforms, "uniform").pvalue > 1e-4
    assert stats.kstest(exponentials, "expon").pvalue > 1e-4
    seeds = row_seeds(200_000, generator(1))
    for chosen in (seeds, np.arange(200_000)):  # even neighbouring seeds start streams that differ
        assert stats.kstest(first_of_each(chosen), "uniform").pvalue > 1e-4


def test_successive_draws_and_successive_rows_are_uncorrelated():
    """Correlations at lags 1 to 5, and of neighbouring rows: six z values, |z| < 4.5 fails 1 in 25,000."""
    uniforms = draw(3, 200_000)[0]
    pairs = [(uniforms[lag:], uniforms[:-lag]) for lag in range(1, 6)]
    rows = first_of_each(row_seeds(200_001, generator(2)))
    for a, b in [*pairs, (rows[1:], rows[:-1])]:
        assert abs(stats.pearsonr(a, b).statistic) * math.sqrt(len(a)) < 4.5


def test_the_extremes_of_the_bits_give_neither_0_nor_1():
    for high, expected in ((0, 2.0**-53), (2**64 - 1, 1 - 2.0**-53)):
        state = np.array([0, high], np.uint64)  # bits are rotl(state_0 + state_1, 17) + state_0
        assert uniform(state.copy()) == expected
        assert 0 < exponential(state) < 37


def test_seeds_are_drawn_from_the_generator_and_cover_64_bits():
    seeds = row_seeds(100_000, generator(7))
    np.testing.assert_array_equal(seeds, row_seeds(100_000, generator(7)))
    assert len(np.unique(seeds)) == 100_000  # fails once in 4e9 seeds
    assert seeds.min() < -(2**62) < 2**62 < seeds.max()


def test_what_numba_stores_on_disk_calls_nothing_of_another_file():
    """It is compiled anew if its own file changes, not if another file does."""
    stored = []
    root = Path(tasks.__file__).parent
    for path in root.rglob("*.py"):
        if "njit" in path.read_text():
            module = importlib.import_module(
                ".".join(["graybench.tasks", *path.relative_to(root).with_suffix("").parts])
            )
            compiled = {name: found for name, found in vars(module).items() if isinstance(found, Dispatcher)}
            for function in compiled.values():
                if function.py_func.__module__ == module.__name__ and function._cache.cache_path:
                    stored.append(module.__name__)
                    called = compiled.keys() & set(function.py_func.__code__.co_names)
                    assert {compiled[name].py_func.__module__ for name in called} <= {module.__name__}
    assert set(stored) == {"graybench.tasks.sbibm.solver"}
