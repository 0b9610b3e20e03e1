"""Which colour and dash a run's curves have: its place among the runs decides, so that one
run looks the same in all charts of a page, and again after a reload of its link."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

# Okabe and Ito's palette, made to be told apart with any colour vision, without its black
# (text) and with its yellow darkened, since a thin line in it can't be seen on white.
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#9a8500")

# Dashes in CSS pixels; () is solid. A colour comes back only with another dash.
DASHES: tuple[tuple[int, ...], ...] = ((), (8, 4), (2, 3), (10, 3, 2, 3))


@dataclass(frozen=True)
class Look:
    colour: str
    dash: tuple[int, ...]


def look(place: int) -> Look:
    """The look of the run at `place` (0 is the first). Repeats after 28."""
    round_, colour = divmod(place, len(PALETTE))
    return Look(PALETTE[colour], DASHES[round_ % len(DASHES)])


def swatch(look: Look) -> str:
    """A short piece of the curve, as the URL of an image: what stands for it in a table."""
    dash = f' stroke-dasharray="{" ".join(map(str, look.dash))}"' if look.dash else ""
    line = f'<path d="M1 12H23" stroke="{look.colour}" stroke-width="5"{dash}/>'
    picture = f'<svg xmlns="http://www.w3.org/2000/svg" width="24" height="24">{line}</svg>'
    return "data:image/svg+xml," + quote(picture)
