//! A worker at a queue: it takes one item after another, and ends when there is none left.
//!
//! What it has taken lies in a list of its own until it is done, so nothing is lost with a worker: who begins again under the same
//! name gives back first what he had.

use std::env;
use std::error::Error;
use std::thread;
use std::time::Duration;

use crate::client::Client;
use crate::resp::Reply;

/// Works off a queue; an item takes so long.
pub fn work(server: &str, queue: &str, takes: Duration) -> Result<(), Box<dyn Error>> {
    let mut client = Client::connect(server)?;
    let taken = format!("{queue}:taken:{}", env::var("HOSTNAME").unwrap_or_default());
    while take(&mut client, &taken, queue)?.is_some() {}
    while let Some(item) = take(&mut client, queue, &taken)? {
        println!("Working on {item}");
        thread::sleep(takes);
        client.ask(&["LREM", &taken, "1", &item])?;
    }
    println!("Queue empty, exiting");
    Ok(())
}

/// Hands an item over from one list to another, if there is one.
fn take(client: &mut Client, from: &str, to: &str) -> Result<Option<String>, Box<dyn Error>> {
    match client.ask(&["RPOPLPUSH", from, to])? {
        Reply::Bytes(item) => Ok(item.map(|item| String::from_utf8_lossy(&item).into_owned())),
        other => Err(format!("{other:?} is no item").into()),
    }
}
