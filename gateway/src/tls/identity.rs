//! What a certificate says.

use http::HeaderValue;
use rustls::pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};
use x509_parser::{
    extensions::GeneralName,
    prelude::{FromDer as _, X509Certificate},
};

/// When a certificate expires, in seconds since the Unix epoch.
pub(super) fn expires(certificate: &CertificateDer<'_>) -> Option<i64> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    Some(parsed.validity().not_after.timestamp())
}

/// A verified client certificate as nodes are told of it, in the form that Envoy gave this header:
/// `Hash=…;Subject="CN=…";URI=…;DNS=…`.
pub(crate) fn describe(certificate: &CertificateDer<'_>) -> Option<HeaderValue> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let hash = hex::encode(Sha256::digest(certificate));
    let mut text = format!(
        "Hash={hash};Subject={}",
        quoted(&parsed.subject().to_string())
    );
    let names = parsed.subject_alternative_name().ok().flatten();
    for name in names
        .map(|names| &names.value.general_names)
        .into_iter()
        .flatten()
    {
        match name {
            GeneralName::URI(uri) => text.push_str(&format!(";URI={}", quoted(uri))),
            GeneralName::DNSName(name) => text.push_str(&format!(";DNS={}", quoted(name))),
            _ => {}
        }
    }
    HeaderValue::try_from(text).ok()
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
