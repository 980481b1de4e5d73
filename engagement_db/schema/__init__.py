"""Migrations: what a live database has, what a revision changes, and how a run is kept safe."""
