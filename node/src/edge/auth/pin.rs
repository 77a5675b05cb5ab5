//! Whether a peer comes with the certificate that it is pinned to, beside its token.
//!
//! Behind a gateway the certificate is the one that the gateway saw: it is believed about it because it has shown its
//! secret. The gateway's own certificate is never taken for the peer's.

use actix_web::HttpRequest;
use archipel_kit::tls::ClientCertificate;

use super::header;
use crate::edge::Edge;
use crate::federation::peers::CertificatePin;

/// In which a gateway tells of its client's certificate.
const FORWARDED_CERTIFICATE: &str = "x-forwarded-client-cert";

/// Whether the request came with this certificate. The gateway's secret was checked before: where it is there, it is right.
pub(super) fn is_shown(pin: &CertificatePin, request: &HttpRequest, edge: &Edge) -> bool {
    let dialect = edge.gates.dialect;
    let through_gateway = edge.gates.gateway_secret.is_some()
        && [dialect, dialect.other()]
            .iter()
            .any(|dialect| header(request, dialect.gateway_auth_header()).is_some());
    if through_gateway {
        let told = header(request, FORWARDED_CERTIFICATE);
        return told.is_some_and(|told| is_told(pin, told));
    }
    let shown = request.conn_data::<ClientCertificate>();
    shown.is_some_and(|shown| fits(pin, shown))
}

fn fits(pin: &CertificatePin, shown: &ClientCertificate) -> bool {
    match pin {
        CertificatePin::Sha256(hash) => shown.sha256 == *hash || shown.key_sha256 == *hash,
        CertificatePin::Spiffe(id) => shown.spiffe() == Some(id),
    }
}

/// In the gateway's words: `Hash=…;Subject="…";URI="…";DNS="…"`. It tells of the certificate's hash, not of its key's.
fn is_told(pin: &CertificatePin, told: &str) -> bool {
    let parts = parts(told);
    let values = |name: &str| {
        let named = parts.iter().filter(|(key, _)| *key == name);
        named.map(|(_, value)| *value).collect::<Vec<_>>()
    };
    match pin {
        CertificatePin::Sha256(hash) => values("Hash") == [hex::encode(hash)],
        CertificatePin::Spiffe(id) => values("URI") == [id],
    }
}

/// The names and values of a header, taken apart at the semicolons outside of quotes. A value with an escape in it keeps it
/// and so is none of those that are looked for.
fn parts(told: &str) -> Vec<(&str, &str)> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    let ends = move |letter: char| {
        let ends = letter == ';' && !is_quoted;
        is_quoted ^= letter == '"' && !is_escaped;
        is_escaped = letter == '\\' && !is_escaped;
        ends
    };
    let named = told.split(ends).filter_map(|part| part.split_once('='));
    named
        .map(|(name, value)| {
            (
                name,
                value
                    .strip_prefix('"')
                    .and_then(|value| value.strip_suffix('"'))
                    .unwrap_or(value),
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(uris: &[&str]) -> ClientCertificate {
        ClientCertificate {
            sha256: [1; 32],
            key_sha256: [2; 32],
            subject: "CN=beta".to_owned(),
            uris: uris.iter().map(|&uri| uri.to_owned()).collect(),
            dns_names: vec!["beta.example".to_owned()],
        }
    }

    #[test]
    fn a_pin_is_one_certificate_one_key_or_one_name() {
        let id = "spiffe://mesh/beta";
        let spiffe = |id: &str| CertificatePin::Spiffe(id.to_owned());
        // What is pinned, what is shown, whether it fits, whether it does as a gateway tells it.
        let cases = [
            (CertificatePin::Sha256([1; 32]), &[id][..], true, true),
            (CertificatePin::Sha256([2; 32]), &[id], true, false),
            (CertificatePin::Sha256([3; 32]), &[id], false, false),
            (spiffe(id), &[id], true, true),
            (spiffe("spiffe://mesh/bet"), &[id], false, false),
            (spiffe(id), &[], false, false),
            (spiffe(id), &[id, "spiffe://mesh/other"], false, false),
            (spiffe(id), &["https://mesh/beta"], false, false),
        ];
        for (pin, uris, expected, through_gateway) in cases {
            let shown = certificate(uris);
            assert_eq!(fits(&pin, &shown), expected, "{pin:?} {uris:?}");
            let told = shown
                .forwarded()
                .map(|told| told.to_str().map(str::to_owned));
            let told = told.and_then(Result::ok).unwrap_or_default();
            assert_eq!(is_told(&pin, &told), through_gateway, "{pin:?} {told}");
        }
    }

    #[test]
    fn what_stands_in_quotes_is_no_further_part() {
        let id = CertificatePin::Spiffe("spiffe://mesh/beta".to_owned());
        for told in [
            r#"Hash=00;Subject="CN=x;URI=spiffe://mesh/beta""#,
            r#"Hash=00;Subject="CN=x\";URI=spiffe://mesh/beta;DNS=\"y""#,
            r#"Hash=00;URI="spiffe://mesh/beta";URI="spiffe://mesh/alpha""#,
            r#"Hash=00,URI="spiffe://mesh/beta""#,
            "",
        ] {
            assert!(!is_told(&id, told), "{told}");
        }
        assert!(is_told(
            &id,
            r#"Hash=00;Subject="CN=\"x\\";URI="spiffe://mesh/beta""#
        ));
    }
}
