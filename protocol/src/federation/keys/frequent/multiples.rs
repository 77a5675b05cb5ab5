//! Multiples of a point, so many that multiplying it is one addition for each byte of the number.
//!
//! The tables of the library take the same time whatever the number is, which costs it more and smaller steps. What is
//! multiplied here is public.

use curve25519_dalek::edwards::EdwardsPoint;
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::Identity;

/// Bytes of a number.
const BYTES: usize = 32;
/// Multiples for each of them: digits are written from -128 to 128, and the sign costs nothing.
const DIGITS: usize = 128;

/// The multiples of one point: 640 KiB.
pub(super) struct Multiples {
    /// Of row `i`, the `d`-th is the point times `(d + 1)·256^i`.
    points: Box<[EdwardsPoint]>,
}

impl Multiples {
    pub(super) fn of(point: EdwardsPoint) -> Self {
        let mut points = Vec::with_capacity(BYTES * DIGITS);
        let mut unit = point;
        for _ in 0..BYTES {
            let mut multiple = unit;
            for _ in 1..DIGITS {
                points.push(multiple);
                multiple += unit;
            }
            points.push(multiple);
            unit = multiple + multiple;
        }
        Self {
            points: points.into(),
        }
    }

    /// The point times `number`, which is below the order of the group; added to `sum`.
    pub(super) fn add_times(&self, number: &Scalar, mut sum: EdwardsPoint) -> EdwardsPoint {
        let mut carry = 0;
        for (row, byte) in self.points.chunks_exact(DIGITS).zip(number.as_bytes()) {
            let digit = i16::from(*byte) + carry;
            let is_negative = digit > 128;
            carry = i16::from(is_negative);
            let digit = if is_negative { digit - 256 } else { digit };
            let above_zero = usize::from(digit.unsigned_abs()).checked_sub(1);
            // Nothing is added for the digit zero.
            if let Some(point) = above_zero.and_then(|at| row.get(at)) {
                sum = if is_negative {
                    sum - point
                } else {
                    sum + point
                };
            }
        }
        // The last byte of such a number is at most 0x10, so nothing is carried beyond it.
        sum
    }

    /// The point times `number`.
    pub(super) fn times(&self, number: &Scalar) -> EdwardsPoint {
        self.add_times(number, EdwardsPoint::identity())
    }
}

#[cfg(test)]
mod tests {
    use curve25519_dalek::constants::ED25519_BASEPOINT_POINT;
    use proptest::prelude::*;

    use super::*;

    fn check(multiples: &Multiples, number: Scalar) {
        assert_eq!(multiples.times(&number), ED25519_BASEPOINT_POINT * number);
    }

    #[test]
    fn digits_of_every_kind_are_added() {
        let multiples = Multiples::of(ED25519_BASEPOINT_POINT);
        for number in [0_u64, 1, 127, 128, 129, 255, 256, 0x8080_8080, u64::MAX] {
            check(&multiples, Scalar::from(number));
        }
        check(&multiples, -Scalar::ONE);
        proptest!(ProptestConfig::with_cases(32), |(bytes: [u8; 32])| {
            check(&multiples, Scalar::from_bytes_mod_order(bytes));
        });
    }
}
