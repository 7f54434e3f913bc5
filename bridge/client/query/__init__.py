"""Queries: built, spelt for a revision, and what they find."""
