//! TLS on both sides: what the listener shows and asks for, and what nodes are shown and must show.
//!
//! Read `files` (certificates and keys as they lie on disk), then `identity` (what a client's certificate says of it).

mod files;
mod identity;

use std::{path::PathBuf, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::CertificateDer,
    server::WebPkiClientVerifier,
    version,
};

use crate::config::{ClientCertificates, TlsSettings, TlsVersion, UpstreamTlsSettings};

pub(crate) use identity::describe;

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

/// What the listener speaks TLS with.
#[derive(Debug, Clone)]
pub(crate) struct ServerTls {
    /// Made anew when a file changes. Sessions of the one before cannot be resumed then, so a client whose authority is
    /// no longer trusted does not get in by resumption, which checks no certificate.
    pub(crate) config: Arc<ServerConfig>,
    /// When the certificate expires, in seconds since the Unix epoch.
    pub(crate) expires: i64,
    /// What it was made from: the files as they were.
    fingerprint: [u8; 32],
}

impl PartialEq for ServerTls {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl ServerTls {
    /// Reads what the settings name; `None` when they ask for no TLS.
    pub(crate) fn load(settings: &TlsSettings) -> Result<Option<Self>, BadTls> {
        let (Some(certificate), Some(key)) = (&settings.certificate, &settings.key) else {
            return Ok(None);
        };
        let mut fingerprint = files::Fingerprint::new();
        let chain = files::certificates(certificate, &mut fingerprint)?;
        let expires = chain
            .first()
            .and_then(identity::expires)
            .unwrap_or(i64::MAX);
        let key = files::key(key, settings.key_passphrase.as_ref(), &mut fingerprint)?;
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(versions(settings.min_version))?;
        let builder = match &settings.client_ca {
            None => builder.with_no_client_auth(),
            Some(ca) => {
                let roots = roots(files::certificates(ca, &mut fingerprint)?)?;
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
                let verifier = match settings.client_certificates {
                    ClientCertificates::Optional => verifier.allow_unauthenticated(),
                    ClientCertificates::Required => verifier,
                };
                builder.with_client_cert_verifier(verifier.build()?)
            }
        };
        let mut config = builder.with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Some(Self {
            config: Arc::new(config),
            expires,
            fingerprint: fingerprint.finish(),
        }))
    }
}

/// How nodes are spoken to over TLS.
pub(crate) fn client_config(settings: &UpstreamTlsSettings) -> Result<ClientConfig, BadTls> {
    let mut fingerprint = files::Fingerprint::new();
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions(TlsVersion::Tls12))?;
    let builder = match &settings.ca {
        Some(ca) => {
            builder.with_root_certificates(roots(files::certificates(ca, &mut fingerprint)?)?)
        }
        None => {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(archipel_kit::client::machine_authorities());
            builder.with_root_certificates(roots)
        }
    };
    let (Some(certificate), Some(key)) = (&settings.certificate, &settings.key) else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = files::certificates(certificate, &mut fingerprint)?;
    let key = files::key(key, settings.key_passphrase.as_ref(), &mut fingerprint)?;
    Ok(builder.with_client_auth_cert(chain, key)?)
}

/// What the files that the settings for nodes name hold now, as one number: changes show in it.
pub(crate) fn fingerprint_of(settings: &UpstreamTlsSettings) -> [u8; 32] {
    let mut fingerprint = files::Fingerprint::new();
    for path in [&settings.ca, &settings.certificate, &settings.key]
        .into_iter()
        .flatten()
    {
        // One that cannot be read is told about when it is used.
        if let Ok(bytes) = std::fs::read(path) {
            fingerprint.add(&bytes);
        }
    }
    fingerprint.finish()
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
