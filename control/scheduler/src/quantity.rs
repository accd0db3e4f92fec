//! Kubernetes quantities, as far as nodes have room: exact thousandths, rounded up as Kubernetes rounds.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// Thousandths of the unit; nothing for text that is no quantity, which admission has refused before it got here.
pub(crate) fn milli(quantity: &Quantity) -> i64 {
    parse(&quantity.0).unwrap_or(0)
}

/// Whole units, rounded up.
pub(crate) fn whole(quantity: &Quantity) -> i64 {
    let milli = parse_wide(&quantity.0).unwrap_or(0);
    i64::try_from((milli + 999).div_euclid(1000)).unwrap_or(i64::MAX)
}

fn parse(text: &str) -> Option<i64> {
    parse_wide(text).map(|milli| i64::try_from(milli).unwrap_or(i64::MAX))
}

fn parse_wide(text: &str) -> Option<i128> {
    let digits = text.find(|c: char| !matches!(c, '0'..='9' | '.' | '+' | '-')).unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    // In thousandths of thousandths, so that nano and micro units still round up to something.
    let micro_per_unit: i128 = match suffix {
        "n" => return number.parse::<i128>().ok().map(|nano| (nano + 999_999) / 1_000_000),
        "u" => 1,
        "m" => 1_000,
        "" => 1_000_000,
        "k" => 1_000_000_000,
        "M" => 1_000_000_i128.pow(2),
        "G" => 1_000_000_i128 * 1000_i128.pow(3),
        "T" => 1_000_000_i128 * 1000_i128.pow(4),
        "P" => 1_000_000_i128 * 1000_i128.pow(5),
        "E" => 1_000_000_i128 * 1000_i128.pow(6),
        "Ki" => 1_000_000_i128 << 10,
        "Mi" => 1_000_000_i128 << 20,
        "Gi" => 1_000_000_i128 << 30,
        "Ti" => 1_000_000_i128 << 40,
        "Pi" => 1_000_000_i128 << 50,
        "Ei" => 1_000_000_i128 << 60,
        exponent => {
            1_000_000_i128.checked_mul(10_i128.checked_pow(exponent.strip_prefix(['e', 'E'])?.parse().ok()?)?)?
        }
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let scale = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let micro = digits.checked_mul(micro_per_unit)?;
    Some(micro.div_euclid(scale * 1000) + i128::from(micro.rem_euclid(scale * 1000) != 0))
}
