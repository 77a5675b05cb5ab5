//! Which node a request goes to. Pure: what is known of the nodes is passed in.

/// One node that could take a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// Its place in the list of all.
    pub(crate) index: usize,
    /// Requests under way.
    pub(crate) load: usize,
    /// Its share, in thousandths; never 0.
    pub(crate) share: u64,
    /// The same in every gateway; see [`key_of`].
    pub(crate) name: u64,
}

/// The one with the fewest requests for its share. `turn` decides between equals, so that they take turns.
pub(crate) fn least_loaded(candidates: &[Candidate], turn: usize) -> Option<usize> {
    let start = turn % candidates.len().max(1);
    let in_turn = candidates
        .iter()
        .skip(start)
        .chain(candidates.iter().take(start));
    // (a.load + 1) / a.share < (b.load + 1) / b.share, without fractions.
    in_turn
        .min_by(|a, b| {
            let left = (a.load as u64 + 1).saturating_mul(b.share);
            let right = (b.load as u64 + 1).saturating_mul(a.share);
            left.cmp(&right)
        })
        .map(|candidate| candidate.index)
}

/// The one that a key leads to (weighted rendezvous hashing): when a node joins or leaves, only its own keys move.
pub(crate) fn by_key(candidates: &[Candidate], key: u64) -> Option<usize> {
    let score = |candidate: &Candidate| {
        let mixed = mix(key ^ candidate.name) >> 11;
        let unit = (mixed as f64 + 0.5) / (1_u64 << 53) as f64;
        candidate.share as f64 / -unit.ln()
    };
    candidates
        .iter()
        .max_by(|a, b| score(a).total_cmp(&score(b)))
        .map(|candidate| candidate.index)
}

/// A number for a text, the same in every gateway (FNV-1a, mixed).
pub(crate) fn key_of(text: &[u8]) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in text {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    mix(hash)
}

/// Spreads what differs in few bits over all of them (the finaliser of SplitMix64).
const fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
#[expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]
mod tests {
    use super::*;

    fn nodes(loads_and_shares: &[(usize, u64)]) -> Vec<Candidate> {
        let numbered = loads_and_shares.iter().enumerate();
        numbered
            .map(|(index, (load, share))| Candidate {
                index,
                load: *load,
                share: *share,
                name: key_of(format!("node-{index}").as_bytes()),
            })
            .collect()
    }

    #[test]
    fn the_least_loaded_for_its_share_is_chosen_and_equals_take_turns() {
        let check = |nodes: &[(usize, u64)], turn, chosen| {
            assert_eq!(
                least_loaded(&self::nodes(nodes), turn),
                chosen,
                "{nodes:?} {turn}"
            );
        };
        check(&[], 5, None);
        check(&[(3, 1000)], 7, Some(0));
        check(&[(3, 1000), (2, 1000)], 0, Some(1));
        check(&[(2, 1000), (2, 1000)], 0, Some(0));
        check(&[(2, 1000), (2, 1000)], 1, Some(1));
        check(&[(5, 3000), (2, 1000)], 0, Some(0));
        check(&[(0, 100), (5, 1000)], 0, Some(1));
    }

    #[test]
    fn keys_spread_by_share_and_only_those_of_a_lost_node_move() {
        let all = nodes(&[(0, 1000), (0, 1000), (0, 2000)]);
        let mut counts = [0; 3];
        for task in 0..40_000 {
            let key = key_of(format!("task-{task}").as_bytes());
            let chosen = by_key(&all, key).unwrap();
            counts[chosen] += 1;
            let without_last = by_key(&all[..2], key).unwrap();
            assert!(chosen == 2 || chosen == without_last);
        }
        for (count, expected) in counts.into_iter().zip([10_000_i32, 10_000, 20_000]) {
            assert!((count - expected).abs() < 600, "{counts:?}");
        }
    }
}
