//! What a request target means to the gateway. Whatever is not listed here does not exist.

use std::borrow::Cow;

use actix_web::http::Method;
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
    /// Finds the place by method and path (without query).
    pub(crate) fn of(method: &Method, path: &str) -> Self {
        let route = match path {
            // Clients that join paths often leave a slash behind (A2A asks for both; a redirect would lose the body).
            "/v1/a2a/jsonrpc" | "/v1/a2a/jsonrpc/" => Self::JsonRpc,
            "/v1/health" => Self::Health,
            "/v1/metrics" => Self::Metrics,
            "/livez" => Self::Live,
            "/readyz" => Self::Ready,
            _ if has_dot_segment(path) => Self::Unknown,
            _ if path.starts_with("/agents/") => Self::Agents,
            _ if path.starts_with("/peers/") => Self::Peers,
            _ if path.starts_with("/.well-known/") => Self::WellKnown,
            _ => Self::Unknown,
        };
        if route.serves(method) {
            route
        } else {
            Self::Unknown
        }
    }

    fn serves(self, method: &Method) -> bool {
        match self {
            Self::JsonRpc => method == Method::POST,
            Self::Agents | Self::Peers => {
                [Method::GET, Method::POST, Method::DELETE].contains(method)
            }
            Self::WellKnown | Self::Health | Self::Metrics | Self::Live | Self::Ready => {
                method == Method::GET
            }
            Self::Unknown => false,
        }
    }

    /// Whether callers there speak A2A, so that a refused POST is answered with a JSON-RPC error.
    pub(crate) fn speaks_a2a(self) -> bool {
        matches!(self, Self::JsonRpc | Self::Agents | Self::Peers)
    }
}

/// Whether the path could mean another one after normalisation (`/agents/../api`), which the node's own server or a
/// proxy in between may do: then the prefix that was matched says nothing.
fn has_dot_segment(path: &str) -> bool {
    path.split(['/', '\\']).any(|segment| {
        let mut rest = segment;
        let mut dots = 0;
        while let Some(next) = strip_dot(rest) {
            rest = next;
            dots += 1;
        }
        rest.is_empty() && (dots == 1 || dots == 2)
    })
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
        let check = |method: Method, path: &str, route: Route| {
            assert_eq!(Route::of(&method, path), route, "{path}")
        };
        check(Method::POST, "/v1/a2a/jsonrpc", Route::JsonRpc);
        check(Method::GET, "/v1/a2a/jsonrpc", Route::Unknown);
        check(Method::POST, "/v1/a2a/jsonrpc/", Route::JsonRpc);
        check(Method::POST, "/v1/a2a/jsonrpc//", Route::Unknown);
        check(Method::POST, "/agents/echo", Route::Agents);
        check(Method::GET, "/agents/echo/v1/card", Route::Agents);
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
        check(Method::HEAD, "/v1/health", Route::Unknown);
        check(Method::GET, "/api/agents", Route::Unknown);
        check(Method::GET, "/", Route::Unknown);
        check(Method::GET, "*", Route::Unknown);
    }

    #[test]
    fn paths_that_mean_another_do_not_exist() {
        for path in [
            "/agents/../api/tokens",
            "/agents/x/..",
            "/agents/./x",
            "/agents/%2e%2E/api",
            "/agents/.%2e/api",
            "/peers/b\\..\\api",
        ] {
            assert_eq!(Route::of(&Method::GET, path), Route::Unknown, "{path}");
        }
        for path in [
            "/agents/a..b",
            "/agents/...",
            "/agents/.hidden",
            "/agents/a/.well-known/agent-card.json",
        ] {
            assert_eq!(Route::of(&Method::GET, path), Route::Agents, "{path}");
        }
    }

    #[test]
    fn each_place_has_its_label() {
        assert_eq!(Route::text(Label::index(Route::JsonRpc)), "/v1/a2a/jsonrpc");
        assert_eq!(Route::text(Label::index(Route::Unknown)), "/other");
    }
}
