//! This program as a member: a store, its peers over bare TCP, and its [door](crate::door).
//!
//! It says its number, does what lines of its standard input say, a line for an answer, and ends with that.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use futures::future::BoxFuture;
use store::{Change, Config, Connection, Pace, Peer, Role, Seat, Store, Transport};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

pub(crate) const DIRECTORY: &str = "CORACLE_ETCD_DIRECTORY";
pub(crate) const PEERS_AT: &str = "CORACLE_ETCD_PEERS_AT";
pub(crate) const CLIENTS_AT: &str = "CORACLE_ETCD_CLIENTS_AT";
pub(crate) const FOUNDS: &str = "CORACLE_ETCD_FOUNDS";

#[derive(Debug)]
struct Tcp;

pub(crate) async fn run(directory: &Path) -> anyhow::Result<()> {
    let (peers_at, clients_at): (SocketAddr, SocketAddr) = (address(PEERS_AT)?, address(CLIENTS_AT)?);
    let founds = std::env::var_os(FOUNDS).is_some();
    let config = Config { pace: Pace::CLUSTER, ..Config::new(directory) };
    let seat = Seat { address: peers_at.to_string(), transport: Arc::new(Tcp), founds };
    let listener = TcpListener::bind(peers_at).await?;
    let store = Store::open_at(config, seat).await?;
    println!("{}", store.member());
    tokio::select! {
        failed = meet(listener, store.clone()) => failed,
        failed = crate::door::serve(clients_at, store.clone()) => failed,
        done = obey(&store) => done,
    }
}

async fn meet(listener: TcpListener, store: Store) -> anyhow::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let store = store.clone();
        tokio::spawn(async move { store.serve(Box::new(stream)).await });
    }
}

async fn obey(store: &Store) -> anyhow::Result<()> {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["add", member, address] => {
                store.change(Change::Add(Peer { member: member.parse()?, address: address.into() })).await?;
            }
            ["settle", voters] => {
                let voters: usize = voters.parse()?;
                let is_settled = |cluster: &store::Cluster| {
                    let has_vote = |standing: &&store::MemberStanding| standing.role == Role::Voter;
                    !cluster.is_changing && cluster.members.iter().filter(has_vote).count() == voters
                };
                store.cluster().wait_for(is_settled).await?;
            }
            _ => bail!("what is {line:?}?"),
        }
        println!("done");
    }
    Ok(())
}

fn address(name: &str) -> anyhow::Result<SocketAddr> {
    std::env::var(name).with_context(|| format!("{name} is not set"))?.parse().with_context(|| name.to_owned())
}

// === impl Tcp ===

impl Transport for Tcp {
    fn dial(&self, peer: &Peer) -> BoxFuture<'static, io::Result<Connection>> {
        let address = peer.address.clone();
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Connection)
        })
    }
}
