//! Every function there is: the language's own, and those of Kubernetes' libraries. A library is one file with one table.

mod addresses;
mod arithmetic;
mod conversions;
pub(super) mod formats;
mod lists;
mod optionals;
pub(super) mod patterns;
mod permissions;
mod printing;
mod quantities;
mod sets;
mod strings;
mod times;
pub(super) mod urls;
pub(super) mod versions;

use super::signature::Overload;

static LIBRARIES: [&[Overload]; 15] = [
    arithmetic::TABLE,
    conversions::TABLE,
    strings::TABLE,
    printing::TABLE,
    lists::TABLE,
    sets::TABLE,
    optionals::TABLE,
    patterns::TABLE,
    times::TABLE,
    urls::TABLE,
    quantities::TABLE,
    addresses::TABLE,
    formats::TABLE,
    versions::TABLE,
    permissions::TABLE,
];

/// The overloads of a name.
pub(super) fn named(name: &str, is_member: bool) -> impl Iterator<Item = &'static Overload> {
    let all = LIBRARIES.iter().copied().flatten();
    all.filter(move |overload| overload.is_member == is_member && overload.name == name)
}
