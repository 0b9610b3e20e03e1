"""Which of a training's processes this one is: given, or as the launcher's environment has it."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from naiad.exceptions import NaiadTypeError, NaiadValueError

# (rank, local rank, world size), the most specific launcher first: torchrun runs within Slurm,
# and mpirun too. torchrun's names are also those of Accelerate, DeepSpeed and Ray Train.
_LAUNCHERS = (
    ("RANK", "LOCAL_RANK", ("WORLD_SIZE",)),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK", ("OMPI_COMM_WORLD_SIZE",)),
    ("PMI_RANK", "MPI_LOCALRANKID", ("PMI_SIZE",)),
    ("SLURM_PROCID", "SLURM_LOCALID", ("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS")),
)


@dataclass(frozen=True)
class Ranks:
    """None where nobody says."""

    rank: int | None = None
    local_rank: int | None = None
    world_size: int | None = None

    @property
    def leads(self) -> bool:
        """Rank 0, or a process of its own."""
        return not self.rank

    def facts(self) -> dict[str, int]:
        found = {"rank": self.rank, "local_rank": self.local_rank, "world_size": self.world_size}
        return {name: value for name, value in found.items() if value is not None}


def ranks_of(
    rank: int | None,
    local_rank: int | None,
    world_size: int | None,
    environment: Mapping[str, str] | None = None,
) -> Ranks:
    """What is given; the rest as the environment says. Raises NaiadValueError, NaiadTypeError."""
    for name, value in (("rank", rank), ("local_rank", local_rank), ("world_size", world_size)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise NaiadTypeError(f"{name} is {value!r}; it must be an integer")
        if value is not None and value < (1 if name == "world_size" else 0):
            raise NaiadValueError(f"{name} is {value}, which is too small")
    if rank is None:
        found = _told(os.environ if environment is None else environment) or _ray()
        rank = found.rank
        local_rank = found.local_rank if local_rank is None else local_rank
        world_size = found.world_size if world_size is None else world_size
    if rank is not None and world_size is not None and rank >= world_size:
        raise NaiadValueError(f"rank {rank} is not below world_size {world_size}")
    return Ranks(rank, local_rank, world_size)


def _told(environment: Mapping[str, str]) -> Ranks | None:
    for rank_name, local_name, size_names in _LAUNCHERS:
        rank = _number(environment.get(rank_name))
        sizes = [_number(environment.get(name)) for name in size_names]
        size = next((size for size in sizes if size is not None), None)
        # Only both: RANK alone may be anything's.
        if rank is not None and size is not None and rank < size:
            return Ranks(rank, _number(environment.get(local_name)), size)
    return None


def _ray() -> Ranks:
    """As Ray Train says, in a worker of it; only where the training imported it."""
    train = sys.modules.get("ray.train")
    try:
        context = train.get_context()  # type: ignore[union-attr]
        return Ranks(
            int(context.get_world_rank()),
            int(context.get_local_rank()),
            int(context.get_world_size()),
        )
    except Exception:
        # Outside of a worker, or a release that calls it otherwise.
        return Ranks()


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None
