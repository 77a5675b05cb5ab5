//! Which node a command speaks to, and as whom; and how it asks the node's control plane.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use archipel_kit::client::{RequestBody, Timeouts};
use archipel_kit::settings::{self, Environment};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, StatusCode, Uri};
use serde_json::Value;

use super::{ConfigFile, load, print};
use crate::config::NodeSettings;
use crate::egress::{Destination, Egress, EgressSettings};

const MAX_ANSWER: usize = 16 * 1024 * 1024;
const LIMIT: Duration = Duration::from_secs(30);

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

/// What a node's control plane answered.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) status: StatusCode,
    /// Null where there was nothing in it.
    pub(super) body: Value,
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
    /// Asks the control plane; nothing is sent as the body where it is empty.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> anyhow::Result<Told> {
        let uri: Uri = format!("{}{path}", self.origin).parse()?;
        let is_empty = body.is_empty();
        let mut request = Request::builder()
            .method(method)
            .uri(&uri)
            .body(RequestBody::from(body))?;
        let headers = request.headers_mut();
        if !is_empty {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if let Some(authorization) = self.authorization(&uri) {
            headers.insert(AUTHORIZATION, authorization);
        }
        let settings: EgressSettings = settings::load(None, &Environment::default())
            .map_err(|problems| anyhow::anyhow!("{problems}"))?;
        let limits = Timeouts {
            first_byte: Some(LIMIT),
            idle: Some(LIMIT),
            total: Some(LIMIT),
        };
        let egress = Egress::new(&settings);
        let sent = egress.send(Destination::Trusted, request, limits).await;
        let answer = sent.with_context(|| format!("cannot call {uri}"))?;
        let status = answer.status;
        let body = answer.read_all(MAX_ANSWER).await?;
        Ok(Told {
            status,
            body: serde_json::from_slice(&body).unwrap_or_default(),
        })
    }

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

impl Told {
    pub(super) fn is_done(&self) -> bool {
        self.status.is_success()
    }

    pub(super) fn exit_code(&self) -> ExitCode {
        if self.is_done() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }

    /// Says why it was not done, and what to look at; `missing` is advice for what is not there.
    pub(super) fn print_refusal(&self, missing: &str) -> anyhow::Result<()> {
        let message = self.body.get("message").and_then(Value::as_str);
        let message = message.unwrap_or("no reason was given");
        let advice = match self.status.as_u16() {
            401 => format!(" ({})", advice()),
            404 => format!(" ({missing})"),
            _ => String::new(),
        };
        print::error(&format!("archipel: {}: {message}{advice}\n", self.status))
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
