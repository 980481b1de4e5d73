"""``python -m engagement_db``: the command `engagement-db`."""

from engagement_db.cli import main

if __name__ == "__main__":
    main(prog_name="engagement-db")
