//! A client and a server that speak TLS themselves: sockets of the standard library, rustls, and ciphers in plain Rust.
//!
//! ```text
//! tls get URL [--ca FILE] [--token FILE]          asks, and prints what is answered; FILE holds the authorities to trust, or a
//!                                                 token to show
//! tls review ADDRESS --cert FILE --key FILE       an admission webhook: whatever is made gets an annotation that names its labels
//! ```
//! Both files of `get` are by default those that a pod finds at `/var/run/secrets/kubernetes.io/serviceaccount`, so that `tls get
//! https://kubernetes.default.svc/api` is all that a pod has to say to be known there.

mod client;
mod files;
mod http;
mod review;

use std::env;
use std::process::ExitCode;

type Fault = Box<dyn std::error::Error>;

const USAGE: &str = "tls get URL [--ca FILE] [--token FILE] | tls review ADDRESS --cert FILE --key FILE";
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tls: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[String]) -> Result<(), Fault> {
    let [verb, object, flags @ ..] = words else { return Err(USAGE.into()) };
    let flag = |name: &str| flags.iter().position(|flag| flag == name).and_then(|at| flags.get(at + 1)).cloned();
    let of_account = |name: &str, file: &str| flag(name).unwrap_or_else(|| format!("{ACCOUNT}/{file}"));
    match verb.as_str() {
        "get" => client::get(object, &of_account("--ca", "ca.crt"), &of_account("--token", "token")),
        "review" => match (flag("--cert"), flag("--key")) {
            (Some(cert), Some(key)) => review::serve(object, &cert, &key),
            _ => Err(USAGE.into()),
        },
        _ => Err(USAGE.into()),
    }
}
