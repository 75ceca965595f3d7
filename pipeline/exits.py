"""Exit codes; docs/operations.md tells what each asks of the operator."""

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_OVER_BUDGET = 3
EXIT_HELD = 4
EXIT_GUARDED = 5
