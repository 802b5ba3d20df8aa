"""TLS: which certificates are accepted, and the error where the two sides do not agree."""

from __future__ import annotations

import grpc
import pytest
import trustme

from tfs_client import TargetError, Tls, TlsError, UnavailableError


def ask(client):
    return client.predict({"x": [1.0]}, model="echo")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def pems(authority, tmp_path_factory):
    """Paths: ca.pem, client.pem, client.key."""
    folder = tmp_path_factory.mktemp("pems")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    own = authority.issue_cert("client.example")
    own.private_key_pem.write_to_path(folder / "client.key")
    for part in own.cert_chain_pems:
        part.write_to_path(folder / "client.pem", append=True)
    return folder


@pytest.fixture
def tls_server(authority, make_server):
    def start(name="localhost", *, mutual=False):
        certificate = authority.issue_cert(name)
        chain = b"".join(part.bytes() for part in certificate.cert_chain_pems)
        credentials = grpc.ssl_server_credentials(
            [(certificate.private_key_pem.bytes(), chain)],
            authority.cert_pem.bytes() if mutual else None,
            mutual,
        )
        return make_server(host="localhost", credentials=credentials)

    return start


def test_tls_works_with_roots_from_a_file_and_from_bytes(tls_server, open_client, pems):
    target = tls_server().target
    for roots in (pems / "ca.pem", str(pems / "ca.pem"), (pems / "ca.pem").read_bytes()):
        assert ask(open_client(target, tls=Tls(roots=roots))).version == 2
    credentials = grpc.ssl_channel_credentials((pems / "ca.pem").read_bytes())
    assert ask(open_client(target, tls=credentials)).version == 2


def test_another_name_in_the_certificate_has_to_be_said(tls_server, open_client, pems):
    target = tls_server("models.example").target
    with pytest.raises(TlsError, match="certificates do not fit"):
        ask(open_client(target, tls=Tls(roots=pems / "ca.pem")))
    tls = Tls(roots=pems / "ca.pem", server_name="models.example")
    assert ask(open_client(target, tls=tls)).version == 2


def test_an_authority_that_is_not_trusted_is_a_tls_error(tls_server, open_client):
    with pytest.raises(TlsError):
        ask(open_client(tls_server().target, tls=True))


def test_tls_to_a_plain_server_is_a_tls_error(server, open_client, pems):
    with pytest.raises(TlsError, match="speaks plain text"):
        ask(open_client(server.target, tls=Tls(roots=pems / "ca.pem")))


def test_plain_text_to_a_tls_server_asks_whether_it_wants_tls(tls_server, open_client):
    with pytest.raises(UnavailableError, match="does the server want TLS"):
        ask(open_client(tls_server().target))


def test_mutual_tls_wants_a_certificate_of_ours(tls_server, open_client, pems):
    target = tls_server(mutual=True).target
    own = {"certificate": pems / "client.pem", "key": pems / "client.key"}
    assert ask(open_client(target, tls=Tls(roots=pems / "ca.pem", **own))).version == 2
    with pytest.raises(UnavailableError, match="or a client certificate"):
        ask(open_client(target, tls=Tls(roots=pems / "ca.pem")))


def test_a_key_of_another_certificate_or_a_broken_one_is_a_tls_error(
    authority, tls_server, open_client, pems
):
    target = tls_server(mutual=True).target
    foreign = authority.issue_cert("client.example").private_key_pem.bytes()
    broken = b"-----BEGIN CERTIFICATE-----"
    for certificate, key in ((pems / "client.pem", foreign), (broken, pems / "client.key")):
        tls = Tls(roots=pems / "ca.pem", certificate=certificate, key=key)
        with pytest.raises(UnavailableError) as caught:
            ask(open_client(target, tls=tls))
        # gRPC 1.49 only says that no address is left.
        assert isinstance(caught.value, TlsError) or "empty address list" in caught.value.details


@pytest.mark.parametrize(
    ("tls", "words"),
    [
        (Tls(roots="missing.pem"), "missing.pem"),
        (Tls(roots=b"no pem"), "Tls.roots as PEM"),
        (Tls(certificate=b"-----BEGIN CERTIFICATE-----"), "certificate without the other"),
        (Tls(key=b"-----BEGIN PRIVATE KEY-----"), "key without the other"),
        (Tls(roots="-----BEGIN CERTIFICATE-----"), "its content as str"),
        (Tls(roots=5), "Received: int"),
        (Tls(roots="a\0b"), "Tls.roots as a PEM file"),
        ("yes", "Expected tls as True, False"),
    ],
    ids=str,
)
def test_tls_settings_that_cannot_be_are_refused_at_once(open_client, tls, words):
    with pytest.raises(TargetError) as caught:
        open_client("localhost:8500", tls=tls)
    assert words in str(caught.value)


def test_a_key_given_as_text_is_not_in_the_error(open_client):
    key = "-----BEGIN PRIVATE KEY-----\nhush"
    with pytest.raises(TargetError, match="as bytes") as caught:
        open_client("localhost:8500", tls=Tls(certificate=b"-----BEGIN CERTIFICATE-----", key=key))
    assert "hush" not in str(caught.value)
