"""Random stories until told to stop, on all cores: `python -m reconciler.sim.soak [--from SEED] [--stories N]`.

Prints how it goes once in a while; each story that breaks is kept as a scenario, a directory named after its seed. With
FILEs, the stories are of the services in them.
"""

from __future__ import annotations

import argparse
import itertools
import os
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import yaml
from loguru import logger

from reconciler.sim.chance import LASTS, keep, random_scenario
from reconciler.sim.clock import NothingEver, Spinning
from reconciler.sim.cluster import Broken
from reconciler.sim.scenario import Scenario, tell
from reconciler.spec import Manifest, validate

BATCH = 40  # stories between two lines of progress


def run(seed: int, files: Sequence[Path]) -> str:
    """What broke, or ""."""
    logger.disable("reconciler")
    try:
        tell(_scenario(seed, files), seed)
    except (Broken, NothingEver, Spinning) as e:
        return f"{type(e).__name__}: {e}"
    return ""


def _scenario(seed: int, files: Sequence[Path]) -> Scenario:
    return random_scenario(seed, _manifests(files))


def _manifests(files: Sequence[Path]) -> list[Manifest]:
    documents = (document for file in files for document in yaml.safe_load_all(file.read_text()))
    return [validate(document) for document in documents if document]


def soak(files: Sequence[Path], seeds: Iterable[int], where: Path, pool: ProcessPoolExecutor) -> int:
    """For ever, or until the seeds end: how many broke."""
    began, count, broken = time.monotonic(), 0, 0
    for batch in _batches(seeds):
        for seed, wrong in zip(batch, pool.map(run, batch, itertools.repeat(files)), strict=True):
            count += 1
            if wrong:
                broken += 1
                kept = keep(_scenario(seed, files), where)
                print(f"seed {seed}, kept in {kept}: {wrong if broken == 1 else wrong.splitlines()[0]}", flush=True)
        rate = count * LASTS / (time.monotonic() - began)
        print(f"{count} stories, {broken} broken, {rate:.0f} simulated s/s, next: --from {batch[-1] + 1}", flush=True)
    return broken


def _batches(seeds: Iterable[int]) -> Iterable[list[int]]:
    left = iter(seeds)
    while batch := list(itertools.islice(left, BATCH)):
        yield batch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="manifests; random clusters without")
    parser.add_argument("--from", dest="first", type=int, metavar="SEED", help="by default others each time")
    parser.add_argument("--stories", type=int, help="how many; until told to stop by default")
    parser.add_argument("--keep", type=Path, default=Path("soak"), metavar="DIRECTORY")
    said = parser.parse_args()
    first = int(time.time()) * 1000 if said.first is None else said.first
    seeds = itertools.count(first) if said.stories is None else range(first, first + said.stories)
    with ProcessPoolExecutor(initializer=os.nice, initargs=(10,)) as pool:
        try:
            broken = soak(said.files, seeds, said.keep, pool)
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            return
    raise SystemExit(1 if broken else 0)


if __name__ == "__main__":
    main()
