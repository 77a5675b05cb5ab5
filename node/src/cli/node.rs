//! Which node a command speaks to, and as whom.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Context;
use http::Uri;
use http::header::HeaderValue;

use super::{ConfigFile, load};
use crate::config::NodeSettings;

/// Where a bearer token is looked for when none is given.
const TOKEN_VARIABLE: &str = "ARCHIPEL_TOKEN";

/// Where a node is that has no configuration here.
const USUAL: &str = "http://127.0.0.1:7400";

#[derive(Debug, clap::Args)]
pub(super) struct NodeArguments {
    /// Node that is meant. Without it, the one that the configuration describes, else `http://127.0.0.1:7400`.
    #[arg(long, value_name = "ORIGIN", global = true)]
    node: Option<String>,
    /// Bearer token; the environment variable keeps it out of the process list. Without it, the `internal_token` of the
    /// configuration, which goes to no other node.
    #[arg(long, env = TOKEN_VARIABLE, hide_env_values = true, global = true)]
    token: Option<String>,
}

/// A node, and what is shown to it.
#[derive(Debug)]
pub(super) struct Node {
    /// Without a slash at its end.
    pub(super) origin: String,
    given: Option<HeaderValue>,
    /// For this node alone.
    configured: Option<HeaderValue>,
}

impl NodeArguments {
    /// What the arguments say, then the configuration.
    pub(super) fn find(&self, file: &ConfigFile) -> anyhow::Result<Node> {
        let given = self.token.as_deref().map(bearer).transpose()?;
        if let Some(node) = &self.node {
            return Ok(Node {
                origin: node.trim_end_matches('/').to_owned(),
                given,
                configured: None,
            });
        }
        let settings = match load(file) {
            Ok(settings) => settings,
            Err(_) if file.path.is_none() => {
                return Ok(Node {
                    origin: USUAL.to_owned(),
                    given,
                    configured: None,
                });
            }
            Err(problems) => {
                return Err(anyhow::anyhow!("{problems}")).context(
                    "the configuration does not say where the node is; --node ORIGIN does",
                );
            }
        };
        let token = settings.internal_token.as_ref();
        Ok(Node {
            origin: origin_of(&settings),
            given,
            configured: token.map(|token| bearer(token.expose())).transpose()?,
        })
    }
}

impl Node {
    /// What a request to that address shows. A token that was given goes where the command says; the configured one to
    /// its own node only.
    pub(super) fn authorization(&self, uri: &Uri) -> Option<HeaderValue> {
        let own: Option<Uri> = self.origin.parse().ok();
        let is_own = own
            .is_some_and(|own| own.scheme() == uri.scheme() && own.authority() == uri.authority());
        let configured = self.configured.as_ref().filter(|_| is_own);
        self.given.as_ref().or(configured).cloned()
    }
}

/// What to do when a node does not know who asks.
pub(super) fn advice() -> String {
    format!("give a token with --token or {TOKEN_VARIABLE}")
}

/// Behind TLS a node is called by the name that its certificate is for.
fn origin_of(settings: &NodeSettings) -> String {
    let at = reached_at(settings.listen);
    match &settings.public_origin {
        Some(origin) if settings.tls.is_on() => origin.as_str().trim_end_matches('/').to_owned(),
        None if settings.tls.is_on() => format!("https://{at}"),
        _ => format!("http://{at}"),
    }
}

/// A node that listens everywhere is reached on this machine.
fn reached_at(listen: SocketAddr) -> SocketAddr {
    let mut address = listen;
    if listen.ip().is_unspecified() {
        address.set_ip(match listen.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

fn bearer(token: &str) -> anyhow::Result<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
        .context("the token cannot stand in a header")?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use std::io::Write;

    use super::*;

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    /// With these arguments and a configuration, an address is called with this token.
    fn check(arguments: (Option<&str>, Option<&str>), called: &str, token: Option<&str>) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(
            file,
            "listen = \"0.0.0.0:7411\"\npublic_origin = \"http://a.example\"\ninternal_token = \"{TOKEN}\""
        )
        .unwrap();
        let (node, given) = arguments;
        let found = NodeArguments {
            node: node.map(str::to_owned),
            token: given.map(str::to_owned),
        };
        let found = found.find(&ConfigFile {
            path: Some(file.path().to_owned()),
            json: false,
        });
        let shown = found.unwrap().authorization(&called.parse().unwrap());
        let expected = token.map(|token| format!("Bearer {token}"));
        assert_eq!(
            shown.as_ref().map(|value| value.to_str().unwrap()),
            expected.as_deref(),
            "{arguments:?} {called}"
        );
    }

    #[test]
    fn the_configured_token_goes_to_the_configured_node_only() {
        let own = "http://127.0.0.1:7411/agents/text";
        check((None, None), own, Some(TOKEN));
        check((None, None), "https://127.0.0.1:7411/agents/text", None);
        check((None, None), "http://elsewhere.example/agents/text", None);
        check((Some("http://127.0.0.1:7411/"), None), own, None);
        check((None, Some("t")), own, Some("t"));
        check((None, Some("t")), "http://elsewhere.example/", Some("t"));
    }

    #[test]
    fn where_the_configured_node_is() {
        for (listen, expected) in [
            ("0.0.0.0:1", "127.0.0.1:1"),
            ("[::]:1", "[::1]:1"),
            ("10.0.0.1:1", "10.0.0.1:1"),
        ] {
            let reached = reached_at(listen.parse().unwrap()).to_string();
            assert_eq!(reached, expected);
        }
    }
}
