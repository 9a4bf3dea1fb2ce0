"""What the servers of the tests share: a folder for what they say, a handler that minds nothing, and
a life that ends when standard input closes."""
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

folder = sys.argv[1]
lock = threading.Lock()
tries = {}


def count(key):
    """How often this was asked, this time included."""
    with lock:
        tries[key] = tries.get(key, 0) + 1
        return tries[key]


class Quiet(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def handle(self):
        try:
            super().handle()
        except ConnectionError:
            pass  # the client went away: some tests mean to


def listen(*kinds):
    """A server of each kind on a port of its own; the ports."""
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), kind) for kind in kinds]
    for server in servers:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
    return [server.server_address[1] for server in servers]


def stay(name, *ports):
    """Writes the ports to the folder's file of that name; returns when standard input closes."""
    with open(folder + "/" + name + ".tmp", "w") as out:
        out.write(" ".join(map(str, ports)) + "\n")
    os.rename(folder + "/" + name + ".tmp", folder + "/" + name)
    sys.stdin.read()
