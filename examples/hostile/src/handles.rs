//! Taking things that the host has to remember.

use wasip2::clocks::monotonic_clock;
use wasip2::http::types::{Fields, OutgoingRequest, OutgoingResponse};
use wasip2::sockets::network::IpAddressFamily;

use crate::{Deed, got_away, held, limit};

pub const ALL: &[Deed] = &[
    ("handles-pollables", pollables),
    ("handles-streams", streams),
    ("handles-fields", fields),
    ("handles-fat-fields", fat_fields),
    ("handles-requests", requests),
    ("handles-responses", responses),
    ("handles-files", files),
    ("handles-directories", directories),
    ("handles-tcp", tcp),
    ("handles-udp", udp),
    ("handles-names", names),
];

/// More than an instance may have of anything.
const MANY: usize = 200_000;

fn keep<T>(make: impl Fn(usize) -> T) {
    limit();
    for number in 0..MANY {
        std::mem::forget(make(number));
    }
    got_away(format_args!("{MANY} of them"));
}

/// The same, where no is an answer.
fn keep_while<T, E: std::fmt::Debug>(make: impl Fn(usize) -> Result<T, E>) {
    limit();
    for number in 0..MANY {
        match make(number) {
            Ok(one) => std::mem::forget(one),
            Err(error) => held(format_args!("{number} of them: {error:?}")),
        }
    }
    got_away(format_args!("{MANY} of them"));
}

fn pollables() {
    keep(|_| monotonic_clock::subscribe_duration(u64::MAX / 2));
}

fn streams() {
    keep(|_| wasip2::cli::stdout::get_stdout());
}

fn fields() {
    keep(|_| Fields::new());
}

/// Each is as large as may be.
fn fat_fields() {
    let value = vec![b'x'; 8_000];
    keep(|_| {
        let fields = Fields::new();
        for _ in 0..14 {
            let _ = fields.append("x", &value);
        }
        fields
    });
}

fn requests() {
    keep(|_| OutgoingRequest::new(Fields::new()));
}

fn responses() {
    keep(|_| OutgoingResponse::new(Fields::new()));
}

fn files() {
    keep_while(|number| std::fs::File::create(format!("/data/{number}")));
}

/// Reading one is to hold all its names.
fn directories() {
    for number in 0..2_000 {
        let _ = std::fs::write(format!("/data/{number:0>200}"), "");
    }
    keep_while(|_| std::fs::read_dir("/data"));
}

fn tcp() {
    keep_while(|_| wasip2::sockets::tcp_create_socket::create_tcp_socket(IpAddressFamily::Ipv4));
}

fn udp() {
    keep_while(|_| wasip2::sockets::udp_create_socket::create_udp_socket(IpAddressFamily::Ipv4));
}

fn names() {
    let network = wasip2::sockets::instance_network::instance_network();
    keep_while(|number| wasip2::sockets::ip_name_lookup::resolve_addresses(&network, &format!("n{number}.example.")));
}
