//! Another authority in place of the one there is, while everything runs.
//!
//! It goes in steps, of which each is a transaction, so that a server that ends or another that leads changes nothing:
//!
//! ```text
//! settled ──rotate──► introduced ──all servers know it──► turned ──retire──► settled
//!  A signs             A signs                             B signs            B signs
//!  A is trusted        A and B are trusted                 both are           B is trusted
//! ```
//! What is agreed is a secret of the cluster, sealed on every disk as all is; the files in `<data-dir>/pki` are what a server knew last, to
//! begin with before it can read the store. Only steps lead on, so one that was away goes over as soon as it reads what it missed.
//!
//! Two means, because there are two sorts of people to convince. Whoever judges others for the cluster (servers, nodes, pods by their
//! `ca.crt`) is told whom to trust: a *bundle* of both. But a kubeconfig in somebody's drawer is told nothing, nor is a program that has
//! read its `ca.crt` once, nor a token that was printed. For them each authority has *signed the other*, and whoever shows a certificate
//! shows that along with it: leaf ← B ← A. Who trusts only A, or only B, is convinced by the same chain, in every step until A is
//! retired. Bundles alone would refuse those who were not told; crosses alone would leave nobody able to do without A in the end. The
//! crosses come before the authorities themselves, which are shown for those who know one by its fingerprint: OpenSSL takes the first that
//! fits. Only what a `CertificateSigningRequest` is given is bare, for servers know B before it signs the first.
//!
//! To retire A is for people to decide, for nobody knows who still holds a kubeconfig. It is refused while a server or node has not gone
//! over, be it away or not, and if it is forced says whom it leaves out. For those A is gone entirely: a node that was away comes back for
//! 90 days with a certificate that has ended, but not with one of a retired authority, or else whoever stole A's key could go on. It
//! is deleted and joins again, as is a server. The key that signs service accounts' tokens is another (`sa.key`), and stays.

mod agreed;
mod node;
mod rotation;

pub(crate) use agreed::{Agreed, Pair};
pub(crate) use node::follow;
pub(crate) use rotation::Rotation;
