//! Peers as an operator writes them, checked: every problem is told, none hides another.

use std::collections::BTreeSet;
use std::sync::Arc;

use archipel_kit::settings::Problems;
use archipel_protocol::a2a::Version;
use archipel_protocol::federation::{PeerKey, keys};
use archipel_protocol::ids::Origin;
use archipel_protocol::method::Method;

use super::{
    Allowed, CertificatePin, MAX_KEYS, Peer, PeerLimit, PeerRights, PeerSource, PeerTls,
    TlsIdentity, is_name,
};
use crate::cards::trust::CardTrust;
use crate::config::CardCheck;
use crate::federation::settings::{
    Algorithm, FederationSettings, PeerKeySettings, PeerLimitSettings, PeerRightsSettings,
    PeerSettings, PeerTlsSettings,
};

/// What every peer is checked against.
#[derive(Debug, Clone)]
pub struct PeerRules {
    /// Ourselves.
    pub own: Origin,
    /// Whether a peer without a key is of no use.
    pub needs_keys: bool,
    /// Whether its cards must be signed.
    pub cards: CardCheck,
    /// Most peers of the variables; the manifest adds none beyond it.
    pub max_peers: usize,
}

impl PeerRules {
    /// The rules of a configuration.
    pub fn new(own: &Origin, settings: &FederationSettings, cards: CardCheck) -> Self {
        Self {
            own: own.clone(),
            needs_keys: settings.enabled && settings.algorithm_in_force() == Algorithm::Ed25519,
            cards,
            max_peers: settings.max_peers,
        }
    }
}

/// The peers of `[[peers]]`, in their order.
pub fn configured_peers(
    rules: &PeerRules,
    named: &[PeerSettings],
    problems: &mut Problems,
) -> Vec<Peer> {
    let mut peers: Vec<Peer> = Vec::new();
    for (index, settings) in named.iter().enumerate() {
        let at = format!("peers[{index}].");
        let Some(peer) = peer_of(&at, settings, PeerSource::Configured, rules, problems) else {
            continue;
        };
        refuse_double(&at, &peer, &peers, problems);
        peers.push(peer);
    }
    peers
}

/// Tells when a peer has the name or the origin of one of those before it.
pub fn refuse_double(at: &str, peer: &Peer, before: &[Peer], problems: &mut Problems) {
    if before.iter().any(|known| known.name == peer.name) {
        let what = format!("`{}` is the name of an earlier peer", peer.name);
        problems.add(&format!("{at}name"), what);
    }
    if before.iter().any(|known| known.origin == peer.origin) {
        let what = format!("`{}` is the origin of an earlier peer", peer.origin);
        problems.add(&format!("{at}origin"), what);
    }
}

/// One peer; `at` is put before its keys where a problem is told. `None` when it has no origin.
pub fn peer_of(
    at: &str,
    settings: &PeerSettings,
    source: PeerSource,
    rules: &PeerRules,
    problems: &mut Problems,
) -> Option<Peer> {
    let mut reader = Reader {
        at,
        rules,
        problems,
    };
    reader.check_name(&settings.name);
    let keys = reader.keys(settings);
    reader.check_card_keys(settings.card_keys.as_deref(), !keys.is_empty());
    let rights = reader.rights(&settings.rights);
    let tls = reader.tls(&settings.tls);
    let origin = reader.origin(&settings.origin)?;
    Some(Peer {
        keys,
        card_keys: settings.card_keys.as_deref().map(Arc::from),
        follows_keys: settings.follow_keys,
        rights,
        limit: limit(&settings.limit),
        suspended: settings.suspended,
        review_by: settings.review_by.map(|day| day.0),
        tls,
        kind: settings.kind,
        max_concurrent: settings.max_concurrent,
        ..Peer::new(&settings.name, origin, source)
    })
}

/// The peers that the variables of Hive and Pilox give. What is merely passed over is told in `warnings`.
pub fn variable_peers(
    rules: &PeerRules,
    settings: &FederationSettings,
    problems: &mut Problems,
    warnings: &mut Vec<String>,
) -> Vec<Peer> {
    let origins = listed_origins(&settings.peer_origins, settings.max_peers);
    if origins.len() < settings.peer_origins.len() {
        warnings.push(format!(
            "of {} entries in federation.peer_origins {} are taken: the others are no http or https origins, repeated, or \
             beyond max_peers",
            settings.peer_origins.len(),
            origins.len()
        ));
    }
    let texts = &settings.peer_ed25519_public_keys;
    let keys_at = "federation.peer_ed25519_public_keys";
    if rules.needs_keys && origins.len() != texts.len() {
        let what = format!("there are {} keys for {} peers", texts.len(), origins.len());
        problems.add(keys_at, what);
    }
    let peer = |(index, origin): (usize, Origin)| {
        if origin == rules.own {
            let what = format!("`{origin}` is this node itself");
            problems.add("federation.peer_origins", what);
        }
        let key_at = format!("{keys_at}[{index}]");
        let key = texts.get(index);
        let key = key.and_then(|text| public_key(&key_at, text, problems));
        Peer {
            keys: key.map(PeerKey::new).into_iter().collect(),
            ..Peer::nameless(origin, PeerSource::Variables)
        }
    };
    origins.into_iter().enumerate().map(peer).collect()
}

/// The origins of `MESH_FEDERATION_PEERS` (`contract/federation.md` 7): what is no origin is passed over, repeated ones
/// count once, then the list is cut.
pub fn listed_origins(listed: &[String], max: usize) -> Vec<Origin> {
    let mut origins: Vec<Origin> = Vec::new();
    for text in listed {
        if let Ok(origin) = Origin::parse(text.trim())
            && origins.len() < max.max(1)
            && !origins.contains(&origin)
        {
            origins.push(origin);
        }
    }
    origins
}

/// Reads the parts of one peer.
struct Reader<'a> {
    at: &'a str,
    rules: &'a PeerRules,
    problems: &'a mut Problems,
}

impl Reader<'_> {
    fn add(&mut self, key: &str, what: impl Into<String>) {
        self.problems.add(&format!("{}{key}", self.at), what);
    }

    fn check_name(&mut self, name: &str) {
        if !is_name(name) {
            let what = "must be lower-case letters, digits, `.`, `_` and `-`, and begin with a letter or digit";
            self.add("name", what);
        }
    }

    /// Our own origin among the peers would let us call ourselves for ever.
    fn origin(&mut self, text: &str) -> Option<Origin> {
        match Origin::parse(text) {
            Ok(origin) => {
                if origin == self.rules.own {
                    self.add("origin", format!("`{origin}` is this node itself"));
                }
                Some(origin)
            }
            Err(error) => {
                self.add("origin", format!("is no origin: {error}"));
                None
            }
        }
    }

    fn keys(&mut self, settings: &PeerSettings) -> Vec<PeerKey> {
        let mut found = Vec::new();
        if let Some(text) = &settings.ed25519_public_key {
            let at = format!("{}ed25519_public_key", self.at);
            found.extend(public_key(&at, text, self.problems).map(PeerKey::new));
        } else if settings.keys.is_empty() && self.rules.needs_keys {
            let what = "is missing: with Ed25519 every peer has a key";
            self.add("ed25519_public_key", what);
        }
        for (index, key) in settings.keys.iter().enumerate() {
            found.extend(self.key(&format!("keys[{index}]"), key));
        }
        if found.len() > MAX_KEYS {
            self.add("keys", format!("a peer has at most {MAX_KEYS} keys"));
        }
        found
    }

    fn key(&mut self, at: &str, settings: &PeerKeySettings) -> Option<PeerKey> {
        let (not_before, not_after) = (settings.not_before, settings.not_after);
        if let (Some(first), Some(last)) = (not_before, not_after)
            && last.0 < first.0
        {
            self.add(&format!("{at}.not_after"), "is before not_before");
        }
        let key_at = format!("{}{at}.public_key", self.at);
        Some(PeerKey {
            public_key: public_key(&key_at, &settings.public_key, self.problems)?,
            kid: settings.kid.clone(),
            not_before: not_before.map(|moment| moment.0),
            not_after: not_after.map(|moment| moment.0),
        })
    }

    fn check_card_keys(&mut self, card_keys: Option<&str>, has_keys: bool) {
        let check = self.rules.cards;
        if let Err(problem) = CardTrust::of_agent(check, card_keys) {
            self.add("card_keys", problem.to_string());
        }
        if check == CardCheck::Require && card_keys.is_none() && !has_keys {
            let what = "or ed25519_public_key is needed with trust.cards = \"require\"";
            self.add("card_keys", what);
        }
    }

    fn rights(&mut self, settings: &PeerRightsSettings) -> PeerRights {
        let methods = match allowed(&settings.methods) {
            Allowed::All => Allowed::All,
            Allowed::Only(names) => Allowed::Only(self.methods(&names)),
        };
        PeerRights {
            agents: allowed(&settings.agents),
            methods,
            max_role: settings.max_role,
            forward: settings.forward,
        }
    }

    fn methods(&mut self, names: &BTreeSet<String>) -> BTreeSet<Method> {
        let mut methods = BTreeSet::new();
        for name in names {
            match Method::parse(Version::V1, name) {
                Some(method) => {
                    methods.insert(method);
                }
                None => {
                    let what = format!("`{name}` is no operation of A2A 1.0");
                    self.add("rights.methods", what);
                }
            }
        }
        methods
    }

    fn tls(&mut self, settings: &PeerTlsSettings) -> PeerTls {
        let pin = settings.pin.as_deref().and_then(|text| {
            let pin = pin(text);
            if pin.is_none() {
                let what =
                    "must be `sha256:` with 64 hexadecimal digits, or a SPIFFE id (`spiffe://..`)";
                self.add("tls.pin", what);
            }
            pin
        });
        let identity = match (&settings.certificate_file, &settings.key_file) {
            (Some(certificate_file), Some(key_file)) => Some(TlsIdentity {
                certificate_file: certificate_file.clone(),
                key_file: key_file.clone(),
            }),
            (None, None) => None,
            _ => {
                let what = "needs tls.key_file, and the other way round";
                self.add("tls.certificate_file", what);
                None
            }
        };
        PeerTls {
            pin,
            identity,
            ca_file: settings.ca_file.clone(),
        }
    }
}

fn public_key(at: &str, text: &str, problems: &mut Problems) -> Option<[u8; 32]> {
    keys::from_hex(text)
        .map_err(|error| problems.add(at, error.to_string()))
        .ok()
}

fn allowed(listed: &[String]) -> Allowed<String> {
    if listed.iter().any(|name| name == "*") {
        return Allowed::All;
    }
    Allowed::Only(listed.iter().cloned().collect())
}

fn limit(settings: &PeerLimitSettings) -> Option<PeerLimit> {
    let calls = settings.calls?;
    Some(PeerLimit {
        calls,
        per: settings.per,
        burst: settings.burst.unwrap_or(calls),
    })
}

fn pin(text: &str) -> Option<CertificatePin> {
    if let Some(digits) = text.strip_prefix("sha256:") {
        return keys::from_hex(digits).ok().map(CertificatePin::Sha256);
    }
    let path = text.strip_prefix("spiffe://")?;
    (!path.is_empty()).then(|| CertificatePin::Spiffe(text.to_owned()))
}
