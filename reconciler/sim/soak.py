"""Random stories until told to stop, on all cores: `python -m reconciler.sim.soak FILE… [--from SEED] [--keep DIR]`.

Prints how it goes once in a while; each story that breaks is kept as a scenario, a directory named after its seed.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import yaml
from loguru import logger

from reconciler.sim.chance import LASTS, random_scenario
from reconciler.sim.cluster import Broken
from reconciler.sim.scenario import tell
from reconciler.spec import ServiceManifest, validate

BATCH = 20  # stories between two lines of progress, a core


def run(seed: int, files: Sequence[Path]) -> str:
    """What broke, or ""."""
    logger.disable("reconciler")
    try:
        tell(random_scenario(seed, _manifests(files)), seed)
    except Broken as e:
        return str(e)
    return ""


def _manifests(files: Sequence[Path]) -> list[ServiceManifest]:
    documents = (document for file in files for document in yaml.safe_load_all(file.read_text()))
    return [one for document in documents if isinstance(one := validate(document), ServiceManifest)]


def keep(seed: int, files: Sequence[Path], where: Path) -> None:
    """As a scenario; its log is for its finder to write."""
    there = where / f"seed-{seed}"
    there.mkdir(parents=True, exist_ok=True)
    with (there / "cluster.yaml").open("wb") as cluster:
        for file in files:
            cluster.write(b"---\n")
            with file.open("rb") as source:
                shutil.copyfileobj(source, cluster)
    lines = [f"{line.at:g} {line}" for line in random_scenario(seed, _manifests(files)).story]
    (there / "story").write_text(f"# Random, seed {seed}\n" + "\n".join(lines) + "\n")


def soak(files: Sequence[Path], seeds: Iterable[int], where: Path, pool: ProcessPoolExecutor) -> None:
    """For ever, or until the seeds end."""
    began, count, broken = time.monotonic(), 0, 0
    for batch in _batches(seeds):
        for seed, wrong in zip(batch, pool.map(run, batch, itertools.repeat(files)), strict=True):
            count += 1
            if wrong:
                broken += 1
                keep(seed, files, where)
                print(f"seed {seed}, kept in {where}/seed-{seed}: {wrong.splitlines()[0]}")
        rate = count * LASTS / (time.monotonic() - began)
        print(f"{count} stories, {broken} broken, {rate:.0f} simulated seconds a second, next seed {batch[-1] + 1}")


def _batches(seeds: Iterable[int]) -> Iterable[list[int]]:
    left = iter(seeds)
    while batch := list(itertools.islice(left, BATCH)):
        yield batch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="manifests of services")
    parser.add_argument("--from", dest="first", type=int, default=0, metavar="SEED")
    parser.add_argument("--stories", type=int, help="how many; until told to stop by default")
    parser.add_argument("--keep", type=Path, default=Path("soak"), metavar="DIRECTORY")
    said = parser.parse_args()
    seeds = itertools.count(said.first) if said.stories is None else range(said.first, said.first + said.stories)
    with ProcessPoolExecutor() as pool:
        try:
            soak(said.files, seeds, said.keep, pool)
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)


if __name__ == "__main__":
    main()
