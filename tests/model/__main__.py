"""`python -m tests.model [BOUND=N …]`: the correct protocol within larger bounds than the tests', and what was seen.

python -m tests.model                      # the bounds of README.md's second table; some minutes
python -m tests.model late=1 begins=2      # these for every set of holding.py, the rest as it is
"""

from __future__ import annotations

import sys
import time

from tests.model import copies, holding
from tests.model.explore import Model, S, explore
from tests.model.sets import COPIES, HOLDING, LARGE_COPIES, LARGE_HOLDING, Set

MOST = 6_000_000  # states; about 6 GB


def main(words: list[str]) -> int:
    """Exit 1 where a rule is broken."""
    changes = {name: int(number) for name, _, number in (word.partition("=") for word in words)}
    sets: list[Set] = [*HOLDING, *([] if changes else LARGE_HOLDING)]
    bad = 0
    for one in sets:
        bounds = one.bounds._replace(**{name: n for name, n in changes.items() if name in holding.Bounds._fields})
        bad += _say(f"holding, {one.name}: {bounds}", holding.model(bounds, waiting=one.waiting))
    for disks in [COPIES] if changes else [COPIES, LARGE_COPIES]:
        bounds_of = disks._replace(**{name: n for name, n in changes.items() if name in copies.Bounds._fields})
        bad += _say(f"copies: {bounds_of}", copies.model(bounds_of))
    return 1 if bad else 0


def _say(what: str, model: Model[S]) -> bool:
    began = time.monotonic()
    result = explore(model, MOST)
    print(f"{what}\n  {result}, {time.monotonic() - began:.1f} s", flush=True)
    return bool(result.wrong)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
