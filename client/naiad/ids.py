"""Run ids that people can say and tell apart."""

from __future__ import annotations

import random
import time

_ADJECTIVES = (
    "amber", "ancient", "autumn", "azure", "bold", "brave", "bright", "brisk", "calm", "clear",
    "coral", "crisp", "curious", "daring", "deep", "eager", "early", "fair", "fleet", "gentle",
    "golden", "green", "happy", "hidden", "ivory", "jolly", "keen", "kind", "late", "light",
    "lively", "lucid", "merry", "misty", "noble", "olive", "pale", "patient", "plain", "proud",
    "quick", "quiet", "rapid", "rosy", "royal", "sharp", "silent", "silver", "smooth", "snowy",
    "solid", "still", "sunny", "swift", "tidal", "tidy", "vivid", "warm", "wild", "wise",
)  # fmt: skip
_NOUNS = (
    "badger", "bay", "beaver", "brook", "cove", "crane", "creek", "current", "delta", "dipper",
    "dolphin", "duck", "eddy", "egret", "falls", "ferry", "fjord", "ford", "frog", "geyser",
    "grebe", "gull", "harbour", "heron", "inlet", "island", "kingfisher", "lagoon", "lake", "lily",
    "marsh", "minnow", "mist", "newt", "oasis", "otter", "pike", "plover", "pond", "pool", "rain",
    "rapids", "reed", "reef", "river", "salmon", "shoal", "shore", "source", "spring", "stork",
    "strait", "stream", "swan", "tern", "tide", "trout", "turtle", "wave", "weir", "whale",
)  # fmt: skip
# As good as `secrets`, which loads all of OpenSSL besides: 4 MB.
_choice = random.SystemRandom().choice
_LETTERS = "23456789abcdefghjkmnpqrstuvwxyz"


def generate_run_id() -> str:
    """Such as "brave-otter-261124-7f3k2a9qmw": two words, the UTC date, and 49 random bits
    besides. No slash, safe in URLs and file names."""
    words = f"{_choice(_ADJECTIVES)}-{_choice(_NOUNS)}"
    day = time.strftime("%y%m%d", time.gmtime())
    return f"{words}-{day}-{''.join(_choice(_LETTERS) for _ in range(10))}"
