//! What a node tells of itself as one of a mesh: status, directory and mesh descriptor (contract/federation.md 9,
//! contract/a2a-surface.md 5 and 6), in the members and the order of the contract. What ours says beyond it stands in
//! members of its own: `warnings` in the status, `archipel` in the descriptor.

use std::sync::Arc;
use std::time::Duration;

use archipel_kit::settings::Secret;
use archipel_protocol::names::Dialect;
use serde_json::{Map, Value, json};
use url::Url;

use crate::config::NodeSettings;
use crate::federation::Federation;
use crate::federation::manifest::ManifestFault;
use crate::federation::outbound::OURS;
use crate::federation::peers::{Peer, PeerSource};
use crate::federation::settings::{Algorithm, FederationSettings};
use crate::public::{PublicSettings, PublicTier};
use crate::role::Role;

mod tier;

/// Versions of the contract.
const MESH_V2: &str = "2.10.0";
const PLANETARY_REFERENCE: &str = "1.3.1";

const DIRECTORY: &str = "/api/mesh/federation/directory";
const STATUS: &str = "/api/mesh/federation/status";
const PROXY: &str = "/api/mesh/federation/proxy/jsonrpc";
const FEDERATED: &str = "/api/a2a/federated/jsonrpc";
const JSON_RPC: &str = "/api/a2a/jsonrpc";
const PUBLIC: &str = "/api/a2a/jsonrpc/public";
const CARD: &str = "/.well-known/agent-card.json";

/// How many host names the status shows.
const MAX_HOSTNAMES: usize = 16;
/// How many addresses of the public mesh the descriptor shows, and how long a hint may be.
const MAX_PUBLIC: usize = 64;
const MAX_HINT: usize = 2048;

/// See the module.
pub struct MeshViews {
    federation: Arc<Federation>,
    settings: FederationSettings,
    public_settings: PublicSettings,
    public: Option<Arc<PublicTier>>,
    min_role: Role,
    /// How often one caller may call agents.
    call_rate: Option<(u32, Duration)>,
    dialect: Dialect,
    origin: Arc<str>,
    a2a_enabled: bool,
    task_store: &'static str,
    task_ttl_seconds: u64,
}

impl MeshViews {
    /// Of the node that has these settings and this origin.
    pub fn new(
        settings: &NodeSettings,
        federation: Arc<Federation>,
        public: Option<Arc<PublicTier>>,
        origin: Arc<str>,
    ) -> Self {
        let a2a = &settings.a2a;
        Self {
            public_settings: settings.public.clone(),
            public,
            min_role: a2a.min_role,
            call_rate: (a2a.rate_limit > 0).then_some((a2a.rate_limit, a2a.rate_limit_window)),
            federation,
            settings: settings.federation.clone(),
            dialect: settings.dialect.into(),
            origin,
            a2a_enabled: settings.a2a_enabled,
            task_store: match &settings.redis.url {
                Some(_) => "redis",
                None => settings.store.word(),
            },
            task_ttl_seconds: match settings.retention.keep_for.as_millis() {
                u128::MAX => 0,
                ms => u64::try_from(ms / 1000).unwrap_or(u64::MAX),
            },
        }
    }

    /// Whether peers can be called: there is something to mint tokens with, and somebody to call.
    pub fn is_ready(&self) -> bool {
        self.federation.can_mint() && !self.federation.roster().peers().is_empty()
    }

    /// What the operator must present beside the bearer token to call peers by their place.
    pub fn proxy_token(&self) -> Option<&Secret> {
        self.settings.proxy_operator_token.as_ref()
    }

    /// Whether federation is on.
    pub fn is_enabled(&self) -> bool {
        self.federation.is_enabled()
    }

    /// The peer at this place in the roster.
    pub fn peer(&self, index: usize) -> Option<Arc<Peer>> {
        self.federation.roster().peers().get(index).cloned()
    }

    /// All peers, in the order of their places.
    pub fn peers(&self) -> Vec<Arc<Peer>> {
        self.federation.roster().peers().to_vec()
    }

    /// The answer to who asks for the status; with what is told of the manifest, if that was asked for.
    pub fn status(&self, debug_manifest: bool) -> Map<String, Value> {
        let mut status = object(json!({"meshV2": MESH_V2, "federation": self.federation_status()}));
        if debug_manifest && self.is_enabled() {
            let effective = self.federation.roster().peers().len();
            let manifest = self.federation.manifest_status();
            let fault = manifest.fault.as_ref().map(ManifestFault::operator_token);
            let debug = json!({"manifestLastError": fault, "effectivePeerCount": effective});
            status.insert("manifestDebug".to_owned(), debug);
        }
        status
    }

    /// The peers, as a directory.
    pub fn directory(&self) -> Value {
        let roster = self.federation.roster();
        let peers = roster.peers().iter().enumerate().map(|(index, peer)| {
            json!({
                "peerIndex": index,
                "origin": peer.origin.as_str(),
                "hostname": hostname(peer),
                "agentCardUrl": format!("{}{CARD}", peer.origin),
            })
        });
        let peers: Vec<Value> = if self.is_enabled() {
            peers.collect()
        } else {
            Vec::new()
        };
        json!({
            "meshV2": MESH_V2,
            "federationEnabled": self.is_enabled(),
            "peerCount": peers.len(),
            "peers": peers,
        })
    }

    /// What everybody may know of this node, in the spelling of `dialect`.
    pub fn descriptor(&self, dialect: Dialect) -> Value {
        let at = |path: &str| format!("{}{path}", self.origin);
        let mut a2a = object(json!({"agentCardUrl": at(CARD), "jsonRpcUrl": at(JSON_RPC)}));
        if let Some(tier) = self.public.as_deref() {
            let tier = tier::descriptor(&self.public_settings, Some(tier));
            a2a.insert("publicJsonRpcUrl".to_owned(), at(PUBLIC).into());
            a2a.insert("publicTier".to_owned(), tier);
        }
        let a2a = self.a2a_enabled.then_some(a2a);
        let enabled = self.is_enabled();
        let mut federation = object(json!({
            "enabled": enabled,
            "phase": self.phase(),
            "transportActive": self.is_ready(),
            "jwtAlg": enabled.then(|| self.algorithm()),
            "localEd25519PublicKeyHex": self.federation.public_key_hex(),
            "directoryUrl": enabled.then(|| at(DIRECTORY)),
            "federationStatusUrl": at(STATUS),
        }));
        if enabled {
            federation.insert("federatedJsonRpcUrl".to_owned(), at(FEDERATED).into());
        }
        let wan = enabled.then(|| self.wan_mesh(dialect));
        federation.insert("wanMesh".to_owned(), wan.into());
        let mut descriptor = object(json!({
            "schema": dialect.mesh_descriptor_schema(),
            "meshV2": MESH_V2,
            "planetaryReferenceVersion": PLANETARY_REFERENCE,
            "instanceOrigin": &*self.origin,
            "a2aEnabled": self.a2a_enabled,
            "a2a": a2a,
            "federation": federation,
            "publicMesh": self.public_mesh(),
        }));
        descriptor.insert(OURS.to_owned(), json!({"agentsUrl": at("/agents/")}));
        Value::Object(descriptor)
    }

    /// What the A2A surface is like.
    pub fn a2a_status(&self) -> Value {
        let mut endpoints = object(json!({"agentCardPath": CARD, "jsonRpcPath": JSON_RPC}));
        let public = self.public.as_deref();
        if public.is_some() {
            endpoints.insert("publicJsonRpcPath".to_owned(), PUBLIC.into());
        }
        json!({
            "enabled": self.a2a_enabled,
            "meshV2": MESH_V2,
            "endpoints": endpoints,
            "policy": {"jsonRpcMinRole": self.min_role.word()},
            "persistence": {
                "taskStore": self.task_store,
                "taskTtlSeconds": self.task_ttl_seconds,
            },
            "rateLimit": self.call_rate.map(|(max, window)| tier::rate(max, window)),
            "sdkLayers": {"auditEnabled": true, "circuitBreakerEnabled": true},
            "identity": {
                "convention": "peers are `peer:` and their name, then `/` and the caller for whom they call",
            },
            "publicJsonRpc": tier::status(&self.public_settings, public),
            "publicMesh": self.public_mesh(),
            "federation": self.federation_status(),
        })
    }

    fn federation_status(&self) -> Map<String, Value> {
        let roster = self.federation.roster();
        let enabled = self.is_enabled();
        let hostnames: Vec<String> = roster.peers().iter().map(|peer| hostname(peer)).collect();
        let shown: Vec<&String> = hostnames.iter().take(MAX_HOSTNAMES).collect();
        let mut status = object(json!({
            "enabled": enabled,
            "phase": self.phase(),
            "configuredPeerCount": hostnames.len(),
            "peerHostnames": shown,
            "sharedSecretConfigured": self.settings.shared_secret.is_some(),
            "directoryPath": enabled.then_some(DIRECTORY),
            "federationInboundAllowlistActive": !self.settings.inbound_allowlist.is_empty(),
            "federatedInboundJsonRpcPath": enabled.then_some(FEDERATED),
            "jsonRpcProxy": self.is_ready().then(|| self.proxy()),
        }));
        if enabled {
            status.insert("wanMesh".to_owned(), self.wan_mesh(self.dialect));
        }
        status.insert("warnings".to_owned(), self.warnings().into());
        status
    }

    fn proxy(&self) -> Map<String, Value> {
        let role = match self.dialect {
            Dialect::Hive => "minHiveRole",
            Dialect::Pilox => "minPiloxRole",
        };
        let settings = &self.settings;
        let rest = json!({
            "inboundJwtHeader": spelled(self.dialect.federation_jwt_header()),
            "inboundSecretHeader": spelled(self.dialect.federation_secret_header()),
            "jwtTtlSeconds": settings.token_ttl.as_secs(),
            "jwtClockSkewLeewaySeconds": settings.clock_skew.as_secs(),
            "jwtAudience": self.federation.audience(),
            "jwtRequireAudience": settings.require_audience,
            "jwtRequireJti": settings.require_jti,
            "jwtAlg": self.algorithm(),
            "localEd25519PublicKeyHex": self.federation.public_key_hex(),
            "proxyOperatorTokenRequired": settings.proxy_operator_token.is_some(),
            "inboundAllowLegacySecret": settings.inbound_allow_legacy_secret
                && settings.shared_secret.is_some(),
            "proxySendSharedSecret": false,
            "rateLimit": tier::rate(settings.rate_limit, settings.rate_limit_window),
        });
        let mut proxy = object(json!({"path": PROXY}));
        proxy.insert(role.to_owned(), "operator".into());
        proxy.extend(object(rest));
        proxy
    }

    fn wan_mesh(&self, dialect: Dialect) -> Value {
        let roster = self.federation.roster();
        let told = |peer: &&Arc<Peer>| peer.source == PeerSource::Manifest;
        let by_manifest = roster.peers().iter().filter(told).count();
        let manifest = self.federation.manifest_status();
        json!({
            "publicDescriptorPath": dialect.mesh_descriptor_path(),
            "maxPeers": self.settings.max_peers,
            "signedManifestConfigured": self.federation.manifest().is_some(),
            "staticPeerCount": roster.peers().len() - by_manifest,
            "manifestPeerCount": by_manifest,
            "manifestLastSyncOk": manifest.last_sync_ok(),
            "manifestIssueCategory": manifest.fault.as_ref().map(|fault| fault.issue().word()),
        })
    }

    fn public_mesh(&self) -> Map<String, Value> {
        let urls = self.settings.bootstrap_urls.iter().filter_map(|url| {
            let url = Url::parse(url.trim()).ok()?;
            matches!(url.scheme(), "http" | "https").then(|| url.to_string())
        });
        let urls: Vec<String> = urls.take(MAX_PUBLIC).collect();
        let hints = self.settings.dht_hints.iter().map(|hint| hint.trim());
        let hints = hints.filter(|hint| (1..=MAX_HINT).contains(&hint.len()));
        let hints: Vec<&str> = hints.take(MAX_PUBLIC).collect();
        let mut mesh = object(json!({"bootstrapMeshDescriptorUrls": urls}));
        if !hints.is_empty() {
            mesh.insert("dhtBootstrapHints".to_owned(), hints.into());
        }
        mesh
    }

    fn phase(&self) -> &'static str {
        if self.is_ready() {
            "2.1-transport"
        } else {
            "2.0-config"
        }
    }

    fn algorithm(&self) -> &'static str {
        match self.federation.algorithm() {
            Algorithm::Ed25519 => "Ed25519",
            Algorithm::Hs256 | Algorithm::Auto => "HS256",
        }
    }

    fn warnings(&self) -> Vec<String> {
        let mut warnings = self.federation.warnings().to_vec();
        if self.is_enabled() && self.federation.algorithm() != Algorithm::Ed25519 {
            let one = "peers share one secret: any of them can speak for any other, and they are one caller";
            warnings.push(one.to_owned());
        }
        warnings
    }
}

/// The host of a peer, without its port.
pub fn hostname(peer: &Peer) -> String {
    let url = Url::parse(peer.origin.as_str()).ok();
    let host = url.as_ref().and_then(Url::host_str);
    host.unwrap_or_default().to_owned()
}

/// A header's name as people write it: `x-hive-federation-jwt` is `X-Hive-Federation-JWT`.
fn spelled(header: &str) -> String {
    let words = header.split('-').map(|word| match word {
        "jwt" => "JWT".to_owned(),
        word => {
            let (first, rest) = word.split_at(word.len().min(1));
            first.to_ascii_uppercase() + rest
        }
    });
    words.collect::<Vec<_>>().join("-")
}

/// The members of what was written as an object.
fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::spelled;

    #[test]
    fn headers_are_spelled_as_the_contract_does() {
        for (name, expected) in [
            ("x-hive-federation-jwt", "X-Hive-Federation-JWT"),
            ("x-pilox-federation-secret", "X-Pilox-Federation-Secret"),
        ] {
            assert_eq!(spelled(name), expected);
        }
    }
}
