"""Queries: what is asked for, how each revision spells it, and what is found."""
