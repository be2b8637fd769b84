"""Keys, sealed values, blind indexes and signatures.

The only package that imports ``cryptography``.
"""

from cdp.crypto.blind import BlindIndex, ProfileIds, derive
from cdp.crypto.certificates import Authorities, CertifiedKey, UntrustedError
from cdp.crypto.keys import RETENTION, Domain, Keyring
from cdp.crypto.move import lies_under, open_target, prepare
from cdp.crypto.provider import FileKeyProvider, KeyProvider, open_provider
from cdp.crypto.rotate import KekStatus, KeyringStatus, Rotation
from cdp.crypto.sealed import Dek, Place, Sealed, open_sealed, pae, seal
from cdp.crypto.sign import CertifiedSigner, Signer, verify_signature
from cdp.crypto.tokens import LinkTokens
from cdp.crypto.user_ids import UserIdSignatures

__all__ = [
    "RETENTION",
    "Authorities",
    "BlindIndex",
    "CertifiedKey",
    "CertifiedSigner",
    "Dek",
    "Domain",
    "FileKeyProvider",
    "KekStatus",
    "KeyProvider",
    "Keyring",
    "KeyringStatus",
    "LinkTokens",
    "Place",
    "ProfileIds",
    "Rotation",
    "Sealed",
    "Signer",
    "UntrustedError",
    "UserIdSignatures",
    "derive",
    "lies_under",
    "open_provider",
    "open_sealed",
    "open_target",
    "pae",
    "prepare",
    "seal",
    "verify_signature",
]
