"""Data of public repositories: small files of their formats, served over loopback, are checked and read."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import torch

from graybench.tasks import get_task
from graybench.tasks.errors import UserError
from graybench.tasks.landmarks import public
from graybench.tasks.landmarks.files import read_landmarks
from graybench.tasks.landmarks.procrustes import align

OUTLINES = (
    '"b_0"\t"x-coordinates"\t0\t1.5\t1\t-2e-1\r\n'
    '"b_0"\t"y-coordinates"\t0\t0\t1\t1\r\n'
    '"a_0"\t"x-coordinates"\t5\t6\t7\t8\r\n'
    '"a_0"\t"y-coordinates"\t9\t8\t7\t6.25\r\n'
)
METADATA = (
    '"id","species","match_landmarks","match_tree"\n'
    '"1","Papilio, long","a_0","Papilio_long"\n'
    '"2","Papilio broad","b_0","Papilio_broad"\n'
)
SKULLS = (
    "Taxon\tSpecimen #\t1\t\t\t2\t\t\t3\t\t\n"
    "Can_lup\tFMNH1\t0\t0\t1\t2\t0\t0\t0\t3\t0.5\n"
    "Ael_sp.\tAMNH 6\t-1\t0\t0\t1\t1\t1\t2\t2\t0\n"
)
FOXES = "\t1\t\t\t2\t\t\t3\t\t\nvulpes_1\t0\t0\t1\t2\t0\t0\t0\t3\t0.5\nvulpes_3\t-1\t0\t0\t1\t1\t1\t2\t2\t0\n"
CONTENT = {
    "Papilionidae_aligned.txt": OUTLINES,
    "Papilonidae_metadata.txt": METADATA,
    "papilionidae_tree.txt": "(Papilio_long:1,Papilio_broad:1);\r\n",
    "carnivores19x29.tsv": SKULLS,
    "vulpes21x29.tsv": FOXES,
}
SKULL = torch.tensor([[[0, 0, 1], [2, 0, 0], [0, 3, 0.5]], [[-1, 0, 0], [1, 1, 1], [2, 2, 0]]]).double()


class Server:
    """Serve files at `url` by their names, and note each request in `asked`."""

    def __init__(self, files):
        self.files, self.asked = files, []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                name = self.path.strip("/")
                outer.asked.append(name)
                content = outer.files.get(name)
                self.send_response(404 if content is None else 200)
                self.end_headers()
                self.wfile.write((content or "").encode())

            def log_message(self, *_):
                pass

        self.http = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def close(self):
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(public, "user_cache_path", lambda name: tmp_path / name)
    return tmp_path / "graybench/landmarks"


@pytest.fixture
def server(cache, monkeypatch):
    server = Server(dict(CONTENT))
    known = {name: (server.url, hashlib.sha256(text.encode()).hexdigest()) for name, text in CONTENT.items()}
    monkeypatch.setattr(public, "FILES", known)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield server
    server.close()


def test_outlines_have_their_species_by_the_metadata(server):
    sample = read_landmarks("papilio")
    assert sample.coordinates.tolist() == [
        [[0, 0], [1.5, 0], [1, 1], [-0.2, 1]],
        [[5, 9], [6, 8], [7, 7], [8, 6.25]],
    ]
    assert sample.coordinates.dtype == torch.float64
    assert sample.specimens == ("b_0", "a_0")
    assert sample.labels == {
        "species": ("Papilio broad", "Papilio, long"),
        "tip": ("Papilio_broad", "Papilio_long"),
    }


def test_carnivores_are_named_by_their_species(server):
    sample = read_landmarks("carnivores")
    assert torch.equal(sample.coordinates, SKULL)
    kinds = ("Can_lup", "Ael_sp.")
    assert sample.specimens == kinds
    assert sample.labels == {"species": kinds, "tip": kinds, "number": ("FMNH1", "AMNH 6")}


def test_foxes_are_one_species(server):
    sample = read_landmarks("foxes")
    assert torch.equal(sample.coordinates, SKULL)
    assert sample.specimens == ("vulpes_1", "vulpes_3")
    assert sample.labels == {"species": ("Vul_vul",) * 2, "tip": ("Vul_vul",) * 2}


def test_files_are_downloaded_once(server, cache):
    for _ in range(2):
        read_landmarks("papilio")
    assert server.asked == ["Papilionidae_aligned.txt", "Papilonidae_metadata.txt"]
    assert (cache / "Papilionidae_aligned.txt").read_bytes() == OUTLINES.encode()


def test_a_file_put_into_the_cache_is_not_downloaded(server, cache):
    cache.mkdir(parents=True)
    (cache / "vulpes21x29.tsv").write_text(FOXES)
    assert len(read_landmarks("foxes")) == 2
    assert server.asked == []


def test_a_damaged_file_in_the_cache_is_replaced(server, cache):
    cache.mkdir(parents=True)
    (cache / "vulpes21x29.tsv").write_text(FOXES[:-1])
    read_landmarks("foxes")
    assert (cache / "vulpes21x29.tsv").read_text() == FOXES


def test_without_a_network_the_address_and_the_place_are_told(server, cache):
    server.close()
    sha256 = hashlib.sha256(SKULLS.encode()).hexdigest()
    place = cache / "carnivores19x29.tsv"
    with pytest.raises(UserError) as error:
        read_landmarks("carnivores")
    assert str(error.value) == (
        f"{server.url}/carnivores19x29.tsv cannot be downloaded (ConnectionError); put the file with the "
        f"SHA-256 {sha256} at {place}."
    )
    place.write_text(SKULLS)
    assert len(read_landmarks("carnivores")) == 2


def test_a_file_that_is_gone_is_named(server):
    del server.files["vulpes21x29.tsv"]
    with pytest.raises(UserError, match=r"vulpes21x29\.tsv cannot be downloaded \(HTTPError\); put the file"):
        read_landmarks("foxes")


def test_a_file_with_another_sha256_is_refused_and_not_kept(server, cache):
    server.files["vulpes21x29.tsv"] = FOXES.replace("0.5", "0.6")
    with pytest.raises(UserError, match=r"/vulpes21x29\.tsv has changed: its SHA-256 .*; put the file with"):
        read_landmarks("foxes")
    assert list(cache.iterdir()) == []


def test_a_cache_that_cannot_be_written_is_named(server, cache):
    cache.parent.write_text("a file where the folder should be")
    with pytest.raises(UserError, match=r"vulpes21x29\.tsv cannot be downloaded \(\w+Error\); put the file"):
        read_landmarks("foxes")


def test_a_data_set_is_a_template(server):
    task = get_task("landmarks", template="foxes", steps=3)
    mean = align(SKULL).mean
    torch.testing.assert_close(task.start, (mean * 3**0.5).flatten(), rtol=0, atol=1e-12)
    assert task.data_digest() == hashlib.sha256(FOXES.encode()).hexdigest()


def test_the_tree_of_papilio_is_downloaded(server):
    assert public.tree_file("papilio").read_bytes() == CONTENT["papilionidae_tree.txt"].encode()


def test_the_tree_of_the_carnivores_comes_with_the_suite():
    tree = public.tree_file("carnivores")
    text = tree.read_text()
    assert hashlib.sha256(text.encode()).hexdigest().startswith("52d4c526")
    assert tree.with_name("README.md").read_text(encoding="utf-8").count("`carnivores.nwk`") == 1


def test_a_data_set_without_a_tree_is_answered():
    with pytest.raises(UserError, match=r"no tree of 'foxes': there are carnivores, papilio\.$"):
        public.tree_file("foxes")


def test_the_addresses_are_pinned_to_commits():
    for name, (folder, sha256) in public.FILES.items():
        assert len(sha256) == 64, name
        *_, commit = [word for word in folder.split("/") if len(word) == 40]
        assert folder.startswith("https://raw.githubusercontent.com/")
        assert int(commit, 16)
