"""Generated from proto/schema; see `make proto`."""
