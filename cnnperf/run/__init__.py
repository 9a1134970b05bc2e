"""One run: its settings and plan, the worker processes, and runs that take turns."""
