//! What a certificate says.

use http::HeaderValue;
use rustls::pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};
use x509_parser::{
    extensions::GeneralName,
    prelude::{FromDer as _, X509Certificate},
};

/// A client's certificate that was verified against the authorities for clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// SHA-256 of the certificate (DER).
    pub sha256: [u8; 32],
    /// SHA-256 of its public key (DER of SubjectPublicKeyInfo), which a renewed certificate may keep.
    pub key_sha256: [u8; 32],
    /// Its subject, for people.
    pub subject: String,
    /// The URIs that it names its holder by.
    pub uris: Vec<String>,
    /// The DNS names that it names its holder by.
    pub dns_names: Vec<String>,
}

impl ClientCertificate {
    /// Reads a certificate (DER); `None` when it cannot be taken apart.
    pub fn read(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
        let (mut uris, mut dns_names) = (Vec::new(), Vec::new());
        let names = parsed.subject_alternative_name().ok().flatten();
        for name in names
            .map(|names| &names.value.general_names)
            .into_iter()
            .flatten()
        {
            match name {
                GeneralName::URI(uri) => uris.push((*uri).to_owned()),
                GeneralName::DNSName(name) => dns_names.push((*name).to_owned()),
                _ => {}
            }
        }
        Some(Self {
            sha256: Sha256::digest(certificate).into(),
            key_sha256: Sha256::digest(parsed.public_key().raw).into(),
            subject: parsed.subject().to_string(),
            uris,
            dns_names,
        })
    }

    /// The SPIFFE id of the holder. A certificate with more than one URI has none (X.509-SVID, section 2).
    pub fn spiffe(&self) -> Option<&str> {
        match self.uris.as_slice() {
            [uri] if uri.starts_with("spiffe://") => Some(uri),
            _ => None,
        }
    }

    /// As servers behind a proxy are told of it, in the form that Envoy gave `X-Forwarded-Client-Cert`:
    /// `Hash=…;Subject="CN=…";URI="…";DNS="…"`.
    pub fn forwarded(&self) -> Option<HeaderValue> {
        let hash: String = self
            .sha256
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let mut text = format!("Hash={hash};Subject={}", quoted(&self.subject));
        for uri in &self.uris {
            text.push_str(&format!(";URI={}", quoted(uri)));
        }
        for name in &self.dns_names {
            text.push_str(&format!(";DNS={}", quoted(name)));
        }
        HeaderValue::try_from(text).ok()
    }
}

/// When a certificate expires, in seconds since the Unix epoch.
pub(super) fn expires(certificate: &CertificateDer<'_>) -> Option<i64> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    Some(parsed.validity().not_after.timestamp())
}

/// In quotes, and without anything that could end them or the header early.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            ' '..='~' => quoted.push(letter),
            // Names may be in any script; a header may not.
            _ => quoted.push('?'),
        }
    }
    quoted.push('"');
    quoted
}
