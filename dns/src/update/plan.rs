//! What is to change in a zone elsewhere: a pure comparison of what is wanted with what is there.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use hickory_proto::rr::rdata::TXT;
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use crate::public::{AllWanted, Wanted};

/// The types whose records this program keeps.
const KINDS: [RecordType; 3] = [RecordType::A, RecordType::AAAA, RecordType::CNAME];
/// What stands for the zone's own name in the name of a text record: no host can be called so.
const APEX: &str = "_apex";
/// What stands for a wildcard, whose star belongs alone into a label.
const ANY: &str = "_any";
/// A character string of a text record.
const TEXT_BYTES_MAX: usize = 255;

/// What is to be done.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) changes: Vec<Change>,
    /// What cannot be done, and why.
    pub(super) conflicts: Vec<(Name, RecordType, Conflict)>,
}

/// One set of records made, made anew or removed, with the text record that says whose it is.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) what: What,
    pub(super) name: Name,
    pub(super) kind: RecordType,
    /// What has to be true for it.
    pub(super) prerequisites: Vec<Record>,
    pub(super) updates: Vec<Record>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Created,
    Replaced,
    Removed,
}

/// Why a name is not told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Conflict {
    Foreign,
    Alias,
    Long,
}

type Set = (Name, RecordType);

/// A zone as it is, by name and type.
struct There<'a> {
    zone: &'a Name,
    owner: &'a str,
    sets: BTreeMap<Set, Vec<&'a Record>>,
    /// The sets that are ours, each with what its text says.
    owned: BTreeMap<Set, String>,
}

// === impl Plan ===

impl Plan {
    /// `there` is all that the zone has.
    pub(super) fn new(zone: &Name, wanted: &AllWanted, there: &[Record], owner: &str) -> Self {
        let there = There::new(zone, owner, there);
        let mut plan = Self::default();
        for (set, wanted) in wanted {
            match there.settle(set, wanted) {
                Ok(Some(change)) => plan.changes.push(change),
                Ok(None) => {}
                Err(conflict) => plan.conflicts.push((set.0.clone(), set.1, conflict)),
            }
        }
        let unwanted: BTreeSet<&Set> = there.owned.keys().filter(|set| !wanted.contains_key(*set)).collect();
        // An alias goes before what comes in its place.
        plan.changes.retain(|change| {
            change.what != What::Created || !unwanted.iter().any(|(name, kind)| is_in_the_way(change, name, *kind))
        });
        plan.changes.extend(unwanted.into_iter().filter_map(|set| there.remove(set)));
        plan
    }
}

/// Whether a set has to go before another can come.
fn is_in_the_way(change: &Change, name: &Name, kind: RecordType) -> bool {
    change.name == *name && (change.kind == RecordType::CNAME || kind == RecordType::CNAME)
}

// === impl There ===

impl<'a> There<'a> {
    fn new(zone: &'a Name, owner: &'a str, records: &'a [Record]) -> Self {
        let mut sets: BTreeMap<Set, Vec<&Record>> = BTreeMap::new();
        for record in records {
            sets.entry((record.name.to_lowercase(), record.record_type())).or_default().push(record);
        }
        let texts = sets.iter().filter(|((_, kind), _)| *kind == RecordType::TXT);
        let owned = texts.filter_map(|((name, _), records)| {
            let [record] = records.as_slice() else { return None };
            let text = text(&record.data)?;
            let is_ours = text.split(',').any(|word| word.strip_prefix("external-dns/owner=") == Some(owner));
            (is_ours && text.starts_with("heritage=external-dns,")).then_some(())?;
            Some((owned_set(zone, name)?, text))
        });
        let owned = owned.collect();
        Self { zone, owner, sets, owned }
    }

    fn settle(&self, set: &Set, wanted: &Wanted) -> Result<Option<Change>, Conflict> {
        let (name, kind) = set;
        let text = format!(
            "heritage=external-dns,external-dns/owner={},external-dns/resource={}",
            self.owner, wanted.resource
        );
        let text_name = text_name(self.zone, name, *kind).ok_or(Conflict::Long)?;
        let known = self.sets.get(set);
        if let Some(owned) = self.owned.get(set) {
            if *owned == text && known.is_some_and(|known| is_same(known, wanted)) {
                return Ok(None);
            }
            let mut change = self.change(What::Replaced, set, &text_name);
            change.updates.extend(records(name, wanted));
            change.updates.push(text_record(&text_name, &text, wanted.ttl));
            return Ok(Some(change));
        }
        if known.is_some() || self.sets.contains_key(&(text_name.clone(), RecordType::TXT)) {
            return Err(Conflict::Foreign);
        }
        // What is ours and in the way is gone by the next round.
        let others = self.sets.keys().filter(|other| other.0 == *name && !self.owned.contains_key(*other));
        if others.into_iter().any(|(_, other)| *kind == RecordType::CNAME || *other == RecordType::CNAME) {
            return Err(Conflict::Alias);
        }
        let in_the_way = if *kind == RecordType::CNAME { RecordType::ANY } else { RecordType::CNAME };
        let absent = |name: &Name, kind| stub(name, kind, DNSClass::NONE);
        let mut updates: Vec<Record> = records(name, wanted).collect();
        updates.push(text_record(&text_name, &text, wanted.ttl));
        Ok(Some(Change {
            what: What::Created,
            name: name.clone(),
            kind: *kind,
            prerequisites: vec![absent(name, *kind), absent(name, in_the_way), absent(&text_name, RecordType::TXT)],
            updates,
        }))
    }

    fn remove(&self, set: &Set) -> Option<Change> {
        Some(self.change(What::Removed, set, &text_name(self.zone, &set.0, set.1)?))
    }

    /// Removes a set of ours and its text, if the text is still what it was.
    fn change(&self, what: What, (name, kind): &Set, text_name: &Name) -> Change {
        let texts = self.sets.get(&(text_name.clone(), RecordType::TXT)).into_iter().flatten();
        let prerequisites = texts.map(|record| Record::from_rdata(text_name.clone(), 0, record.data.clone())).collect();
        let updates = vec![stub(name, *kind, DNSClass::ANY), stub(text_name, RecordType::TXT, DNSClass::ANY)];
        Change { what, name: name.clone(), kind: *kind, prerequisites, updates }
    }
}

/// Where the text stands that says whose a set is: `www` has its addresses' at `a-www`.
fn text_name(zone: &Name, name: &Name, kind: RecordType) -> Option<Name> {
    let kind = kind.to_string().to_ascii_lowercase();
    let (first, parent) = match name == zone {
        true => (APEX.to_owned(), name.clone()),
        false if name.is_wildcard() => (ANY.to_owned(), name.base_name()),
        false => (String::from_utf8(name.iter().next()?.to_vec()).ok()?, name.base_name()),
    };
    parent.prepend_label(format!("{kind}-{first}").as_bytes()).ok()
}

/// The set that a text record speaks of.
fn owned_set(zone: &Name, name: &Name) -> Option<Set> {
    let label = String::from_utf8(name.iter().next()?.to_vec()).ok()?;
    let (kind, first) = label.split_once('-')?;
    let kind = KINDS.into_iter().find(|known| known.to_string().eq_ignore_ascii_case(kind))?;
    let parent = name.base_name();
    if first == APEX {
        return (parent == *zone).then_some((parent, kind));
    }
    let first = if first == ANY { "*" } else { first };
    Some((parent.prepend_label(first.as_bytes()).ok()?, kind))
}

fn is_same(known: &[&Record], wanted: &Wanted) -> bool {
    let is_there = |data: &RData| known.iter().any(|record| record.data == *data && record.ttl == wanted.ttl);
    known.len() == wanted.data.len() && wanted.data.iter().all(is_there)
}

fn records<'a>(name: &'a Name, wanted: &'a Wanted) -> impl Iterator<Item = Record> + 'a {
    wanted.data.iter().map(|data| Record::from_rdata(name.clone(), wanted.ttl, data.clone()))
}

/// A record without data, which in some classes means all or none of its set.
fn stub(name: &Name, kind: RecordType, class: DNSClass) -> Record {
    let mut record = Record::update0(name.clone(), 0, kind);
    record.dns_class = class;
    record.into_record_of_rdata()
}

fn text_record(name: &Name, text: &str, ttl: u32) -> Record {
    let parts = text.as_bytes().chunks(TEXT_BYTES_MAX).collect();
    Record::from_rdata(name.clone(), ttl, RData::TXT(TXT::from_bytes(parts)))
}

fn text(data: &RData) -> Option<String> {
    let RData::TXT(text) = data else { return None };
    String::from_utf8(text.txt_data.concat()).ok()
}

// === impl What ===

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Created => "public name told",
            Self::Replaced => "public name changed",
            Self::Removed => "public name removed",
        })
    }
}

// === impl Conflict ===

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Foreign => "the zone has such records already, and they are not this cluster's",
            Self::Alias => "an alias and other records cannot have one name, and what is there is not this cluster's",
            Self::Long => "the name is too long for a record beside it that says whose it is",
        })
    }
}

#[cfg(test)]
mod tests;
