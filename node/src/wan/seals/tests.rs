//! Whose seals are believed.

use archipel_kit::clock::ManualClock;
use archipel_kit::settings::{Environment, from_json, load};
use archipel_protocol::federation::keys;
use archipel_protocol::ids::Origin;
use archipel_protocol::names::Dialect;
use archipel_protocol::wan::WanMessage;

use super::*;
use crate::config::CardCheck;
use crate::federation::settings::{FederationSettings, PeerSettings};

const ALPHA: (&str, u8) = ("https://alpha.example", 0x11);
const BETA: (&str, u8) = ("https://beta.example", 0x22);
const STRANGER: (&str, u8) = ("https://stranger.example", 0x33);

/// The seals of a node with that origin and seed, which trusts a peer.
pub(in crate::wan) fn node(own: (&str, u8), peer: (&str, u8), rule: SealRule) -> Seals {
    let clock = Arc::new(ManualClock::new(1_767_225_600_000));
    Seals::new(Arc::new(federation(own, peer)), clock, rule)
}

/// The federation of such a node.
pub(in crate::wan) fn federation(own: (&str, u8), peer: (&str, u8)) -> Federation {
    let seed = hex::encode([own.1; 32]);
    let variables = [
        ("MESH_FEDERATION_ENABLED", "true"),
        ("MESH_FEDERATION_ED25519_SEED_HEX", seed.as_str()),
    ];
    let settings: FederationSettings = load(None, &Environment::from_iter(variables)).unwrap();
    let key = keys::to_hex(&keys::public_key_of_seed(&[peer.1; 32]).unwrap());
    let peer = format!(
        r#"{{"name":"peer","origin":"{}","ed25519_public_key":"{key}"}}"#,
        peer.0
    );
    let peer: PeerSettings = from_json(&peer).unwrap();
    let origin = Origin::parse(own.0).unwrap();
    Federation::from_settings(&origin, Dialect::Hive, &settings, &[peer], CardCheck::Off).unwrap()
}

fn body_of(source: &str) -> String {
    format!(r#"{{"v":1,"correlationId":"corr-0001","sourceOrigin":"{source}"}}"#)
}

/// Alpha judges a body that says to be of `source` and was sealed by `sealer` as `sealed`.
fn check(
    rule: SealRule,
    source: &str,
    sealed: Option<((&str, u8), &str)>,
    expected: Result<(), SealRefusal>,
) {
    let body = body_of(source);
    let headers: Headers = sealed
        .and_then(|(sealer, sealed)| node(sealer, ALPHA, rule).seal(sealed.as_bytes()))
        .into_iter()
        .collect();
    assert_eq!(headers.len(), usize::from(sealed.is_some()));
    let envelope = WanMessage::decode(body.as_bytes()).unwrap().envelope;
    let alpha = node(ALPHA, BETA, rule);
    let judged = alpha.check(&headers, body.as_bytes(), &envelope);
    assert_eq!(judged, expected, "{rule:?} {source} {sealed:?}");
}

#[test]
fn a_seal_must_be_of_the_source_and_of_somebody_trusted() {
    let (beta, stranger) = (body_of(BETA.0), body_of(STRANGER.0));
    let wrong = || {
        let error = archipel_protocol::wan::SealError::Wrong;
        Err(SealRefusal::Wrong(error.to_string()))
    };
    for rule in [SealRule::Check, SealRule::Require] {
        check(rule, BETA.0, Some((BETA, &beta)), Ok(()));
        check(rule, BETA.0, Some((BETA, "{}")), wrong());
        // Somebody else says to be beta.
        check(rule, BETA.0, Some(((BETA.0, 0x44), &beta)), wrong());
        let not_the_source = Err(SealRefusal::NotTheSource);
        check(rule, STRANGER.0, Some((BETA, &stranger)), not_the_source);
    }
    check(SealRule::Check, BETA.0, None, Ok(()));
    check(SealRule::Require, BETA.0, None, Err(SealRefusal::Missing));
    let strangers = Some((STRANGER, stranger.as_str()));
    check(SealRule::Check, STRANGER.0, strangers, Ok(()));
    let refused = Err(SealRefusal::Stranger);
    check(SealRule::Require, STRANGER.0, strangers, refused);
    check(SealRule::Off, BETA.0, Some((BETA, "{}")), Ok(()));
}

#[test]
fn a_node_believes_its_own_seal() {
    let own = node(ALPHA, BETA, SealRule::Require);
    let body = body_of(ALPHA.0);
    let headers: Headers = own.seal(body.as_bytes()).into_iter().collect();
    let envelope = WanMessage::decode(body.as_bytes()).unwrap().envelope;
    assert_eq!(own.check(&headers, body.as_bytes(), &envelope), Ok(()));
}
