"""A hub of a test's own, on the loopback: takes the commits of huggingface_hub, and keeps what they hold.

    with hub() as it: run(HF_ENDPOINT=it.address); it.files["model.safetensors"]
"""
import base64
import contextlib
import hashlib
import http.server
import json
import threading


class Hub:
    def __init__(self, address):
        self.address = address
        self.files = {}    # path in the repository -> bytes, of what was committed
        self.objects = {}  # SHA-256 -> bytes, of what was uploaded


@contextlib.contextmanager
def hub():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.hub = Hub(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):  # what there is: nothing
        self._answer({"id": "me/model", "sha": "0" * 40, "siblings": [], "private": False})

    def do_POST(self):
        body = self._body()
        if "/preupload/" in self.path:
            self._answer({"files": [{"path": file["path"], "uploadMode": "lfs" if file["size"] > 1000 else "regular", "shouldIgnore": False, "oid": None}
                                    for file in json.loads(body)["files"]]})
        elif self.path.endswith("/info/lfs/objects/batch"):
            self._answer({"transfer": "basic", "objects": [
                {"oid": thing["oid"], "size": thing["size"], "actions": {"upload": {"href": f"{self.server.hub.address}/objects/{thing['oid']}"}}}
                for thing in json.loads(body)["objects"]]})
        elif "/commit/" in self.path:
            self._commit([json.loads(line) for line in body.splitlines()])
            self._answer({"commitUrl": f"{self.server.hub.address}/me/model/commit/{'1' * 40}", "commitOid": "1" * 40, "success": True})
        else:
            self._answer({"url": f"{self.server.hub.address}/me/model", "name": "me/model", "id": "me/model"})

    def do_PUT(self):
        body = self._body()
        assert hashlib.sha256(body).hexdigest() == self.path.rsplit("/", 1)[1]
        self.server.hub.objects[self.path.rsplit("/", 1)[1]] = body
        self._answer({})

    def _commit(self, lines):
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                self.server.hub.files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                self.server.hub.files[value["path"]] = self.server.hub.objects[value["oid"]]

    def _body(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while True:
                size = int(self.rfile.readline(), 16)
                body += self.rfile.read(size)
                self.rfile.readline()
                if size == 0:
                    return body
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _answer(self, value):
        text = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
