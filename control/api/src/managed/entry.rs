//! `metadata.managedFields`: who manages what, and since when.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::FieldSet;

/// Everybody who manages fields of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Managed(pub(super) Vec<Entry>);

/// What one manager manages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub manager: String,
    /// How it writes.
    pub manner: Manner,
    /// In which version it spoke of the fields.
    pub api_version: String,
    /// By which part of the object it wrote; empty for the object itself.
    pub subresource: String,
    /// When it last changed something, as Kubernetes writes it.
    pub time: Option<String>,
    /// The fields.
    pub fields: FieldSet,
}

/// How a manager writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Manner {
    /// It says all it wants each time.
    Apply,
    /// It changes what is there.
    Update,
}

/// What a client says of the managers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// Nothing that can be understood: they stay.
    Nothing,
    /// Forget them.
    Reset,
    /// Those.
    These(Managed),
}

/// As Kubernetes has it: of more managers that update, the oldest become one.
const UPDATERS_MAX: usize = 10;
/// What they become.
const ANCIENT: &str = "ancient-changes";

/// An instant as Kubernetes writes it.
pub(super) fn written(now: Timestamp) -> String {
    now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

// === impl Managed ===

impl Managed {
    /// Nobody.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Everybody, in the order in which they are written.
    pub fn entries(&self) -> &[Entry] {
        &self.0
    }

    /// The managers of an object; nobody when they cannot be understood.
    pub fn of(object: &Value) -> Self {
        match Self::said(object) {
            Said::These(managed) => managed,
            Said::Nothing | Said::Reset => Self::default(),
        }
    }

    /// What an object from a client says of its managers. One empty entry says that they are to be forgotten.
    pub fn said(object: &Value) -> Said {
        let Some(Value::Array(entries)) = object.pointer("/metadata/managedFields") else { return Said::Nothing };
        match entries.as_slice() {
            [] => Said::Nothing,
            [Value::Object(only)] if only.is_empty() => Said::Reset,
            entries => match entries.iter().map(Entry::read).collect() {
                Some(entries) => Said::These(Self(entries)),
                None => Said::Nothing,
            },
        }
    }

    /// Puts the managers into an object's metadata.
    pub fn put(&self, object: &mut Value) {
        let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else { return };
        if self.is_empty() {
            metadata.remove("managedFields");
        } else {
            metadata.insert("managedFields".into(), self.0.iter().map(Entry::to_value).collect());
        }
    }

    /// Whether the same managers manage the same, whenever they said so.
    pub fn is_same(&self, other: &Self) -> bool {
        let is_same = |(one, other): (&Entry, &Entry)| one.is_of(other) && one.fields == other.fields;
        self.0.len() == other.0.len() && self.0.iter().all(|one| other.0.iter().any(|other| is_same((one, other))))
    }

    /// In the order in which Kubernetes writes them, nobody who manages nothing, and not too many.
    pub(super) fn tidy(mut self) -> Self {
        self.0.retain(|entry| !entry.fields.is_empty());
        self.merge_oldest();
        self.0.sort_by(|a, b| {
            let key = |entry: &Entry| (entry.manner, entry.time.clone());
            let name = |entry: &Entry| (entry.manager.clone(), entry.api_version.clone(), entry.subresource.clone());
            key(a).cmp(&key(b)).then_with(|| name(a).cmp(&name(b)))
        });
        self
    }

    fn merge_oldest(&mut self) {
        let is_updater = |entry: &Entry| entry.manner == Manner::Update && entry.subresource.is_empty();
        let updaters = self.0.iter().filter(|entry| is_updater(entry)).count();
        if updaters <= UPDATERS_MAX {
            return;
        }
        let (mut updaters, mut kept): (Vec<Entry>, Vec<Entry>) = self.0.drain(..).partition(is_updater);
        updaters.sort_by(|a, b| a.time.cmp(&b.time));
        let newest = updaters.split_off(updaters.len() - (UPDATERS_MAX - 1));
        for old in updaters {
            match kept.iter_mut().find(|entry| entry.manager == ANCIENT && entry.api_version == old.api_version) {
                Some(ancient) => {
                    ancient.fields.extend(&old.fields);
                    ancient.time = old.time;
                }
                None => kept.push(Entry { manager: ANCIENT.into(), ..old }),
            }
        }
        kept.extend(newest);
        self.0 = kept;
    }
}

// === impl Entry ===

impl Entry {
    /// Whether both are of one manager, writing in one way.
    pub(super) fn is_of(&self, other: &Self) -> bool {
        let version = self.manner == Manner::Apply || self.api_version == other.api_version;
        version && (self.manner, &self.manager, &self.subresource) == (other.manner, &other.manager, &other.subresource)
    }

    fn read(value: &Value) -> Option<Self> {
        let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let manner = match text("operation").as_str() {
            "Apply" => Manner::Apply,
            "Update" => Manner::Update,
            _ => return None,
        };
        if !matches!(text("fieldsType").as_str(), "" | "FieldsV1") {
            return None;
        }
        let time: Option<Timestamp> = match text("time").as_str() {
            "" => None,
            time => Some(time.parse().ok()?),
        };
        let fields = match value.get("fieldsV1") {
            None | Some(Value::Null) => FieldSet::default(),
            Some(fields) => FieldSet::from_value(fields)?,
        };
        Some(Self {
            manager: text("manager"),
            manner,
            api_version: text("apiVersion"),
            subresource: text("subresource"),
            time: time.map(written),
            fields,
        })
    }

    fn to_value(&self) -> Value {
        let mut entry = Map::new();
        for (name, text) in [
            ("manager", self.manager.as_str()),
            ("operation", self.manner.name()),
            ("apiVersion", &self.api_version),
            ("time", self.time.as_deref().unwrap_or_default()),
            ("fieldsType", "FieldsV1"),
            ("subresource", &self.subresource),
        ] {
            if !text.is_empty() {
                entry.insert(name.into(), json!(text));
            }
        }
        entry.insert("fieldsV1".into(), self.fields.to_value());
        Value::Object(entry)
    }
}

// === impl Manner ===

impl Manner {
    fn name(self) -> &'static str {
        match self {
            Self::Apply => "Apply",
            Self::Update => "Update",
        }
    }
}
