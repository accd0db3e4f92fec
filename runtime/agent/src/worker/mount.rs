//! Making a pod's volumes, and bringing them up to date.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use super::{Mail, Worker};
use crate::pod::{Happening, NotMounted};
use crate::volumes::{self, Placed, Planned};

/// No volume tells the pod's address.
const NOWHERE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

impl Worker {
    pub(super) fn mount(&mut self) {
        let (context, pod, roots) = (self.context.clone(), self.pod(), self.roots());
        let turn = self.at_volumes.clone();
        self.spawn(async move {
            let _turn = turn.lock().await;
            let view = context.view();
            let plan = match volumes::plan(&pod, &context.around(&view, NOWHERE)) {
                Ok(plan) => plan,
                Err(why) => return Mail::Happened(Happening::NotMounted(why)),
            };
            let writing = tokio::task::spawn_blocking(move || {
                plan.into_iter().map(|volume| Ok((volume.name.clone(), roots.write(&volume)?))).collect()
            });
            match writing.await {
                Ok(Ok(placed)) => Mail::Placed(placed),
                Ok(Err(why)) => Mail::Happened(Happening::NotMounted(why)),
                Err(error) => Mail::Happened(Happening::NotMounted(NotMounted {
                    volume: String::new(),
                    message: error.to_string(),
                    unsupported: false,
                })),
            }
        });
    }

    /// Writes again what holds files. Guests see it at once, and whole; what cannot be made stays as it was.
    pub(super) fn update_volumes(&mut self) {
        if self.placed.is_empty() {
            return;
        }
        let (context, pod, roots) = (self.context.clone(), self.pod(), self.roots());
        let turn = self.at_volumes.clone();
        self.spawn(async move {
            let _turn = turn.lock().await;
            let view = context.view();
            let updates = volumes::updates(&pod, &context.around(&view, NOWHERE));
            let writing = tokio::task::spawn_blocking(move || {
                let written = updates.into_iter().map(|update| roots.write(&update?));
                written.filter_map(Result::err).collect::<Vec<NotMounted>>()
            });
            Mail::NotUpdated(writing.await.unwrap_or_default())
        });
    }

    fn roots(&self) -> Roots {
        Roots { disk: self.directory().join("volumes"), memory: self.directory_in_memory().join("volumes") }
    }
}

/// Where a pod's volumes are made.
struct Roots {
    disk: PathBuf,
    /// For those that hold secrets.
    memory: PathBuf,
}

// === impl Roots ===

impl Roots {
    fn write(&self, volume: &Planned) -> Result<Placed, NotMounted> {
        let root = if volume.secret { &self.memory } else { &self.disk };
        volumes::write(root, volume).map_err(|error| NotMounted {
            volume: volume.name.clone(),
            message: error.to_string(),
            unsupported: false,
        })
    }
}
