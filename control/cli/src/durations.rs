//! Durations as Kubernetes' tools write them: `90s`, `5m`, `1h30m`.

use std::time::Duration;

use anyhow::bail;

/// Reads a duration; a bare number is seconds.
pub(crate) fn parse(text: &str) -> anyhow::Result<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = text;
    if let Ok(seconds) = text.parse() {
        return Ok(Duration::from_secs(seconds));
    }
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|letter: char| letter.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let (Ok(number), Some(unit)) = (number.parse::<f64>(), unit_seconds(unit)) else {
            bail!("{text:?} is not a duration such as 90s, 5m or 1h30m");
        };
        total += Duration::try_from_secs_f64(number * unit)?;
        rest = tail;
    }
    if text.is_empty() {
        bail!("a duration is missing, such as 90s, 5m or 1h30m");
    }
    Ok(total)
}

fn unit_seconds(unit: &str) -> Option<f64> {
    Some(match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_add_up() {
        assert_eq!(parse("1h30m").expect("fine"), Duration::from_secs(5400));
        assert_eq!(parse("250ms").expect("fine"), Duration::from_millis(250));
        assert_eq!(parse("7").expect("fine"), Duration::from_secs(7));
        assert!(parse("soon").is_err() && parse("").is_err() && parse("5").is_ok());
    }
}
