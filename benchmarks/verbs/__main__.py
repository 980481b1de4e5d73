"""``python -m benchmarks.verbs``."""

from benchmarks.verbs.command import main

if __name__ == "__main__":
    main()
