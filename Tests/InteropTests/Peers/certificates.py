# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tern authors
"""An authority, the certificates below it, and a server's key, as PEM files."""

from __future__ import annotations

import datetime
import ipaddress
import pathlib

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


class Identity:
    """A server on this machine. Intermediate certificates are large, so that the chain needs many packets."""

    def __init__(self, folder: pathlib.Path, intermediates: int = 0) -> None:
        self.now = datetime.datetime.now(datetime.timezone.utc)
        key, root = self.issue("authority", None, None, is_authority=True)
        chain, issuer = [], (key, root)
        for number in range(intermediates):
            issuer = self.issue(f"authority {number}", *issuer, is_authority=True)
            chain.insert(0, issuer[1])
        key, leaf = self.issue("localhost", *issuer, is_authority=False)
        self.authority = self.write(folder / "ca.pem", [root])
        self.certificate = self.write(folder / "cert.pem", [leaf, *chain])
        self.key = str(folder / "priv.key")
        pathlib.Path(self.key).write_bytes(key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))

    def issue(self, name: str, issuer_key, issuer, is_authority: bool):
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        builder = (
            x509.CertificateBuilder().subject_name(subject).issuer_name(issuer.subject if issuer else subject)
            .public_key(key.public_key()).serial_number(x509.random_serial_number())
            .not_valid_before(self.now - datetime.timedelta(hours=1))
            .not_valid_after(self.now + datetime.timedelta(days=2))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True))
        if is_authority:
            places = [x509.UniformResourceIdentifier(f"https://{name.replace(' ', '-')}.example/" + "x" * 600)]
        else:
            places = [x509.DNSName("localhost")] + [
                x509.IPAddress(ipaddress.ip_address(address)) for address in ("127.0.0.1", "::1")]
        builder = builder.add_extension(x509.SubjectAlternativeName(places), critical=False)
        return key, builder.sign(issuer_key or key, hashes.SHA256())

    @staticmethod
    def write(path: pathlib.Path, certificates: list) -> str:
        path.write_bytes(b"".join(one.public_bytes(serialization.Encoding.PEM) for one in certificates))
        return str(path)
