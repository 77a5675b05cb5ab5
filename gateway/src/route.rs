//! What a request target means to the gateway. Whatever is not listed here does not exist.

use std::borrow::Cow;

use actix_http::Method;
use archipel_kit::telemetry::metrics::Label;

/// A place on the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    /// The default agent's JSON-RPC.
    JsonRpc,
    /// A named agent of the node.
    Agents,
    /// An agent of one of the node's peers.
    Peers,
    /// Cards and descriptors.
    WellKnown,
    /// The gateway's own state.
    Health,
    /// Its metrics.
    Metrics,
    /// Whether the process lives.
    Live,
    /// Whether it should get traffic.
    Ready,
    /// Nothing.
    Unknown,
}

impl Route {
    /// Finds the place by its path (without query).
    pub(crate) fn of(path: &str) -> Self {
        match path {
            // Clients that join paths often leave a slash behind (A2A asks for both; a redirect would lose the body).
            "/v1/a2a/jsonrpc" | "/v1/a2a/jsonrpc/" => Self::JsonRpc,
            "/v1/health" => Self::Health,
            "/v1/metrics" => Self::Metrics,
            "/livez" => Self::Live,
            "/readyz" => Self::Ready,
            _ if path.starts_with("/agents/") => Self::Agents,
            _ if path.starts_with("/peers/") => Self::Peers,
            _ if path.starts_with("/.well-known/") => Self::WellKnown,
            _ => Self::Unknown,
        }
    }

    /// Whether the place knows a method.
    pub(crate) fn serves(self, method: &Method) -> bool {
        match self {
            Self::JsonRpc => method == Method::POST,
            Self::Agents | Self::Peers => {
                [Method::POST, Method::GET, Method::DELETE, Method::HEAD].contains(method)
            }
            Self::WellKnown | Self::Health | Self::Metrics | Self::Live | Self::Ready => {
                [Method::GET, Method::HEAD].contains(method)
            }
            Self::Unknown => false,
        }
    }

    /// Whether callers there speak A2A, so that a refused POST is answered with a JSON-RPC error.
    pub(crate) const fn speaks_a2a(self) -> bool {
        matches!(self, Self::JsonRpc | Self::Agents | Self::Peers)
    }

    /// Whether requests there go to a node.
    pub(crate) const fn is_passed(self) -> bool {
        matches!(
            self,
            Self::JsonRpc | Self::Agents | Self::Peers | Self::WellKnown
        )
    }
}

/// Whether a path means the same to everybody. One with dot segments, doubled or encoded slashes, backslashes or encoded
/// control characters may mean another after the node's own server or a proxy in between has normalised it; then the prefix
/// that was matched says nothing.
pub(crate) fn is_plain(path: &str) -> bool {
    let bytes = path.as_bytes();
    // The usual path has nothing that could be odd.
    let suspicious = bytes
        .iter()
        .any(|byte| matches!(byte, b'%' | b'\\') || !byte.is_ascii_graphic());
    if suspicious && !is_plainly_encoded(bytes) {
        return false;
    }
    // Behind the first slash: no segment is empty (but the last), and none is `.` or `..`.
    let mut segments = path.strip_prefix('/').unwrap_or(path).split('/').peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        if (segment.is_empty() && !is_last) || is_dots(segment) {
            return false;
        }
    }
    true
}

/// Whether every `%` begins an encoded byte that is no slash, backslash or control character.
fn is_plainly_encoded(path: &[u8]) -> bool {
    let mut rest = path;
    while let [byte, after @ ..] = rest {
        rest = after;
        match byte {
            b'%' => {
                let digits = after.first_chunk::<2>();
                let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
                match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
                    None | Some(b'/' | b'\\' | 0..=0x1f | 0x7f) => return false,
                    Some(_) => {}
                }
            }
            b'\\' => return false,
            _ if !byte.is_ascii_graphic() && byte.is_ascii() => return false,
            _ => {}
        }
    }
    true
}

/// `.` or `..`, encoded or not.
fn is_dots(segment: &str) -> bool {
    // Nothing longer can be: `%2e%2e` has six bytes.
    if segment.len() > 6 || segment.is_empty() {
        return false;
    }
    let mut rest = segment;
    let mut dots = 0;
    while let Some(next) = strip_dot(rest) {
        rest = next;
        dots += 1;
    }
    rest.is_empty() && (dots == 1 || dots == 2)
}

fn strip_dot(text: &str) -> Option<&str> {
    text.strip_prefix('.')
        .or_else(|| text.strip_prefix("%2e"))
        .or_else(|| text.strip_prefix("%2E"))
}

impl Label for Route {
    const NAME: &'static str = "path";
    const COUNT: usize = 9;

    fn index(self) -> usize {
        self as usize
    }

    fn text(index: usize) -> Cow<'static, str> {
        const TEXTS: [&str; Route::COUNT] = [
            "/v1/a2a/jsonrpc",
            "/agents",
            "/peers",
            "/.well-known",
            "/v1/health",
            "/v1/metrics",
            "/livez",
            "/readyz",
            "/other",
        ];
        TEXTS.get(index).copied().unwrap_or_default().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listed_places_exist() {
        let check = |method: Method, path: &str, expected: Route| {
            let route = Route::of(path);
            let route = if route.serves(&method) {
                route
            } else {
                Route::Unknown
            };
            assert_eq!(route, expected, "{method} {path}");
        };
        check(Method::POST, "/v1/a2a/jsonrpc", Route::JsonRpc);
        check(Method::GET, "/v1/a2a/jsonrpc", Route::Unknown);
        check(Method::POST, "/v1/a2a/jsonrpc/", Route::JsonRpc);
        check(Method::POST, "/v1/a2a/jsonrpc//", Route::Unknown);
        check(Method::POST, "/agents/echo", Route::Agents);
        check(Method::GET, "/agents/echo/v1/card", Route::Agents);
        check(Method::HEAD, "/agents/echo/v1/card", Route::Agents);
        check(
            Method::DELETE,
            "/peers/beta/agents/echo/tasks/1",
            Route::Peers,
        );
        check(Method::PUT, "/agents/echo", Route::Unknown);
        check(Method::GET, "/agents", Route::Unknown);
        check(
            Method::GET,
            "/.well-known/agent-card.json",
            Route::WellKnown,
        );
        check(Method::POST, "/.well-known/agent-card.json", Route::Unknown);
        check(Method::GET, "/v1/health", Route::Health);
        check(Method::HEAD, "/v1/health", Route::Health);
        check(Method::GET, "/api/agents", Route::Unknown);
        check(Method::GET, "/", Route::Unknown);
        check(Method::GET, "*", Route::Unknown);
    }

    #[test]
    fn paths_that_mean_another_are_not_plain() {
        for path in [
            "/agents/../api/tokens",
            "/agents/x/..",
            "/agents/./x",
            "/agents/%2e%2E/api",
            "/agents/.%2e/api",
            "/peers/b\\..\\api",
            "/agents/x%2fy",
            "/agents/x%2Fy",
            "/agents/x%5cy",
            "/agents/x%00",
            "/agents/x%0d%0aHost:y",
            "/agents/x%7f",
            "/agents/x%zz",
            "/agents/x%2",
            "/agents//x",
            "//agents/x",
        ] {
            assert!(!is_plain(path), "{path}");
        }
        for path in [
            "/",
            "*",
            "/agents/a..b",
            "/agents/...",
            "/agents/.hidden",
            "/agents/a/",
            "/agents/a%20b%C3%A9",
            "/agents/a/.well-known/agent-card.json",
            "/agents/a/v1/message:send",
            "/agents/a/tasks/t-1:subscribe",
        ] {
            assert!(is_plain(path), "{path}");
        }
    }

    #[test]
    fn each_place_has_its_label() {
        assert_eq!(Route::text(Label::index(Route::JsonRpc)), "/v1/a2a/jsonrpc");
        assert_eq!(Route::text(Label::index(Route::Unknown)), "/other");
    }
}
