//! Waiting for several sockets at once, which the standard library has no word for: what the examples with sockets share.

use std::io;
use std::os::fd::{AsRawFd, RawFd};

/// What to wait for, and afterwards what has come.
#[derive(Default)]
pub struct Poll {
    waits: Vec<libc::pollfd>,
}

// === impl Poll ===

impl Poll {
    pub fn clear(&mut self) {
        self.waits.clear();
    }

    /// Waits for a socket, in one direction or both.
    pub fn add(&mut self, socket: &impl AsRawFd, read: bool, write: bool) {
        let wanted = |yes, event| if yes { event } else { 0 };
        let fd: RawFd = socket.as_raw_fd();
        let events = wanted(read, libc::POLLIN) | wanted(write, libc::POLLOUT);
        self.waits.push(libc::pollfd { fd, events, revents: 0 });
    }

    /// Sleeps until one is ready.
    pub fn wait(&mut self) -> io::Result<()> {
        // The list is ours and as long as we say.
        let ready = unsafe { libc::poll(self.waits.as_mut_ptr(), self.waits.len() as libc::nfds_t, -1) };
        if ready < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Whether the socket added as number `index` is ready, or broken.
    pub fn is_ready(&self, index: usize) -> bool {
        self.waits.get(index).is_some_and(|wait| wait.revents != 0)
    }
}
