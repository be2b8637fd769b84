"""A mirror that is killed before any step on the disk, or that finds the disk full, leaves nothing wrong."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from population import NOW, Population, catalogue, rule

import cdp
from cdp.warehouse import Mirror
from cdp.warehouse.files import Directory
from cdp.warehouse.model import Manifest

FIELDS = catalogue(properties=[rule("revenue", "number")], traits=[rule("country")])
ROOT = Path(cdp.__file__).parents[1]
GONE = 3
KILLER = """
import os, resource, shutil, signal, sys
from pathlib import Path
import pyarrow as pa
import pyarrow.parquet as pq
from cdp.clock import FixedClock, SECOND
from cdp.store import Store
from cdp.warehouse import Mirror, rewrite
sys.path.insert(0, "tests")
from population import NOW, catalogue, rule

url, folder, work = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
fields = catalogue(properties=[rule("revenue", "number")], traits=[rule("country")])
rewrite.FILE_ROWS, rewrite._SAMPLE_ROWS = 4, 1
pa.set_cpu_count(1)
pa.set_io_thread_count(1)

def dying(left):
    write = pq.write_table

    def step(*_):
        nonlocal left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def before(call):
        def stepped(*given, **named):
            step()
            return call(*given, **named)
        return stepped

    def half(table, path, **named):
        write(table, path, **named)
        os.truncate(path, path.stat().st_size // 2)
        step()
        write(table, path, **named)

    for name in ("fsync", "replace", "rename", "unlink"):
        setattr(os, name, before(getattr(os, name)))
    pq.write_table = half

def run(home):
    mirror = Mirror(Store(url), home, fields, FixedClock(NOW + 120 * SECOND))
    if work == "forget":
        mirror.forget([3])
    else:
        getattr(mirror, work)()

step = 0
while True:
    home = folder / str(step)
    shutil.copytree(folder / "before", home)
    child = os.fork()
    if not child:
        dying(step)
        run(home)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if status not in (0, signal.SIGKILL):
        sys.exit(f"step {step} ended with {status}")
    if status == 0:
        break
    step += 1
print(step)
"""
FULL = """
import resource, sys
sys.path.insert(0, "tests")
from pathlib import Path
from population import NOW, catalogue, rule
from cdp.clock import FixedClock
from cdp.errors import StoreError
from cdp.store import Store
from cdp.warehouse import Mirror

url, home, room, work = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
fields = catalogue(properties=[rule("revenue", "number")], traits=[rule("country")])
mirror = Mirror(Store(url), home, fields, FixedClock(NOW))
resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
try:
    getattr(mirror, work)()
except StoreError as error:
    sys.exit(error.message)
"""

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)  # the files are what is hurt


@pytest.fixture
def people(database_url: str) -> Iterator[Population]:
    population = Population(database_url)
    yield population
    population.close()


def mirror_of(people: Population, home: Path) -> Mirror:
    return Mirror(people.store, home, FIELDS, people.clock)


def add(people: Population, *numbers: int) -> None:
    with people.committer.batch() as batch:
        for number in numbers:
            people.event(batch, number, "CAB"[number % 3], {"revenue": number}, at=NOW - number)
            people.trait(batch, number, "country", "X")
            people.link(batch, [number])


def held(directory: Directory, manifest: Manifest, dataset: str = "events") -> Counter[tuple[int, float]]:
    """Count (identity, revenue) in what readers see, after checking each file against the manifest."""
    column = {"events": "p_revenue", "traits": "source_id", "members": "profile_no"}[dataset]
    found: Counter[tuple[int, float]] = Counter()
    for file in manifest.files[dataset]:
        if file.rows:
            table = directory.load(file, ["identity_no", column])
            found.update(zip(table["identity_no"].to_pylist(), table[column].to_pylist(), strict=True))
    return found


def rows(numbers: Iterable[int]) -> Counter[tuple[int, float]]:
    return Counter((number, float(number)) for number in numbers)


@pytest.mark.parametrize("work", ["refresh", "compact", "rebuild", "forget"])
def test_killed_before_any_step_on_the_disk(
    people: Population, database_url: str, tmp_path: Path, work: str
) -> None:
    home = tmp_path / "before"
    mirror = mirror_of(people, home)
    for start in (1, 3, 5):
        add(people, start, start + 1)
        mirror.refresh()
    if work == "refresh":
        add(people, 7, 8)
    numbers = range(1, 9 if work == "refresh" else 7)
    (home / "events-orphan.parquet").write_bytes(b"of a crash before")
    killer = subprocess.run(  # our own
        [sys.executable, "-c", KILLER, database_url, str(tmp_path), work],
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    assert killer.returncode == 0, killer.stderr
    steps = int(killer.stdout)
    assert steps >= 12
    shutil.rmtree(home)
    for step in range(steps + 1):
        dead = tmp_path / str(step)
        directory = Directory(dead)
        manifest = directory.read()
        seen = held(directory, manifest)
        whole = rows(range(1, manifest.commit_no * 2 + 1))
        rest = rows(number for number in numbers if number != GONE)
        assert seen == whole or (work == "forget" and seen == rest), step
        doomed = seen == rest or manifest.erasing
        assert doomed or work != "forget" or step < 8  # from its first step on, nothing undoes it
        again = mirror_of(people, dead)
        assert again.refresh() == len(numbers) // 2
        manifest = again.directory.read()
        found = held(again.directory, manifest)
        assert found == (rest if doomed else rows(numbers)), step
        assert set(held(again.directory, manifest, "traits")) == {(number, 1) for number, _ in found}
        assert set(held(again.directory, manifest, "members")) == {(number, number) for number, _ in found}
        assert {path.name for path in dead.iterdir()} == manifest.own() | {"manifest.json", "lock"}
        shutil.rmtree(dead)


@pytest.mark.parametrize("work", ["refresh", "compact", "rebuild"])
@pytest.mark.parametrize("room", [0, 600, 2000])
def test_a_full_disk_is_one_clear_error_and_leaves_what_was(
    people: Population, database_url: str, tmp_path: Path, work: str, room: int
) -> None:
    """The system refuses to write beyond ``room`` bytes of a file, half-way through whatever is written."""
    home = tmp_path / "warehouse"
    mirror = mirror_of(people, home)
    for start in (1, 5):
        add(people, *range(start, start + 4))
        mirror.refresh()
    add(people, 9, 10)
    before = {path.name for path in home.iterdir()}
    full = subprocess.run(  # our own
        [sys.executable, "-c", FULL, database_url, str(home), str(room), work],
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    assert full.returncode == 1, full.stderr
    assert full.stderr.strip() == "the warehouse directory cannot be written: File too large"
    assert not [path for path in home.iterdir() if path.suffix == ".tmp"]
    directory = Directory(home)
    manifest = directory.read()
    assert held(directory, manifest) in (rows(range(1, 9)), rows(range(1, 11)))
    assert before - {"lock"} <= {path.name for path in home.iterdir()}
    assert mirror.refresh() == 3
    assert sum(held(directory, mirror.directory.read()).values()) == 10
    assert {path.name for path in home.iterdir()} == mirror.directory.read().own() | {"manifest.json", "lock"}
