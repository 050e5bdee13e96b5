"""Shards are a partition of the sweep, and none of them gets all the cells of one method."""

from collections import Counter

import pytest

from graybench.benchmark.running.shard import Shard
from graybench.tasks.errors import UserError


@pytest.mark.parametrize("count", [1, 2, 3, 7, 12, 100])
def test_shards_are_a_partition_in_order(count):
    cells = list(range(60))
    shards = [Shard(i, count).of(cells) for i in range(1, count + 1)]
    assert sorted(cell for shard in shards for cell in shard) == cells
    assert all(shard == sorted(shard) for shard in shards)
    assert max(map(len, shards)) - min(map(len, shards)) <= 1
    assert shards[0][:1] == [0]
    assert Shard(count, count).of(cells)[:1] == ([count - 1] if count <= 60 else [])


def test_each_method_is_spread_evenly_over_as_many_shards():
    cells = [(budget, method) for budget in range(16) for method in range(8)]
    for i in range(1, 9):
        assert Counter(method for _, method in Shard(i, 8).of(cells)) == dict.fromkeys(range(8), 2)


def test_what_is_no_shard_is_refused():
    assert Shard.parse("2/8") == Shard(2, 8)
    for text in ("0/3", "4/3", "x", "1/0", "-1/3", "1/3/5", "2", "1.0/3", "", "²/3"):
        with pytest.raises(UserError) as caught:
            Shard.parse(text)
        assert str(caught.value) == f"--shard {text}: a shard is I/N with I from 1 to N, such as 2/8."
