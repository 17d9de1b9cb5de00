"""Poolers that have TLS for their clients, with certificates of the run's authority."""

from __future__ import annotations

import pytest

from tests.fixtures.certificates import Authority
from tests.fixtures.pooler import MakePooler, Pooler


@pytest.fixture(scope="module")
def client_tls(authority: Authority) -> dict[str, object]:
    """The settings, sslmode `allow`; change them as needed."""
    certificate = authority.issue("localhost", "127.0.0.1")
    return {
        "client_tls_sslmode": "allow",
        "client_tls_cert_file": certificate.cert_file,
        "client_tls_key_file": certificate.key_file,
        "client_tls_ca_file": authority.ca_file,
    }


@pytest.fixture(scope="module")
def offering(module_pooler: MakePooler, client_tls: dict[str, object]) -> Pooler:
    """Whoever wants TLS has it."""
    return module_pooler(settings=client_tls)
