"""A certificate authority for one run of the test cluster, and kubeconfigs that use it."""

from __future__ import annotations

import base64
import ipaddress
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

VALID: Final = timedelta(days=2)


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, as files."""

    certificate: Path
    key: Path


class Authority:
    """Signs certificates for a run.

    Args:
        folder: receives all files.
    """

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("test-cluster", ())
        unsigned = _unsigned(self._name, self._name, self._key).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        signed = unsigned.sign(self._key, hashes.SHA256())
        self.certificate = folder / "authority.crt"
        """Who trusts this file trusts the run's certificates."""
        self.certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))

    def issue(
        self, name: str, *, groups: Sequence[str] = (), addresses: Sequence[str] = ()
    ) -> Pair:
        """A certificate for a client and, where addresses are given, for a server.

        Args:
            name: the user, to Kubernetes.
            groups: the user's groups.
            addresses: IP addresses and DNS names of a server.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        unsigned = _unsigned(_name(name, groups), self._name, key).add_extension(
            x509.ExtendedKeyUsage(
                [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
            ),
            critical=False,
        )
        if addresses:
            unsigned = unsigned.add_extension(
                x509.SubjectAlternativeName([_address(one) for one in addresses]), critical=False
            )
        signed = unsigned.sign(self._key, hashes.SHA256())
        file = self._folder / name.replace(":", "-").replace("/", "-")
        certificate, key_file = file.with_name(f"{file.name}.crt"), self.key_file(file.name, key)
        certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        return Pair(certificate, key_file)

    def key_file(self, name: str, key: ec.EllipticCurvePrivateKey | None = None) -> Path:
        """Writes a private key, a new one unless it is given."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        path = self._folder / f"{name}.key"
        path.touch(mode=0o600)
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.TraditionalOpenSSL,
                serialization.NoEncryption(),
            )
        )
        return path

    def kubeconfig(
        self, path: Path, server: str, *, pair: Pair | None = None, token: str = ""
    ) -> Path:
        """Writes a kubeconfig that holds all it needs.

        Args:
            path: the file.
            server: the API server's URL.
            pair: who asks, by certificate.
            token: who asks, by token.
        """
        user: dict[str, Any] = {"token": token}
        if pair is not None:
            user = {
                "client-certificate-data": _encoded(pair.certificate),
                "client-key-data": _encoded(pair.key),
            }
        name = "test-cluster"
        cluster = {"server": server, "certificate-authority-data": _encoded(self.certificate)}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": name, "cluster": cluster}],
            "users": [{"name": name, "user": user}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
            "current-context": name,
        }
        path.touch(mode=0o600)
        path.write_text(json.dumps(content, indent=1))
        return path


def _name(common: str, groups: Sequence[str]) -> x509.Name:
    parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    return x509.Name([*parts, x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _unsigned(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = datetime.now(timezone.utc)
    return x509.CertificateBuilder(
        issuer_name=issuer,
        subject_name=subject,
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        # Before now, for clocks that are a little behind.
        not_valid_before=now - timedelta(minutes=5),
        not_valid_after=now + VALID,
    )


def _address(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
