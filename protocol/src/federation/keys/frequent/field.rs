//! Numbers modulo 2^255 - 19, the coordinates of points.
//!
//! The arithmetic is fiat-crypto's, which was generated from proofs. It knows two kinds of numbers, and so do we: what was
//! multiplied is carried, and a sum or a difference is not until it is multiplied. The types keep one from being taken for
//! the other, so that nothing can overflow. Everything is inlined, for a call would cost as much as an addition does.

use std::ops::{Add, Mul, Sub};

use fiat_crypto::curve25519_64 as fiat;

use super::inverse::inverse;

/// A number, carried.
#[derive(Clone, Copy)]
pub(super) struct Field(fiat::fiat_25519_tight_field_element);

/// A sum or a difference of two, not carried.
#[derive(Clone, Copy)]
pub(super) struct Uncarried(fiat::fiat_25519_loose_field_element);

impl Field {
    pub(super) const ZERO: Self = Self::small(0);
    pub(super) const ONE: Self = Self::small(1);

    const fn small(number: u64) -> Self {
        Self(fiat::fiat_25519_tight_field_element([number, 0, 0, 0, 0]))
    }

    /// Little-endian; the highest bit is no part of the number and must not be set.
    pub(super) const fn from_bytes(bytes: &[u8; 32]) -> Self {
        let mut number = Self::ZERO;
        fiat::fiat_25519_from_bytes(&mut number.0, bytes);
        number
    }

    /// Little-endian, below the modulus: the one way to write the number.
    pub(super) fn to_bytes(self) -> [u8; 32] {
        let mut bytes = [0; 32];
        fiat::fiat_25519_to_bytes(&mut bytes, &self.0);
        bytes
    }

    /// Whether its sign bit is set as RFC 8032 section 5.1.2 has it: whether it is odd.
    pub(super) fn is_odd(self) -> bool {
        self.to_bytes()[0] & 1 == 1
    }

    /// Its lowest bits: something of it, for whoever wants it to be near.
    #[inline(always)]
    pub(super) const fn lowest(&self) -> u64 {
        self.0.0[0]
    }

    #[inline(always)]
    fn uncarried(self) -> Uncarried {
        let mut number = Uncarried(fiat::fiat_25519_loose_field_element([0; 5]));
        fiat::fiat_25519_relax(&mut number.0, &self.0);
        number
    }

    /// What it must be multiplied with to be one; zero for zero.
    pub(super) fn inverse(self) -> Self {
        Self::from_bytes(&inverse(self.to_bytes()))
    }
}

impl Add for Field {
    type Output = Uncarried;

    #[inline(always)]
    fn add(self, other: Self) -> Uncarried {
        let mut sum = Uncarried(fiat::fiat_25519_loose_field_element([0; 5]));
        fiat::fiat_25519_add(&mut sum.0, &self.0, &other.0);
        sum
    }
}

impl Sub for Field {
    type Output = Uncarried;

    #[inline(always)]
    fn sub(self, other: Self) -> Uncarried {
        let mut difference = Uncarried(fiat::fiat_25519_loose_field_element([0; 5]));
        fiat::fiat_25519_sub(&mut difference.0, &self.0, &other.0);
        difference
    }
}

impl Mul for Uncarried {
    type Output = Field;

    #[inline(always)]
    fn mul(self, other: Self) -> Field {
        let mut product = Field::ZERO;
        fiat::fiat_25519_carry_mul(&mut product.0, &self.0, &other.0);
        product
    }
}

impl Mul<Field> for Uncarried {
    type Output = Field;

    #[inline(always)]
    fn mul(self, other: Field) -> Field {
        self * other.uncarried()
    }
}

impl Mul for Field {
    type Output = Self;

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        self.uncarried() * other.uncarried()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The modulus less one.
    const LAST: [u8; 32] = {
        let mut bytes = [0xff; 32];
        bytes[0] = 0xec;
        bytes[31] = 0x7f;
        bytes
    };

    #[test]
    fn a_number_has_one_spelling() {
        let check = |written: [u8; 32], number: Field| {
            assert_eq!(Field::from_bytes(&written).to_bytes(), number.to_bytes());
        };
        check(LAST, (Field::ZERO - Field::ONE) * Field::ONE);
        let mut modulus = LAST;
        modulus[0] = 0xed;
        check(modulus, Field::ZERO);
        modulus[0] = 0xee;
        check(modulus, Field::ONE);
        assert!(!Field::from_bytes(&LAST).is_odd());
    }
}
