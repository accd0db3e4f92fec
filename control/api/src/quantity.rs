//! Amounts of things: `100m` of a processor, `2Gi` of memory.
//!
//! An amount is a whole number of nano-units and the style it was written in; it prints in Kubernetes' canonical form, the
//! largest suffix that leaves no fraction. Equality and order are of amounts, not of styles.

use std::cmp::Ordering;
use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::str::FromStr;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Written;

/// An amount.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quantity {
    nanos: i128,
    style: Style,
}

/// Which suffixes an amount is written with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Style {
    /// `m`, `k`, `M` …
    #[default]
    Decimal,
    /// `Ki`, `Mi` …
    Binary,
    /// `e3`, `e6` …
    Exponent,
}

/// Text that is not an amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an amount")]
pub struct NotAQuantity;

const NANO: i128 = 1_000_000_000;

/// The largest amount there is, as in Kubernetes: the whole part fits 63 bits.
const NANOS_MAX: i128 = i64::MAX as i128 * NANO;

const DECIMAL: [(&str, i32); 9] =
    [("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15)];
const BINARY: [&str; 6] = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

// === impl Quantity ===

impl Quantity {
    /// Nothing.
    pub const ZERO: Self = Self { nanos: 0, style: Style::Decimal };

    /// So many whole units.
    pub const fn units(count: i64) -> Self {
        Self { nanos: count as i128 * NANO, style: Style::Decimal }
    }

    /// So many thousandths, as processors are counted.
    pub const fn millis(count: i64) -> Self {
        Self { nanos: count as i128 * 1_000_000, style: Style::Decimal }
    }

    /// So many bytes, written with binary suffixes.
    pub const fn bytes(count: i64) -> Self {
        Self { nanos: count as i128 * NANO, style: Style::Binary }
    }

    /// What an object says, where it says something that is an amount; nothing else counts as zero.
    pub fn of(written: &Written) -> Self {
        written.0.parse().unwrap_or_default()
    }

    /// Whole units, rounded up.
    pub fn value(self) -> i64 {
        ceiling(self.nanos, NANO)
    }

    /// Thousandths, rounded up.
    pub fn milli_value(self) -> i64 {
        ceiling(self.nanos, 1_000_000)
    }

    /// Whole units, if it is nothing else and they can be counted.
    pub fn whole(self) -> Option<i64> {
        (self.nanos % NANO == 0).then(|| i64::try_from(self.nanos / NANO).ok())?
    }

    /// As near as a floating number comes.
    pub fn approximate(self) -> f64 {
        self.nanos as f64 / NANO as f64
    }

    /// Whether it is nothing.
    pub const fn is_zero(self) -> bool {
        self.nanos == 0
    }

    /// Whether it is less than nothing.
    pub const fn is_negative(self) -> bool {
        self.nanos < 0
    }
}

fn ceiling(nanos: i128, unit: i128) -> i64 {
    let whole = nanos.div_euclid(unit) + i128::from(nanos.rem_euclid(unit) != 0);
    i64::try_from(whole).unwrap_or(if whole < 0 { i64::MIN } else { i64::MAX })
}

impl FromStr for Quantity {
    type Err = NotAQuantity;

    fn from_str(text: &str) -> Result<Self, NotAQuantity> {
        let (negative, rest) = match text.as_bytes().first().ok_or(NotAQuantity)? {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, suffix) = rest.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(NotAQuantity);
        }
        let (style, unit) = suffix_of(suffix).ok_or(NotAQuantity)?;
        let nanos = scaled(whole, fraction, unit);
        Ok(Self { nanos: if negative { -nanos } else { nanos }, style })
    }
}

/// What one unit of the suffix is: a numerator and a denominator over nano-units.
#[derive(Clone, Copy)]
struct Unit {
    numerator: i128,
    denominator: i128,
}

fn suffix_of(suffix: &str) -> Option<(Style, Unit)> {
    if let Some(power) = BINARY.iter().position(|known| *known == suffix) {
        let numerator = NANO << (10 * (power + 1));
        return Some((Style::Binary, Unit { numerator, denominator: 1 }));
    }
    if suffix == "E" {
        return Some((Style::Decimal, Unit::ten_to(18)?));
    }
    if let Some((_, power)) = DECIMAL.iter().find(|(known, _)| *known == suffix) {
        return Some((Style::Decimal, Unit::ten_to(*power)?));
    }
    let power: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    Some((Style::Exponent, Unit::ten_to(power)?))
}

impl Unit {
    fn ten_to(power: i32) -> Option<Self> {
        let power = power.saturating_add(9);
        Some(if power >= 0 {
            // Beyond this every amount but zero is the largest there is.
            Self { numerator: 10_i128.pow(power.unsigned_abs().min(28)), denominator: 1 }
        } else {
            Self { numerator: 1, denominator: 10_i128.pow(power.unsigned_abs().min(28)) }
        })
    }
}

/// The amount in nano-units, rounded up, and no more than the largest.
fn scaled(whole: &str, fraction: &str, unit: Unit) -> i128 {
    // A digit beyond these cannot change an amount in nano-units, except by rounding it up.
    const DIGITS_MAX: usize = 18;
    let kept = &fraction[..fraction.len().min(DIGITS_MAX)];
    let lost = fraction[kept.len()..].bytes().any(|digit| digit != b'0');
    let whole = whole.bytes().try_fold(0_i128, |sum, digit| sum.checked_mul(10)?.checked_add(i128::from(digit - b'0')));
    let whole = whole.and_then(|whole| whole.checked_mul(unit.numerator)).unwrap_or(i128::MAX);
    let mut nanos = whole;
    let mut rest = lost;
    let mut place = unit.numerator;
    let mut scale = unit.denominator;
    // Each place is a tenth of the one before; where it no longer divides, the denominator grows instead.
    for digit in kept.bytes() {
        if place % 10 == 0 {
            place /= 10;
        } else {
            scale = scale.saturating_mul(10);
            nanos = nanos.saturating_mul(10);
        }
        nanos = nanos.saturating_add(place.saturating_mul(i128::from(digit - b'0')));
        if nanos == i128::MAX {
            return NANOS_MAX;
        }
    }
    rest |= nanos % scale != 0;
    (nanos / scale + i128::from(rest)).min(NANOS_MAX)
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.nanos < 0 { "-" } else { "" };
        let nanos = self.nanos.unsigned_abs();
        let nano = NANO.unsigned_abs();
        if self.style == Style::Binary && nanos >= 1024 * nano {
            let mut whole = nanos.div_ceil(nano);
            let mut suffix = "";
            for next in BINARY {
                if !whole.is_multiple_of(1024) {
                    break;
                }
                whole /= 1024;
                suffix = next;
            }
            return write!(f, "{sign}{whole}{suffix}");
        }
        let mut mantissa = nanos;
        let mut power = -9;
        while mantissa != 0 && mantissa.is_multiple_of(1000) && power < 18 {
            mantissa /= 1000;
            power += 3;
        }
        if mantissa == 0 {
            return f.write_str("0");
        }
        match (self.style, power) {
            (_, 0) => write!(f, "{sign}{mantissa}"),
            (Style::Exponent, power) => write!(f, "{sign}{mantissa}e{power}"),
            (_, 18) => write!(f, "{sign}{mantissa}E"),
            (_, power) => {
                let suffix = DECIMAL.iter().find(|(_, known)| *known == power).map_or("", |(suffix, _)| suffix);
                write!(f, "{sign}{mantissa}{suffix}")
            }
        }
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl Add for Quantity {
    type Output = Self;

    /// Keeps the style of the first that is something.
    fn add(self, other: Self) -> Self {
        let style = if self.is_zero() { other.style } else { self.style };
        Self { nanos: self.nanos + other.nanos, style }
    }
}

impl AddAssign for Quantity {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for Quantity {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self { nanos: self.nanos - other.nanos, style: self.style }
    }
}

impl SubAssign for Quantity {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

impl Sum for Quantity {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::ZERO, Add::add)
    }
}

impl From<Quantity> for Written {
    fn from(quantity: Quantity) -> Self {
        Self(quantity.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, canonical: &str, value: i64, millis: i64) {
        let quantity: Quantity = text.parse().unwrap_or_else(|_| panic!("{text} is an amount"));
        assert_eq!(
            (quantity.to_string().as_str(), quantity.value(), quantity.milli_value()),
            (canonical, value, millis)
        );
    }

    #[test]
    fn amounts_print_in_canonical_form() {
        check("0.5", "500m", 1, 500);
        check("1000m", "1", 1, 1000);
        check("100m", "100m", 1, 100);
        check("1024Mi", "1Gi", 1 << 30, 1000 << 30);
        check("1.5Gi", "1536Mi", 3 << 29, 3000 << 29);
        check("0.5Ki", "512", 512, 512_000);
        check("1e3", "1e3", 1000, 1_000_000);
        check("1E", "1E", 1_000_000_000_000_000_000, i64::MAX);
        check("2000k", "2M", 2_000_000, 2_000_000_000);
        check("+5", "5", 5, 5000);
        check("-0.1", "-100m", 0, -100);
        check("0", "0", 0, 0);
        check("0.0000000001", "1n", 1, 1);
        check("1e2147483647", "9223372036854775807", i64::MAX, i64::MAX);
        check("99999999999999999999999999", "9223372036854775807", i64::MAX, i64::MAX);
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for text in ["", "x", "1x", "1..2", "1.2.3", "Mi", "1e", "1 Gi", "--1", "1mm"] {
            assert!(text.parse::<Quantity>().is_err(), "{text}");
        }
    }

    #[test]
    fn amounts_compare_whatever_their_style() {
        assert_eq!("1Gi".parse(), Ok(Quantity::units(1 << 30)));
        assert!(Quantity::millis(1500) > Quantity::units(1));
        assert_eq!([Quantity::millis(500), Quantity::millis(600)].into_iter().sum::<Quantity>().to_string(), "1100m");
    }
}
