"""A small HTTP server that speaks the part of Vault's transit API that we use.

Like Vault it makes a key when asked to encrypt with one that is not there, answers 400 where a ciphertext
does not fit, and 403 where the token does not. ``fault`` makes it misbehave.
"""

from __future__ import annotations

import base64
import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

TOKEN = "hvs.the-token-of-the-tests"


class Refused(Exception):
    def __init__(self, status: int, *errors: str) -> None:
        self.status, self.errors = status, errors


class Key:
    """A transit key: its versions, and from which on they are allowed."""

    def __init__(self) -> None:
        self.versions = {1: os.urandom(32)}
        self.config = {"min_decryption_version": 1, "min_encryption_version": 0, "min_available_version": 0}

    def encrypt(self, body: dict[str, str]) -> dict[str, Any]:
        version, nonce = max(self.versions), os.urandom(12)
        plain, context = (base64.b64decode(body[name]) for name in ("plaintext", "associated_data"))
        sealed = nonce + AESGCM(self.versions[version]).encrypt(nonce, plain, context)
        return {"ciphertext": f"vault:v{version}:{base64.b64encode(sealed).decode()}", "key_version": version}

    def decrypt(self, body: dict[str, str]) -> dict[str, Any]:
        _, version, sealed = body["ciphertext"].split(":")
        number, blob = int(version[1:]), base64.b64decode(sealed)
        if number < self.config["min_decryption_version"]:
            raise Refused(400, "ciphertext or signature version is disallowed by policy (too old)")
        try:
            context = base64.b64decode(body["associated_data"])
            plain = AESGCM(self.versions[number]).decrypt(blob[:12], blob[12:], context)
        except (InvalidTag, KeyError):
            raise Refused(400, "cipher: message authentication failed") from None
        return {"plaintext": base64.b64encode(plain).decode()}

    def trim(self, body: dict[str, int]) -> None:
        oldest = body["min_available_version"]
        allowed = min(self.config["min_decryption_version"], self.config["min_encryption_version"])
        if oldest > allowed:
            raise Refused(400, "minimum available version cannot be greater than minimum versions")
        self.config["min_available_version"] = oldest
        self.versions = {number: key for number, key in self.versions.items() if number >= oldest}

    def facts(self) -> dict[str, Any]:
        return {**self.config, "latest_version": max(self.versions), "type": "aes256-gcm96"}


class VaultSimulator:
    """The server; ``address`` is where it listens."""

    def __init__(self) -> None:
        self.keys: dict[str, Key] = {}
        self.fault: int | str | None = None
        self.released = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        self.address = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, method: str, path: str, token: str, body: dict[str, Any]) -> dict[str, Any] | None:
        if token != TOKEN:
            raise Refused(403, "permission denied")
        _, _, mount, kind, name, *verb = path.split("/")
        assert mount == "transit"
        if method == "GET" and name not in self.keys:
            raise Refused(404)
        if kind == "encrypt":
            return self.keys.setdefault(name, Key()).encrypt(body)
        if kind == "decrypt":
            return self.keys[name].decrypt(body)
        key = self.keys.setdefault(name, Key())
        match verb:
            case ["rotate"]:
                key.versions[max(key.versions) + 1] = os.urandom(32)
            case ["config"]:
                key.config.update(body)
            case ["trim"]:
                key.trim(body)
            case []:
                return key.facts()
        return None

    def _handler(simulator) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if simulator.fault == "slow":
                    simulator.released.wait()
                    return
                if isinstance(simulator.fault, int):
                    self._say(simulator.fault, {"errors": [self.headers["X-Vault-Token"]]})
                    return
                if simulator.fault == "nonsense":
                    self._say(200, "<html>")
                    return
                try:
                    data = simulator.answer(
                        self.command, self.path, self.headers["X-Vault-Token"], json.loads(content or b"{}")
                    )
                    self._say(204 if data is None else 200, None if data is None else {"data": data})
                except Refused as refused:
                    self._say(refused.status, {"errors": list(refused.errors)})

            do_POST = do_GET

            def _say(self, status: int, body: object) -> None:
                content = (
                    b"" if body is None else (body if isinstance(body, str) else json.dumps(body)).encode()
                )
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                """The tests print nothing."""

        return Handler
