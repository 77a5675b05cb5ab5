//! What passes between a request we received (actix, http 0.2) and one we send (hyper, http 1), and back.

use actix_web::http::header as served;
use http::header::{self as sent, HeaderName, HeaderValue};

/// Headers that speak about one connection only (RFC 9110, section 7.6.1) and never pass a proxy.
pub fn is_hop_by_hop(name: &str) -> bool {
    const NAMES: [&str; 9] = [
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    NAMES.iter().any(|hop| hop.eq_ignore_ascii_case(name))
}

/// Copies those headers of a received request that are on the list, with all their values.
pub fn copy_listed(from: &served::HeaderMap, to: &mut sent::HeaderMap, list: &[HeaderName]) {
    copy_if(from, to, |name| {
        list.iter().any(|listed| listed.as_str() == name)
    });
}

/// Copies those headers of a received request whose lower-case name `passes`, with all their values.
///
/// It walks what was received, not what is allowed: a request has fewer headers than a list has names.
pub fn copy_if(from: &served::HeaderMap, to: &mut sent::HeaderMap, passes: impl Fn(&str) -> bool) {
    for (name, value) in from {
        if !passes(name.as_str()) {
            continue;
        }
        let name = HeaderName::from_bytes(name.as_str().as_bytes());
        let value = HeaderValue::from_bytes(value.as_bytes());
        if let (Ok(name), Ok(value)) = (name, value) {
            to.append(name, value);
        }
    }
}

/// Copies the headers of an answer to the response that carries its body on: all but the hop-by-hop ones, those that
/// its `Connection` header names, and the length, which the response states itself.
pub fn copy_end_to_end(from: &sent::HeaderMap, to: &mut served::HeaderMap) {
    for (name, value) in end_to_end(from) {
        to.append(name, value);
    }
}

/// What [`copy_end_to_end`] copies.
pub(super) fn end_to_end(
    from: &sent::HeaderMap,
) -> impl Iterator<Item = (served::HeaderName, served::HeaderValue)> {
    // Asked once: most answers have none.
    let names_more = from.contains_key(sent::CONNECTION);
    from.iter().filter_map(move |(name, value)| {
        let stays = name == sent::CONTENT_LENGTH
            || is_hop_by_hop(name.as_str())
            || (names_more && is_named_by_connection(from, name));
        if stays {
            return None;
        }
        let name = served::HeaderName::from_bytes(name.as_str().as_bytes());
        let value = served::HeaderValue::from_bytes(value.as_bytes());
        name.ok().zip(value.ok())
    })
}

fn is_named_by_connection(headers: &sent::HeaderMap, name: &HeaderName) -> bool {
    headers
        .get_all(sent::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| {
            value
                .split(',')
                .any(|token| token.trim().eq_ignore_ascii_case(name.as_str()))
        })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn only_listed_headers_pass_with_all_their_values() {
        let mut from = served::HeaderMap::new();
        for (name, value) in [
            ("accept", "a"),
            ("accept", "b"),
            ("cookie", "c"),
            ("te", "trailers"),
        ] {
            from.append(
                served::HeaderName::from_static(name),
                served::HeaderValue::from_static(value),
            );
        }
        let mut to = sent::HeaderMap::new();
        copy_listed(&from, &mut to, &[sent::ACCEPT, sent::AUTHORIZATION]);
        let passed: Vec<_> = to
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
            .collect();
        assert_eq!(passed, [("accept", "a"), ("accept", "b")]);
    }

    #[test]
    fn hop_by_hop_headers_stay_behind() {
        let mut from = sent::HeaderMap::new();
        let pairs = [
            ("connection", "close, X-Inner"),
            ("x-inner", "1"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("content-length", "3"),
            ("retry-after", "7"),
            ("set-cookie", "a=1"),
            ("set-cookie", "b=2"),
        ];
        for (name, value) in pairs {
            from.append(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        let mut to = served::HeaderMap::new();
        copy_end_to_end(&from, &mut to);
        let mut passed: Vec<_> = to
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
            .collect();
        passed.sort_unstable();
        assert_eq!(
            passed,
            [
                ("retry-after", "7"),
                ("set-cookie", "a=1"),
                ("set-cookie", "b=2")
            ]
        );
    }
}
