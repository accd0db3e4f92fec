//! From the word after `image:` to a file that holds a component.
//!
//! A [`Reference`] says where an image is; a [`Registry`] brings its manifest and blobs; [`layout`] says which of them is the
//! component, or why none is; the [`Cache`] keeps components by their digest, and what a reference last meant; [`collect`] lets go of
//! those that nothing uses when room gets scarce. What a node [`Beside`] has is fetched from there.

mod beside;
mod cache;
pub(crate) mod collect;
mod credentials;
mod layout;
mod pull;
mod reference;
mod registry;
mod unpack;

pub use beside::Beside;
pub(crate) use beside::Nodes;
pub use cache::{Cache, Image};
pub use collect::{Hold, Holds};
pub use credentials::Credentials;
pub use layout::NotAComponent;
pub use pull::{Fetched, Images, Policy, PullError};
pub use reference::{InvalidReference, Reference, Version};
pub use registry::{ClusterRegistry, RegistryError};
