//! Taking memory.

use std::hint::black_box;
use std::time::Duration;

use crate::{Deed, got_away, limit, stay};

pub const ALL: &[Deed] = &[
    ("memory", memory),
    ("memory-at-once", at_once),
    ("memory-slowly", slowly),
    ("memory-untouched", untouched),
    ("memory-and-stay", and_stay),
    ("memory-and-success", and_success),
    ("memory-again-and-again", again_and_again),
    ("memory-crumbs", crumbs),
    ("memory-double", double),
    ("memory-hold", hold),
];

const MIB: usize = 1 << 20;
const PAGES_PER_MIB: usize = 16;

/// Raw growth, without what an allocator makes of a refusal.
fn grow(pages: usize) -> bool {
    core::arch::wasm32::memory_grow(0, pages) != usize::MAX
}

fn memory() {
    let mut all = Vec::new();
    loop {
        limit();
        all.push(black_box(vec![1_u8; 4 * MIB]));
    }
}

fn at_once() {
    limit();
    black_box(vec![1_u8; 1 << 30]);
    got_away("a gibibyte");
}

fn slowly() {
    loop {
        limit();
        grow(1);
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn untouched() {
    loop {
        limit();
        grow(PAGES_PER_MIB);
    }
}

/// Asks for too much and then sits there.
fn and_stay() {
    limit();
    grow(1_024 * PAGES_PER_MIB);
    stay()
}

/// Asks for too much and says that all is well.
fn and_success() {
    limit();
    grow(1_024 * PAGES_PER_MIB);
}

fn again_and_again() {
    limit();
    loop {
        grow(1_024 * PAGES_PER_MIB);
    }
}

fn crumbs() {
    let mut said = 0_u64;
    loop {
        if said % 65_536 == 0 {
            limit();
        }
        said += 1;
        std::mem::forget(black_box(Box::new([said; 4])));
    }
}

fn double() {
    let mut all = vec![1_u8; MIB];
    loop {
        limit();
        all.extend_from_within(..);
    }
}

/// Takes a good deal, and keeps it.
fn hold() {
    let all = black_box(vec![1_u8; 160 * MIB]);
    println!("holds {} bytes", all.len());
    stay()
}
