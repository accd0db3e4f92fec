//! Taking the processor.

use std::hint::black_box;

use wasip2::clocks::monotonic_clock;

use crate::{Deed, limit};

pub const ALL: &[Deed] = &[
    ("spin", spin),
    ("clock-loop", clock_loop),
    ("yield-loop", yield_loop),
    ("nap-loop", nap_loop),
    ("stat-loop", stat_loop),
    ("open-loop", open_loop),
    ("random-loop", random_loop),
    ("environment-loop", environment_loop),
    ("fill-loop", fill_loop),
    ("poll-loop", poll_loop),
    ("stack", stack),
    ("stack-wide", stack_wide),
    ("unreachable", unreachable),
    ("divide", divide),
    ("outside", outside),
    ("abort", abort),
    ("exit-255", exit_255),
];

fn spin() {
    limit();
    let mut number = 1_u64;
    loop {
        number = black_box(number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    }
}

fn clock_loop() {
    limit();
    loop {
        black_box(monotonic_clock::now());
    }
}

/// Waits for what is there already.
fn yield_loop() {
    limit();
    loop {
        monotonic_clock::subscribe_duration(0).block();
    }
}

/// Computes for a moment, and waits for another: it looks as if it did little.
fn nap_loop() {
    limit();
    loop {
        let start = monotonic_clock::now();
        while monotonic_clock::now() - start < 3_000_000 {}
        monotonic_clock::subscribe_duration(10_000).block();
    }
}

fn stat_loop() {
    limit();
    loop {
        let _ = black_box(std::fs::metadata("/data"));
    }
}

fn open_loop() {
    limit();
    loop {
        let _ = black_box(std::fs::File::create("/data/again"));
    }
}

fn random_loop() {
    limit();
    loop {
        black_box(wasip2::random::random::get_random_bytes(1 << 20));
    }
}

fn environment_loop() {
    limit();
    loop {
        black_box(wasip2::cli::environment::get_environment());
    }
}

/// One instruction that takes long, over and over: it cannot be interrupted.
fn fill_loop() {
    let mut bytes = vec![1_u8; 48 << 20];
    limit();
    loop {
        black_box(&mut bytes).fill(black_box(7));
    }
}

/// One call that takes long.
fn poll_loop() {
    let ready = monotonic_clock::subscribe_duration(0);
    let many: Vec<_> = (0..10_000).map(|_| &ready).collect();
    limit();
    loop {
        black_box(wasip2::io::poll::poll(&many));
    }
}

#[allow(unconditional_recursion)]
fn deeper(number: u64) -> u64 {
    black_box(deeper(black_box(number + 1)) + number)
}

fn stack() {
    limit();
    black_box(deeper(0));
}

#[allow(unconditional_recursion)]
fn wider(number: u64) -> u64 {
    let room = black_box([number; 1_024]);
    black_box(wider(room[7] + 1) + room[3])
}

/// Its own stack lies in its memory, and runs out of that.
fn stack_wide() {
    limit();
    black_box(wider(0));
}

fn unreachable() {
    limit();
    std::process::abort();
}

fn divide() {
    limit();
    let [a, b] = black_box([1_i32, 0]);
    println!("{}", a / b);
}

fn outside() {
    limit();
    let far = black_box(0xffff_fff0_usize) as *mut u64;
    unsafe { far.write_volatile(1) };
}

fn abort() {
    limit();
    panic!("a guest that panics");
}

fn exit_255() {
    limit();
    wasip2::cli::exit::exit_with_code(255);
}
