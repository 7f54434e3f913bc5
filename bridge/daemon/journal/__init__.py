"""The durable record of every recording: its state, its story, what was asked for."""
