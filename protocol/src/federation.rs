//! Federation tokens: how a node proves to a peer who is calling.
//!
//! Pure: keys are handed in once, time and ids with every call. Read [`verify`] for what a token must satisfy and in
//! which order that is checked, `token` for how its text is taken apart, [`mint`] for what is sent, [`delegation`] for
//! what both may say of the caller behind the sender, [`keys`] for the keys of both. What nodes sign beside tokens:
//! [`statement`], then [`invitation`] (how two come to trust each other) and [`succession`] (how one changes its key). What
//! somebody signs for a whole mesh: [`manifest`] (who is a peer).

pub mod delegation;
pub mod invitation;
pub mod keys;
pub mod manifest;
pub mod mint;
pub mod statement;
pub mod succession;
pub(crate) mod token;
pub mod verify;

pub use delegation::{Actor, Delegation};
pub use keys::{KeyError, PeerKey};
pub use mint::{MintError, Minter, Terms};
pub use verify::{Claimed, Policy, Verified, Verifier, VerifyError, claimed};

/// `sub` of every federation token for a call over HTTP (`contract/federation.md` 1).
const SUBJECT: &str = "federation-peer";

/// `sub` of every token that goes with a letter (`wan::PostedCall`): another one, so that a verifier of calls over HTTP
/// that knows nothing of letters refuses it too.
const LETTER_SUBJECT: &str = "federation-letter";
