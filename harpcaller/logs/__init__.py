"""What the daemons say: one event per line, the same for every handler.

Arguments, results and credentials are never logged.
"""
