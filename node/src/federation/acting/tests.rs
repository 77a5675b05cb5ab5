//! Names of callers, chains that grow, and calls that go no further.

use archipel_protocol::federation::{Actor, Delegation};
use archipel_protocol::ids::Origin;

use super::{Acting, Behind, CallerNames, MAX_ACTORS, NoFurther};
use crate::federation::PeerIdentity;

const HOPS: u8 = 4;

fn node(name: &str) -> Origin {
    Origin::parse(&format!("https://{name}.example")).unwrap()
}

fn actor(iss: &str, sub: &str) -> Actor {
    Actor {
        iss: node(iss),
        sub: sub.to_owned(),
    }
}

/// Somebody who came from the first of these nodes, which says all of this of them.
fn came_from(peer: &str, chain: &[Actor], hops: u8) -> PeerIdentity {
    PeerIdentity {
        name: peer.into(),
        origin: Some(node(peer)),
        issuer: node(peer).to_string(),
        principal: format!("peer:{peer}").into(),
        peer: None,
        acting: Acting::of(chain.to_vec()),
        hops,
    }
}

/// What `own` tells a peer of a caller.
fn told(
    peer: &str,
    principal: &str,
    came_from: Option<&PeerIdentity>,
) -> Result<Delegation, NoFurther> {
    let behind = Behind {
        principal,
        came_from,
    };
    CallerNames::new(b"a secret").delegation(&node("own"), &node(peer), behind, HOPS)
}

fn name(peer: &str, principal: &str) -> String {
    let chain = told(peer, principal, None).unwrap().chain;
    chain.first().unwrap().sub.clone()
}

#[test]
fn a_caller_has_one_name_at_each_peer() {
    assert_eq!(name("beta", "alice"), name("beta", "alice"));
    assert_ne!(name("beta", "alice"), name("beta", "bob"));
    assert_ne!(name("beta", "alice"), name("gamma", "alice"));
    assert_eq!(name("beta", "alice").len(), 32);
    let other = CallerNames::new(b"another secret");
    let behind = Behind {
        principal: "alice",
        came_from: None,
    };
    let other = other.delegation(&node("own"), &node("beta"), behind, HOPS);
    assert_ne!(
        other.unwrap().chain.first().unwrap().sub,
        name("beta", "alice")
    );
}

#[test]
fn a_chain_grows_by_us_and_names_nobody_as_others_know_them() {
    let direct = told("beta", "alice", None).unwrap();
    assert_eq!(direct.hops, Some(HOPS - 1));
    assert_eq!(direct.chain.first().unwrap().iss, node("own"));

    let before = [actor("gamma", "carol"), actor("delta", "dave")];
    let identity = came_from("gamma", &before, 2);
    let further = told("beta", "peer:gamma/carol", Some(&identity)).unwrap();
    assert_eq!(further.hops, Some(1));
    let nodes: Vec<&Origin> = further.chain.iter().map(|actor| &actor.iss).collect();
    assert_eq!(nodes, [&node("own"), &node("gamma"), &node("delta")]);
    assert!(further.chain.iter().all(|actor| actor.sub.len() == 32));

    // A Hive node says nothing of its callers, but a loop through it is one.
    let silent = came_from("gamma", &[], 2);
    let further = told("beta", "peer:gamma", Some(&silent)).unwrap();
    assert_eq!(further.chain.last().unwrap().iss, node("gamma"));
}

#[test]
fn a_call_goes_neither_round_nor_on_for_ever() {
    let check = |peer: &str, chain: &[Actor], hops, expected| {
        let identity = came_from("gamma", chain, hops);
        let told = told(peer, "peer:gamma", Some(&identity));
        assert_eq!(told.map(drop), expected, "{peer} {chain:?} {hops}");
    };
    let chain = [actor("gamma", "carol"), actor("delta", "dave")];
    check("beta", &chain, 1, Ok(()));
    check("beta", &chain, 0, Err(NoFurther::TooFar));
    check("gamma", &chain, 3, Err(NoFurther::Loop));
    check("delta", &chain, 3, Err(NoFurther::Loop));
    check("gamma", &[], 3, Err(NoFurther::Loop));
    let long = |length| vec![actor("gamma", "carol"); length];
    check("beta", &long(MAX_ACTORS - 1), 3, Ok(()));
    check("beta", &long(MAX_ACTORS), 3, Err(NoFurther::TooFar));
}
