//! Handing over and asking for more than fits.

use wasip2::http::types::Fields;

use crate::{Deed, got_away, held, limit};

pub const ALL: &[Deed] = &[
    ("list-headers", headers),
    ("list-header-value", header_value),
    ("list-random", random),
    ("list-write", write),
    ("list-zeroes", zeroes),
    ("list-read", read),
    ("list-poll-nothing", poll_nothing),
    ("list-poll", poll),
];

fn headers() {
    let all: Vec<(String, Vec<u8>)> = (0..500_000).map(|number| (format!("x-{number}"), vec![b'x'; 8])).collect();
    limit();
    match Fields::from_list(&all) {
        Err(error) => held(format_args!("{error:?}")),
        Ok(_) => got_away("500000 headers"),
    }
}

fn header_value() {
    limit();
    match Fields::new().append("x", &vec![b'x'; 20 << 20]) {
        Err(error) => held(format_args!("{error:?}")),
        Ok(()) => got_away("a header of 20 MiB"),
    }
}

fn random() {
    limit();
    wasip2::random::random::get_random_bytes(1 << 40);
    got_away("a tebibyte of chance");
}

/// More than the stream said that it takes.
fn write() {
    limit();
    let stream = wasip2::cli::stdout::get_stdout();
    let _ = stream.write(&vec![b'x'; 24 << 20]);
    got_away("24 MiB at once");
}

fn zeroes() {
    limit();
    let _ = wasip2::cli::stdout::get_stdout().write_zeroes(1 << 50);
    got_away("a pebibyte of nothing");
}

fn read() {
    limit();
    match wasip2::cli::stdin::get_stdin().read(u64::MAX) {
        Ok(bytes) => held(format_args!("{} bytes", bytes.len())),
        Err(error) => held(format_args!("{error:?}")),
    }
}

fn poll_nothing() {
    limit();
    wasip2::io::poll::poll(&[]);
    got_away("polled nothing");
}

fn poll() {
    let never = wasip2::clocks::monotonic_clock::subscribe_duration(u64::MAX / 2);
    let many: Vec<_> = (0..5_000_000).map(|_| &never).collect();
    limit();
    wasip2::io::poll::poll(&many);
    got_away("polled 5000000");
}
