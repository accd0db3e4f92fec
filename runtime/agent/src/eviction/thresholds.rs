//! How little may be left of memory and disk: `memory.available<100Mi,nodefs.available<1Gi,nodefs.inodesFree<5%`.

use std::str::FromStr;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::{Level, Met, Scarce, Signals};
use crate::quantity;

/// Below these a node is short of something; what has none is never short.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Thresholds {
    /// Of the memory that guests may use.
    pub memory: Option<Amount>,
    /// Of the disk that holds the node's data.
    pub disk: Option<Amount>,
    /// Of the files that this disk has room for.
    pub inodes: Option<Amount>,
}

/// How much, by itself or of all there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// So much.
    Just(u64),
    /// So many hundredths.
    Percent(u8),
}

/// What was given is no threshold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is not one of memory.available<100Mi, nodefs.available<10%, nodefs.inodesFree<5%")]
pub struct InvalidThreshold {
    given: String,
}

// === impl Thresholds ===

impl Thresholds {
    /// Those that are passed, the worst first.
    pub(crate) fn met(&self, signals: &Signals) -> Vec<Met> {
        let met = |scarce, amount: Option<Amount>, level: Level| {
            let threshold = amount?.of(level.capacity);
            (level.capacity > 0 && level.available < threshold).then_some(Met {
                scarce,
                threshold,
                available: level.available,
            })
        };
        let all = [
            met(Scarce::Memory, self.memory, signals.memory),
            met(Scarce::Disk, self.disk, signals.disk),
            met(Scarce::Disk, self.inodes, signals.inodes),
        ];
        all.into_iter().flatten().collect()
    }
}

impl FromStr for Thresholds {
    type Err = InvalidThreshold;

    fn from_str(text: &str) -> Result<Self, InvalidThreshold> {
        let mut thresholds = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let invalid = || InvalidThreshold { given: part.to_owned() };
            let (signal, amount) = part.split_once('<').ok_or_else(invalid)?;
            let place = match signal.trim() {
                "memory.available" => &mut thresholds.memory,
                "nodefs.available" => &mut thresholds.disk,
                "nodefs.inodesFree" => &mut thresholds.inodes,
                _ => return Err(invalid()),
            };
            *place = Some(Amount::parse(amount.trim()).ok_or_else(invalid)?);
        }
        Ok(thresholds)
    }
}

// === impl Amount ===

impl Amount {
    fn parse(text: &str) -> Option<Self> {
        match text.strip_suffix('%') {
            Some(percent) => percent.parse().ok().filter(|percent| *percent <= 100).map(Self::Percent),
            None => quantity::units(&Quantity(text.to_owned())).map(Self::Just),
        }
    }

    fn of(self, capacity: u64) -> u64 {
        match self {
            Self::Just(amount) => amount,
            Self::Percent(percent) => {
                u64::try_from(u128::from(capacity) * u128::from(percent) / 100).unwrap_or(u64::MAX)
            }
        }
    }
}
