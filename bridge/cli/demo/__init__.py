"""`mosaico-bridge demo`: the whole way on a sample drive."""
