//! Certificates for tests: an authority of their own, and what it signs, as files on disk.
#![expect(
    clippy::unwrap_used,
    reason = "this is a part of tests, which fail by panicking"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;

/// An authority, and the folder that holds what it signs.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: TempDir,
}

/// A certificate and its key.
pub type KeyFiles = (PathBuf, PathBuf);

impl Authority {
    /// A new one, whose own certificate is in `ca.pem`.
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, directory }
    }

    /// A file in its folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Signs a certificate for `name` at 127.0.0.1 and localhost, into `name.pem` and `name.key`. Its holder is
    /// `spiffe://mesh/NAME`.
    pub fn sign(&self, name: &str) -> KeyFiles {
        self.sign_with(name, |_| {})
    }

    /// The same with changes.
    pub fn sign_with(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> KeyFiles {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let uri = format!("spiffe://mesh/{name}").try_into().unwrap();
        params
            .subject_alt_names
            .extend([SanType::IpAddress([127, 0, 0, 1].into()), SanType::URI(uri)]);
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let signed = params.signed_by(&key, &self.issuer).unwrap();
        let paths = (
            self.path(&format!("{name}.pem")),
            self.path(&format!("{name}.key")),
        );
        fs::write(&paths.0, signed.pem()).unwrap();
        fs::write(&paths.1, key.serialize_pem()).unwrap();
        fs::set_permissions(&paths.1, fs::Permissions::from_mode(0o600)).unwrap();
        paths
    }

    /// Trust in nobody but this one.
    pub fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        roots
    }

    /// What a client needs to believe this authority, and to show a certificate.
    pub fn client(&self, shown: Option<&KeyFiles>) -> ClientConfig {
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.roots());
        match shown {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => builder
                .with_client_auth_cert(certificates(certificate), private_key(key))
                .unwrap(),
        }
    }
}

/// The certificates in a file.
pub fn certificates(path: &Path) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_file_iter(path)
        .unwrap()
        .map(Result::unwrap)
        .collect()
}

/// The key in a file.
pub fn private_key(path: &Path) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_file(path).unwrap()
}
