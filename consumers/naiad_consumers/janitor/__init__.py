"""The janitor: what is due of the trash, and what purged runs and the roller have left.

Enters: how long each project keeps its runs, and what the store knows of them. Leaves: deletions
and purges in the log, which the writer makes as it makes those that people ask for; bytes of
purged rows and files, and of superseded rollups, freed.

Promised: of several janitors one is at work. Whatever it does can be done again, and what it would
have deleted stays if it was heard of in the meantime: the writer looks before it deletes.
"""

from naiad_consumers.janitor.janitor import GROUP, Janitor

__all__ = ["GROUP", "Janitor"]
