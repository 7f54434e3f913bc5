"""Queries and ordered reads over the archive."""
