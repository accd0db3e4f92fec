//! The zone's answers, ready for the wire.
//!
//! Nearly every question is for an address, a place or a name of the zone, in one plain form. Its answer is made when the zone
//! is: what is left to do is to read the question strictly, find it, and copy. Whatever is not of that form, be it odd, large,
//! rare or wrong, is not answered here but goes the long way, which says the same (a property of the tests).

use std::collections::HashMap;
use std::sync::Arc;

use hickory_proto::rr::{LowerName, Name, RData, Record, RecordType};

use super::Zone;
use super::pods::{Made, PodNames, Pods};

/// The largest answer over UDP: what passes every link unfragmented.
pub(crate) const UDP_BYTES_MAX: usize = 1232;
/// What everybody takes who does not say.
const PLAIN_BYTES_MAX: usize = 512;
const HEADER_BYTES: usize = 12;
/// Type and class, after the name.
const ASKED_BYTES: usize = 4;
const NAME_BYTES_MAX: usize = 255;
const LABEL_BYTES_MAX: u8 = 63;
/// The root's name, type, size, flags and length of an OPT record.
const OPT_BYTES: usize = 11;
const OPT: u16 = 41;
const CLASS_IN: u16 = 1;
const SOA: u16 = 6;
/// A name that stands elsewhere in the message.
const POINTER: u16 = 0xc000;
/// What a pointer can point at.
const POINTER_MAX: usize = 0x3fff;
/// The types that are answered here.
const TYPES: [RecordType; 4] = [RecordType::A, RecordType::AAAA, RecordType::SRV, RecordType::PTR];

/// Answers by name, both as they are on the wire.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wire {
    /// The longest first: the first that fits is the nearest.
    apexes: Arc<[Apex]>,
    nodes: Arc<HashMap<Box<[u8]>, Node>>,
    pods: PodNames,
}

#[derive(Debug)]
struct Apex {
    name: Box<[u8]>,
    /// Its start of authority, without the name.
    soa: Box<[u8]>,
    /// Names that do not exist have to go the long way.
    has_wildcards: bool,
}

#[derive(Debug, Default)]
struct Node {
    /// Another name is to be looked up, whatever is asked for.
    is_alias: bool,
    sets: Vec<Set>,
}

/// The records of one type.
#[derive(Debug)]
struct Set {
    kind: u16,
    count: u16,
    /// The records behind each other, their names pointing at the question.
    records: Box<[u8]>,
    /// The length of each record, if it is the same for all and they hold no names: then they may be turned and cut.
    stride: Option<usize>,
    additional_count: u16,
    additionals: Box<[u8]>,
}

/// What is asked for.
struct Question {
    /// The name's bytes, in lower case.
    name: [u8; NAME_BYTES_MAX],
    name_length: usize,
    kind: u16,
    /// The largest answer that is welcome, if the question says so.
    edns_bytes: Option<usize>,
}

// === impl Wire ===

impl Wire {
    pub(crate) fn new(zone: &Zone) -> Self {
        let mut apexes: Vec<Apex> = zone.apexes.iter().map(|apex| Apex::new(apex, zone.has_wildcards(apex))).collect();
        apexes.sort_by_key(|apex| std::cmp::Reverse(apex.name.len()));
        let nodes = zone.nodes.iter().map(|(name, node)| Node::new(name, node)).collect();
        Self { apexes: apexes.into(), nodes: Arc::new(nodes), pods: zone.pods.clone() }
    }

    /// The same, of a zone where nothing has changed but the pods.
    pub(crate) fn when_pods_are(&self, pods: Pods) -> Self {
        Self { pods: PodNames { pods, ..self.pods.clone() }, ..self.clone() }
    }

    /// What pods have at a name that nobody else has.
    fn made(&self, name: &[u8]) -> Option<Node> {
        let name = LowerName::new(&Name::from_labels(labels(name)).ok()?);
        let records = match self.pods.at(&name)? {
            Made::Record(record) => vec![*record],
            Made::Above => Vec::new(),
        };
        Some(Node::new(&name, &super::Node { records, additionals: Vec::new() }).1)
    }

    /// Writes the answer to `request` into `out`, which is empty; `turn` says which of several addresses comes first.
    /// None: the question has to go the long way.
    pub(crate) fn answer(&self, request: &[u8], is_recursive: bool, turn: usize, out: &mut Vec<u8>) -> Option<()> {
        let question = Question::read(request)?;
        let name = &question.name[..question.name_length];
        let asked_end = HEADER_BYTES + question.name_length + ASKED_BYTES;
        let opt_bytes = if question.edns_bytes.is_some() { OPT_BYTES } else { 0 };
        let bytes_max = question.edns_bytes.unwrap_or(PLAIN_BYTES_MAX);
        let room = bytes_max.checked_sub(asked_end + opt_bytes)?;

        out.extend_from_slice(&request[..asked_end]);
        out[2] = 0x84 | (request[2] & 0x01);
        out[3] = (request[3] & 0x10) | if is_recursive { 0x80 } else { 0 };
        let mut counts = [1, 0, 0, 0];
        let known = self.nodes.get(name);
        let made = if known.is_none() { self.made(name) } else { None };
        match known.or(made.as_ref()) {
            Some(node) if node.is_alias => return None,
            Some(node) => match node.sets.iter().find(|set| set.kind == question.kind) {
                Some(set) => (counts[1], counts[3]) = set.write(room, turn, out)?,
                None => self.deny(name, room, out).map(drop)?,
            },
            None => {
                let apex = self.deny(name, room, out)?;
                (!apex.has_wildcards).then_some(())?;
                out[3] |= 3;
            }
        }
        counts[2] = u16::from(counts[1] == 0);
        if opt_bytes > 0 {
            let [high, low] = (UDP_BYTES_MAX as u16).to_be_bytes();
            out.extend_from_slice(&[0, 0, OPT as u8, high, low, 0, 0, 0, 0, 0, 0]);
            counts[3] += 1;
        }
        for (place, count) in counts.into_iter().enumerate() {
            out[4 + 2 * place..6 + 2 * place].copy_from_slice(&count.to_be_bytes());
        }
        Some(())
    }

    /// Writes who says that there is no such thing.
    fn deny(&self, name: &[u8], room: usize, out: &mut Vec<u8>) -> Option<&Apex> {
        let apex = self.apexes.iter().find(|apex| apex.is_above(name))?;
        let place = HEADER_BYTES + name.len() - apex.name.len();
        (2 + apex.soa.len() <= room).then_some(())?;
        out.extend_from_slice(&(POINTER | place as u16).to_be_bytes());
        out.extend_from_slice(&apex.soa);
        Some(apex)
    }
}

// === impl Apex ===

impl Apex {
    fn new(apex: &super::Apex, has_wildcards: bool) -> Self {
        let mut soa = Vec::new();
        if let RData::SOA(data) = &apex.soa.data {
            let numbers = [data.serial, data.refresh as u32, data.retry as u32, data.expire as u32, data.minimum];
            let names = [name_bytes(&data.mname), name_bytes(&data.rname)].concat();
            let numbers = numbers.map(u32::to_be_bytes).concat();
            soa = record(SOA, apex.soa.ttl, &[names, numbers].concat());
        }
        Self { name: lower_bytes(&apex.name), soa: soa.into(), has_wildcards }
    }

    fn is_above(&self, name: &[u8]) -> bool {
        let Some(mut below) = name.len().checked_sub(self.name.len()) else { return false };
        if name[below..] != *self.name {
            return false;
        }
        // The bytes of the apex may also be the end of a longer label.
        let mut rest = name;
        while below > 0 {
            let label = usize::from(rest[0]) + 1;
            let Some(less) = below.checked_sub(label) else { return false };
            (rest, below) = (&rest[label..], less);
        }
        true
    }
}

// === impl Node ===

impl Node {
    fn new(name: &LowerName, node: &super::Node) -> (Box<[u8]>, Self) {
        let bytes = lower_bytes(name);
        let is_alias = node.records.iter().any(|record| record.record_type() == RecordType::CNAME);
        let asked_end = HEADER_BYTES + bytes.len() + ASKED_BYTES;
        let sets = TYPES.into_iter().filter_map(|kind| Set::new(kind, node, asked_end)).collect();
        (bytes, Self { is_alias, sets })
    }
}

// === impl Set ===

impl Set {
    fn new(kind: RecordType, node: &super::Node, asked_end: usize) -> Option<Self> {
        let mut records: Vec<u8> = Vec::new();
        let mut targets: HashMap<Box<[u8]>, usize> = HashMap::new();
        let mut count = 0;
        for known in node.records.iter().filter(|record| record.record_type() == kind) {
            let data = data_bytes(&known.data)?;
            records.extend(owner(asked_end, None).unwrap_or_default());
            records.extend(record(kind.into(), known.ttl, &data));
            if let RData::SRV(place) = &known.data {
                let target = lower_bytes(&LowerName::new(&place.target));
                targets.entry(target.clone()).or_insert(asked_end + records.len() - target.len());
            }
            count += 1;
        }
        if count == 0 {
            return None;
        }
        let stride = matches!(kind, RecordType::A | RecordType::AAAA).then_some(records.len() / count);
        let mut set = Self {
            kind: kind.into(),
            count: u16::try_from(count).ok()?,
            records: records.into(),
            stride,
            additional_count: 0,
            additionals: Box::default(),
        };
        if kind == RecordType::SRV {
            let written = node.additionals.iter().filter_map(|record| additional(record, &targets));
            let written: Vec<Vec<u8>> = written.collect();
            set.additional_count = u16::try_from(written.len()).ok()?;
            set.additionals = written.concat().into();
        }
        Some(set)
    }

    /// Writes what there is room for; returns how many answers and additional records that is.
    fn write(&self, room: usize, turn: usize, out: &mut Vec<u8>) -> Option<(u16, u16)> {
        if let Some(stride) = self.stride {
            let count = usize::from(self.count);
            let fitting = count.min(room / stride);
            let first = turn % count;
            let until_end = fitting.min(count - first);
            out.extend_from_slice(&self.records[first * stride..(first + until_end) * stride]);
            out.extend_from_slice(&self.records[..(fitting - until_end) * stride]);
            if fitting < count {
                out[2] |= 0x02;
            }
            return (fitting > 0).then_some((fitting as u16, 0));
        }
        (self.records.len() + self.additionals.len() <= room).then_some(())?;
        out.extend_from_slice(&self.records);
        out.extend_from_slice(&self.additionals);
        Some((self.count, self.additional_count))
    }
}

// === impl Question ===

impl Question {
    /// Reads a question of the plain form, with or without EDNS. None: it is not of that form.
    fn read(request: &[u8]) -> Option<Self> {
        let (header, rest) = request.split_at_checked(HEADER_BYTES)?;
        // A query with no flags but "recursion desired", "authentic data" and "checking disabled".
        let is_plain = header[2] & 0xfe == 0 && header[3] & 0xcf == 0 && header[4..10] == [0, 1, 0, 0, 0, 0];
        let has_more = match header[10..] {
            [0, 0] => false,
            [0, 1] => true,
            _ => return None,
        };
        if !is_plain {
            return None;
        }
        let name_length = name_length(rest)?;
        let mut question = Self { name: [0; NAME_BYTES_MAX], name_length, kind: 0, edns_bytes: None };
        let (name, rest) = rest.split_at_checked(name_length)?;
        // Lengths are below every letter, so that the whole can be put into lower case at once.
        question.name[..name_length].copy_from_slice(name);
        question.name[..name_length].make_ascii_lowercase();
        let (asked, rest) = rest.split_at_checked(ASKED_BYTES)?;
        question.kind = u16::from_be_bytes([asked[0], asked[1]]);
        let is_known = TYPES.iter().any(|kind| u16::from(*kind) == question.kind);
        if !is_known || u16::from_be_bytes([asked[2], asked[3]]) != CLASS_IN {
            return None;
        }
        if has_more {
            question.edns_bytes = Some(edns_bytes(rest)?);
        } else if !rest.is_empty() {
            return None;
        }
        Some(question)
    }
}

/// The length of the name that `bytes` begin with, which does not point elsewhere.
fn name_length(bytes: &[u8]) -> Option<usize> {
    let mut place = 0;
    loop {
        let label = *bytes.get(place)?;
        if label > LABEL_BYTES_MAX || place >= NAME_BYTES_MAX {
            return None;
        }
        place += 1 + usize::from(label);
        if label == 0 {
            return Some(place);
        }
    }
}

/// What an OPT record of version 0 says about the size of the answer; its options are read over.
fn edns_bytes(bytes: &[u8]) -> Option<usize> {
    let (fixed, mut options) = bytes.split_at_checked(OPT_BYTES)?;
    let length = usize::from(u16::from_be_bytes([fixed[9], fixed[10]]));
    let is_opt = fixed[0] == 0 && u16::from_be_bytes([fixed[1], fixed[2]]) == OPT;
    let is_plain = fixed[5..7] == [0, 0];
    if !is_opt || !is_plain || length != options.len() {
        return None;
    }
    while !options.is_empty() {
        let (head, rest) = options.split_at_checked(4)?;
        options = rest.get(usize::from(u16::from_be_bytes([head[2], head[3]]))..)?;
    }
    let bytes = usize::from(u16::from_be_bytes([fixed[3], fixed[4]]));
    Some(bytes.clamp(PLAIN_BYTES_MAX, UDP_BYTES_MAX))
}

/// The name of a record: that of the question, or that of a target within the answers.
fn owner(asked_end: usize, target: Option<usize>) -> Option<[u8; 2]> {
    let place = target.unwrap_or(HEADER_BYTES);
    debug_assert!(target.is_none_or(|target| target >= asked_end), "targets stand in the answers");
    (place <= POINTER_MAX).then(|| (POINTER | place as u16).to_be_bytes())
}

/// An additional record, its name pointing at where it stands as a target.
fn additional(known: &Record, targets: &HashMap<Box<[u8]>, usize>) -> Option<Vec<u8>> {
    let target = *targets.get(&lower_bytes(&LowerName::new(&known.name)))?;
    let owner = owner(0, Some(target))?;
    let written = record(known.record_type().into(), known.ttl, &data_bytes(&known.data)?);
    Some([&owner[..], &written].concat())
}

/// A record without its name.
fn record(kind: u16, ttl: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(10 + data.len());
    bytes.extend(kind.to_be_bytes());
    bytes.extend(CLASS_IN.to_be_bytes());
    bytes.extend(ttl.to_be_bytes());
    bytes.extend((data.len() as u16).to_be_bytes());
    bytes.extend(data);
    bytes
}

fn data_bytes(data: &RData) -> Option<Vec<u8>> {
    Some(match data {
        RData::A(address) => address.0.octets().to_vec(),
        RData::AAAA(address) => address.0.octets().to_vec(),
        RData::PTR(name) => name_bytes(&name.0),
        RData::SRV(place) => {
            let numbers = [place.priority, place.weight, place.port].map(u16::to_be_bytes).concat();
            [numbers, name_bytes(&place.target)].concat()
        }
        _ => return None,
    })
}

fn name_bytes(name: &Name) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(name.len() + 1);
    for label in name {
        bytes.push(label.len() as u8);
        bytes.extend(label);
    }
    bytes.push(0);
    bytes
}

/// The labels of a name as it is on the wire.
fn labels(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = name;
    std::iter::from_fn(move || {
        let (length, more) = rest.split_first()?;
        let (label, more) = more.split_at_checked(usize::from(*length)).filter(|(label, _)| !label.is_empty())?;
        rest = more;
        Some(label)
    })
}

fn lower_bytes(name: &LowerName) -> Box<[u8]> {
    let mut bytes = name_bytes(&Name::from(name));
    bytes.make_ascii_lowercase();
    bytes.into()
}

#[cfg(test)]
mod tests;
