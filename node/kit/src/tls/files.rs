//! Certificates and keys as they lie on disk (PEM).

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use pkcs8::{EncryptedPrivateKeyInfoRef, SecretDocument};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject as _};
use sha2::{Digest as _, Sha256};

use super::BadTls;
use crate::settings::Secret;

/// Permissions that let everybody at a file.
const EVERYBODY: u32 = 0o007;

/// One number for the contents of several files.
pub(super) struct Fingerprint(Sha256);

impl Fingerprint {
    pub(super) fn new() -> Self {
        Self(Sha256::new())
    }

    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.0.update((bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
    }

    pub(super) fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

/// All certificates of a file, in their order.
pub(super) fn certificates(
    path: &Path,
    fingerprint: &mut Fingerprint,
) -> Result<Vec<CertificateDer<'static>>, BadTls> {
    let bytes = read(path, fingerprint)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    found
        .ok()
        .filter(|found| !found.is_empty())
        .ok_or_else(|| BadTls::NoCertificate(path.to_owned()))
}

/// The first key of a file: PKCS #8 (perhaps encrypted), PKCS #1 or SEC 1.
pub(super) fn key(
    path: &Path,
    passphrase: Option<&Secret>,
    fingerprint: &mut Fingerprint,
) -> Result<PrivateKeyDer<'static>, BadTls> {
    let metadata = fs::metadata(path).map_err(|error| BadTls::Read(path.to_owned(), error))?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & EVERYBODY != 0 {
        return Err(BadTls::OpenKey {
            path: path.to_owned(),
            mode,
        });
    }
    let bytes = read(path, fingerprint)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| BadTls::NoKey(path.to_owned()))?;
    if text.contains("BEGIN ENCRYPTED PRIVATE KEY") {
        return decrypt(path, text, passphrase);
    }
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| BadTls::NoKey(path.to_owned()))
}

fn decrypt(
    path: &Path,
    text: &str,
    passphrase: Option<&Secret>,
) -> Result<PrivateKeyDer<'static>, BadTls> {
    let passphrase = passphrase.ok_or_else(|| BadTls::NoPassphrase(path.to_owned()))?;
    let (_, document) =
        SecretDocument::from_pem(text.trim()).map_err(|_| BadTls::NoKey(path.to_owned()))?;
    let encrypted = EncryptedPrivateKeyInfoRef::try_from(document.as_bytes())
        .map_err(|_| BadTls::NoKey(path.to_owned()))?;
    let key = encrypted
        .decrypt(passphrase.expose())
        .map_err(|_| BadTls::WrongPassphrase(path.to_owned()))?;
    Ok(PrivatePkcs8KeyDer::from(key.as_bytes().to_vec()).into())
}

fn read(path: &Path, fingerprint: &mut Fingerprint) -> Result<Vec<u8>, BadTls> {
    let bytes = fs::read(path).map_err(|error| BadTls::Read(path.to_owned(), error))?;
    fingerprint.add(&bytes);
    Ok(bytes)
}
