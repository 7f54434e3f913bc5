"""Sending: the queue, the worker processes, and what follows an attempt."""
