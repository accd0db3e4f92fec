//! Machines on a network of their own: network namespaces with a cable each to one bridge, which is in a namespace too.
//!
//! The network of the machine that runs the tests is not touched, so any addresses do; everything goes with the value.

use std::fs::{self, File};
use std::io;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{self, Command};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::Output;
use crate::cable::{BadCable, Badness};
use crate::narrow::{Narrow, NarrowLink};
use crate::peers::peer_is_there;

/// Machines on a network of their own.
#[derive(Debug)]
pub struct Namespaces {
    prefix: String,
    machines: usize,
}

/// Whether namespaces can be made here. Where `CORACLE_REQUIRE_PEERS` is set they have to be.
pub fn namespaces_are_possible() -> bool {
    if !peer_is_there("ip") {
        return false;
    }
    let required = std::env::var_os("CORACLE_REQUIRE_PEERS").is_some_and(|value| !value.is_empty());
    match Namespaces::new(1) {
        Ok(_) => true,
        Err(why) => {
            assert!(!required, "network namespaces are required here: {why}");
            eprintln!("network namespaces cannot be made here, the story is left out: {why}");
            false
        }
    }
}

// === impl Namespaces ===

impl Namespaces {
    /// So many machines, all on one bridge.
    pub fn new(machines: usize) -> Result<Self, String> {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let prefix = format!("cor{}x{}", process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let this = Self { prefix, machines };
        let bridge = this.bridge();
        ip(&["netns", "add", &bridge])?;
        ip(&["-n", &bridge, "link", "add", "br0", "type", "bridge"])?;
        ip(&["-n", &bridge, "link", "set", "br0", "up"])?;
        for machine in 0..machines {
            let (name, port) = (this.name(machine), port(machine));
            ip(&["netns", "add", &name])?;
            ip(&["-n", &name, "link", "set", "lo", "up"])?;
            ip(&["-n", &bridge, "link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", &name])?;
            ip(&["-n", &bridge, "link", "set", &port, "master", "br0", "up"])?;
            ip(&["-n", &name, "address", "add", &format!("{}/24", Self::address(machine)), "dev", "eth0"])?;
            ip(&["-n", &name, "link", "set", "eth0", "up"])?;
        }
        Ok(this)
    }

    /// The address of a machine.
    pub fn address(machine: usize) -> String {
        format!("192.0.2.{}", machine + 1)
    }

    /// A command that runs on a machine.
    pub fn command(&self, machine: usize, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name(machine), program]);
        command
    }

    /// A listener of this process on a machine, at its address.
    pub fn listen(&self, machine: usize, port: u16) -> TcpListener {
        let address = format!("{}:{port}", Self::address(machine));
        let listener = self.on(machine, move || TcpListener::bind(address));
        listener.unwrap_or_else(|error| panic!("cannot listen on machine {machine}: {error}"))
    }

    /// Does something on a machine: sockets that it opens are there, and so are those of threads that it starts.
    pub fn on<T: Send>(&self, machine: usize, act: impl FnOnce() -> T + Send) -> T {
        let namespace = format!("/run/netns/{}", self.name(machine));
        let there = move || -> io::Result<T> {
            let namespace = File::open(namespace)?;
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            Ok(act())
        };
        // A thread goes there and ends; what it opened stays there.
        let done = thread::scope(|scope| scope.spawn(there).join());
        let done = done.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked));
        done.unwrap_or_else(|error| panic!("cannot go to machine {machine}: {error}"))
    }

    /// What `/etc/resolv.conf` says to commands that are started on a machine from now on.
    pub fn resolve(&self, machine: usize, text: &str) {
        let folder = self.etc(machine);
        let written = fs::create_dir_all(&folder).and_then(|()| fs::write(folder.join("resolv.conf"), text));
        written.unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    }

    /// Pulls a machine's cable.
    pub fn cut(&self, machine: usize) {
        self.set(machine, "down");
    }

    /// Plugs a machine's cable in again.
    pub fn join(&self, machine: usize) {
        self.set(machine, "up");
    }

    /// From now on nothing that one machine sends gets to another, and it is not told; the other way is as before.
    pub fn silence(&self, from: usize, to: usize) {
        let words = ["neighbour", "replace", &Self::address(to), "lladdr", NOBODY, "nud", "permanent", "dev", "eth0"];
        self.tell(from, &words);
    }

    /// What one machine sends to another gets there again.
    pub fn hear(&self, from: usize, to: usize) {
        self.tell(from, &["neighbour", "delete", &Self::address(to), "dev", "eth0"]);
    }

    /// Makes a machine's cable a bad one for as long as the value lives.
    pub fn worsen(&self, machine: usize, how: Badness) -> BadCable {
        BadCable::between(self.bridge(), &port(machine), how).unwrap_or_else(|why| panic!("no bad cable: {why:#}"))
    }

    /// Puts machines at the far end of a narrow link, behind an address translator, for as long as the value lives.
    pub fn behind(&self, machines: &[usize], how: Narrow) -> NarrowLink {
        let ports = machines.iter().map(|machine| port(*machine)).collect();
        let addresses: Vec<String> = machines.iter().map(|machine| Self::address(*machine)).collect();
        let link = NarrowLink::to(self.bridge(), ports, &addresses, how);
        link.unwrap_or_else(|why| panic!("no narrow link: {why:#}"))
    }

    fn tell(&self, machine: usize, words: &[&str]) {
        let name = self.name(machine);
        ip(&[&["-n", &name], words].concat()).unwrap_or_else(|why| panic!("{why}"));
    }

    fn set(&self, machine: usize, state: &str) {
        ip(&["-n", &self.bridge(), "link", "set", &port(machine), state]).unwrap_or_else(|why| panic!("{why}"));
    }

    fn bridge(&self) -> String {
        format!("{}net", self.prefix)
    }

    /// Files that `ip netns exec` shows instead of those of `/etc`.
    fn etc(&self, machine: usize) -> PathBuf {
        PathBuf::from("/etc/netns").join(self.name(machine))
    }

    fn name(&self, machine: usize) -> String {
        format!("{}m{machine}", self.prefix)
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for name in (0..self.machines).map(|machine| self.name(machine)).chain([self.bridge()]) {
            let _ = ip(&["netns", "delete", &name]);
        }
        for machine in 0..self.machines {
            let _ = fs::remove_dir_all(self.etc(machine));
        }
    }
}

/// An address on the bridge that is nobody's: what is sent there is lost without a word.
const NOBODY: &str = "02:00:00:00:00:99";

fn port(machine: usize) -> String {
    format!("port{machine}")
}

pub(crate) fn ip(words: &[&str]) -> Result<(), String> {
    let mut command = Command::new("ip");
    command.args(words);
    let output = Output::of(command, None);
    if output.code == 0 { Ok(()) } else { Err(format!("{}: {}", output.command, output.stderr.trim())) }
}
