//! Members of ours, each in a process.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use crate::measure::free;
use anyhow::{Context, ensure};
use bytes::Bytes;

use crate::load::{call, connect, put_until_answered};
use crate::{Members, door, member};

pub(crate) struct Cluster {
    places: Vec<Place>,
    /// One for each place, but for the one that was killed.
    processes: Vec<Option<Process>>,
}

struct Place {
    directory: PathBuf,
    peers_at: SocketAddr,
    clients_at: SocketAddr,
}

struct Process {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    member: String,
}

// === impl Cluster ===

impl Cluster {
    pub(crate) fn start(directory: &Path, count: usize) -> anyhow::Result<Self> {
        std::fs::create_dir(directory)?;
        let (mut places, mut processes) = (Vec::new(), Vec::new());
        for index in 0..count {
            let place = Place { directory: directory.join(index.to_string()), peers_at: free()?, clients_at: free()? };
            processes.push(Process::start(&place, index == 0)?);
            places.push(place);
        }
        let learners: Vec<_> = processes.iter().map(|process| process.member.clone()).zip(&places).skip(1).collect();
        let founder = processes.first_mut().context("a cluster of nobody")?;
        for (member, place) in learners {
            founder.told(&format!("add {member} {}", place.peers_at))?;
        }
        founder.told(&format!("settle {count}"))?;
        let processes = processes.into_iter().map(Some).collect();
        Ok(Self { places, processes })
    }

    fn living(&self) -> impl Iterator<Item = (usize, &Process)> {
        self.processes.iter().enumerate().filter_map(|(index, process)| Some((index, process.as_ref()?)))
    }
}

impl Members for Cluster {
    fn name(&self) -> &'static str {
        "coracle"
    }

    fn alive(&self) -> Vec<(SocketAddr, u32)> {
        self.living().map(|(index, process)| (self.places[index].clients_at, process.child.id())).collect()
    }

    async fn leader(&self) -> anyhow::Result<usize> {
        for _ in 0..1_000 {
            for (index, (address, _)) in self.alive().into_iter().enumerate() {
                if call(&mut connect(address).await?, door::LEADS, Bytes::from_static(&[0; 5])).await.is_ok() {
                    return Ok(index);
                }
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        anyhow::bail!("nobody")
    }

    fn kill(&mut self, index: usize) -> anyhow::Result<()> {
        let (index, _) = self.living().nth(index).context("no such member")?;
        self.processes[index] = None;
        Ok(())
    }

    async fn revive(&mut self) -> anyhow::Result<()> {
        for (place, process) in self.places.iter().zip(&mut self.processes) {
            if process.is_none() {
                *process = Some(Process::start(place, false)?);
                put_until_answered(&[place.clients_at], Duration::from_secs(20)).await?;
            }
        }
        Ok(())
    }
}

// === impl Process ===

impl Process {
    fn start(place: &Place, founds: bool) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .env(member::DIRECTORY, &place.directory)
            .env(member::PEERS_AT, place.peers_at.to_string())
            .env(member::CLIENTS_AT, place.clients_at.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        if founds {
            command.env(member::FOUNDS, "1");
        }
        let mut child = command.spawn()?;
        let (input, output) = (child.stdin.take().context("no input")?, child.stdout.take().context("no output")?);
        let mut process = Self { child, input, output: BufReader::new(output), member: String::new() };
        process.member = process.line()?;
        Ok(process)
    }

    /// Tells it to do something, and returns when that is done.
    fn told(&mut self, what: &str) -> anyhow::Result<()> {
        writeln!(self.input, "{what}")?;
        let answer = self.line()?;
        ensure!(answer == "done", "{what:?} was answered with {answer:?}");
        Ok(())
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        ensure!(self.output.read_line(&mut line)? > 0, "a member has ended");
        Ok(line.trim().to_owned())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
