//! The keys of peers that call often: their signatures are checked against tables that were made once.
//!
//! A signature `(R, s)` is good when `R` is the encoding of `s·B - h·A` (RFC 8032 section 5.1.7, without the cofactor, as
//! AWS-LC has it). A library that meets a key for the first time doubles its way through `h·A`, and that is most of what
//! verifying costs. With the multiples of `A` at hand, as everybody has those of `B`, it is additions only. Nothing here is
//! secret, so nothing has to take the same time always.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};

use curve25519_dalek::constants::ED25519_BASEPOINT_POINT;
use curve25519_dalek::edwards::CompressedEdwardsY;
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::IsIdentity;
use sha2::{Digest, Sha512};

use super::{KeyError, PublicKey};
use multiples::{Multiples, Width};

mod field;
mod inverse;
mod multiples;

/// Good signatures after which a key gets its table, which takes as long to make as the table saves in so many more.
const OFTEN: u32 = 256;

/// Tables of one verifier: 52 MiB.
const TABLES: u32 = 32;

/// Those of the point that all keys are multiples of.
static BASE: LazyLock<Multiples> =
    LazyLock::new(|| Multiples::of(ED25519_BASEPOINT_POINT, Width::Eleven));

/// A public key that is asked again and again.
pub(in crate::federation) struct FrequentKey {
    key: PublicKey,
    bytes: [u8; 32],
    /// Good signatures so far; a wrong one earns its sender nothing.
    good: AtomicU32,
    /// Nothing in it if there was no room for another, or the key is one that should not be trusted with tables.
    table: OnceLock<Option<Table>>,
    room: Room,
}

/// How many more tables a verifier may have.
#[derive(Clone)]
pub(in crate::federation) struct Room(Arc<AtomicU32>);

impl FrequentKey {
    /// A key that shares `room` with the others of its verifier.
    pub(in crate::federation) fn new(key: &[u8; 32], room: &Room) -> Result<Self, KeyError> {
        Ok(Self {
            key: PublicKey::new(key)?,
            bytes: *key,
            good: AtomicU32::new(0),
            table: OnceLock::new(),
            room: room.clone(),
        })
    }

    pub(in crate::federation) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        if let Some(Some(table)) = self.table.get() {
            return table.verifies(message, signature);
        }
        let good = self.key.verifies(message, signature);
        if good && self.good.fetch_add(1, Ordering::Relaxed) == OFTEN {
            let has_room = self.room.take();
            let table = has_room.then(|| Table::of(&self.bytes)).flatten();
            // Only the signature that made it often comes here.
            let _ = self.table.set(table);
        }
        good
    }
}

impl Room {
    fn take(&self) -> bool {
        let less = |left: u32| left.checked_sub(1);
        let (order, left) = (Ordering::Relaxed, &self.0);
        left.fetch_update(order, order, less).is_ok()
    }
}

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(AtomicU32::new(TABLES)))
    }
}

/// Multiples of a key with its sign changed.
struct Table {
    minus_key: Multiples,
    key: [u8; 32],
}

impl Table {
    /// Nothing for keys that nobody makes by the rules: outside the group of prime order, where a signature can be good for
    /// one verifier and wrong for another, or written in a second way.
    fn of(key: &[u8; 32]) -> Option<Self> {
        let point = CompressedEdwardsY(*key).decompress()?;
        let by_the_rules =
            point.is_torsion_free() && !point.is_identity() && point.compress().as_bytes() == key;
        by_the_rules.then(|| Self {
            minus_key: Multiples::of(-point, Width::Ten),
            key: *key,
        })
    }

    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let Some((r, s)) = halves(signature) else {
            return false;
        };
        // Another multiple of the order of the group would be a second spelling of the same signature.
        let Some(s) = Option::<Scalar>::from(Scalar::from_canonical_bytes(s)) else {
            return false;
        };
        let hash = Sha512::new()
            .chain_update(r)
            .chain_update(self.key)
            .chain_update(message)
            .finalize();
        let h = Scalar::from_bytes_mod_order_wide(&hash.into());
        let expected = self.minus_key.add_times(&h, BASE.times(&s));
        // Compared as bytes, so an `R` that is written in a second way, or is no point, is wrong.
        expected.encode() == r
    }
}

/// Little-endian.
fn words(bytes: &[u8; 32]) -> [u64; 4] {
    [0, 8, 16, 24].map(|at| {
        let word = bytes.get(at..at + 8).and_then(|word| word.try_into().ok());
        word.map_or(0, u64::from_le_bytes)
    })
}

fn halves(signature: &[u8]) -> Option<([u8; 32], [u8; 32])> {
    let (r, s) = signature.split_first_chunk()?;
    Some((*r, s.try_into().ok()?))
}

#[cfg(test)]
#[expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]
mod tests;
