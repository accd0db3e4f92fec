//! What a guest logs: `wasi:logging` 0.1.0-draft, as lines on its standard error.
//!
//! A line is the level, the context if there is one, and the message: `WARN checkout: the till is empty`. A message of several
//! lines is so many lines, each with both, so that whoever looks for a level finds all of it. A guest waits while the reader is
//! behind; when nobody reads any more, what it logs is lost, as for any program whose output is closed.

#[allow(missing_docs, unreachable_pub, clippy::pedantic)]
mod bindings {
    wasmtime::component::bindgen!({
        path: "wit/logging",
        world: "coracle:logging/guest",
        imports: { default: async | trappable },
        require_store_data_send: true,
    });
}

use std::sync::Arc;

use bytes::Bytes;
use wasmtime::component::{HasData, Linker};

use self::bindings::wasi::logging::logging::{self, Level};
use crate::guest::Guest;
use crate::sink::Sink;

/// Where a guest's log goes.
pub(crate) struct LoggingView<'a>(pub(crate) &'a Arc<dyn Sink>);

struct HasLogging;

impl HasData for HasLogging {
    type Data<'a> = LoggingView<'a>;
}

/// Adds the interface.
pub(crate) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    logging::add_to_linker::<_, HasLogging>(linker, Guest::logging)
}

impl logging::Host for LoggingView<'_> {
    async fn log(&mut self, level: Level, context: String, message: String) -> wasmtime::Result<()> {
        let mut rest = Bytes::from(lines(level, &context, &message));
        while !rest.is_empty() {
            let room = self.0.room();
            if room == 0 {
                self.0.clone().ready().await;
                continue;
            }
            let piece = rest.split_to(rest.len().min(room));
            if self.0.write(piece).is_err() {
                break;
            }
        }
        Ok(())
    }
}

fn lines(level: Level, context: &str, message: &str) -> String {
    let level = match level {
        Level::Trace => "TRACE",
        Level::Debug => "DEBUG",
        Level::Info => "INFO",
        Level::Warn => "WARN",
        Level::Error => "ERROR",
        Level::Critical => "CRITICAL",
    };
    // A context of several lines would look like several messages.
    let context = context.replace(['\r', '\n'], " ");
    let head = if context.is_empty() { format!("{level} ") } else { format!("{level} {context}: ") };
    let message = message.strip_suffix('\n').unwrap_or(message);
    message.split('\n').fold(String::new(), |lines, line| lines + &head + line + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_says_how_grave_it_is_and_what_it_is_about() {
        let check = |level, context: &str, message: &str, expect: &str| {
            assert_eq!(lines(level, context, message), expect);
        };
        check(Level::Info, "", "hello", "INFO hello\n");
        check(Level::Warn, "till", "empty\n", "WARN till: empty\n");
        check(Level::Critical, "a\nb", "one\ntwo", "CRITICAL a b: one\nCRITICAL a b: two\n");
        check(Level::Trace, "x", "", "TRACE x: \n");
    }
}
