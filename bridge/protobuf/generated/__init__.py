"""What protoc made of `mosaico_bridge.proto`; written by `make proto`, never by hand."""
