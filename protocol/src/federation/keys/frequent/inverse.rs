//! What a number must be multiplied with to be one, modulo 2^255 - 19.
//!
//! The greatest common divisor of the modulus and the number is one; on the way to it one learns how to put it together from
//! the two ("Fast constant-time gcd computation and modular inversion", Bernstein and Yang, 2019; in the form that
//! libsecp256k1 has, `modinv64`, in the variant whose time depends on the number). A third of the time that Fermat takes.

use std::ops::Neg;

use super::words;

/// Bits of a limb, and steps that are taken on the lowest limbs before all of them follow.
const STEPS: u32 = 62;
const LOW: i64 = (1 << STEPS) - 1;

/// The modulus: its second to fourth limb are zero.
const MODULUS: Limbs = Limbs([-19, 0, 0, 0, 1 << 7]);

/// What -19 must be multiplied with to be one modulo 2^62. Each round doubles the bits that are right.
const MODULUS_INVERSE: u64 = {
    let modulus = 19_u64.wrapping_neg();
    let mut inverse = modulus;
    let mut round = 0;
    while round < 5 {
        inverse = inverse.wrapping_mul(2_u64.wrapping_sub(modulus.wrapping_mul(inverse)));
        round += 1;
    }
    inverse
};

/// A number in limbs of 62 bits, the lowest first; the last has the sign.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Limbs([i64; 5]);

/// What some steps make of two numbers `f` and `g`: `(u·f + v·g, q·f + r·g)/2^62`.
struct Steps {
    u: i64,
    v: i64,
    q: i64,
    r: i64,
}

/// The inverse of a number below the modulus, little-endian; zero for zero.
pub(super) fn inverse(number: [u8; 32]) -> [u8; 32] {
    let (mut f, mut g) = (MODULUS, Limbs::from_bytes(number));
    // Modulo the modulus, `f` is `d` times the number, and `g` is `e` times.
    let (mut d, mut e) = (Limbs::ZERO, Limbs([1, 0, 0, 0, 0]));
    let mut eta = -1;
    while g != Limbs::ZERO {
        let steps = steps(&mut eta, f.0[0], g.0[0]);
        (d, e) = steps.combine_modulo(&d, &e);
        (f, g) = steps.combine(&f, &g);
    }
    // Now `f` is 1 or -1 (or, for zero, the modulus).
    let is_negative = f.0[4] < 0;
    d.within_modulus(is_negative).to_bytes()
}

/// Takes 62 steps, which the lowest limbs suffice for.
fn steps(eta: &mut i64, f: i64, g: i64) -> Steps {
    let (mut f, mut g) = (f as u64, g as u64);
    let (mut u, mut v, mut q, mut r) = (1_u64, 0_u64, 0_u64, 1_u64);
    let mut left = STEPS;
    loop {
        // Steps of an even `g` halve it.
        let zeros = (g | (u64::MAX << left)).trailing_zeros();
        g >>= zeros;
        u <<= zeros;
        v <<= zeros;
        *eta -= i64::from(zeros);
        left -= zeros;
        if left == 0 {
            break;
        }
        let is_swapped = *eta < 0;
        if is_swapped {
            *eta = -*eta;
            (f, g) = (g, f.wrapping_neg());
            (u, q) = (q, u.wrapping_neg());
            (v, r) = (r, v.wrapping_neg());
        }
        // So many times `f` makes `g` end in as many zeros as steps may be taken without looking again: up to six, or four
        // where less of the inverse of `f` is at hand.
        let limit = left.min(u32::try_from(*eta + 1).unwrap_or(u32::MAX));
        let (minus_inverse, most) = if is_swapped {
            (f.wrapping_mul(f.wrapping_mul(f).wrapping_sub(2)), 63)
        } else {
            (
                f.wrapping_add((f.wrapping_add(1) & 4) << 1).wrapping_neg(),
                15,
            )
        };
        let times = minus_inverse.wrapping_mul(g) & (u64::MAX >> (64 - limit)) & most;
        g = g.wrapping_add(f.wrapping_mul(times));
        q = q.wrapping_add(u.wrapping_mul(times));
        r = r.wrapping_add(v.wrapping_mul(times));
    }
    let [u, v, q, r] = [u, v, q, r].map(|factor| factor as i64);
    Steps { u, v, q, r }
}

impl Steps {
    /// Applied to two numbers that come out even.
    fn combine(&self, f: &Limbs, g: &Limbs) -> (Limbs, Limbs) {
        let first = sums((self.u, self.v), f, g);
        let second = sums((self.q, self.r), f, g);
        (halved(first), halved(second))
    }

    /// Applied to two numbers modulo the modulus, both between its negative twice and itself.
    fn combine_modulo(&self, d: &Limbs, e: &Limbs) -> (Limbs, Limbs) {
        let are_negative = [d, e].map(|number| number.0[4] >> 63);
        let combine = |x: i64, y: i64| {
            let mut sums = sums((x, y), d, e);
            // So many times the modulus keeps it between those bounds, and some more make it come out even.
            let [mut times, more] = [x & are_negative[0], y & are_negative[1]];
            times += more;
            let uneven = MODULUS_INVERSE.wrapping_mul(sums[0] as u64);
            times -= (uneven.wrapping_add(times as u64) as i64) & LOW;
            sums[0] += wide(times, MODULUS.0[0]);
            sums[4] += wide(times, MODULUS.0[4]);
            halved(sums)
        };
        (combine(self.u, self.v), combine(self.q, self.r))
    }
}

/// `x·f + y·g`, limb by limb.
fn sums((x, y): (i64, i64), f: &Limbs, g: &Limbs) -> [i128; 5] {
    let ([f0, f1, f2, f3, f4], [g0, g1, g2, g3, g4]) = (f.0, g.0);
    [(f0, g0), (f1, g1), (f2, g2), (f3, g3), (f4, g4)].map(|(f, g)| wide(x, f) + wide(y, g))
}

/// Divided by 2^62; the lowest of the limbs, which are not carried yet, is a multiple of that.
fn halved([s0, s1, s2, s3, s4]: [i128; 5]) -> Limbs {
    let low = |sum: i128| (sum as i64) & LOW;
    let s1 = s1 + (s0 >> STEPS);
    let s2 = s2 + (s1 >> STEPS);
    let s3 = s3 + (s2 >> STEPS);
    let s4 = s4 + (s3 >> STEPS);
    Limbs([low(s1), low(s2), low(s3), low(s4), (s4 >> STEPS) as i64])
}

fn wide(factor: i64, limb: i64) -> i128 {
    i128::from(factor) * i128::from(limb)
}

impl Limbs {
    const ZERO: Self = Self([0; 5]);

    fn from_bytes(bytes: [u8; 32]) -> Self {
        let [a, b, c, d] = words(&bytes);
        let limbs = [
            a,
            a >> 62 | b << 2,
            b >> 60 | c << 4,
            c >> 58 | d << 6,
            d >> 56,
        ];
        Self(limbs.map(|limb| (limb as i64) & LOW))
    }

    /// Of one that is not negative.
    fn to_bytes(self) -> [u8; 32] {
        let [a, b, c, d, e] = self.0.map(|limb| limb as u64);
        let words = [
            a | b << 62,
            b >> 2 | c << 60,
            c >> 4 | d << 58,
            d >> 6 | e << 56,
        ];
        let mut bytes = [0; 32];
        for (bytes, word) in bytes.chunks_exact_mut(8).zip(words) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// Of one between the negative twice the modulus and the modulus: what it, or its negative, is modulo the modulus.
    fn within_modulus(self, is_negated: bool) -> Self {
        let number = self.not_negative().0;
        let number = if is_negated {
            number.map(Neg::neg)
        } else {
            number
        };
        Self(number).carried().not_negative().carried()
    }

    /// With the modulus added if it is negative; not carried.
    fn not_negative(self) -> Self {
        let ([a, b, c, d, e], [low, .., high]) = (self.0, MODULUS.0);
        let is_negative = e >> 63;
        Self([a + (low & is_negative), b, c, d, e + (high & is_negative)])
    }

    fn carried(self) -> Self {
        let [a, b, c, d, e] = self.0;
        let b = b + (a >> STEPS);
        let c = c + (b >> STEPS);
        let d = d + (c >> STEPS);
        let e = e + (d >> STEPS);
        Self([a & LOW, b & LOW, c & LOW, d & LOW, e])
    }
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "tests fail by panicking")]
mod tests {
    use proptest::prelude::*;

    use super::super::field::Field;
    use super::*;

    /// The modulus less one.
    const LAST: [u8; 32] = {
        let mut bytes = [0xff; 32];
        bytes[0] = 0xec;
        bytes[31] = 0x7f;
        bytes
    };

    fn check(number: [u8; 32]) {
        let field = Field::from_bytes(&number);
        let inverse = Field::from_bytes(&inverse(field.to_bytes()));
        let is_zero = field.to_bytes() == [0; 32];
        let expected = if is_zero { Field::ZERO } else { Field::ONE };
        assert_eq!((field * inverse).to_bytes(), expected.to_bytes());
    }

    #[test]
    fn a_number_times_its_inverse_is_one() {
        let mut number = [0; 32];
        check(number);
        for bit in 0..255 {
            number[bit / 8] = 1 << (bit % 8);
            check(number);
            number[bit / 8] = 0;
            let mut last = LAST;
            last[bit / 8] ^= 1 << (bit % 8);
            check(last);
        }
        check(LAST);
        assert_eq!(inverse(LAST), LAST);
        proptest!(ProptestConfig::with_cases(2000), |(mut number: [u8; 32])| {
            number[31] &= 0x7f;
            check(number);
        });
    }
}
