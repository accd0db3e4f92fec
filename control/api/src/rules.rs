//! The rules that kinds share: what is a name, a label, a port. Each rule adds what is wrong to a list of [`Causes`].

mod amounts;
mod data;
mod labels;
mod names;
mod resources;
mod roles;
mod volumes;
pub mod webhooks;

use serde::Serialize;

use crate::Cause;

pub use amounts::{amount, share};
pub use data::{PROTOCOLS, cidr, data_key, data_keys, data_size, endpoint_ip, ip, ipv4};
pub use labels::{annotations, label_value, labels, qualified_name, selector};
pub use names::{
    NameRule, dns_label, dns_name, domain_prefixed_path, env_name, port, port_name, port_number, service_label,
    wildcard_dns_name,
};
pub use resources::{Budget, resources};
pub use roles::{RBAC, binding, default_binding, policy_rules, same_role};
pub use volumes::{access_modes, volume_mode};

/// Everything found wrong so far.
#[derive(Debug, Default)]
pub struct Causes(Vec<Cause>);

// === impl Causes ===

impl Causes {
    /// A field that must be there is not.
    pub fn required(&mut self, path: impl Into<String>, detail: &str) {
        self.0.push(Cause::required(path, detail));
    }

    /// A value that breaks a rule.
    pub fn invalid(&mut self, path: impl Into<String>, value: impl Serialize, detail: &str) {
        self.0.push(Cause::invalid(path, value, detail));
    }

    /// A value that breaks a rule, printed as Go prints it.
    pub fn invalid_go(&mut self, path: impl Into<String>, value: &str, detail: &str) {
        let message = format!("Invalid value: {value}: {detail}");
        self.0.push(Cause { reason: "FieldValueInvalid", message, field: path.into() });
    }

    /// A value that is there twice.
    pub fn duplicate(&mut self, path: impl Into<String>, value: impl Serialize) {
        self.0.push(Cause::duplicate(path, value));
    }

    /// A value that is not of a fixed set.
    pub fn unsupported(&mut self, path: impl Into<String>, value: impl Serialize, supported: &[&str]) {
        self.0.push(Cause::unsupported(path, value, supported));
    }

    /// The same, of a value that is printed as Go prints it.
    pub fn unsupported_go(&mut self, path: impl Into<String>, value: &str, supported: &[&str]) {
        let known: Vec<String> = supported.iter().map(|one| format!("{one:?}")).collect();
        let message = format!("Unsupported value: {value}: supported values: {}", known.join(", "));
        self.0.push(Cause { reason: "FieldValueNotSupported", message, field: path.into() });
    }

    /// A value that is there twice, printed as Go prints it.
    pub fn duplicate_go(&mut self, path: impl Into<String>, value: &str) {
        let message = format!("Duplicate value: {value}");
        self.0.push(Cause { reason: "FieldValueDuplicate", message, field: path.into() });
    }

    /// A field that may not be set, or not changed.
    pub fn forbidden(&mut self, path: impl Into<String>, detail: &str) {
        self.0.push(Cause::forbidden(path, detail));
    }

    /// A value that is too long.
    pub fn too_long(&mut self, path: impl Into<String>, bytes_max: usize) {
        let message = format!("Too long: may not be more than {bytes_max} bytes");
        self.0.push(Cause { reason: "FieldValueTooLong", message, field: path.into() });
    }

    /// A list that is too long.
    pub fn too_many(&mut self, path: impl Into<String>, found: usize, max: usize) {
        let message = format!("Too many: {found}: must have at most {max} items");
        self.0.push(Cause { reason: "FieldValueTooMany", message, field: path.into() });
    }

    /// A name of something that is not there.
    pub fn not_found(&mut self, path: impl Into<String>, value: &str) {
        let message = format!("Not found: {value:?}");
        self.0.push(Cause { reason: "FieldValueNotFound", message, field: path.into() });
    }

    /// The value is one of a set; an empty one is missing.
    pub fn one_of(&mut self, path: impl Into<String>, value: &str, supported: &[&str]) {
        if value.is_empty() {
            self.required(path, "");
        } else if !supported.contains(&value) {
            self.unsupported(path, value, supported);
        }
    }

    /// The number is not below zero.
    pub fn not_negative(&mut self, path: impl Into<String>, value: impl Into<i64>) {
        let value = value.into();
        if value < 0 {
            self.invalid(path, value, "must be greater than or equal to 0");
        }
    }

    /// A value that may not change has changed.
    pub fn immutable<T: Serialize + PartialEq>(&mut self, path: impl Into<String>, new: &T, old: &T) {
        if new != old {
            self.invalid(path, new, "field is immutable");
        }
    }

    /// What somebody else found.
    pub fn extend(&mut self, causes: impl IntoIterator<Item = Cause>) {
        self.0.extend(causes);
    }

    /// What was found so far.
    pub fn iter(&self) -> impl Iterator<Item = &Cause> {
        self.0.iter()
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What was found.
    pub fn into_inner(self) -> Vec<Cause> {
        self.0
    }
}
