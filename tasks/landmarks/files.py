"""Landmark files: tidy CSV and TPS, read into one tensor of coordinates with the specimens' names and labels.

A CSV file has a header and one row for each landmark of each specimen:

    specimen,landmark,x,y[,z][,label…]

Landmarks are identified by their names and keep the order in which the file first names them. The rows of a
specimen may stand anywhere. Every other column is a label, which must be the same in all rows of a specimen.

A TPS file (F. J. Rohlf's tps programs) has a block for each specimen. Its keys may be in upper or lower case:

    LM=8            or LM3=8 for three dimensions; then as many lines of 2 or 3 numbers
    ID=sp1          the name; without ID the name is IMAGE, and without IMAGE the position in the file, from 1
    SCALE=0.01      the unit of the numbers; coordinates are multiplied by it. All specimens have it or none
    GROUP=f         or IMAGE=, COMMENT= or any other key, each at most once: a label, its name in lower case

A label that a specimen does not have is empty. Curves, outlines and radii (CURVES, OUTLINES, CHAIN, RADII and
the POINTS that follow) are skipped, however many there are. A landmark is missing where a coordinate is NA or
empty. Negative numbers are coordinates, but some tps programs write −1 −1 for a missing landmark: a landmark
at −1 −1 whose specimen is positive elsewhere draws a warning.

Nothing is filled in or left out: a specimen that lacks a landmark is an error. Text is UTF-8, or else
Windows-1252.
"""

import io
import math
import warnings
from collections import Counter
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from ..errors import UserError
from ..plugin import nearest
from .public import PUBLIC, fetch, read_public
from .sample import LandmarkSample

SHIPPED: dict[str, Path] = {
    name: Path(str(files("graybench.tasks.data.landmarks") / f"{name}.csv"))
    for name in ("apes", "macaques", "rats", "mice_outlines")
}
REQUIRED = ("specimen", "landmark", "x", "y")
SKIPPED = ("CURVES", "OUTLINES", "CHAIN", "RADII", "POINTS")
Lines = list[tuple[int, str]]  # with their numbers in the file, from 1


def read_landmarks(source: str | Path) -> LandmarkSample:
    """Read a file ending in .csv or .tps, or a data set by its name in `SHIPPED` or `PUBLIC`.

    The formats are described at the head of this module. Data sets of `PUBLIC` are downloaded once.

    Raises:
        UserError: there is no such file or name; the file does not follow its format, and the message names
            the line, or the specimen and the landmark; or the data set cannot be downloaded.

    Warns:
        UserWarning: a landmark at −1 −1 is probably missing.
    """
    if str(source) in PUBLIC:
        return read_public(str(source))
    path = landmark_file(source)
    readers = {".csv": _read_csv, ".tps": _read_tps}
    if path.suffix.lower() not in readers:
        raise UserError(
            f"landmarks {str(source)!r} are neither a data set nor in a file ending in .csv or .tps: "
            f"{nearest(str(source), [*SHIPPED, *PUBLIC])}"
        )
    try:
        text = _decoded(path, path.read_bytes())
    except OSError as error:
        raise UserError(f"landmark file {path} cannot be read: {error.strerror}.") from error
    if not text.strip():
        raise UserError(f"landmark file {path} is empty.")
    sample = readers[path.suffix.lower()](path, text)
    for specimen, points in zip(sample.specimens, sample.coordinates, strict=True):
        if bool((points == points[0]).all()):
            raise UserError(f"{path}: all landmarks of specimen {specimen!r} coincide; leave it out.")
    return sample


def landmark_file(source: str | Path) -> Path:
    """Return the file with the coordinates of a source of `read_landmarks`, downloaded if need be.

    Raises:
        UserError: the file cannot be downloaded.
    """
    if str(source) in PUBLIC:
        return fetch(PUBLIC[str(source)][1][0])
    return SHIPPED.get(str(source), Path(source))


def _decoded(path: Path, content: bytes) -> str:
    """Decode UTF-8 or Windows-1252, without byte-order marks and with one kind of line end.

    Files that were joined have byte-order marks inside as well.
    """
    bad = content.find(b"\0")  # UTF-16 could pass for Windows-1252
    for encoding in ("utf-8", "cp1252") if bad < 0 else ():
        try:
            text = content.decode(encoding).replace("\ufeff", "")
            return io.StringIO(text, newline=None).read()
        except UnicodeDecodeError as error:
            bad = error.start
    line = len(content[: bad + 1].splitlines())
    raise UserError(f"landmark file {path}, line {line}: this is neither UTF-8 nor Windows-1252 text.")


def _warn_of_missing(path: Path, specimens: Sequence[str], landmarks: Sequence[object], raw: Tensor) -> None:
    """Warn of landmarks at −1 −1 in specimens (S, n, m) whose other coordinates are all positive."""
    marked = (raw == -1).all(-1)
    found = (marked & ((raw > 0).all(-1) | marked).all(-1, keepdim=True)).nonzero().tolist()
    if found:
        specimen, landmark = found[0]
        more = f", and {len(found) - 1} more," if len(found) > 1 else ""
        warnings.warn(
            f"{path}: landmark {landmarks[landmark]} of specimen {specimens[specimen]!r}{more} is probably "
            "missing, as it is at -1 among positive coordinates; if so, write NA, or leave the specimen out.",
            stacklevel=4,
        )


def _read_csv(path: Path, text: str) -> LandmarkSample:
    frame = _csv_rows(path, text)
    axes = ["x", "y", "z"] if "z" in frame else ["x", "y"]
    numbers: dict[tuple[str, str], list[float]] = {}
    labels: dict[str, dict[str, str]] = {str(name): {} for name in frame if name not in (*REQUIRED, *axes)}
    for line, row in zip(frame.index, frame.to_dict("records"), strict=True):
        specimen, landmark = row["specimen"], row["landmark"]
        where = f"{path}, line {line}: specimen {specimen!r}"
        if not specimen or not landmark:
            raise UserError(f"{where}, landmark {landmark!r}: specimen and landmark need a name.")
        if (specimen, landmark) in numbers:
            raise UserError(
                f"{where} has landmark {landmark} a second time; give each specimen its own name."
            )
        numbers[specimen, landmark] = _numbers(where, landmark, [row[axis] for axis in axes], len(axes))
        for name, values in labels.items():
            if values.setdefault(specimen, row[name]) != row[name]:
                raise UserError(
                    f"{where} has {name} {row[name]!r}, but {values[specimen]!r} in an earlier line; a label "
                    "must be the same in all rows of a specimen."
                )
    specimens, landmarks = ([*dict.fromkeys(key[i] for key in numbers)] for i in (0, 1))
    _require_complete(path, set(numbers), specimens, landmarks)
    coordinates = torch.tensor(
        [[numbers[specimen, landmark] for landmark in landmarks] for specimen in specimens],
        dtype=torch.float64,
    )
    _warn_of_missing(path, specimens, landmarks, coordinates)
    return LandmarkSample(
        coordinates,
        tuple(specimens),
        {name: tuple(values.values()) for name, values in labels.items()},
    )


def _csv_rows(path: Path, text: str) -> pd.DataFrame:
    """Return the rows as text, under the header's names and indexed by line."""
    try:
        # With the header as a row, pandas refuses a longer row instead of taking its first cell for an index.
        table = pd.read_csv(
            io.StringIO(text), header=None, dtype=str, keep_default_na=False, skip_blank_lines=False
        )
    except pd.errors.ParserError as error:
        raise UserError(f"{path} is not a table with commas: {str(error).strip()}.") from error
    table = table.apply(lambda column: column.str.strip())
    table.index += 1
    table = table[(table != "").any(axis=1)]
    names = list(table.iloc[0]) if len(table) else []
    if lacking := [name for name in REQUIRED if name not in names]:
        raise UserError(
            f"{path} has no column {', '.join(lacking)}: its header must name {', '.join(REQUIRED)}, "
            f"and z in 3-D, separated by commas, but is {','.join(names)!r}."
        )
    if len(set(names)) < len(names) or "" in names:
        raise UserError(f"{path}: each column needs a name of its own, but they are {','.join(names)!r}.")
    if len(table) == 1:
        raise UserError(f"{path} has a header and no rows; each row is a landmark of a specimen.")
    return table.iloc[1:].set_axis(names, axis=1)


def _require_complete(path: Path, on: set[tuple[str, str]], specimens: list[str], names: list[str]) -> None:
    """Raise unless every specimen has every landmark; `on` holds the pairs of specimen and landmark found."""
    counts = Counter(landmark for _, landmark in on)
    # Where most specimens lack a landmark, the few that have it are wrong.
    rare = {name for name in names if 2 * counts[name] < len(specimens)}
    for specimen in specimens:
        lacking = [name for name in names if name not in rare and (specimen, name) not in on]
        extra = [name for name in names if name in rare and (specimen, name) in on]
        if lacking or extra:
            wrong = f"{'lacks' if lacking else 'has, unlike most,'} landmark {', '.join(lacking or extra)}"
            raise UserError(
                f"{path}: specimen {specimen!r} {wrong}; every specimen needs the same landmarks."
            )


def _read_tps(path: Path, text: str) -> LandmarkSample:
    blocks = _tps_blocks(path, text)
    keys = [_tps_keys(path, block) for block in blocks]
    names = [key.pop("ID", "") or key.get("IMAGE", "") or str(i) for i, key in enumerate(keys, start=1)]
    for i, name in enumerate(names):
        if name in names[:i]:
            where = f"{path}, line {blocks[i][0][0]}"
            raise UserError(f"{where}: a second specimen is called {name!r}; give each its own ID=.")
    points = [_tps_points(path, name, block) for name, block in zip(names, blocks, strict=True)]
    sizes = [f"{len(these)} landmarks in {len(these[0])}-D" for these in points]
    for name, size in zip(names, sizes, strict=True):
        if size != sizes[0]:
            raise UserError(
                f"{path}: specimen {name!r} has {size}, but the first, {names[0]!r}, has {sizes[0]}; "
                "every specimen needs the same landmarks."
            )
    scales = _tps_scales(path, names, [key.pop("SCALE", None) for key in keys])
    raw = torch.tensor(points, dtype=torch.float64)
    _warn_of_missing(path, names, range(1, raw.shape[1] + 1), raw)
    return LandmarkSample(
        raw * scales[:, None, None],
        tuple(names),
        {
            name.lower(): tuple(key.get(name, "") for key in keys)
            for name in dict.fromkeys(name for key in keys for name in key)
        },
    )


def _key(line: str) -> tuple[str, str]:
    """Split KEY=VALUE; the key is in upper case, and empty if there is no sign of equality."""
    key, equals, value = line.partition("=")
    return (key.strip().upper(), value.strip()) if equals else ("", line)


def _tps_blocks(path: Path, text: str) -> list[Lines]:
    """Return the lines of each specimen, which begin with LM= or LM3=."""
    blocks: list[Lines] = []
    lines = enumerate(map(str.strip, text.split("\n")), start=1)
    for number, line in ((number, line) for number, line in lines if line):
        if _key(line)[0] in ("LM", "LM3"):
            blocks.append([])
        elif not blocks:
            raise UserError(f"{path}, line {number}: a specimen begins with LM= or LM3=, not with {line!r}.")
        blocks[-1].append((number, line))
    return blocks


def _tps_keys(path: Path, block: Lines) -> dict[str, str]:
    """Return the keys and values of a specimen, except for landmarks, curves, outlines and radii."""
    keys: dict[str, str] = {}
    for number, line in block[1:]:
        key, value = _key(line)
        if key in keys:
            raise UserError(f"{path}, line {number}: {key}= occurs twice for one specimen; keep one.")
        if key and key not in SKIPPED:
            keys[key] = value
    return keys


def _tps_points(path: Path, specimen: str, block: Lines) -> list[list[float]]:
    """Return the coordinates of a specimen, before scaling."""
    (first, opening), *rest = block
    section, value = _key(opening)
    m, where = (3 if section == "LM3" else 2), f"specimen {specimen!r}"
    if not value.isdecimal() or int(value) == 0:
        raise UserError(f"{path}, line {first}: {where} needs landmarks, as in LM=8, but has {opening!r}.")
    points: list[list[float]] = []
    for number, line in rest:
        key, section = _key(line)[0], _key(line)[0] or section
        if section in ("LM", "LM3"):
            at = f"{path}, line {number}: {where}"
            points.append(_numbers(at, str(len(points) + 1), line.split(), m))
        elif not key and section not in SKIPPED:
            raise UserError(f"{path}, line {number}: {where} has {line!r}; begin a comment with COMMENT=.")
    if len(points) != int(value):
        found = f"{len(points)} lines of coordinates"
        raise UserError(f"{path}, line {first}: {where} has {found}, which must agree with {opening!r}.")
    return points


def _tps_scales(path: Path, names: list[str], scales: list[str | None]) -> Tensor:
    """Return the scale of each specimen, (S,); 1 if no specimen has one."""
    factors = [1.0 if scale is None else _number(scale) for scale in scales]
    for name, scale, factor in zip(names, scales, factors, strict=True):
        if scale is None and any(scales):
            raise UserError(
                f"{path}: specimen {name!r} has no SCALE=, but others have one; give one to all, or to none."
            )
        if not 0 < factor < math.inf:
            raise UserError(f"{path}: SCALE of specimen {name!r} must be above 0, but is {scale!r}.")
    return torch.tensor(factors, dtype=torch.float64)


def _numbers(where: str, landmark: str, words: list[str], m: int) -> list[float]:
    """Return the m coordinates of a landmark; `where` and `landmark` are for the messages."""
    if any(word.upper() in ("", "NA") for word in words):
        raise UserError(f"{where} lacks landmark {landmark}; measure it, or leave out the specimen.")
    if len(words) != m:
        raise UserError(
            f"{where} has {len(words)} numbers in landmark {landmark}, not {m}; "
            "LM= is for two dimensions, LM3= for three."
        )
    for word in words:
        if not math.isfinite(_number(word)):
            raise UserError(
                f"{where} has {word!r} in landmark {landmark}; coordinates are finite numbers, "
                "with a point before the decimals."
            )
    return [_number(word) for word in words]


def _number(word: str) -> float:
    """Return the number that a word says; NaN if it says none."""
    try:
        return float(word.replace("_", "?"))  # float takes 1_5 for 15
    except ValueError:
        return math.nan
