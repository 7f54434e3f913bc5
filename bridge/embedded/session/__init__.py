"""The session generation of the protocol, revision G2d."""
