//! The world: all objects at one revision.
//!
//! A snapshot never changes; cloning it is a pointer. [`Snapshot::apply`] is the only code that makes one out of another, and
//! everything beside the objects (who owns whom, what runs where, who holds which claim) is an index: a function of them.

use std::fmt;
use std::net::IpAddr;
use std::ops::Bound;
use std::sync::{Arc, LazyLock};

use api::{GroupKind, Key, Object, Revision, keyvalue, kinds};
use imbl::ordmap::{DiffItem, RangedIter};
use imbl::shared_ptr::DefaultSharedPtr;
use imbl::{OrdMap, OrdSet};
use jiff::Timestamp;

use crate::claim::Standing;
use crate::{Change, Claim, Conflict, Event, Guard, Txn, Write};

/// Every object of the cluster at one revision.
#[derive(Clone, Default)]
pub struct Snapshot {
    revision: Revision,
    objects: OrdMap<GroupKind, OrdMap<Place, Object>>,
    index: Index,
}

/// Where an object stands among its kind: by namespace, then by name.
type Place = (Arc<str>, Arc<str>);

#[derive(Clone, Default, PartialEq)]
struct Index {
    by_uid: OrdMap<Arc<str>, Key>,
    by_owner: OrdMap<Arc<str>, OrdSet<Key>>,
    /// What controllers may adopt, of the kinds that they do.
    unmanaged: OrdSet<Key>,
    /// A pod without a node is filed under the name that no node has: the empty one.
    pods_by_node: OrdMap<Arc<str>, OrdSet<Key>>,
    /// Pods that have ended, the oldest first.
    ended_pods: OrdSet<(Option<Timestamp>, Key)>,
    claims: OrdMap<Claim, OrdSet<Key>>,
    /// What the entries of a bucket take together, by the bucket.
    bytes_in: OrdMap<Key, u64>,
}

/// The objects of a kind from one on, in order.
struct Walk<'a> {
    kind: GroupKind,
    rest: RangedIter<'a, Place, Object, DefaultSharedPtr>,
}

// === impl Snapshot ===

impl Snapshot {
    /// The last revision that changed something.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The object of this key.
    pub fn get(&self, key: &Key) -> Option<&Object> {
        self.objects.get(&key.kind())?.get(&key.place())
    }

    /// All objects of a kind, by namespace and name.
    pub fn list(&self, kind: GroupKind) -> impl Iterator<Item = &Object> {
        self.objects.get(&kind).into_iter().flat_map(OrdMap::values)
    }

    /// The objects of a kind in one namespace, by name.
    pub fn list_in<'a>(&'a self, kind: GroupKind, namespace: &'a str) -> impl Iterator<Item = &'a Object> {
        self.list_after(kind, namespace, "").take_while(move |object| object.key().namespace() == namespace)
    }

    /// The objects of a kind whose (namespace, name) is greater than the one given, in order.
    pub fn list_after<'a>(
        &'a self,
        kind: GroupKind,
        namespace: &str,
        name: &str,
    ) -> impl Iterator<Item = &'a Object> + use<'a> {
        let start: Place = (namespace.into(), name.into());
        let of_kind = self.objects.get(&kind).into_iter();
        of_kind
            .flat_map(move |objects| objects.range((Bound::Excluded(start.clone()), Bound::Unbounded)))
            .map(|(_, object)| object)
    }

    /// How many objects of a kind there are.
    pub fn count(&self, kind: GroupKind) -> usize {
        self.objects.get(&kind).map_or(0, OrdMap::len)
    }

    /// Whether the objects of a kind are for certain the same in both. It compares pointers: snapshots of different
    /// descent may be called different although they say the same.
    pub fn agrees(&self, other: &Self, kind: GroupKind) -> bool {
        match (self.objects.get(&kind), other.objects.get(&kind)) {
            (Some(ours), Some(theirs)) => ours.ptr_eq(theirs),
            (ours, theirs) => ours.is_none() && theirs.is_none(),
        }
    }

    /// What has become of the objects of a kind since an earlier world, by namespace and name: each object that is another now, as
    /// it was and as it is. What both worlds share is passed over, so that it costs what has changed and not what there is.
    pub fn changes<'a>(
        &'a self,
        earlier: &'a Self,
        kind: GroupKind,
    ) -> impl Iterator<Item = (Option<&'a Object>, Option<&'a Object>)> {
        let of = |world: &'a Self| world.objects.get(&kind).unwrap_or(&NONE);
        of(earlier).diff(of(self)).map(|difference| match difference {
            DiffItem::Add(_, after) => (None, Some(after)),
            DiffItem::Update { old: (_, before), new: (_, after) } => (Some(before), Some(after)),
            DiffItem::Remove(_, before) => (Some(before), None),
        })
    }

    /// The world with the objects of these kinds alone; it shares them, and keeps nothing else from being forgotten.
    pub fn part(&self, kinds: &[GroupKind]) -> Self {
        let objects = kinds.iter().filter_map(|kind| Some((*kind, self.objects.get(kind)?.clone())));
        Self { revision: self.revision, objects: objects.collect(), index: Index::default() }
    }

    /// The kinds of which there is at least one object.
    pub fn kinds(&self) -> impl Iterator<Item = GroupKind> {
        self.objects.keys().copied()
    }

    /// Every object.
    pub fn objects(&self) -> impl Iterator<Item = &Object> {
        self.objects.values().flat_map(OrdMap::values)
    }

    /// The object of this uid.
    pub fn by_uid(&self, uid: &str) -> Option<&Object> {
        self.get(self.index.by_uid.get(uid)?)
    }

    /// The objects that name this uid as an owner.
    pub fn owned_by(&self, uid: &str) -> impl Iterator<Item = &Object> {
        let keys = self.index.by_owner.get(uid).into_iter().flat_map(OrdSet::iter);
        // They are called alike as a rule, and so stand side by side: a step to the next costs a fraction of a look-up.
        let mut walk: Option<Walk<'_>> = None;
        keys.filter_map(move |key| {
            let next = walk.as_mut().filter(|walk| walk.kind == key.kind()).and_then(|walk| walk.rest.next());
            if let Some((_, object)) = next.filter(|(_, object)| object.key() == key) {
                return Some(object);
            }
            let mut rest = self.objects.get(&key.kind())?.range(key.place()..);
            let (_, found) = rest.next()?;
            walk = Some(Walk { kind: key.kind(), rest });
            (found.key() == key).then_some(found)
        })
    }

    /// The objects of a kind in one namespace that no controller manages, by name. Of kinds that nobody adopts there are none.
    pub fn unmanaged<'a>(&'a self, kind: GroupKind, namespace: &'a str) -> impl Iterator<Item = &'a Object> {
        let keys = self.index.unmanaged.range(kind.key(namespace, "")..);
        let here = keys.take_while(move |key| key.kind() == kind && key.namespace() == namespace);
        here.filter_map(|key| self.get(key))
    }

    /// The pods bound to a node.
    pub fn pods_on<'a>(&'a self, node: &str) -> impl Iterator<Item = &'a Object> + use<'a> {
        let keys = self.index.pods_by_node.get(node).into_iter().flat_map(OrdSet::iter);
        keys.filter_map(|key| self.get(key))
    }

    /// Whether the pod of this key is there and bound to a node.
    pub fn is_on(&self, node: &str, pod: &Key) -> bool {
        self.index.pods_by_node.get(node).is_some_and(|pods| pods.contains(pod))
    }

    /// The pods that are bound to no node.
    pub fn pods_without_node(&self) -> impl Iterator<Item = &Object> {
        self.pods_on("")
    }

    /// The pods that have ended and are still there, the oldest first.
    pub fn ended_pods(&self) -> impl DoubleEndedIterator<Item = &Key> + ExactSizeIterator {
        self.index.ended_pods.iter().map(|(_, key)| key)
    }

    /// Who holds a claim. More than one only if objects came in unguarded.
    pub fn holders<'a>(&'a self, claim: &Claim) -> impl Iterator<Item = &'a Key> + use<'a> {
        self.index.claims.get(claim).into_iter().flat_map(OrdSet::iter)
    }

    /// The greatest address that a pod holds from `first` to `last`.
    pub(crate) fn last_pod_address(&self, first: IpAddr, last: IpAddr) -> Option<IpAddr> {
        let held = self.index.claims.range(Claim::PodIp(first)..=Claim::PodIp(last)).next_back();
        held.and_then(|(claim, _)| if let Claim::PodIp(address) = claim { Some(*address) } else { None })
    }

    /// How many bytes the entries of a bucket take together, as they are stored.
    pub fn bytes_in(&self, bucket: &Key) -> u64 {
        self.index.bytes_in.get(bucket).copied().unwrap_or_default()
    }

    /// The world after `txn`, and what that changed; or the first guard that does not hold, and nothing changed.
    pub fn apply(&self, txn: &Txn) -> Result<(Self, Vec<Event>), Conflict> {
        let mut next = self.clone();
        let events = next.apply_in_place(txn)?;
        Ok((next, events))
    }

    /// The same, for whoever does not need the world before: what no other snapshot shares is changed and not copied.
    pub fn apply_in_place(&mut self, txn: &Txn) -> Result<Vec<Event>, Conflict> {
        for guard in &txn.guards {
            self.check(guard)?;
        }
        Ok(txn.writes.iter().filter_map(|write| self.write(write)).collect())
    }

    /// The world as its objects tell it, each at the revision it carries. For loading an image and for mirrors.
    pub fn load(revision: Revision, objects: impl IntoIterator<Item = Object>) -> Self {
        let mut world = Self { revision, ..Self::default() };
        for object in objects {
            world.revision = world.revision.max(object.revision());
            world.place(object);
        }
        world
    }

    /// What another world's events make of this one. For mirrors, which are told what happened and need not judge it.
    pub fn follow(&self, event: &Event) -> Self {
        let mut next = self.clone();
        next.revision = next.revision.max(event.revision);
        match event.after() {
            Some(after) => next.place(after.clone()),
            None => next.displace(event.key()),
        };
        next
    }

    fn check(&self, guard: &Guard) -> Result<(), Conflict> {
        match guard {
            Guard::Unchanged(key, revision) => match self.get(key) {
                None => Err(Conflict::Missing(key.clone())),
                Some(object) if object.revision() == *revision => Ok(()),
                Some(object) => Err(Conflict::Changed { key: key.clone(), found: object.revision() }),
            },
            Guard::Absent(key) => match self.get(key) {
                None => Ok(()),
                Some(_) => Err(Conflict::Exists(key.clone())),
            },
            Guard::Alive(key) => match self.get(key) {
                None => Err(Conflict::Missing(key.clone())),
                Some(object) if object.meta().is_terminating() => Err(Conflict::Terminating(key.clone())),
                Some(_) => Ok(()),
            },
            Guard::Free(claim, by) => match self.holders(claim).find(|holder| *holder != by) {
                None => Ok(()),
                Some(holder) => Err(Conflict::Taken { claim: *claim, holder: holder.clone() }),
            },
        }
    }

    fn write(&mut self, write: &Write) -> Option<Event> {
        let revision = self.revision.next();
        let change = match write {
            Write::Put(object) => match self.get(object.key()) {
                Some(before) if before.body() == object.body() => return None,
                _ => {
                    let after = object.at(revision);
                    match self.place(after.clone()) {
                        None => Change::Added(after),
                        Some(before) => Change::Modified { before, after },
                    }
                }
            },
            Write::Delete(key) => {
                let before = self.displace(key)?;
                Change::Deleted { last: before.at(revision), before }
            }
        };
        self.revision = revision;
        Some(Event { revision, change })
    }

    fn place(&mut self, object: Object) -> Option<Object> {
        let place = object.key().place();
        let before = self.objects.entry(object.key().kind()).or_default().insert(place, object.clone());
        match &before {
            None => self.index.learn(&object),
            Some(before) => self.index.follow(before, &object),
        }
        before
    }

    fn displace(&mut self, key: &Key) -> Option<Object> {
        let of_kind = self.objects.get_mut(&key.kind())?;
        let before = of_kind.remove(&key.place())?;
        if of_kind.is_empty() {
            self.objects.remove(&key.kind());
        }
        self.index.forget(&before);
        Some(before)
    }
}

/// The objects of a kind of which there are none.
static NONE: LazyLock<OrdMap<Place, Object>> = LazyLock::new(OrdMap::new);

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("revision", &self.revision)
            .field("objects", &self.objects().count())
            .finish_non_exhaustive()
    }
}

// === impl Index ===

impl Index {
    fn learn(&mut self, object: &Object) {
        let key = object.key();
        if !object.meta().uid.is_empty() {
            self.by_uid.insert(object.meta().uid.clone(), key.clone());
        }
        for owner in &object.meta().owner_references {
            insert(&mut self.by_owner, owner.uid.clone(), key);
        }
        if may_be_adopted(object) {
            self.unmanaged.insert(key.clone());
        }
        let Standing { node, is_over, claims } = Standing::of(object);
        if is_over {
            self.ended_pods.insert((object.meta().creation_timestamp, key.clone()));
        }
        if let Some(node) = node {
            insert(&mut self.pods_by_node, node, key);
        }
        for claim in claims {
            insert(&mut self.claims, claim, key);
        }
        if let Some((bucket, bytes)) = entry(object) {
            *self.bytes_in.entry(bucket).or_default() += bytes;
        }
    }

    /// An object is another now. Most changes are of nothing that is asked here, and then nothing is touched.
    fn follow(&mut self, before: &Object, after: &Object) {
        let (was, is) = (before.meta(), after.meta());
        let is_filed_alike = was.uid == is.uid
            && was.owner_references == is.owner_references
            && was.creation_timestamp == is.creation_timestamp
            && may_be_adopted(before) == may_be_adopted(after)
            && Standing::of(before) == Standing::of(after)
            && entry(before) == entry(after);
        if !is_filed_alike {
            self.forget(before);
            self.learn(after);
        }
    }

    fn forget(&mut self, object: &Object) {
        let key = object.key();
        if self.by_uid.get(&object.meta().uid) == Some(key) {
            self.by_uid.remove(&object.meta().uid);
        }
        for owner in &object.meta().owner_references {
            remove(&mut self.by_owner, &owner.uid, key);
        }
        if may_be_adopted(object) {
            self.unmanaged.remove(key);
        }
        let Standing { node, is_over, claims } = Standing::of(object);
        if is_over {
            self.ended_pods.remove(&(object.meta().creation_timestamp, key.clone()));
        }
        if let Some(node) = node {
            remove(&mut self.pods_by_node, &node, key);
        }
        for claim in claims {
            remove(&mut self.claims, &claim, key);
        }
        if let Some((bucket, bytes)) = entry(object)
            && let Some(all) = self.bytes_in.get_mut(&bucket)
        {
            *all -= bytes;
            if *all == 0 {
                self.bytes_in.remove(&bucket);
            }
        }
    }
}

/// Whether it is of a kind that controllers adopt, and none has it.
fn may_be_adopted(object: &Object) -> bool {
    const ADOPTED: [GroupKind; 3] = [kinds::POD, kinds::REPLICA_SET, kinds::CONTROLLER_REVISION];
    ADOPTED.contains(&object.key().kind()) && object.meta().controller().is_none()
}

/// Which bucket an entry is in, and what it takes there.
fn entry(object: &Object) -> Option<(Key, u64)> {
    let key = object.key();
    let bucket = || kinds::BUCKET.key(key.namespace(), keyvalue::bucket_of(key.name()));
    (key.kind() == kinds::BUCKET_ENTRY).then(|| (bucket(), object.body().len() as u64))
}

fn insert<K: Ord + Clone>(index: &mut OrdMap<K, OrdSet<Key>>, at: K, key: &Key) {
    index.entry(at).or_default().insert(key.clone());
}

fn remove<K: Ord + Clone>(index: &mut OrdMap<K, OrdSet<Key>>, at: &K, key: &Key) {
    if let Some(keys) = index.get_mut(at) {
        keys.remove(key);
        if keys.is_empty() {
            index.remove(at);
        }
    }
}

#[cfg(test)]
mod tests;
