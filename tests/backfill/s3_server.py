"""An S3 server on loopback, to be ended by closing its standard input; prints its port."""

import sys

from moto.server import ThreadedMotoServer

server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)  # noqa: T201 - the test reads it
sys.stdin.read()
server.stop()
