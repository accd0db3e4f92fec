//! Why a request has no response, and what a guest's error means.

use std::fmt::Write as _;

use http::StatusCode;
use wasmtime::component::ResourceTableError;
use wasmtime::{PoolConcurrencyLimitError, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use crate::shares::NoMore;

/// A guest chooses the names of its functions; they are told to a cluster that has other things to keep.
const MESSAGE_BYTES_MAX: usize = 1_024;

/// Frames of a trap's backtrace worth telling.
const FRAMES_MAX: usize = 8;

/// A request that was not answered by the guest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The instance ended by a trap, or left in the middle of a request.
    #[error("the component trapped: {message}")]
    Trapped {
        /// The trap and where it happened.
        message: String,
    },
    /// The instance ended because the container's memory limit refused it more.
    #[error("the component ran out of memory: its limit is {limit_bytes} bytes")]
    OutOfMemory {
        /// The container's limit.
        limit_bytes: u64,
    },
    /// No response within the request's time.
    #[error("the component gave no response in time")]
    TimedOut,
    /// Too many requests, of this workload or of the node.
    #[error("too many requests: {message}")]
    Overloaded {
        /// Which limit was met.
        message: String,
    },
    /// The guest ended in order, but without a response.
    #[error("the component gave no response: {message}")]
    NoResponse {
        /// What it said instead.
        message: String,
    },
    /// An instance could not be started.
    #[error("the component could not be started: {message}")]
    NotStarted {
        /// What stood in the way.
        message: String,
    },
    /// The server takes no more requests.
    #[error("the component is being stopped")]
    Stopping,
}

// === impl Fault ===

impl Fault {
    /// The status that tells a client of it.
    pub fn status(&self) -> StatusCode {
        match self {
            Fault::Trapped { .. } | Fault::OutOfMemory { .. } | Fault::NoResponse { .. } => StatusCode::BAD_GATEWAY,
            Fault::TimedOut => StatusCode::GATEWAY_TIMEOUT,
            Fault::Overloaded { .. } | Fault::NotStarted { .. } | Fault::Stopping => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The fault behind an error while a request was running.
    pub(crate) fn of_request(error: &wasmtime::Error) -> Self {
        match error.downcast_ref::<I32Exit>() {
            Some(I32Exit(code)) => Fault::Trapped { message: format!("exited with code {code}") },
            None => Fault::Trapped { message: told(error) },
        }
    }

    /// The fault behind an error while an instance was starting.
    pub(crate) fn of_start(error: &wasmtime::Error) -> Self {
        if let Some(limit) = error.downcast_ref::<PoolConcurrencyLimitError>() {
            return Fault::Overloaded { message: format!("the node is full: {limit}") };
        }
        if let Some(no_more) = error.downcast_ref::<NoMore>() {
            return Fault::Overloaded { message: format!("the node is full: {no_more}") };
        }
        match error.downcast_ref::<Trap>() {
            Some(_) => Fault::Trapped { message: told(error) },
            None => Fault::NotStarted { message: told(error) },
        }
    }
}

/// An error of wasmtime in words: what ended a guest with the innermost functions it happened in, anything else as it is.
pub(crate) fn told(error: &wasmtime::Error) -> String {
    let mut message = words(error);
    if message.len() > MESSAGE_BYTES_MAX {
        message.truncate(message.floor_char_boundary(MESSAGE_BYTES_MAX));
        message.push('…');
    }
    message
}

fn words(error: &wasmtime::Error) -> String {
    let cause = error.root_cause().to_string();
    let is_full = matches!(error.downcast_ref::<ResourceTableError>(), Some(ResourceTableError::Full));
    let mut message = if is_full || cause.contains("handle limit exceeded") {
        "it holds more streams, files, sockets and other resources than an instance may".to_owned()
    } else if error.is::<Trap>() || error.is::<WasmBacktrace>() {
        cause
    } else {
        return format!("{error:#}");
    };
    let frames = error.downcast_ref::<WasmBacktrace>().map_or(&[][..], WasmBacktrace::frames);
    for (index, name) in frames.iter().filter_map(wasmtime::FrameInfo::func_name).take(FRAMES_MAX).enumerate() {
        let lead = if index == 0 { " in " } else { " < " };
        let _ = write!(message, "{lead}{name}");
    }
    message
}
