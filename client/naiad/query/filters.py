"""How a question says what it means: `Filter`, `Attribute` and `AttributeFilter`."""

from naiad.query.attributes import TYPES as KNOWN_TYPES
from naiad.query.attributes import Attribute, AttributeFilter
from naiad.query.filter import Filter

__all__ = ["KNOWN_TYPES", "Attribute", "AttributeFilter", "Filter"]
