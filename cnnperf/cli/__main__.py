"""Run the command with `python -m cnnperf.cli`."""

from cnnperf.cli import main

if __name__ == "__main__":
    main()
