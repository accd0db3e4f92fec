//! Which servers there are, and in which order they are asked.
//!
//! All of them answer for the same cluster, so any will do. What is decided here is only who comes first: who answered last, whom
//! one was told to ask, then those that the cluster tells of. Whoever failed comes after all who did not, and after those who failed
//! before him.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use api::{GroupKind, kinds};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use state::Snapshot;

/// The servers of a cluster, each as `host:port`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Servers {
    given: Vec<String>,
    published: Vec<String>,
    /// Who answered last.
    answered: Option<String>,
    /// When each failed that has not answered since, counted in failures.
    failed: BTreeMap<String, u64>,
    failures: u64,
}

/// What is read of the endpoints of the API.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Endpoints {
    subsets: Vec<Subset>,
}

/// What is read of the service.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Service {
    spec: ServiceSpec,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ServiceSpec {
    #[serde(rename = "clusterIP")]
    cluster_ip: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Subset {
    addresses: Vec<Address>,
    ports: Vec<Port>,
}

#[derive(Deserialize)]
struct Address {
    ip: String,
}

#[derive(Deserialize)]
struct Port {
    port: u16,
}

/// The servers that a world tells of: the endpoints of the service `kubernetes`. A server that is only ever alone tells of the
/// service's own address, at which it is reached by pods and by nobody else.
pub fn published(world: &Snapshot) -> Vec<String> {
    let service: Service = read(world, kinds::SERVICE);
    let Endpoints { subsets } = read(world, kinds::ENDPOINTS);
    let sockets = |subset: &Subset| -> Vec<String> {
        let others = subset.addresses.iter().filter(|address| address.ip != service.spec.cluster_ip);
        others.flat_map(|address| subset.ports.iter().map(|port| socket(&address.ip, port.port))).collect()
    };
    subsets.iter().flat_map(sockets).collect()
}

/// What is known of the service `kubernetes`.
fn read<T: DeserializeOwned + Default>(world: &Snapshot, kind: GroupKind) -> T {
    let object = world.get(&kind.key("default", "kubernetes"));
    object.and_then(|object| serde_json::from_slice(object.body()).ok()).unwrap_or_default()
}

/// A host and a port as one.
pub(crate) fn socket(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

// === impl Servers ===

impl Servers {
    /// Those that one was told to ask, the first before the others.
    pub fn given(given: Vec<String>) -> Self {
        Self { given, ..Self::default() }
    }

    /// The cluster tells of these; says whether that is news. `seed` says in which order they are asked, so that not all clients of
    /// one that is lost go to the same other.
    pub fn learn(&mut self, mut published: Vec<String>, seed: u64) -> bool {
        published.sort_by_cached_key(|server| {
            let mut hasher = DefaultHasher::new();
            (seed, server).hash(&mut hasher);
            hasher.finish()
        });
        published.dedup();
        let is_news = self.published != published;
        self.published = published;
        let known = self.all();
        self.failed.retain(|server, _| known.contains(server));
        self.answered.take_if(|server| !known.contains(server));
        is_news
    }

    /// Adds one that one was told to ask.
    pub fn give(&mut self, server: String) {
        if !self.given.contains(&server) {
            self.given.push(server);
        }
    }

    /// All of them, each once.
    pub fn all(&self) -> Vec<String> {
        let mut all = self.given.clone();
        all.extend(self.published.iter().filter(|server| !self.given.contains(server)).cloned());
        all
    }

    /// All of them, in the order in which they are to be asked.
    pub fn order(&self) -> Vec<String> {
        let mut all = self.all();
        let is_current = |server: &String| self.answered.as_ref() == Some(server);
        all.sort_by_key(|server| (self.failed.get(server).copied().unwrap_or_default(), !is_current(server)));
        all
    }

    /// One did not answer.
    pub fn failed(&mut self, server: &str) {
        self.failures += 1;
        self.failed.insert(server.into(), self.failures);
        self.answered.take_if(|answered| answered == server);
    }

    /// One answered; says whether that is news.
    pub fn answered(&mut self, server: &str) -> bool {
        let is_other = self.answered.as_deref() != Some(server);
        self.answered = Some(server.into());
        self.failed.remove(server).is_some() || is_other
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::Object;
    use serde_json::json;
    use state::Txn;

    /// `+a,b` is learned, `-a` failed, `=a` answered.
    fn told(given: &str, history: &str) -> Servers {
        let mut servers = Servers::given(given.split_whitespace().map(String::from).collect());
        for word in history.split_whitespace() {
            let (how, what) = word.split_at(1);
            match how {
                "+" => {
                    let names = what.split(',').filter(|name| !name.is_empty()).map(String::from);
                    servers.learn(names.collect(), 0);
                }
                "-" => servers.failed(what),
                "=" => drop(servers.answered(what)),
                other => panic!("{other}"),
            }
        }
        servers
    }

    fn check(given: &str, history: &str, expect: &str) {
        assert_eq!(told(given, history).order().join(" "), expect, "{given}: {history}");
    }

    #[test]
    fn whoever_failed_comes_last_until_he_answers() {
        check("a b c", "", "a b c");
        check("a b c", "-a", "b c a");
        check("a b c", "-a -b", "c a b");
        check("a b c", "-a -b -c -a", "b c a");
        check("a b c", "-a =a", "a b c");
        check("a b c", "-a =c", "c b a");
        check("a b c", "=c -c", "a b c");
    }

    #[test]
    fn those_that_one_was_told_of_come_first_and_nobody_twice() {
        check("a", "+a", "a");
        check("a", "+b", "a b");
        check("a", "+b -a", "b a");
        check("a", "+b -b +", "a");
        check("a", "+b -b + +b", "a b");
        check("a", "+b =b +", "a");
    }

    #[test]
    fn the_endpoints_of_the_api_are_the_servers() {
        let value = json!({
            "apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "kubernetes", "namespace": "default"},
            "subsets": [
                {"addresses": [{"ip": "192.0.2.1"}, {"ip": "192.0.2.2"}], "ports": [{"port": 6443}]},
                {"addresses": [{"ip": "2001:db8::1"}, {"ip": "10.43.0.1"}], "ports": [{"port": 7443}]},
            ],
        });
        let endpoints = Object::from_value(kinds::ENDPOINTS, &value).expect("an object");
        let value = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "kubernetes", "namespace": "default"},
            "spec": {"clusterIP": "10.43.0.1"},
        });
        let service = Object::from_value(kinds::SERVICE, &value).expect("an object");
        let txn = Txn::default().put(endpoints).put(service);
        let (world, _) = Snapshot::default().apply(&txn).expect("nothing guards");
        assert_eq!(published(&world), ["192.0.2.1:6443", "192.0.2.2:6443", "[2001:db8::1]:7443"]);
        assert!(published(&Snapshot::default()).is_empty());
    }

    #[test]
    fn nobody_is_forgotten_and_nobody_asked_twice() {
        let words = ["-a", "-b", "=b", "-c", "+b", "+b,c", "+a,c", "+"];
        let histories = (0..words.len().pow(4)).map(|number| {
            let word = |place: u32| words[number / words.len().pow(place) % words.len()];
            [word(0), word(1), word(2), word(3)].join(" ")
        });
        for history in histories {
            let mut servers = told("a", &history);
            for seed in 0..2 {
                servers.learn(servers.published.clone(), seed);
                let (mut all, mut order) = (servers.all(), servers.order());
                all.sort();
                order.sort();
                assert_eq!(all, order, "{history}");
                order.dedup();
                assert_eq!(all, order, "{history}");
                assert!(all.contains(&"a".to_owned()), "{history}: who was given stays");
                assert!(servers.published.iter().all(|server| all.contains(server)), "{history}");
            }
        }
    }
}
