"""An Ed25519 seed as PKCS#8 PEM and back (RFC 5958, RFC 8410), encrypted by scrypt and AES-256 (RFC 8018, RFC 7914).

Written here because `cryptography` encrypts PKCS#8 under 2 048 rounds of PBKDF2, which a graphics card undoes; what it
reads includes scrypt, so it and OpenSSL read what is written here. No files.
"""

import base64
import secrets
import textwrap

from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from cryptography.hazmat.primitives.serialization import load_pem_private_key

# 16 MB and some 0.2 s a guess, the third of OWASP's equal choices: OpenSSL refuses keys that take 32 MB or more.
SCRYPT_COST, SCRYPT_BLOCK, SCRYPT_PARALLEL = 2**14, 8, 5

# PrivateKeyInfo of an Ed25519 key up to the 32 bytes of its seed (RFC 8410 section 7).
_ED25519_INFO = bytes.fromhex("302e020100300506032b657004220420")
_PBES2 = bytes.fromhex("06092a864886f70d01050d")
_SCRYPT = bytes.fromhex("06092b06010401da47040b")
_AES_256_CBC = bytes.fromhex("060960864801650304012a")


class InvalidKeyBytes(ValueError):
    """Bytes that are no Ed25519 private key in PEM."""


class WrongPassphrase(ValueError):
    """The key is encrypted, and under another passphrase than the one given, or none was given."""


def key_pem(seed: bytes, passphrase: str | None) -> bytes:
    """The PEM file of a 32-byte seed, encrypted when there is a passphrase."""
    plain = _ED25519_INFO + seed
    if passphrase is None:
        return _pem("PRIVATE KEY", plain)
    salt, vector = secrets.token_bytes(16), secrets.token_bytes(16)
    derive = Scrypt(salt=salt, length=32, n=SCRYPT_COST, r=SCRYPT_BLOCK, p=SCRYPT_PARALLEL)
    encryptor = Cipher(algorithms.AES256(derive.derive(passphrase.encode())), modes.CBC(vector)).encryptor()
    padder = padding.PKCS7(128).padder()
    sealed = encryptor.update(padder.update(plain) + padder.finalize()) + encryptor.finalize()
    costs = _integer(SCRYPT_COST) + _integer(SCRYPT_BLOCK) + _integer(SCRYPT_PARALLEL)
    derivation = _sequence(_SCRYPT, _sequence(_octets(salt), costs))
    cipher = _sequence(_AES_256_CBC, _octets(vector))
    algorithm = _sequence(_PBES2, _sequence(derivation, cipher))
    return _pem("ENCRYPTED PRIVATE KEY", _sequence(algorithm, _octets(sealed)))


def seed_from_pem(text: bytes, passphrase: str | None) -> bytes:
    """The 32-byte seed in a PEM file, ours or another tool's. Raises WrongPassphrase and InvalidKeyBytes.

    A passphrase given for a key that is not encrypted is refused too: somebody believes the key to be safe.
    """
    encrypted = b"-----BEGIN ENCRYPTED PRIVATE KEY-----" in text
    if encrypted and passphrase is None:
        raise WrongPassphrase("the key is encrypted and no passphrase was given")
    if not encrypted and passphrase is not None:
        raise WrongPassphrase("a passphrase was given but the key is not encrypted")
    try:
        key = load_pem_private_key(text, None if passphrase is None else passphrase.encode())
    except (ValueError, TypeError, UnsupportedAlgorithm, InternalError) as error:
        # InternalError: damage made it a key of another kind, whose length is then wrong (seen with one flipped bit).
        if encrypted and "password" in str(error).lower():
            raise WrongPassphrase("the passphrase is not the one of this key") from None
        raise InvalidKeyBytes(f"no private key in PEM (PKCS#8), or a damaged one ({type(error).__name__})") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise InvalidKeyBytes(f"holds a {type(key).__name__}, want an Ed25519 key")
    return key.private_bytes_raw()


def _pem(label: str, data: bytes) -> bytes:
    lines = textwrap.wrap(base64.b64encode(data).decode(), 64)
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""]).encode()


def _element(tag: int, content: bytes) -> bytes:
    """One DER element (X.690); nothing here is longer than 65 535 bytes."""
    length = len(content)
    if length < 0x80:
        return bytes([tag, length]) + content
    width = 1 if length < 0x100 else 2
    return bytes([tag, 0x80 | width]) + length.to_bytes(width, "big") + content


def _sequence(*parts: bytes) -> bytes:
    return _element(0x30, b"".join(parts))


def _octets(content: bytes) -> bytes:
    return _element(0x04, content)


def _integer(number: int) -> bytes:
    # One byte more than the bits need when the top bit would read as a sign.
    return _element(0x02, number.to_bytes(number.bit_length() // 8 + 1, "big"))
