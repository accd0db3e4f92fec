//! The images of a container: brought here, and prepared to run.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};

use super::{Mail, Worker};
use crate::context::Context;
use crate::image::Credentials;
use crate::joint::{self, Joint};
use crate::pod::{Happening, LinkedImage, NotPulled, Place, Pulled, Severity, Told};
use crate::recorder::Note;

impl Worker {
    pub(super) fn pull(&mut self, place: Place) {
        let (context, pod) = (self.context.clone(), self.pod());
        let Some(container) = self.state.container(place).cloned() else { return };
        let note = self.note(
            Told { container: Some(place), severity: Severity::Normal, reason: "Pulling", message: String::new() },
            Timestamp::now(),
        );
        self.spawn(async move {
            Mail::Happened(match pulled(&context, &pod, &container, &note).await {
                Ok(pulled) => Happening::Pulled(place, pulled),
                Err(why) => Happening::NotPulled(place, why),
            })
        });
    }

    pub(super) fn prepare(&mut self, place: Place) {
        let Some(container) = self.state.container(place) else { return };
        let context = self.context.clone();
        let joint = Joint::of(self.state.pod(), container, context.images.cache());
        let component = joint.as_ref().map(Joint::digest);
        let digests = joint.iter().flat_map(Joint::digests);
        let holds = digests.map(|digest| context.images.holds().hold(digest)).collect();
        let slot = self.slot(place);
        let same = slot.component == component;
        slot.component = component;
        slot.holds = holds;
        if let (true, Some(workload)) = (same && component.is_some(), self.slot(place).workload.clone()) {
            return self.spawn(async move { Mail::Prepared(place, workload) });
        }
        self.spawn(async move {
            let prepared = match joint {
                Some(joint) => joint.prepare(&context.host, context.images.cache()).await,
                None => Err(joint::GONE.to_owned()),
            };
            match prepared {
                Ok(workload) => Mail::Prepared(place, workload),
                Err(message) => Mail::Happened(Happening::NotPrepared(place, message)),
            }
        });
    }
}

/// Makes sure that a container's images are here, those that are linked to its own first. The note is for events, once it says what is
/// pulled.
async fn pulled(context: &Context, pod: &Pod, container: &Container, note: &Note) -> Result<Pulled, NotPulled> {
    let credentials = Credentials::of(pod, &context.view());
    let ensure = async |name: &Option<String>, policy: &Option<String>| {
        let name = name.as_deref().unwrap_or_default();
        let telling = || {
            let told = Told { message: format!("Pulling image \"{name}\""), ..note.told.clone() };
            context.recorder.tell(Note { told, ..note.clone() });
        };
        // Whoever is alone cannot ask what a tag means now, and takes what it meant.
        let policy = policy.as_deref().filter(|policy| !context.is_alone() || *policy == "Never");
        let policy = if context.is_alone() { policy.or(Some("IfNotPresent")) } else { policy };
        let ensured = context.images.ensure(name, policy, &credentials, telling).await;
        let (image, took) = ensured.map_err(|error| NotPulled {
            image: name.to_owned(),
            reason: error.reason(),
            message: error.to_string(),
        })?;
        Ok((image.id, took.map(|took| (took, image.size))))
    };
    let mut linked = Vec::new();
    for link in joint::links(pod, container) {
        let (id, fetched) = ensure(&link.reference, &link.pull_policy).await?;
        linked.push(LinkedImage { reference: link.reference.clone().unwrap_or_default(), id, fetched });
    }
    let (image_id, fetched) = ensure(&container.image, &container.image_pull_policy).await?;
    Ok(Pulled { image_id, fetched, linked })
}
