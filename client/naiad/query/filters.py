"""How a question says what it means: `Attribute` and `AttributeFilter`."""

from naiad.query.attributes import Attribute, AttributeFilter

__all__ = ["Attribute", "AttributeFilter"]
