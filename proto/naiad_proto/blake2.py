"""BLAKE2b without the rest of hashlib, which loads all of OpenSSL: 4 MB in every training."""

try:
    from _blake2 import blake2b
except ImportError:  # an interpreter that has it elsewhere
    from hashlib import blake2b

__all__ = ["blake2b"]
