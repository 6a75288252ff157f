"""TLS 1.3 contexts: an ephemeral self-signed certificate for the listener, none for the dialer."""

from __future__ import annotations

import os
import ssl
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

# TLS proves no key here (the signed hello does), so the validity is only wide enough for any clock.
_VALID_FROM = datetime(2020, 1, 1, tzinfo=UTC)
_VALID_FOR = timedelta(days=365 * 100)


def listener_context() -> tuple[ssl.SSLContext, bytes]:
    """Return a context with a fresh certificate, and that certificate in DER."""
    # Imported here: 9 MB that a peer which only dials does not need.
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "p2pfed")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_VALID_FROM)
        .not_valid_after(_VALID_FROM + _VALID_FOR)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ) + certificate.public_bytes(serialization.Encoding.PEM)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.num_tickets = 0  # A resumed session would show no certificate to bind the hello to.
    _load(context, pem)
    return context, certificate.public_bytes(serialization.Encoding.DER)


def dialer_context() -> ssl.SSLContext:
    """Return a context that accepts any certificate; the signed hello says whose it is."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _load(context: ssl.SSLContext, pem: bytes) -> None:
    """Load the chain; Python's ssl reads files only, so the key is on disk for a moment, for us alone."""
    with tempfile.TemporaryDirectory(prefix="p2pfed-tls-") as folder:
        path = Path(folder) / "listener.pem"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
        context.load_cert_chain(path)
