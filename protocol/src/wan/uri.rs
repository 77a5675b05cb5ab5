//! RFC 3986 URIs as the bridge's validator judges them (`contract/bus.md` 6).
//!
//! That validator reads `//host:port` as a path too, so after the scheme anything made of path characters passes; only
//! an address in brackets needs the grammar of an authority.

use std::net::Ipv6Addr;

/// Whether a text is an absolute URI.
pub(super) fn is_uri(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else {
        return false;
    };
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (hierarchy, query) = rest.split_once('?').unwrap_or((rest, ""));
    is_scheme(scheme)
        && !hierarchy.is_empty()
        && (is_made_of(hierarchy, "/:@") || has_bracketed_host(hierarchy))
        && is_made_of(query, "/:@?")
        && is_made_of(fragment, "/:@?")
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
}

/// `//[user@][address][:port][/path]`.
fn has_bracketed_host(hierarchy: &str) -> bool {
    let Some(authority) = hierarchy.strip_prefix("//") else {
        return false;
    };
    let Some((before, rest)) = authority.split_once('[') else {
        return false;
    };
    let Some((address, after)) = rest.split_once(']') else {
        return false;
    };
    let user = before.strip_suffix('@');
    let port_and_path = after.strip_prefix(':').map_or(after, |port| {
        port.trim_start_matches(|c: char| c.is_ascii_digit())
    });
    (before.is_empty() || user.is_some_and(|user| is_made_of(user, ":")))
        && (address.parse::<Ipv6Addr>().is_ok() || is_future_address(address))
        && (port_and_path.is_empty() || port_and_path.starts_with('/'))
        && is_made_of(port_and_path, "/:@")
}

/// `v1.anything` (RFC 3986 section 3.2.2).
fn is_future_address(text: &str) -> bool {
    let Some((version, address)) = text
        .strip_prefix(['v', 'V'])
        .and_then(|rest| rest.split_once('.'))
    else {
        return false;
    };
    !version.is_empty()
        && version.chars().all(|c| c.is_ascii_hexdigit())
        && !address.is_empty()
        && !address.contains('%')
        && is_made_of(address, ":")
}

/// Whether a text has only unreserved characters, sub-delimiters, percent-encoded bytes and those of `others`.
fn is_made_of(text: &str, others: &str) -> bool {
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        let plain = character.is_ascii_alphanumeric()
            || "-._~!$&'()*+,;=".contains(character)
            || others.contains(character);
        let mut encoded = || {
            let mut digit = || characters.next().is_some_and(|c| c.is_ascii_hexdigit());
            character == '%' && digit() && digit()
        };
        if !plain && !encoded() {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::is_uri;

    #[test]
    fn judges_as_the_bridge() {
        for (text, expected) in [
            ("https://a.example", true),
            ("https://a.example/", true),
            ("https://", true),
            ("https://a.example:99999", true),
            ("https://a.example:port", true),
            ("https://[::1]:3000", true),
            ("https://user:pw@[2001:db8::1]/path?q#f", true),
            ("https://[v1.fe:d]/", true),
            ("https://[::1]x", false),
            ("https://[::g]", false),
            ("https://[::1", false),
            ("urn:hive:node:a", true),
            ("javascript:alert(1)", true),
            ("file:///etc/passwd", true),
            ("mailto:", false),
            ("a.example", false),
            ("/path", false),
            ("/path:x", false),
            ("1http://a", false),
            ("", false),
            (" https://a.example", false),
            ("https://a.example ", false),
            ("https://exämple.com", false),
            ("https://a.example/%7E", true),
            ("https://a.example/%7", false),
            ("https://a.example/%zz", false),
            ("https://a.example/a|b", false),
            ("https://a.example/?q=a/b?c:@", true),
            ("https://a.example/#a#b", false),
            ("https://a.example/\\", false),
        ] {
            assert_eq!(is_uri(text), expected, "{text:?}");
        }
    }
}
