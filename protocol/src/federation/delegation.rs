//! For whom a call is made, and how far it may go: claims of ours beside the contract's, which other verifiers pass over.
//!
//! `act` is the chain of actors of RFC 8693 §4.1: outermost who acts now, within it for whom. `hops` is an integer: how
//! many further nodes the call may go through. Both may be absent; what is there must have exactly this shape.

use std::fmt;

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;

use crate::federation::token;
use crate::ids::Origin;

/// The longest chain that is taken or written.
pub const MAX_ACTORS: usize = 8;

/// Longest `sub` of an actor, in bytes.
const MAX_SUBJECT: usize = 128;

/// Somebody who acts: known to the node at `iss`, and to everybody else only by a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// The node that knows them.
    pub iss: Origin,
    /// How that node calls them: 1 to 128 visible ASCII characters, opaque to everybody else.
    pub sub: String,
}

/// What a token says of the call beyond who sent it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delegation {
    /// Who acts now, then for whom they act, and so on; empty where the token does not say.
    pub chain: Vec<Actor>,
    /// How many further nodes the call may go through.
    pub hops: Option<u8>,
}

/// A claim is there and has not the shape it must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WrongShape;

impl Delegation {
    /// Nothing beyond who sent the token, as Hive and Pilox mint theirs.
    pub const NONE: Self = Self {
        chain: Vec::new(),
        hops: None,
    };

    /// Reads the claims `act` and `hops`.
    pub(super) fn read(
        act: Option<&RawValue>,
        hops: Option<&RawValue>,
    ) -> Result<Self, WrongShape> {
        let mut chain = Vec::new();
        let mut next = act;
        while let Some(raw) = next {
            if chain.len() == MAX_ACTORS {
                return Err(WrongShape);
            }
            let [iss, sub, act] = members(raw)?;
            chain.push(Actor::read(iss, sub)?);
            next = act;
        }
        let hops = hops.map(|raw| raw.get().parse().map_err(|_| WrongShape));
        Ok(Self {
            chain,
            hops: hops.transpose()?,
        })
    }

    /// The chain as the claim `act`; `None` when there is none.
    pub(super) fn act(&self) -> Option<impl Serialize> {
        (!self.chain.is_empty()).then_some(Act(&self.chain))
    }
}

impl Actor {
    fn read(iss: Option<&RawValue>, sub: Option<&RawValue>) -> Result<Self, WrongShape> {
        let iss = iss.and_then(token::text).ok_or(WrongShape)?;
        let sub = sub.and_then(token::text).ok_or(WrongShape)?;
        let origin = Origin::parse(&iss).map_err(|_| WrongShape)?;
        let is_opaque = (1..=MAX_SUBJECT).contains(&sub.len())
            && sub.bytes().all(|byte| byte.is_ascii_graphic());
        // Only the one spelling of an origin that is compared everywhere.
        if origin.as_str() != iss || !is_opaque {
            return Err(WrongShape);
        }
        Ok(Self {
            iss: origin,
            sub: sub.into_owned(),
        })
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}#{}", self.iss, self.sub)
    }
}

fn members(raw: &RawValue) -> Result<[Option<&RawValue>; 3], WrongShape> {
    let text = raw.get();
    if !text.starts_with('{') {
        return Err(WrongShape);
    }
    token::members(text, &["iss", "sub", "act"]).ok_or(WrongShape)
}

/// A chain, as the objects one in another that it is on the wire.
struct Act<'a>(&'a [Actor]);

impl Serialize for Act<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(None)?;
        if let Some((actor, before)) = self.0.split_first() {
            object.serialize_entry("iss", actor.iss.as_str())?;
            object.serialize_entry("sub", &actor.sub)?;
            if !before.is_empty() {
                object.serialize_entry("act", &Act(before))?;
            }
        }
        object.end()
    }
}
