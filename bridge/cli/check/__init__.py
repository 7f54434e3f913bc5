"""`mosaico-bridge check`: would the bridge work here? Changes nothing."""
