//! Options of sockets: kept and given back.
//!
//! A pipe in memory has no packets to count hops of and no idle line to keep alive; programs set such options all the
//! same, and expect to read what they set.

use super::failure::Refusal;

/// What can be set on a socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) keep_alive: bool,
    pub(crate) keep_alive_idle_ns: u64,
    pub(crate) keep_alive_interval_ns: u64,
    pub(crate) keep_alive_count: u32,
    pub(crate) hop_limit: u8,
    pub(crate) receive_buffer_bytes: u64,
    pub(crate) send_buffer_bytes: u64,
}

const SECOND_NS: u64 = 1_000_000_000;

// === impl Options ===

/// As Linux has them.
impl Default for Options {
    fn default() -> Self {
        Self {
            keep_alive: false,
            keep_alive_idle_ns: 7_200 * SECOND_NS,
            keep_alive_interval_ns: 75 * SECOND_NS,
            keep_alive_count: 9,
            hop_limit: 64,
            receive_buffer_bytes: 64 * 1024,
            send_buffer_bytes: 64 * 1024,
        }
    }
}

/// Zero is never a value.
pub(crate) fn set<T: Default + PartialEq>(option: &mut T, value: T) -> Result<(), Refusal> {
    if value == T::default() {
        return Err(Refusal::InvalidArgument);
    }
    *option = value;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_is_given_back_and_never_zero() {
        let mut options = Options::default();
        assert_eq!(set(&mut options.hop_limit, 0), Err(Refusal::InvalidArgument));
        assert_eq!(options, Options::default());
        assert_eq!(set(&mut options.keep_alive_idle_ns, 42), Ok(()));
        assert_eq!(options.keep_alive_idle_ns, 42);
    }
}
