"""The session generation of the protocol, revision G2d, and G3 in its encoding."""
