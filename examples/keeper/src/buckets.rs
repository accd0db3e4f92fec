//! Values and counters, in both drafts.

use wstd::http::StatusCode;

use crate::facilities::wasi::keyvalue0_2_0_draft::{atomics, batch, store};
use crate::facilities::wasi::keyvalue0_2_0_draft2::{atomics as atomics2, store as store2};
use crate::{Outcome, failed, not_allowed};

type Refusal = (StatusCode, String);

/// How many visits there are with this one.
pub(crate) fn visit() -> Result<u64, Refusal> {
    atomics::increment(&store::open("visits").map_err(failed)?, "all", 1).map_err(failed)
}

pub(crate) fn of(method: &str, bucket: &str) -> Outcome {
    let bucket = store::open(bucket).map_err(failed)?;
    match method {
        "GET" => Ok(keys(&bucket)?.concat().into_bytes()),
        "DELETE" => {
            let keys: Vec<String> = keys(&bucket)?.iter().map(|key| key.trim_end().to_owned()).collect();
            batch::delete_many(&bucket, &keys).map_err(failed)?;
            Ok(Vec::new())
        }
        other => not_allowed(other),
    }
}

/// Every key with the end of its line, page by page.
fn keys(bucket: &store::Bucket) -> Result<Vec<String>, Refusal> {
    let (mut all, mut cursor) = (Vec::new(), None);
    loop {
        let page = bucket.list_keys(cursor).map_err(failed)?;
        all.extend(page.keys.into_iter().map(|key| key + "\n"));
        cursor = page.cursor;
        if cursor.is_none() {
            return Ok(all);
        }
    }
}

pub(crate) fn entry(method: &str, bucket: &str, key: &str, by: Option<&str>, body: &[u8]) -> Outcome {
    let not_found = || (StatusCode::NOT_FOUND, format!("{key} is not in {bucket}"));
    let open = || store::open(bucket).map_err(failed);
    match method {
        "GET" => open()?.get(key).map_err(failed)?.ok_or_else(not_found),
        "PUT" => {
            open()?.set(key, body).map_err(failed)?;
            Ok(Vec::new())
        }
        "DELETE" if !open()?.exists(key).map_err(failed)? => Err(not_found()),
        "DELETE" => {
            open()?.delete(key).map_err(failed)?;
            Ok(Vec::new())
        }
        "POST" => {
            let by: i64 = by.and_then(|by| by.parse().ok()).unwrap_or(1);
            let bucket = store2::open(bucket).map_err(failed)?;
            let count = atomics2::increment(&bucket, key, by).map_err(failed)?;
            Ok(format!("{count}\n").into_bytes())
        }
        other => not_allowed(other),
    }
}

pub(crate) fn swap(bucket: &str, key: &str, from: Option<&str>, to: &[u8]) -> Outcome {
    let bucket = store2::open(bucket).map_err(failed)?;
    let cas = atomics2::Cas::new(&bucket, key).map_err(failed)?;
    let there = cas.current().map_err(failed)?;
    if there.as_deref() != from.map(str::as_bytes) {
        return Err((StatusCode::CONFLICT, String::from_utf8_lossy(&there.unwrap_or_default()).into()));
    }
    swapped(cas, to)
}

pub(crate) fn race(bucket: &str, key: &str) -> Outcome {
    let bucket = store2::open(bucket).map_err(failed)?;
    let cas = atomics2::Cas::new(&bucket, key).map_err(failed)?;
    bucket.set(key, b"the faster one").map_err(failed)?;
    swapped(cas, b"the slower one")
}

fn swapped(cas: atomics2::Cas, to: &[u8]) -> Outcome {
    match atomics2::swap(cas, to) {
        Ok(()) => Ok(Vec::new()),
        Err(atomics2::CasError::CasFailed(cas)) => {
            let there = cas.current().map_err(failed)?.unwrap_or_default();
            Err((StatusCode::CONFLICT, String::from_utf8_lossy(&there).into()))
        }
        Err(atomics2::CasError::StoreError(error)) => Err(failed(error)),
    }
}
