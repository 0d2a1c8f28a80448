"""An authority for tests, and folders of certificates as ONOMA_TLS_DIR names them."""

import datetime
import ipaddress
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

DAY = datetime.timedelta(days=1)


@dataclass(frozen=True)
class Authority:
    """Signs certificates; its own is trusted by whoever gets one."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def new(cls):
        key = ec.generate_private_key(ec.SECP256R1())
        built = _builder("authority", "authority", key).add_extension(x509.BasicConstraints(True, None), True)
        return cls(key, built.sign(key, SHA256()))

    def write(self, folder, hosts=("localhost",), lasts=DAY):
        """ca.crt, tls.crt and tls.key; `lasts` below zero is an expired one."""
        folder.mkdir(exist_ok=True)
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.DNSName(host) if host[0].isalpha() else _ip(host) for host in hosts]
        built = _builder("service", "authority", key, lasts).add_extension(
            x509.SubjectAlternativeName(names), False
        )
        (folder / "ca.crt").write_bytes(self.certificate.public_bytes(Encoding.PEM))
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (folder / "tls.key").write_bytes(private)
        (folder / "tls.crt").write_bytes(built.sign(self.key, SHA256()).public_bytes(Encoding.PEM))
        return folder


def _builder(subject, issuer, key, lasts=DAY):
    def name(of):
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, of)])

    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 30 * DAY)
        .not_valid_after(now + lasts)
    )


def _ip(host):
    return x509.IPAddress(ipaddress.ip_address(host))
