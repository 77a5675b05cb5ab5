//! Rules over several settings.

use std::collections::BTreeSet;

use archipel_kit::{admission::ProxyHeader, client::is_hop_by_hop, settings::Problems};

use super::{ForwardFor, GatewaySettings, upstream::check_base};
use crate::upstream::Node;

/// What a client may not speak for: the gateway itself, the proxies before it, and the shape of the message.
const KEPT_BACK: [&str; 11] = [
    "host",
    "content-length",
    "client-cert",
    "x-hive-gateway-auth",
    "x-pilox-gateway-auth",
    "forwarded",
    "x-forwarded-client-cert",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-real-ip",
    "x-client-ip",
];

/// How many nodes there can be.
const MOST_UPSTREAMS: usize = 64;

impl GatewaySettings {
    pub(super) fn check(&self, problems: &mut Problems) {
        check_base(&self.upstream, "upstream", problems);
        self.check_upstreams(problems);
        for (key, path) in [
            ("jsonrpc_path", &self.jsonrpc_path),
            ("health.path", &self.health.path),
        ] {
            let plain = path
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && !b"?#".contains(&byte));
            if !path.starts_with('/') || !plain {
                problems.add(key, "must be a path that begins with / and has no query");
            }
        }
        self.check_headers(problems);
        if let Some(secret) = &self.upstream_auth_secret
            && !secret.expose().bytes().all(|byte| byte.is_ascii_graphic())
        {
            problems.add(
                "upstream_auth_secret",
                "must consist of printable characters without spaces",
            );
        }
        if let Some(url) = &self.rate_limit_redis_url
            && let Err(error) = redis::Client::open(url.expose())
        {
            problems.add(
                "rate_limit_redis_url",
                format!("is no Redis URL: {:?}", error.kind()),
            );
        }
        self.check_trust(problems);
    }

    fn check_upstreams(&self, problems: &mut Problems) {
        if self.upstreams.len() > MOST_UPSTREAMS {
            problems.add("upstreams", format!("are more than {MOST_UPSTREAMS}"));
        }
        let mut names = BTreeSet::new();
        for (index, upstream) in self.upstreams.iter().enumerate() {
            let name = Node::name_of(upstream);
            if !names.insert(name.clone()) {
                problems.add(
                    &format!("upstreams[{index}].name"),
                    format!("{name:?} is the name of another one"),
                );
            }
        }
        if !self.upstreams.is_empty() && self.upstreams.iter().all(|one| one.weight == 0) {
            problems.add("upstreams", "need one with a weight");
        }
    }

    fn check_headers(&self, problems: &mut Problems) {
        for (index, name) in self.pass_headers.iter().enumerate() {
            let lower = name.to_ascii_lowercase();
            let at = format!("pass_headers[{index}]");
            if http::HeaderName::from_bytes(name.as_bytes()).is_err() {
                problems.add(&at, format!("{name:?} is no header name"));
            } else if is_hop_by_hop(&lower) || KEPT_BACK.contains(&lower.as_str()) {
                problems.add(&at, format!("{name:?} is never passed on"));
            }
        }
    }

    fn check_trust(&self, problems: &mut Problems) {
        let has_proxies = !self.trusted_proxies.is_empty();
        if self.trusted_hops > 0 && has_proxies {
            problems.add(
                "trusted_hops",
                "cannot stand beside `trusted_proxies`: set one of them",
            );
        }
        if self.proxy_header == ProxyHeader::Required && !has_proxies {
            problems.add(
                "proxy_header",
                "needs `trusted_proxies`: anybody could begin with one",
            );
        }
        if self.forward_for == ForwardFor::Chain && self.proxy_header == ProxyHeader::Required {
            problems.add(
                "forward_for",
                "cannot be `chain` with `proxy_header`: the balancer's address is not seen",
            );
        }
        if let Some(admin) = self.admin_listen
            && !admin.ip().is_loopback()
        {
            problems.add("admin_listen", "must be a loopback address");
        }
    }
}
