"""What stands in frames besides numbers and strings."""

from naiad.query.files import File
from naiad.types import Histogram

__all__ = ["File", "Histogram"]
