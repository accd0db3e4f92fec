//! Whether what was noted can have happened.

use std::collections::BTreeMap;

use state::Revision;

use super::super::check::linearizable;
use super::super::stage::key;
use super::{MEMBERS, Report, Story};

impl Story {
    pub(super) fn judge(&self) -> Result<Report, String> {
        let worlds: Vec<_> = (0..MEMBERS).filter_map(|place| Some(self.stage.store(place)?.1.snapshot())).collect();
        let notes = self.notes.lock();
        if let Some(wrong) = notes.wrong.first() {
            return Err(wrong.clone());
        }
        for world in &worlds {
            if world.revision() == worlds[0].revision() && !world.objects().eq(worlds[0].objects()) {
                return Err("two members hold different worlds".into());
            }
        }
        let world = &worlds[0];
        let mut written: BTreeMap<Revision, &(String, Option<u64>, Revision)> = BTreeMap::new();
        for acknowledged in &notes.acknowledged {
            let (name, value, revision) = acknowledged;
            if let Some(other) = written.insert(*revision, acknowledged) {
                return Err(format!("{acknowledged:?} and {other:?} were both acknowledged"));
            }
            if let Some(truth) = notes.truth.get(revision)
                && (&truth.0, &truth.1) != (name, value)
            {
                return Err(format!("{acknowledged:?} was acknowledged, and {truth:?} is what happened"));
            }
            let found = world.get(&key(name));
            if found.map_or(Revision::ZERO, api::Object::revision) < *revision && (value.is_some() || found.is_some()) {
                let later = notes.truth.range(revision.next()..).any(|(_, (other, _))| other == name);
                if !later {
                    return Err(format!("{acknowledged:?} was acknowledged and is lost: there is {found:?}"));
                }
            }
        }
        linearizable(&notes.history)?;
        Ok(Report {
            trace: self.stage.executor.trace(),
            operations: notes.history.len(),
            acknowledged: notes.acknowledged.len(),
            events: notes.events,
            crashes: self.stage.ended(),
            noticed: notes.noticed,
            steps: self.stage.executor.steps(),
        })
    }
}
