//! Kubernetes quantities as numbers.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// The quantity in thousandths, rounded up: `100m` is 100, `2` is 2000. None for what is not a quantity.
pub(crate) fn millis(quantity: &Quantity) -> Option<u64> {
    parsed(&quantity.0, 1_000)
}

/// The quantity in whole units, rounded up: `64Mi` is 67108864.
pub(crate) fn units(quantity: &Quantity) -> Option<u64> {
    parsed(&quantity.0, 1)
}

fn parsed(text: &str, scale: u128) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let (times, over) = factor(suffix)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let fraction = &fraction[..fraction.len().min(9)];
    let decimals = 10u128.pow(fraction.len() as u32);
    let mantissa: u128 = format!("{whole}{fraction}").parse().ok()?;
    let value = mantissa.checked_mul(times)?.checked_mul(scale)?.div_ceil(decimals.checked_mul(over)?);
    u64::try_from(value).ok()
}

/// What a suffix multiplies and divides by.
fn factor(suffix: &str) -> Option<(u128, u128)> {
    const BINARY: [&str; 6] = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    const DECIMAL: [&str; 6] = ["k", "M", "G", "T", "P", "E"];
    const SMALL: [&str; 3] = ["m", "u", "n"];
    if let Some(at) = BINARY.iter().position(|known| *known == suffix) {
        return Some((1 << (10 * (at + 1)), 1));
    }
    if let Some(at) = DECIMAL.iter().position(|known| *known == suffix) {
        return Some((10u128.pow(3 * (at as u32 + 1)), 1));
    }
    if let Some(at) = SMALL.iter().position(|known| *known == suffix) {
        return Some((1, 10u128.pow(3 * (at as u32 + 1))));
    }
    match suffix.strip_prefix(['e', 'E']).map(str::parse::<i32>) {
        None => suffix.is_empty().then_some((1, 1)),
        Some(Ok(power @ 0..=18)) => Some((10u128.pow(power.unsigned_abs()), 1)),
        Some(Ok(power @ -9..0)) => Some((1, 10u128.pow(power.unsigned_abs()))),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, in_millis: Option<u64>, in_units: Option<u64>) {
        let quantity = Quantity(text.to_owned());
        assert_eq!((millis(&quantity), units(&quantity)), (in_millis, in_units), "{text}");
    }

    #[test]
    fn quantities_are_numbers() {
        check("100m", Some(100), Some(1));
        check("1.5", Some(1_500), Some(2));
        check("64Mi", Some(67_108_864_000), Some(67_108_864));
        check("1k", Some(1_000_000), Some(1_000));
        check("1e3", Some(1_000_000), Some(1_000));
        check("12E", None, Some(12_000_000_000_000_000_000));
        check("", None, None);
        check("many", None, None);
        check("1Qi", None, None);
    }
}
