"""The process that workers are forked from, seen from a child of it."""

import json
import os
import subprocess
import sys

SCRIPT = """
import json, multiprocessing, os, signal, sys

def told(pipe):
    blocked = signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    pipe.send([dict(os.environ), "torch" in sys.modules, blocked])

if __name__ == "__main__":
    from graybench.benchmark.running.cluster import forks
    before = dict(os.environ)
    forks.start()
    forks.start()
    assert dict(os.environ) == before
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    here, there = multiprocessing.Pipe()
    multiprocessing.get_context(forks.METHOD).Process(target=told, args=[there]).start()
    print(json.dumps([*here.recv(), "torch" in sys.modules]))
"""


def test_children_have_imported_torch_when_they_start_and_keep_what_the_user_set(tmp_path):
    """A file random.py in the current folder is not taken for Python's."""
    (tmp_path / "random.py").write_text("raise SystemExit('a user's file')")
    script = tmp_path / "folder" / "script.py"
    script.parent.mkdir()
    script.write_text(SCRIPT)
    environment = {"OMP_NUM_THREADS": "3", "MALLOC_TRIM_THRESHOLD_": "7"}
    others = {name: value for name, value in os.environ.items() if "THREADS" not in name}
    done = subprocess.run(
        [sys.executable, script],
        cwd=tmp_path,
        env=others | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    seen, imported, blocked, imported_here = json.loads(done.stdout)
    assert imported
    assert not imported_here
    assert blocked
    assert {name: seen[name] for name in environment} == environment
    assert (seen["MKL_NUM_THREADS"], seen["OPENBLAS_NUM_THREADS"]) == ("1", "1")
