"""Stands where Nova's metadata service would: says which instance asked."""
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Metadata(BaseHTTPRequestHandler):
    def do_GET(self):
        body = ("instance %s\n" % self.headers.get("X-Instance-ID")).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Metadata).serve_forever()
