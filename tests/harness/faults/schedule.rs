//! Which fault comes when: a function of a seed and the number of the round.

use std::fmt;
use std::time::Duration;

use super::SERVERS;

/// What breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A server's process is killed.
    Kill,
    /// A server's process stops, and goes on later as if no time had passed.
    Stop,
    /// A server and the others do not hear each other. Clients and nodes hear all.
    Partition,
    /// A server hears the others, and they do not hear it.
    Unheard,
    /// The others hear a server, and it does not hear them.
    Deaf,
    /// One other does not hear a server.
    OneWay,
    /// A server is cut off from everybody.
    Unplug,
    /// What a server sends and is sent is late, and some of it is lost.
    BadCable,
    /// A server's disk is full.
    DiskFull,
    /// A server's clock jumps, and back.
    ClockJump,
    /// A node's process is killed.
    KillAgent,
    /// A node's process stops for a while.
    StopAgent,
    /// A node is cut off.
    UnplugAgent,
}

/// One round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Round {
    seed: u64,
    number: u64,
    /// What breaks.
    pub fault: Fault,
    /// For how long.
    pub lasting: Duration,
    /// Chance for everything else.
    pub draw: u64,
}

/// Those of servers come more often: that is where everything lies.
const FAULTS: [Fault; 16] = [
    Fault::Kill,
    Fault::Stop,
    Fault::Partition,
    Fault::Unheard,
    Fault::Deaf,
    Fault::BadCable,
    Fault::DiskFull,
    Fault::ClockJump,
    Fault::KillAgent,
    Fault::OneWay,
    Fault::Unplug,
    Fault::Stop,
    Fault::StopAgent,
    Fault::Kill,
    Fault::UnplugAgent,
    Fault::BadCable,
];

// === impl Round ===

impl Round {
    /// The round of this number. Every fault comes once before any comes again, in an order of the seed's.
    pub fn of(seed: u64, number: u64) -> Self {
        let turns = FAULTS.len() as u64;
        let mut faults = FAULTS;
        let mut shuffle = Draw(seed ^ (number / turns).wrapping_mul(0x5851_f42d_4c95_7f2d));
        for last in (1..faults.len()).rev() {
            faults.swap(last, shuffle.below(last as u64 + 1));
        }
        let mut draw = Draw(seed.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        let fault = faults[Draw::index(number % turns)];
        let lasting = Duration::from_millis(800 + draw.next() % 3_200);
        Self { seed, number, fault, lasting, draw: draw.next() }
    }

    /// Which machine it befalls: more often than not the leader where it is about servers.
    pub(super) fn machine(&self, leader: usize, machines: usize) -> usize {
        let mut draw = Draw(self.draw);
        if !self.fault.is_about_servers() {
            return SERVERS + draw.below((machines - SERVERS) as u64);
        }
        if draw.below(3) < 2 { leader } else { draw.below(SERVERS as u64) }
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, number, fault, lasting, .. } = self;
        write!(f, "seed {seed} round {number}: {fault:?} for {} ms", lasting.as_millis())
    }
}

// === impl Fault ===

impl Fault {
    /// Whether it is servers that break, and nodes have nothing to notice.
    pub fn is_about_servers(self) -> bool {
        !matches!(self, Self::KillAgent | Self::StopAgent | Self::UnplugAgent)
    }
}

/// splitmix64.
struct Draw(u64);

// === impl Draw ===

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    fn below(&mut self, most: u64) -> usize {
        Self::index(self.next() % most)
    }

    fn index(number: u64) -> usize {
        usize::try_from(number).unwrap_or_else(|_| panic!("{number} is an index of something small"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_comes_and_a_round_is_always_the_same() {
        for seed in 0..20 {
            let rounds: Vec<Round> = (0..FAULTS.len() as u64).map(|number| Round::of(seed, number)).collect();
            for fault in FAULTS {
                assert!(rounds.iter().any(|round| round.fault == fault), "{fault:?} in {rounds:?}");
            }
            assert_eq!(Round::of(seed, 7), rounds[7]);
        }
        assert_ne!(Round::of(1, 3), Round::of(2, 3));
    }
}
