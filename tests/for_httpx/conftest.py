"""Fixtures for httpx."""

import socket
import ssl
import threading
from contextlib import suppress

import h2.config
import h2.connection
import h2.events
import pytest


@pytest.fixture
def http2_server(ca):
    """A server that speaks HTTP/2 over TLS, one connection after another; it answers with the size of the body."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    context.set_alpn_protocols(["h2"])
    listening = socket.create_server(("127.0.0.1", 0))

    def serve(sock):
        connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        connection.initiate_connection()
        sizes = {}
        while True:
            sock.sendall(connection.data_to_send())
            if not (data := sock.recv(65536)):
                return
            for event in connection.receive_data(data):
                if isinstance(event, h2.events.DataReceived):
                    sizes[event.stream_id] = sizes.get(event.stream_id, 0) + len(event.data)
                    connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, h2.events.StreamEnded):
                    connection.send_headers(event.stream_id, [(":status", "200"), ("x-a", "1")])
                    connection.send_data(event.stream_id, b"%d" % sizes.get(event.stream_id, 0), end_stream=True)

    def accept():
        while True:
            try:
                raw, _ = listening.accept()
            except OSError:
                return
            with suppress(OSError), context.wrap_socket(raw, server_side=True) as sock:
                sock.settimeout(20)
                serve(sock)

    thread = threading.Thread(target=accept)
    thread.start()
    yield f"https://127.0.0.1:{listening.getsockname()[1]}"
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()
    thread.join(20)
