"""One stage of the river per process: what `naiad serve` runs.

Enter: settings from the environment. Leave: a running stage that says how it is (health,
metrics, logs) and drains when it is asked to end.
"""
