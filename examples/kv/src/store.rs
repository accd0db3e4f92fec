//! What is kept, and what each command does to it.

use std::collections::{BTreeMap, VecDeque};
use std::env;

use crate::resp::Reply;

/// Keys and their values.
#[derive(Default)]
pub struct Store {
    values: BTreeMap<Vec<u8>, Value>,
}

/// What a key may have.
pub enum Value {
    Bytes(Vec<u8>),
    /// Never empty: a list without items is not there.
    List(VecDeque<Vec<u8>>),
}

/// One of a list's two ends.
#[derive(Clone, Copy)]
enum End {
    Left,
    Right,
}

/// What a command comes to; a refusal leaves everything as it was.
type Done = Result<Reply, Reply>;

// === impl Store ===

impl Store {
    /// Whether a command may change what there is.
    pub fn is_changed_by(command: &[Vec<u8>]) -> bool {
        const CHANGES: [&str; 13] = [
            "SET", "DEL", "INCR", "DECR", "INCRBY", "APPEND", "FLUSHALL", "LPUSH", "RPUSH", "LPOP", "RPOP", "LREM",
            "RPOPLPUSH",
        ];
        let name = command.first().map(Vec::as_slice).unwrap_or_default();
        CHANGES.iter().any(|change| name.eq_ignore_ascii_case(change.as_bytes()))
    }

    /// Everything there is.
    pub fn values(&self) -> impl Iterator<Item = (&Vec<u8>, &Value)> {
        self.values.iter()
    }

    /// Does one command.
    pub fn act(&mut self, command: &[Vec<u8>]) -> Reply {
        let [name, args @ ..] = command else { return Reply::Error("no command".into()) };
        self.done(&name.to_ascii_uppercase(), args).unwrap_or_else(|refusal| refusal)
    }

    fn done(&mut self, name: &[u8], args: &[Vec<u8>]) -> Done {
        Ok(match (name, args) {
            (b"PING", []) => Reply::Text("PONG".into()),
            (b"PING" | b"ECHO", [text]) => Reply::Bytes(Some(text.clone())),
            (b"GET", [key]) => Reply::Bytes(self.bytes(key)?.cloned()),
            (b"SET", [key, value]) => {
                self.values.insert(key.clone(), Value::Bytes(value.clone()));
                Reply::Ok
            }
            (b"DEL", [_, ..]) => self.count(args, |store, key| store.values.remove(key).is_some()),
            (b"EXISTS", [_, ..]) => self.count(args, |store, key| store.values.contains_key(key)),
            (b"INCR", [key]) => self.add(key, Some(1))?,
            (b"DECR", [key]) => self.add(key, Some(-1))?,
            (b"INCRBY", [key, step]) => self.add(key, number(step))?,
            (b"APPEND", [key, more]) => {
                let whole = [self.bytes(key)?.map(Vec::as_slice).unwrap_or_default(), more].concat();
                let length = whole.len();
                self.values.insert(key.clone(), Value::Bytes(whole));
                Reply::Number(length as i64)
            }
            (b"STRLEN", [key]) => Reply::Number(self.bytes(key)?.map_or(0, Vec::len) as i64),
            (b"LPUSH", [key, items @ ..]) if !items.is_empty() => self.push(key, items, End::Left)?,
            (b"RPUSH", [key, items @ ..]) if !items.is_empty() => self.push(key, items, End::Right)?,
            (b"LPOP", [key]) => Reply::Bytes(self.pop(key, End::Left)?),
            (b"RPOP", [key]) => Reply::Bytes(self.pop(key, End::Right)?),
            (b"RPOPLPUSH", [from, to]) => self.hand_over(from, to)?,
            (b"LLEN", [key]) => Reply::Number(self.list(key)?.map_or(0, VecDeque::len) as i64),
            (b"LRANGE", [key, first, last]) => self.range(key, number(first), number(last))?,
            (b"LREM", [key, count, item]) => self.remove(key, number(count), item)?,
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
        })
    }

    fn bytes(&self, key: &[u8]) -> Result<Option<&Vec<u8>>, Reply> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::Bytes(bytes)) => Ok(Some(bytes)),
            Some(Value::List(_)) => Err(wrong_type()),
        }
    }

    fn list(&self, key: &[u8]) -> Result<Option<&VecDeque<Vec<u8>>>, Reply> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::List(list)) => Ok(Some(list)),
            Some(Value::Bytes(_)) => Err(wrong_type()),
        }
    }

    fn count(&mut self, keys: &[Vec<u8>], is_so: impl Fn(&mut Self, &[u8]) -> bool) -> Reply {
        Reply::Number(keys.iter().filter(|key| is_so(self, key)).count() as i64)
    }

    fn add(&mut self, key: &[u8], step: Option<i64>) -> Done {
        let before = self.bytes(key)?.map_or(Some(0), |value| number(value));
        match before.zip(step).and_then(|(before, step)| before.checked_add(step)) {
            Some(sum) => {
                self.values.insert(key.to_vec(), Value::Bytes(sum.to_string().into_bytes()));
                Ok(Reply::Number(sum))
            }
            None => Err(not_a_number()),
        }
    }

    fn push(&mut self, key: &[u8], items: &[Vec<u8>], end: End) -> Done {
        let Value::List(list) = self.values.entry(key.to_vec()).or_insert(Value::List(VecDeque::new())) else {
            return Err(wrong_type());
        };
        for item in items {
            match end {
                End::Left => list.push_front(item.clone()),
                End::Right => list.push_back(item.clone()),
            }
        }
        Ok(Reply::Number(list.len() as i64))
    }

    fn pop(&mut self, key: &[u8], end: End) -> Result<Option<Vec<u8>>, Reply> {
        let list = match self.values.get_mut(key) {
            None => return Ok(None),
            Some(Value::List(list)) => list,
            Some(Value::Bytes(_)) => return Err(wrong_type()),
        };
        let item = match end {
            End::Left => list.pop_front(),
            End::Right => list.pop_back(),
        };
        if list.is_empty() {
            self.values.remove(key);
        }
        Ok(item)
    }

    /// The last of one list becomes the first of another; nobody sees it in neither.
    fn hand_over(&mut self, from: &[u8], to: &[u8]) -> Done {
        self.list(to)?;
        let item = self.pop(from, End::Right)?;
        if let Some(item) = &item {
            self.push(to, std::slice::from_ref(item), End::Left)?;
        }
        Ok(Reply::Bytes(item))
    }

    /// The items between two places, both included; less than nothing counts from the end.
    fn range(&self, key: &[u8], first: Option<i64>, last: Option<i64>) -> Done {
        let (Some(first), Some(last)) = (first, last) else { return Err(not_a_number()) };
        let Some(list) = self.list(key)? else { return Ok(Reply::List(Vec::new())) };
        let length = list.len() as i64;
        let place = |at: i64| if at < 0 { at + length } else { at };
        let (first, last) = (place(first).max(0), place(last));
        let items = (0..).zip(list).filter(|(at, _)| (first..=last).contains(at)).map(|(_, item)| item.clone());
        Ok(Reply::List(items.collect()))
    }

    /// Takes an item out: so often, from the end if that is less than nothing, and wherever it is for nought.
    fn remove(&mut self, key: &[u8], count: Option<i64>, item: &[u8]) -> Done {
        let Some(count) = count else { return Err(not_a_number()) };
        let list = match self.values.get_mut(key) {
            None => return Ok(Reply::Number(0)),
            Some(Value::List(list)) => list,
            Some(Value::Bytes(_)) => return Err(wrong_type()),
        };
        let most = if count == 0 { usize::MAX } else { count.unsigned_abs() as usize };
        let found: Vec<usize> = list.iter().enumerate().filter(|(_, one)| *one == item).map(|(at, _)| at).collect();
        let taken = found.len().min(most);
        let these = if count < 0 { &found[found.len() - taken..] } else { &found[..taken] };
        for at in these.iter().rev() {
            list.remove(*at);
        }
        if list.is_empty() {
            self.values.remove(key);
        }
        Ok(Reply::Number(taken as i64))
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

fn not_a_number() -> Reply {
    Reply::Error("value is not an integer or out of range".into())
}

fn wrong_type() -> Reply {
    Reply::Error("the key has another kind of value".into())
}
