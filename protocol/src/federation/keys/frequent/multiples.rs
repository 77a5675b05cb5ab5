//! Multiples of a point, so many that multiplying it is one addition for each digit of the number, and digits are wide.
//!
//! The tables of the library take the same time whatever the number is, which costs it more and smaller steps. What is
//! multiplied here is public. And it adds points of the most general kind, where ours are prepared: seven multiplications
//! instead of nine, and no calls between them.

use std::hint::black_box;

use curve25519_dalek::constants::EIGHT_TORSION;
use curve25519_dalek::edwards::EdwardsPoint;
use curve25519_dalek::scalar::Scalar;

use super::field::Field;
use super::words;

/// Bits of a number that is below the order of the group.
const BITS: u32 = 253;
/// Digits of a number at most.
const ROWS: usize = 26;

/// `d` of the curve (RFC 8032 section 5.1).
const D: Field = Field::from_bytes(&[
    0xa3, 0x78, 0x59, 0x13, 0xca, 0x4d, 0xeb, 0x75, 0xab, 0xd8, 0x41, 0x41, 0x4d, 0x0a, 0x70, 0x00,
    0x98, 0xe8, 0x79, 0x77, 0x79, 0x40, 0xc7, 0x8c, 0x73, 0xfe, 0x6f, 0x2b, 0xee, 0x6c, 0x03, 0x52,
]);
/// A square root of -1.
const ROOT_OF_MINUS_ONE: Field = Field::from_bytes(&[
    0xb0, 0xa0, 0x0e, 0x4a, 0x27, 0x1b, 0xee, 0xc4, 0x78, 0xe4, 0x2f, 0xad, 0x06, 0x18, 0x43, 0x2f,
    0xa7, 0xd7, 0xfb, 0x3d, 0x99, 0x00, 0x4d, 0x2b, 0x0b, 0xdf, 0xc1, 0x4f, 0x80, 0x24, 0x83, 0x2b,
]);
/// 1/2.
const HALF: Field = Field::from_bytes(&[
    0xf7, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x3f,
]);

/// How many bits make a digit.
#[derive(Clone, Copy)]
pub(super) enum Width {
    /// 26 digits; 1.6 MiB.
    Ten = 10,
    /// 23 digits; 2.9 MiB.
    Eleven = 11,
}

/// The multiples of one point.
pub(super) struct Multiples {
    width: Width,
    /// A row for each digit; of row `i`, the `d`-th is the point times `(d + 1)·2^(width·i)`.
    points: Box<[Prepared]>,
}

/// A sum of points: x is `x/z`, y is `y/z`, and `t` is `x·y/z` ("extended", Hisil and others 2008).
#[derive(Clone, Copy)]
pub(super) struct Sum {
    x: Field,
    y: Field,
    z: Field,
    t: Field,
}

/// A point as it is needed to be added, halved, which saves the addition a doubling. It fills two lines of a cache; lying
/// across them it would mostly take three.
#[derive(Clone, Copy)]
#[repr(C, align(128))]
struct Prepared {
    /// `(y + x)/2`
    plus: Field,
    /// `(y - x)/2`
    minus: Field,
    /// `d·x·y`
    product: Field,
}

impl Multiples {
    /// Those of a point of the group of prime order.
    pub(super) fn of(point: EdwardsPoint, width: Width) -> Self {
        let rows = BITS.div_ceil(width as u32);
        let mut points = Vec::new();
        let mut unit = Prepared::of(point);
        for _ in 0..rows {
            let (row, next) = row(&unit, width.multiples());
            points.extend(row);
            unit = next;
        }
        Self {
            width,
            points: points.into(),
        }
    }

    /// The point times `number`, which is below the order of the group; added to `sum`.
    pub(super) fn add_times(&self, number: &Scalar, mut sum: Sum) -> Sum {
        let chosen = self.chosen(number);
        // All are looked at before the first is added, so that the processor fetches them side by side: where others use its
        // caches, too, it would wait for each of them for a third of its time. Both lines of a point are looked at.
        let looked_at = chosen.iter().flatten().fold(0, |seen, (point, _)| {
            seen ^ point.plus.lowest() ^ point.product.lowest()
        });
        black_box(looked_at);
        for (point, is_negative) in chosen.iter().flatten() {
            sum = sum.with(point, *is_negative);
        }
        sum
    }

    /// What must be added for each digit of a number, or subtracted if it is negative; nothing for the digit zero.
    fn chosen(&self, number: &Scalar) -> [Option<(&Prepared, bool)>; ROWS] {
        let (width, multiples) = (self.width as u32, self.width.multiples() as u64);
        let mut chosen = [None; ROWS];
        let [mut a, mut b, mut c, mut d] = words(number.as_bytes());
        let mut carry = 0;
        let rows = self.points.chunks_exact(self.width.multiples());
        for (chosen, row) in chosen.iter_mut().zip(rows) {
            let digit = (a & (2 * multiples - 1)) + carry;
            let is_negative = digit > multiples;
            carry = u64::from(is_negative);
            let size = if is_negative {
                2 * multiples - digit
            } else {
                digit
            };
            let above_zero = usize::try_from(size)
                .ok()
                .and_then(|size| size.checked_sub(1));
            let point = above_zero.and_then(|at| row.get(at));
            *chosen = point.map(|point| (point, is_negative));
            a = a >> width | b << (64 - width);
            b = b >> width | c << (64 - width);
            c = c >> width | d << (64 - width);
            d >>= width;
        }
        // The order is hardly above 2^252, so nothing is carried beyond the last digit.
        chosen
    }

    /// The point times `number`.
    pub(super) fn times(&self, number: &Scalar) -> Sum {
        self.add_times(number, Sum::NEUTRAL)
    }
}

impl Width {
    /// How many multiples a digit may ask for: it is written from the negative of that on, and the sign costs nothing.
    const fn multiples(self) -> usize {
        1 << (self as u32 - 1)
    }
}

/// So many multiples of a point, and the one that the next row begins with.
fn row(unit: &Prepared, multiples: usize) -> (Vec<Prepared>, Prepared) {
    let mut sums = Vec::with_capacity(multiples + 1);
    let mut sum = Sum::NEUTRAL;
    for _ in 0..multiples {
        sum = sum.with(unit, false);
        sums.push(sum);
    }
    for _ in 0..multiples {
        sum = sum.with(unit, false);
    }
    sums.push(sum);
    let mut row = Prepared::all(&sums);
    let next = row.pop().unwrap_or(*unit);
    (row, next)
}

impl Sum {
    /// The sum of no points.
    const NEUTRAL: Self = Self {
        x: Field::ZERO,
        y: Field::ONE,
        z: Field::ONE,
        t: Field::ZERO,
    };

    /// With a point added or, if it `is_negative`, subtracted. Right for any two points (RFC 8032 section 5.1.4 has the
    /// formulas; all four factors are half of what they are there).
    #[inline(always)]
    fn with(self, point: &Prepared, is_negative: bool) -> Self {
        let Self { x, y, z, t } = self;
        let (plus, minus) = if is_negative {
            (&point.minus, &point.plus)
        } else {
            (&point.plus, &point.minus)
        };
        let a = (y - x) * *minus;
        let b = (y + x) * *plus;
        let c = t * point.product;
        let (e, h) = (b - a, b + a);
        let (f, g) = if is_negative {
            (z + c, z - c)
        } else {
            (z - c, z + c)
        };
        Self {
            x: e * f,
            y: g * h,
            z: f * g,
            t: e * h,
        }
    }

    /// As it is written (RFC 8032 section 5.1.2).
    pub(super) fn encode(self) -> [u8; 32] {
        let inverse = self.z.inverse();
        let mut bytes = (self.y * inverse).to_bytes();
        let sign = u8::from((self.x * inverse).is_odd());
        bytes[31] |= sign << 7;
        bytes
    }
}

impl Prepared {
    fn of(point: EdwardsPoint) -> Self {
        let mut y = point.compress().to_bytes();
        let is_odd = y[31] >> 7 == 1;
        y[31] &= 0x7f;
        // The library keeps x for itself, but y of the point's sum with a point of order four, whose y is zero, is x times a
        // root of -1, or the negative of that.
        let mut turned = (point + EIGHT_TORSION[2]).compress().to_bytes();
        turned[31] &= 0x7f;
        let x = Field::from_bytes(&turned) * ROOT_OF_MINUS_ONE;
        let minus_x = (Field::ZERO - x) * Field::ONE;
        let x = if x.is_odd() == is_odd { x } else { minus_x };
        Self::at(x, Field::from_bytes(&y))
    }

    /// All at the price of one inversion (Montgomery's trick).
    fn all(sums: &[Sum]) -> Vec<Self> {
        let mut product = Field::ONE;
        let mut before = Vec::with_capacity(sums.len());
        for sum in sums {
            before.push(product);
            product = product * sum.z;
        }
        let mut inverse = product.inverse();
        let mut prepared = Vec::with_capacity(sums.len());
        for (sum, before) in sums.iter().zip(before).rev() {
            let own = inverse * before;
            inverse = inverse * sum.z;
            prepared.push(Self::at(sum.x * own, sum.y * own));
        }
        prepared.reverse();
        prepared
    }

    fn at(x: Field, y: Field) -> Self {
        Self {
            plus: (y + x) * HALF,
            minus: (y - x) * HALF,
            product: x * y * D,
        }
    }
}

#[cfg(test)]
mod tests {
    use curve25519_dalek::constants::ED25519_BASEPOINT_POINT;
    use proptest::prelude::*;

    use super::*;

    /// Says the same as the library.
    fn check(multiples: &Multiples, point: EdwardsPoint, number: Scalar) {
        let expected = (point * number).compress();
        assert_eq!(multiples.times(&number).encode(), expected.to_bytes());
    }

    #[test]
    fn digits_of_every_kind_are_added() {
        // One with an odd x and one with an even.
        let signs = [ED25519_BASEPOINT_POINT, -ED25519_BASEPOINT_POINT];
        for (point, width) in signs.into_iter().zip([Width::Ten, Width::Eleven]) {
            let multiples = Multiples::of(point, width);
            for digit in [511_u64, 512, 513, 1023, 1024, 1025, 2047, 2048] {
                check(&multiples, point, Scalar::from(digit));
                check(&multiples, point, -Scalar::from(digit));
            }
            for number in [0, 1, 512 << 10, 1024 << 11, u64::MAX] {
                check(&multiples, point, Scalar::from(number));
                check(&multiples, point, -Scalar::from(number));
            }
            proptest!(ProptestConfig::with_cases(32), |(bytes: [u8; 32])| {
                check(&multiples, point, Scalar::from_bytes_mod_order(bytes));
            });
        }
    }

    #[test]
    fn every_prepared_multiple_is_the_librarys() {
        let point = ED25519_BASEPOINT_POINT * Scalar::from(7_u8);
        let multiples = Multiples::of(point, Width::Ten);
        assert_eq!(multiples.points.len(), ROWS * Width::Ten.multiples());
        let mut unit = point;
        for row in multiples.points.chunks_exact(Width::Ten.multiples()) {
            let mut expected = unit;
            for prepared in row {
                let own = Sum::NEUTRAL.with(prepared, false).encode();
                assert_eq!(own, expected.compress().to_bytes());
                expected += unit;
            }
            unit *= Scalar::from(1024_u16);
        }
    }

    #[test]
    fn sums_that_come_to_nothing_or_double_are_right() {
        let multiples = Multiples::of(ED25519_BASEPOINT_POINT, Width::Eleven);
        let opposite = Multiples::of(-ED25519_BASEPOINT_POINT, Width::Ten);
        proptest!(ProptestConfig::with_cases(8), |(bytes: [u8; 32])| {
            let number = Scalar::from_bytes_mod_order(bytes);
            let once = multiples.times(&number);
            let nothing = opposite.add_times(&number, once).encode();
            prop_assert_eq!(nothing, Sum::NEUTRAL.encode());
            let twice = multiples.add_times(&number, once).encode();
            let expected = (ED25519_BASEPOINT_POINT * (number + number)).compress();
            prop_assert_eq!(twice, expected.to_bytes());
        });
    }
}
