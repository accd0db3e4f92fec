//! What is kept, and what each command does to it.

use std::collections::BTreeMap;
use std::env;

use crate::resp::Reply;

/// Keys and their values.
#[derive(Default)]
pub struct Store {
    values: BTreeMap<Vec<u8>, Vec<u8>>,
}

// === impl Store ===

impl Store {
    /// Whether a command may change what there is.
    pub fn is_changed_by(command: &[Vec<u8>]) -> bool {
        const CHANGES: [&str; 7] = ["SET", "DEL", "INCR", "DECR", "INCRBY", "APPEND", "FLUSHALL"];
        let name = command.first().map(Vec::as_slice).unwrap_or_default();
        CHANGES.iter().any(|change| name.eq_ignore_ascii_case(change.as_bytes()))
    }

    /// Everything there is.
    pub fn values(&self) -> impl Iterator<Item = (&Vec<u8>, &Vec<u8>)> {
        self.values.iter()
    }

    /// Does one command.
    pub fn act(&mut self, command: &[Vec<u8>]) -> Reply {
        let [name, args @ ..] = command else { return Reply::Error("no command".into()) };
        match (name.to_ascii_uppercase().as_slice(), args) {
            (b"PING", []) => Reply::Text("PONG".into()),
            (b"PING" | b"ECHO", [text]) => Reply::Bytes(Some(text.clone())),
            (b"GET", [key]) => Reply::Bytes(self.values.get(key).cloned()),
            (b"SET", [key, value]) => {
                self.values.insert(key.clone(), value.clone());
                Reply::Ok
            }
            (b"DEL", [_, ..]) => self.count(args, |store, key| store.values.remove(key).is_some()),
            (b"EXISTS", [_, ..]) => self.count(args, |store, key| store.values.contains_key(key)),
            (b"INCR", [key]) => self.add(key, Some(1)),
            (b"DECR", [key]) => self.add(key, Some(-1)),
            (b"INCRBY", [key, step]) => self.add(key, number(step)),
            (b"APPEND", [key, more]) => {
                let value = self.values.entry(key.clone()).or_default();
                value.extend(more);
                Reply::Number(value.len() as i64)
            }
            (b"STRLEN", [key]) => Reply::Number(self.values.get(key).map_or(0, Vec::len) as i64),
            (b"KEYS", [pattern]) => self.keys(pattern),
            (b"DBSIZE", []) => Reply::Number(self.values.len() as i64),
            (b"FLUSHALL", []) => {
                self.values.clear();
                Reply::Ok
            }
            (b"INFO", _) => Reply::Bytes(Some(self.info().into_bytes())),
            (b"QUIT" | b"CLIENT" | b"SELECT", _) => Reply::Ok,
            // What redis-cli asks for when it starts.
            (b"COMMAND", _) => Reply::List(Vec::new()),
            (name, _) => {
                Reply::Error(format!("unknown command or wrong arguments: {}", String::from_utf8_lossy(name)))
            }
        }
    }

    fn count(&mut self, keys: &[Vec<u8>], is_so: impl Fn(&mut Self, &[u8]) -> bool) -> Reply {
        Reply::Number(keys.iter().filter(|key| is_so(self, key)).count() as i64)
    }

    fn add(&mut self, key: &[u8], step: Option<i64>) -> Reply {
        let before = self.values.get(key).map_or(Some(0), |value| number(value));
        match before.zip(step).and_then(|(before, step)| before.checked_add(step)) {
            Some(sum) => {
                self.values.insert(key.to_vec(), sum.to_string().into_bytes());
                Reply::Number(sum)
            }
            None => Reply::Error("value is not an integer or out of range".into()),
        }
    }

    /// All keys, or those with a prefix: `*` or `PREFIX*`.
    fn keys(&self, pattern: &[u8]) -> Reply {
        let prefix = pattern.strip_suffix(b"*");
        let fits = |key: &&Vec<u8>| prefix.map_or(key.as_slice() == pattern, |prefix| key.starts_with(prefix));
        Reply::List(self.values.keys().filter(fits).cloned().collect())
    }

    fn info(&self) -> String {
        let host = env::var("HOSTNAME").unwrap_or_default();
        format!("# Server\r\nhost:{host}\r\n# Keyspace\r\nkeys:{}\r\n", self.values.len())
    }
}

fn number(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}
