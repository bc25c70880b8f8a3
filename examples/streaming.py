"""Large bodies both ways, with never more than a chunk in memory, and a middleware that watches them pass."""

import zlib
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from tempfile import TemporaryFile
from threading import Thread

from formation import req, res
from formation.for_requests import client, json_response

MEGABYTE = 1024 * 1024


def checksum(ctx, call):
    """Compute a checksum of whatever is received, while it is received."""
    ctx = call(ctx)
    crc = 0

    def look(chunk):
        nonlocal crc
        crc = zlib.crc32(chunk, crc)
        return chunk

    def tell(count, error):
        print(f"  {req(ctx).name}: {count} bytes, checksum {crc:08x}, {error or 'to the end'}")

    if not res(ctx).body.is_bytes:  # a stream that nobody has read yet
        res(ctx).body.map(look)
        res(ctx).on_close(tell)
    return ctx


@client
class Storage:
    middleware = [checksum]
    response_as = json_response

    def upload(self, name, content):
        return self.request.put("/files/{name}", path={"name": name}, content=content, expect=201).body

    def download(self, name):
        return self.request.get("/files/{name}", path={"name": name}, stream=True)


def rows():
    """What has no end that is known: each row is made when it is sent."""
    for number in range(100_000):
        yield b"row %06d\n" % number


def main():
    with storage() as url, Storage(base_uri=url) as files:
        print("A file, 8 MB, read as it is sent:")
        with TemporaryFile() as file:
            file.truncate(8 * MEGABYTE)
            print(" ", files.upload("zeros", file))

        print("A generator, 1.1 MB, made as it is sent:")
        print(" ", files.upload("rows", rows()))

        print("Both back, to disk and to nowhere:")
        with files.download("zeros") as result, TemporaryFile() as file:
            for chunk in result.body:
                file.write(chunk)
        with files.download("rows") as result:
            assert b"".join(result.body) == b"".join(rows())

        print("Only the beginning of a large one; leaving the block drops the rest:")
        with files.download("zeros") as result:
            print(" ", next(iter(result.body))[:4])


class Files(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    kept = {}

    def do_PUT(self):
        if (length := self.headers["Content-Length"]) is not None:
            body, how = self.rfile.read(int(length)), "with its length"
        else:
            body, how = b"".join(self.chunks()), "chunked"
        self.kept[self.path] = body
        answer = b'{"received": %d, "how": "%s"}' % (len(body), how.encode())
        self.send_response(201)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def chunks(self):
        while size := int(self.rfile.readline(), 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def do_GET(self):
        body = self.kept[self.path]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        try:
            self.wfile.write(body)
        except OSError:  # who asked has heard enough
            self.close_connection = True

    def log_message(self, *args):
        pass


@contextmanager
def storage():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Files)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


if __name__ == "__main__":
    main()
