"""Stories worth telling, and how to make others."""

from __future__ import annotations

import os
from random import Random

from tests.effort import tries

#: The ones told to every kind of crash; each has something the others don't.
SYSTEMATIC = (
    # A life, with a checkpoint in it, a clean end, and one more job after a start.
    "full 700 | s1 t1 m1 r1 R1 e1 q s2",
    # Batches, group commit while a checkpoint and a pruning cross, a kill.
    "full 500 | [ s1 s2 s3 t1 r1 j j t2 ] [ R1 r2 e2 ] [ s4 s5 j e1 p j j + j c j ] s6 e4 p K s7",
    # The index is lost and made anew, with pruning before and after.
    "full 900 | s1 s2 s3 e1 e2 x p s4 K s5 e5 p x",
    # Records that nobody waits for, filed while they come.
    "end 700 | s1 t1 r1 R1 R1 s2 t2 R2 r2 e2 p s3 K t3 R3 R3 q R3",
    # Nothing is waited for.
    "none 700 | s1 t1 r1 R1 e1 s2 s3 t2 e2 p s4 e4 q s5 e5",
)


def seed() -> int:
    """Give the seed by which cases are chosen: ``HARPCALLER_CRASH_SEED``, 1 by default."""
    return int(os.environ.get("HARPCALLER_CRASH_SEED", "1"))


def most(default: int) -> int:
    """Give how many cases a test does; ``HARPCALLER_CRASH_FACTOR`` multiplies that."""
    return tries(int(default * float(os.environ.get("HARPCALLER_CRASH_FACTOR", "1"))))


def random_story(random: Random) -> str:
    """Make a story up."""
    steps = []
    jobs = 0
    for _ in range(random.randrange(4, 22)):
        kind = random.choice("sssstmrrRReeepqxKw[[")
        if kind == "s":
            jobs += 1
        if kind in "stmrRe":
            steps.append(f"{kind}{random.randrange(1, max(2, jobs + 1)) if kind != 's' else jobs}")
        elif kind == "[":
            many = random.choices(["s", "t1", "r1", "R1", "e1", "p", "j", "j", "c", "+"], k=7)
            for number, step in enumerate(many):
                if step == "s":
                    jobs += 1
                    many[number] = f"s{jobs}"
            steps += ["[", *many, "]"]
        else:
            steps.append(kind)
    durability = random.choice(["full", "full", "full", "end", "none"])
    return f"{durability} {random.choice([400, 900, 2500])} | {' '.join(steps)}"
