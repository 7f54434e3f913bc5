"""Lets `python -m bridge` do what `mosaico-bridge` does."""

from bridge.cli import main

if __name__ == "__main__":
    main()
