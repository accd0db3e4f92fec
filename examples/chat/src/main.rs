//! A room people talk in over WebSockets.
//!
//! ```text
//! chat [ADDRESS]     by default 0.0.0.0:8080
//!
//! GET /              a page to talk from
//! GET /room          WebSocket: what one says, all hear
//! GET /echo          WebSocket: what one says, one hears
//! ```
//! `wasi:http` knows no upgrades, so this is a program of sockets: HTTP's beginning by hand, WebSockets by tungstenite,
//! one thread that serves whoever is ready.

mod head;
mod page;
mod room;

use std::process::ExitCode;

const ADDRESS: &str = "0.0.0.0:8080";

fn main() -> ExitCode {
    let address = std::env::args().nth(1).unwrap_or_else(|| ADDRESS.into());
    match room::serve(&address) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("chat: {error}");
            ExitCode::FAILURE
        }
    }
}
