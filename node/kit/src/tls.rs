//! TLS on both sides: what a listener shows and asks of its clients, and what servers are shown and must show.
//!
//! Read `files` (certificates and keys as they lie on disk), `identity` (what a client's certificate says of it), then
//! `stream` (a connection as an HTTP server sees it, with or without TLS).

mod files;
mod identity;
mod stream;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer},
    server::WebPkiClientVerifier,
    version,
};

use crate::{
    client::machine_authorities,
    settings,
    settings::{Problems, Secret},
};

pub use identity::ClientCertificate;
pub use stream::{Stream, handshake};

use files::Fingerprint;

/// Why certificates or keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BadTls {
    /// A file cannot be read.
    #[error("{0} cannot be read: {1}")]
    Read(PathBuf, std::io::Error),
    /// There is no certificate in it, or a broken one.
    #[error("{0} holds no usable certificate")]
    NoCertificate(PathBuf),
    /// There is no key in it, or a broken one.
    #[error("{0} holds no usable key")]
    NoKey(PathBuf),
    /// Others can read a key.
    #[error("{path} may be read by everybody (mode {mode:04o}): allow its owner and group only")]
    OpenKey {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The key is encrypted.
    #[error("{0} is encrypted: set `key_passphrase`")]
    NoPassphrase(PathBuf),
    /// The passphrase does not open it.
    #[error("{0} is not opened by `key_passphrase`")]
    WrongPassphrase(PathBuf),
    /// Certificate and key do not fit, or what they are is not supported.
    #[error("certificate and key cannot be used: {0}")]
    Unusable(#[from] rustls::Error),
    /// The authorities for clients cannot be used.
    #[error("client_ca cannot be used: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

settings! {
    /// A version of TLS.
    pub enum TlsVersion {
        /// RFC 5246.
        Tls12 = "1.2",
        /// RFC 8446.
        Tls13 = "1.3",
    }
}

settings! {
    /// Whether clients show certificates.
    pub enum ClientCertificates {
        /// They may.
        Optional = "optional",
        /// They must.
        Required = "required",
    }
}

/// A certificate with its chain, and its key, both PEM.
#[derive(Debug, Clone, Copy)]
pub struct Identity<'a> {
    /// The certificate, then those that lead to its authority.
    pub certificate: &'a Path,
    /// PKCS #8 (perhaps encrypted), PKCS #1 or SEC 1. Everybody else must not be able to read the file.
    pub key: &'a Path,
    /// Opens the key when it is encrypted.
    pub passphrase: Option<&'a Secret>,
}

/// What a listener's TLS is made from.
#[derive(Debug, Clone, Copy)]
pub struct ListenerFiles<'a> {
    /// What it shows.
    pub identity: Identity<'a>,
    /// The oldest version that it speaks.
    pub min_version: TlsVersion,
    /// The authorities that clients' certificates must come from, and whether clients must show one. `None`: they are
    /// not asked.
    pub clients: Option<(&'a Path, ClientCertificates)>,
}

/// What a listener speaks TLS with. Two are equal when they were made from files of the same content.
#[derive(Debug, Clone)]
pub struct ListenerTls {
    /// Made anew when a file changes. Sessions of the one before cannot be resumed then, so a client whose authority is
    /// no longer trusted does not get in by resumption, which checks no certificate.
    pub config: Arc<ServerConfig>,
    /// When the certificate expires, in seconds since the Unix epoch.
    pub expires: i64,
    fingerprint: [u8; 32],
}

impl PartialEq for ListenerTls {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl ListenerTls {
    /// Reads the files. HTTP/2 is offered before HTTP/1.1.
    ///
    /// # Errors
    /// Which of them cannot be used.
    pub fn load(files: &ListenerFiles<'_>) -> Result<Self, BadTls> {
        let mut fingerprint = Fingerprint::new();
        let (chain, key) = read_identity(&files.identity, &mut fingerprint)?;
        let expires = expiry(&chain).unwrap_or(i64::MAX);
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(versions(files.min_version))?;
        let builder = match files.clients {
            None => builder.with_no_client_auth(),
            Some((ca, wanted)) => {
                let roots = roots(files::certificates(ca, &mut fingerprint)?)?;
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
                let verifier = match wanted {
                    ClientCertificates::Optional => verifier.allow_unauthenticated(),
                    ClientCertificates::Required => verifier,
                };
                builder.with_client_cert_verifier(verifier.build()?)
            }
        };
        let mut config = builder.with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self {
            config: Arc::new(config),
            expires,
            fingerprint: fingerprint.finish(),
        })
    }
}

/// What a client's TLS is made from.
#[derive(Debug, Clone, Copy)]
pub struct ClientFiles<'a> {
    /// Certificates (PEM) of the authorities that servers' certificates must come from. `None`: those of this machine.
    pub ca: Option<&'a Path>,
    /// What is shown to servers that ask.
    pub identity: Option<Identity<'a>>,
}

/// What a client speaks TLS with. Two are equal when they were made from files of the same content.
#[derive(Debug, Clone)]
pub struct ClientTls {
    /// For one client's connections.
    pub config: ClientConfig,
    /// When the certificate that is shown expires, in seconds since the Unix epoch.
    pub expires: Option<i64>,
    fingerprint: [u8; 32],
}

impl PartialEq for ClientTls {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl ClientTls {
    /// Reads the files.
    ///
    /// # Errors
    /// Which of them cannot be used.
    pub fn load(files: &ClientFiles<'_>) -> Result<Self, BadTls> {
        let mut fingerprint = Fingerprint::new();
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(versions(TlsVersion::Tls12))?;
        let builder = match files.ca {
            Some(ca) => {
                builder.with_root_certificates(roots(files::certificates(ca, &mut fingerprint)?)?)
            }
            None => {
                let mut roots = RootCertStore::empty();
                roots.add_parsable_certificates(machine_authorities());
                builder.with_root_certificates(roots)
            }
        };
        let (config, expires) = match &files.identity {
            None => (builder.with_no_client_auth(), None),
            Some(identity) => {
                let (chain, key) = read_identity(identity, &mut fingerprint)?;
                let expires = expiry(&chain);
                (builder.with_client_auth_cert(chain, key)?, expires)
            }
        };
        Ok(Self {
            config,
            expires,
            fingerprint: fingerprint.finish(),
        })
    }
}

impl ClientFiles<'_> {
    /// What the files hold now, as one number: changes show in it. A file that cannot be read counts as empty; it is told
    /// about when it is used.
    pub fn fingerprint(&self) -> [u8; 32] {
        let identity = self.identity.as_ref();
        let files = [
            self.ca,
            identity.map(|identity| identity.certificate),
            identity.map(|identity| identity.key),
        ];
        let mut fingerprint = Fingerprint::new();
        for path in files.into_iter().flatten() {
            fingerprint.add(&std::fs::read(path).unwrap_or_default());
        }
        fingerprint.finish()
    }
}

/// Adds what is wrong with settings that name a certificate without its key, or a key without its certificate.
pub fn check_pair(certificate: Option<&PathBuf>, key: Option<&PathBuf>, problems: &mut Problems) {
    match (certificate, key) {
        (Some(_), None) => problems.add("key", "is needed with `certificate`"),
        (None, Some(_)) => problems.add("certificate", "is needed with `key`"),
        _ => {}
    }
}

fn read_identity(
    identity: &Identity<'_>,
    fingerprint: &mut Fingerprint,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), BadTls> {
    let chain = files::certificates(identity.certificate, fingerprint)?;
    let key = files::key(identity.key, identity.passphrase, fingerprint)?;
    Ok((chain, key))
}

fn expiry(chain: &[CertificateDer<'_>]) -> Option<i64> {
    chain.first().and_then(identity::expires)
}

fn roots(certificates: Vec<CertificateDer<'static>>) -> Result<RootCertStore, BadTls> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots.add(certificate)?;
    }
    Ok(roots)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

const fn versions(oldest: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    static BOTH: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];
    static NEWEST: [&SupportedProtocolVersion; 1] = [&version::TLS13];
    match oldest {
        TlsVersion::Tls12 => &BOTH,
        TlsVersion::Tls13 => &NEWEST,
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests;
