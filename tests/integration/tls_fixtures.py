"""Certificates for a local server that speaks TLS."""

from __future__ import annotations

from pathlib import Path

import trustme
from google.protobuf import text_format


def ssl_config(
    folder: Path, authority: trustme.CA, client: trustme.CA | None = None, **changed: str
) -> str:
    """Writes an SSLConfig; returns the flag that names it."""
    server = authority.issue_cert("localhost")
    fields = {
        "server_key": server.private_key_pem.bytes().decode(),
        "server_cert": b"".join(pem.bytes() for pem in server.cert_chain_pems).decode(),
    }
    if client is not None:
        fields["custom_ca"] = client.cert_pem.bytes().decode()
    fields.update(changed)
    lines = [
        f'{name}: "{text_format.text_encoding.CEscape(text, True)}"'
        for name, text in fields.items()
    ]
    if client is not None:
        lines.append("client_verify: true")
    path = folder / "ssl.config"
    path.write_text("\n".join(lines))
    return f"--ssl_config_file={path}"
