"""Files and folders in the way are told in one sentence that names the path."""

from pathlib import Path

import pytest

from graybench.benchmark.figures.draw import draw_all
from graybench.benchmark.report.site import write_site
from graybench.benchmark.running.kept import nothing
from graybench.benchmark.running.writing import make_folder, write_text
from graybench.benchmark.speed import solver_errors
from graybench.tasks.errors import UserError
from graybench.tests.benchmark.conftest import made_up


def test_a_file_in_the_way_of_a_folder_and_a_folder_in_the_way_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="/file: this folder cannot be made: File exists"):
        make_folder(tmp_path / "file")
    with pytest.raises(UserError, match="/file/below: this folder cannot be made: Not a directory"):
        write_text(tmp_path / "file/below/page.html", "text")
    with pytest.raises(UserError, match=f"{tmp_path}: this file cannot be written: Is a directory"):
        write_text(tmp_path, "text")
    assert (tmp_path / "file").read_text() == "mine"
    write_text(tmp_path / "new/page.html", "θ")
    assert (tmp_path / "new/page.html").read_bytes() == "θ".encode()


def test_commands_say_what_is_in_the_way(made_up_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "file"
    out.write_text("mine")
    with pytest.raises(UserError, match="/file: this folder cannot be made"):
        draw_all(made_up(), nothing(), out)
    with pytest.raises(UserError, match="/file: this folder cannot be made"):
        solver_errors.store(True, out)
    with pytest.raises(UserError, match="/file/site: this folder cannot be made"):
        write_site([made_up_folder], out / "site")
