//! Objects in containers, written and read as streams.

use wstd::http::StatusCode;

use crate::facilities::wasi::blobstore::blobstore::{self, ObjectId};
use crate::facilities::wasi::blobstore::types::{IncomingValue, OutgoingValue};
use crate::facilities::wasi::io::streams::StreamError;
use crate::{Outcome, failed, not_allowed};

/// As much as the host takes at once.
const PIECE_BYTES: usize = 4096;

pub(crate) fn of(method: &str, name: &str) -> Outcome {
    match method {
        "GET" => {
            let objects = blobstore::get_container(name).and_then(|found| found.list_objects()).map_err(wrong)?;
            let mut names = String::new();
            loop {
                let (some, is_end) = objects.read_stream_object_names(100).map_err(failed)?;
                some.into_iter().for_each(|name| names += &(name + "\n"));
                if is_end {
                    return Ok(names.into_bytes());
                }
            }
        }
        "PUT" => blobstore::create_container(name).map(|_| Vec::new()).map_err(wrong),
        "DELETE" => blobstore::delete_container(name).map(|()| Vec::new()).map_err(wrong),
        other => not_allowed(other),
    }
}

pub(crate) fn object(method: &str, container: &str, object: &str, body: &[u8]) -> Outcome {
    let container = blobstore::get_container(container).map_err(wrong)?;
    match method {
        "GET" => read(IncomingValue::incoming_value_consume_async(
            container.get_data(object, 0, u64::MAX).map_err(wrong)?,
        )),
        "PUT" => {
            let value = OutgoingValue::new_outgoing_value();
            container.write_data(object, &value).map_err(wrong)?;
            let stream = value.outgoing_value_write_body().map_err(failed)?;
            for piece in body.chunks(PIECE_BYTES) {
                stream.blocking_write_and_flush(piece).map_err(broken)?;
            }
            drop(stream);
            OutgoingValue::finish(value).map(|()| Vec::new()).map_err(wrong)
        }
        "DELETE" => container.delete_object(object).map(|()| Vec::new()).map_err(wrong),
        other => not_allowed(other),
    }
}

fn read(stream: Result<crate::facilities::wasi::io::streams::InputStream, String>) -> Outcome {
    let (stream, mut all) = (stream.map_err(wrong)?, Vec::new());
    loop {
        match stream.blocking_read(PIECE_BYTES as u64) {
            Ok(piece) => all.extend(piece),
            Err(StreamError::Closed) => return Ok(all),
            Err(error) => return Err(broken(error)),
        }
    }
}

pub(crate) fn copy(container: &str, from: &str, to: &str) -> Outcome {
    let place = |object: &str| ObjectId { container: container.to_owned(), object: object.to_owned() };
    blobstore::copy_object(&place(from), &place(to)).map(|()| Vec::new()).map_err(wrong)
}

fn broken(error: StreamError) -> (StatusCode, String) {
    match error {
        StreamError::LastOperationFailed(error) => failed(error.to_debug_string()),
        closed => failed(closed),
    }
}

fn wrong(why: String) -> (StatusCode, String) {
    (StatusCode::BAD_REQUEST, why)
}
