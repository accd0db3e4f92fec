//! Durable puts and failover beside etcd: three members each and one each, on the same disk, asked by the same client.
//!
//! `cargo bench -p store --bench etcd`, with `etcd` and `etcdctl` on the path (Debian: `etcd-server`, `etcd-client`). Both answer
//! `etcdserverpb.KV/Put` over HTTP/2 without TLS: a member of ours is this program again, a [store](store::Store) with a door as
//! thin as that. What it is told it puts into the world as a `ConfigMap`, seals and watches over as always; etcd does not seal.
//!
//! Rows alternate between the two, because disks change their mind from second to second: read the ratios. `ROUNDS` (5) are taken
//! of each row, for `SECONDS` (3); `KILLS` (8) leaders die.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::fs::{FallocateFlags, fallocate};

mod door;
mod load;
mod measure;
mod member;
mod ours;
mod theirs;

use load::{Puts, put_until_answered};
use measure::{median, processor_seconds};

/// The program's own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What both are: members that are asked at addresses, one of which leads, and that can die.
trait Members {
    fn name(&self) -> &'static str;
    /// Where they are asked, each with its process; the dead are not among them.
    fn alive(&self) -> Vec<(std::net::SocketAddr, u32)>;
    /// Which of [`Self::alive`] leads.
    async fn leader(&self) -> anyhow::Result<usize>;
    /// Kills one of [`Self::alive`].
    fn kill(&mut self, index: usize) -> anyhow::Result<()>;
    /// Starts the one that was killed, and returns when it answers.
    async fn revive(&mut self) -> anyhow::Result<()>;
}

/// One row of one of them.
#[derive(Clone, Copy)]
struct Row {
    per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    processor_us: f64,
}

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match std::env::var_os(member::DIRECTORY) {
        Some(directory) => runtime.block_on(member::run(Path::new(&directory))),
        None => runtime.block_on(compare()),
    }
}

async fn compare() -> anyhow::Result<()> {
    let (rounds, seconds, kills) = (number("ROUNDS", 5), number("SECONDS", 3), number("KILLS", 8));
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    for count in [1, 3] {
        let mut ours = ours::Cluster::start(&folder.path().join(format!("ours-{count}")), count)?;
        let mut theirs = theirs::Cluster::start(&folder.path().join(format!("etcd-{count}")), count).await?;
        println!("puts of {} B, {count} member(s), {rounds} rounds of {seconds} s", load::VALUE_BYTES);
        println!("{:>8}  {:<8}{:>10}{:>10}{:>10}{:>12}", "clients", "", "puts/s", "p50 ms", "p99 ms", "CPU us/put");
        for clients in [1, 16, 64, 256] {
            let (mut one, mut other) = (Vec::new(), Vec::new());
            for round in 0..rounds {
                let length = Duration::from_secs(seconds);
                // Whoever comes second finds the disk as the first left it.
                if round % 2 == 0 {
                    one.push(row(&ours, clients, length).await?);
                    other.push(row(&theirs, clients, length).await?);
                } else {
                    other.push(row(&theirs, clients, length).await?);
                    one.push(row(&ours, clients, length).await?);
                }
            }
            print_pair(clients, &one, &other);
        }
        if count == 1 {
            floor(&ours, folder.path()).await?;
        } else {
            for members in [failovers(&mut ours, kills).await?, failovers(&mut theirs, kills).await?] {
                println!("{members}");
            }
        }
    }
    Ok(())
}

async fn row(members: &impl Members, clients: usize, length: Duration) -> anyhow::Result<Row> {
    let leader = members.leader().await.with_context(|| format!("who leads {}", members.name()))?;
    let alive = members.alive();
    let used = || alive.iter().map(|(_, pid)| processor_seconds(*pid)).sum::<anyhow::Result<f64>>();
    let before = used()?;
    let Puts { took, elapsed } = load::run(alive[leader].0, clients, length).await?;
    let used = used()? - before;
    let at = |share: f64| took[((took.len() as f64 * share) as usize).min(took.len() - 1)].as_secs_f64() * 1e3;
    Ok(Row {
        per_second: took.len() as f64 / elapsed.as_secs_f64(),
        p50_ms: at(0.5),
        p99_ms: at(0.99),
        processor_us: used * 1e6 / took.len() as f64,
    })
}

fn print_pair(clients: usize, ours: &[Row], theirs: &[Row]) {
    let columns: [fn(&Row) -> f64; 4] =
        [|row| row.per_second, |row| row.p50_ms, |row| row.p99_ms, |row| row.processor_us];
    for (name, rows) in [("coracle", ours), ("etcd", theirs)] {
        let [rate, p50, p99, processor] = columns.map(|column| median(&rows.iter().map(column).collect::<Vec<_>>()));
        println!("{clients:>8}  {name:<8}{rate:>10.0}{p50:>10.3}{p99:>10.2}{processor:>12.0}");
    }
    let ratio = |column: fn(&Row) -> f64| {
        ours.iter().zip(theirs).map(|(one, other)| column(one) / column(other)).collect::<Vec<f64>>()
    };
    let [rate, p50, p99, processor] = columns.map(|column| median(&ratio(column)));
    println!("{:>8}  {:<8}{rate:>9.2}x{p50:>9.2}x{p99:>9.2}x{processor:>11.2}x", "", "ratio");
}

/// What no durable put can be quicker than: the disk's sync and a round trip, one after the other.
async fn floor(members: &impl Members, directory: &Path) -> anyhow::Result<()> {
    let (mut ratios, mut floors) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        let sync = bare_sync(directory)?;
        let trip = load::round_trip().await?;
        let put = row(members, 1, Duration::from_secs(2)).await?.p50_ms;
        floors.push(format!("{:.0}+{:.0}", sync * 1e3, trip * 1e3));
        ratios.push(put / (sync + trip));
    }
    println!("one client, one member: p50 {:.2}x (fdatasync + round trip; us: {})", median(&ratios), floors.join(" "));
    Ok(())
}

/// The median of bare appends with `fdatasync`, in milliseconds.
fn bare_sync(directory: &Path) -> anyhow::Result<f64> {
    use std::io::Write;
    let path = directory.join("floor");
    let mut file = std::fs::File::create(&path)?;
    fallocate(&file, FallocateFlags::empty(), 0, 16 << 20)?;
    file.sync_all()?;
    let mut took = Vec::new();
    for _ in 0..2_000 {
        let begun = Instant::now();
        file.write_all(&[7; load::VALUE_BYTES])?;
        file.sync_data()?;
        took.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    std::fs::remove_file(path)?;
    Ok(median(&took))
}

async fn failovers(members: &mut impl Members, kills: u64) -> anyhow::Result<String> {
    let mut took = Vec::new();
    for _ in 0..kills {
        let leader = members.leader().await?;
        members.kill(leader)?;
        let killed = Instant::now();
        let alive: Vec<_> = members.alive().into_iter().map(|(address, _)| address).collect();
        put_until_answered(&alive, Duration::from_secs(20)).await?;
        took.push(killed.elapsed().as_secs_f64() * 1e3);
        members.revive().await?;
    }
    took.sort_by(f64::total_cmp);
    let (least, most) = (took.first().copied().unwrap_or(f64::NAN), took.last().copied().unwrap_or(f64::NAN));
    Ok(format!(
        "{}: leader killed -> next acknowledged put: median {:.0} ms, {least:.0}..{most:.0}, {kills} kills",
        members.name(),
        median(&took)
    ))
}

fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}
