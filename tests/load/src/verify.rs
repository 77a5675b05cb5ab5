//! How many federation tokens one core verifies in a second: the whole verification, without HTTP and without the claim of
//! the token's id.

use std::time::Duration;

use anyhow::Context;
use archipel_kit::clock::{Clock, SystemClock};
use archipel_protocol::federation::{Minter, PeerKey, Policy, Verifier, keys};
use archipel_protocol::ids::Origin;
use archipel_protocol::names::Dialect;
use uuid::Uuid;

use crate::process::own_cpu;

const PEER: &str = "https://peer.example";
const OURS: &str = "https://ours.example";
/// Different tokens, verified in turn.
const TOKENS: usize = 1024;
/// Processor time for each algorithm.
const LONG_ENOUGH: Duration = Duration::from_secs(2);

/// What one algorithm came to.
#[derive(Debug)]
pub(crate) struct Verified {
    pub(crate) algorithm: &'static str,
    /// In a second of one core.
    pub(crate) rate: f64,
}

/// Measures both algorithms.
pub(crate) fn measure(clock: SystemClock) -> anyhow::Result<Vec<Verified>> {
    let seed = rand::random();
    let peer = Origin::parse(PEER)?;
    let key = PeerKey::new(keys::public_key_of_seed(&seed)?);
    let secret = hex::encode(seed);
    let issuer = Dialect::Hive.hs256_issuer();
    Ok(vec![
        rate(
            "EdDSA",
            &Minter::ed25519(&seed, &peer)?,
            &Verifier::ed25519([(peer.clone(), [key])])?,
            clock,
        )?,
        rate(
            "HS256",
            &Minter::hs256(&secret, issuer)?,
            &Verifier::hs256(&secret, &[issuer])?,
            clock,
        )?,
    ])
}

fn rate(
    algorithm: &'static str,
    minter: &Minter,
    verifier: &Verifier,
    clock: SystemClock,
) -> anyhow::Result<Verified> {
    let now = i64::try_from(clock.now_ms() / 1000)?;
    let policy = Policy {
        audience: Some(OURS.to_owned()),
        ..Policy::default()
    };
    let tokens: Vec<String> = (0..TOKENS)
        .map(|_| minter.mint(Some(OURS), 60, Uuid::new_v4(), now))
        .collect::<Result<_, _>>()?;
    // Processor time, not time: others use the machine, too.
    let begun = own_cpu()?;
    let (mut verified, mut taken) = (0_u32, Duration::ZERO);
    while taken < LONG_ENOUGH {
        for token in &tokens {
            verifier
                .verify(token, &policy, now)
                .context("a good token was refused")?;
            verified += 1;
        }
        taken = own_cpu()?.saturating_sub(begun);
    }
    Ok(Verified {
        algorithm,
        rate: f64::from(verified) / taken.as_secs_f64(),
    })
}
