"""Certificates for servers on the loopback interface, made anew for each run. Needs trustme."""

import ssl
from pathlib import Path

HOST = "127.0.0.1"


class Certificates:
    """Files in ``folder``: an authority, and what it has issued to a server on 127.0.0.1 and to a client."""

    def __init__(self, folder: Path) -> None:
        import trustme

        authority = trustme.CA()
        self.ca = folder / "ca.pem"
        self.certificate = folder / "server.pem"
        self.key = folder / "server.key"
        self.client_certificate = folder / "client.pem"
        self.client_key = folder / "client.key"
        authority.cert_pem.write_to_path(str(self.ca))
        for name, certificate, key in (
            (HOST, self.certificate, self.key),
            ("client@cachecore.test", self.client_certificate, self.client_key),
        ):
            issued = authority.issue_cert(name)
            certificate.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
            issued.private_key_pem.write_to_path(str(key))

    def client_context(self) -> ssl.SSLContext:
        """For a client that knows the authority and shows its own certificate."""
        context = ssl.create_default_context(cafile=str(self.ca))
        context.load_cert_chain(self.client_certificate, self.client_key)
        return context
