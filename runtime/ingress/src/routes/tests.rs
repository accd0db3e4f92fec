use super::*;
use crate::world::world;

/// Who answers for a host and path, such as `shop.example/cart`.
fn check(text: &str, asked: &str, expected: &str) {
    let table = RouteTable::from(&world(text));
    let at = asked.find('/').expect("a path");
    let told = table.route(&asked[..at], &asked[at..]).map_or_else(|| "nobody".to_owned(), ToString::to_string);
    assert_eq!(told, expected, "{asked} in {text}");
}

#[test]
fn a_prefix_is_compared_by_whole_elements() {
    let world = "ingress front a.example/foo>web:80";
    for (path, expected) in [
        ("/foo", "default/web:80"),
        ("/foo/", "default/web:80"),
        ("/foo/bar", "default/web:80"),
        ("/foobar", "nobody"),
        ("/", "nobody"),
        ("/Foo", "nobody"),
    ] {
        check(world, &format!("a.example{path}"), expected);
    }
}

#[test]
fn a_slash_at_the_end_of_a_prefix_means_nothing() {
    check("ingress front a.example/foo/>web:80", "a.example/foo", "default/web:80");
    check("ingress front a.example/foo/>web:80", "a.example/foo/bar", "default/web:80");
    check("ingress front a.example/>web:80", "a.example/", "default/web:80");
    check("ingress front a.example/>web:80", "a.example/any/thing", "default/web:80");
}

#[test]
fn an_exact_path_is_that_path_alone() {
    let world = "ingress front a.example/foo!>web:http";
    check(world, "a.example/foo", "default/web:http");
    check(world, "a.example/foo/", "nobody");
    check(world, "a.example/foo/bar", "nobody");
}

#[test]
fn the_longest_path_wins_and_an_exact_one_before_a_prefix() {
    let world =
        "ingress front a.example/>root:80 a.example/foo>prefix:80 a.example/foo/bar>longer:80 a.example/foo!>exact:80";
    check(world, "a.example/foo", "default/exact:80");
    check(world, "a.example/foo/", "default/prefix:80");
    check(world, "a.example/foo/bar/baz", "default/longer:80");
    check(world, "a.example/other", "default/root:80");
}

#[test]
fn a_host_written_out_comes_before_a_wildcard_and_that_before_any() {
    let world = "ingress front a.example/>exact:80 *.example/>wildcard:80 />any:80";
    check(world, "a.example/", "default/exact:80");
    check(world, "b.example/", "default/wildcard:80");
    check(world, "c.b.example/", "default/any:80");
    check(world, "example/", "default/any:80");
}

#[test]
fn a_host_with_rules_is_not_answered_by_those_of_others() {
    check("ingress front a.example/foo>web:80 />any:80", "a.example/bar", "nobody");
}

#[test]
fn what_no_rule_takes_goes_to_a_default() {
    let world = "ingress one a.example/foo>web:80 >fallback:80\ningress two b.example/foo>web:80 >other:80";
    check(world, "a.example/bar", "default/fallback:80");
    check(world, "b.example/bar", "default/other:80");
    check(world, "c.example/", "default/fallback:80");
}

#[test]
fn the_older_ingress_wins() {
    check("ingress z a.example/>old:80\ningress a a.example/>new:80", "a.example/", "default/old:80");
}

#[test]
fn ingresses_of_one_host_add_up_across_namespaces() {
    let world = "ingress shop/front a.example/>web:80\ningress api/front a.example/api>web:80";
    check(world, "a.example/api/x", "api/web:80");
    check(world, "a.example/", "shop/web:80");
}

#[test]
fn only_our_class_is_served() {
    check("ingress front class=coracle a.example/>web:80", "a.example/", "default/web:80");
    check("ingress front class=nginx a.example/>web:80", "a.example/", "nobody");
    check("ingress front annotation=nginx a.example/>web:80", "a.example/", "nobody");
    check("ingress front annotation=coracle a.example/>web:80", "a.example/", "default/web:80");
    check("class mine ours\ningress front class=mine a.example/>web:80", "a.example/", "default/web:80");
}

#[test]
fn without_a_class_the_default_class_serves() {
    let ingress = "ingress front a.example/>web:80";
    check(ingress, "a.example/", "default/web:80");
    check(&format!("class coracle ours default\n{ingress}"), "a.example/", "default/web:80");
    check(&format!("class nginx other default\n{ingress}"), "a.example/", "nobody");
    check(&format!("class nginx other\n{ingress}"), "a.example/", "default/web:80");
}

#[test]
fn a_status_is_written_where_it_differs() {
    let view = world("ingress shop/front a.example/>web:80\ningress other class=nginx a.example/>web:80");
    let wanted = crate::status(&view, &["192.0.2.1".into(), "node.example".into()]);
    let told: Vec<String> = wanted.iter().map(|(key, status)| format!("{key} {status}")).collect();
    let expected = r#"{"loadBalancer":{"ingress":[{"ip":"192.0.2.1"},{"hostname":"node.example"}]}}"#;
    assert_eq!(told, [format!("Ingress.networking.k8s.io/shop/front {expected}")]);
    assert_eq!(crate::status(&view, &[]), []);
}

/// What is said about the Ingresses of a world.
fn told(text: &str) -> Vec<String> {
    let notices = crate::notices(&world(text)).into_iter();
    notices.map(|notice| format!("{} {}: {}", notice.ingress.name(), notice.reason, notice.message)).collect()
}

#[test]
fn the_younger_of_two_is_told_what_it_does_not_get() {
    let text = "ingress shop/old A.example/foo>web:80 *.b.example/!>web:80 >last:80
        ingress new a.example/foo/>web:80 a.example/bar>web:80 *.b.example/!>web:80
        ingress rest >web:80";
    let expected = [
        "new Conflict: a.example/foo (Prefix) belongs to the older ingress shop/old",
        "new Conflict: *.b.example/ (Exact) belongs to the older ingress shop/old",
        "rest Conflict: the default backend belongs to the older ingress shop/old",
    ];
    assert_eq!(told(text), expected);
    check(text, "a.example/foo", "shop/web:80");
    check(text, "a.example/bar", "default/web:80");
}

#[test]
fn of_the_same_age_the_name_decides() {
    let text = "at 7\ningress b a.example/>young:80\nat 7\ningress a a.example/>old:80";
    check(text, "a.example/", "default/old:80");
    assert_eq!(told(text), ["b Conflict: a.example/ (Prefix) belongs to the older ingress default/a"]);
}

#[test]
fn what_is_not_a_service_is_told() {
    let text = "ingress front a.example/>StorageBucket/icons";
    check(text, "a.example/", "default/StorageBucket/icons");
    let words = "StorageBucket/icons is not a Service, and nothing here can serve it; its paths answer 503";
    assert_eq!(told(text), [format!("front UnsupportedBackend: {words}")]);
}

#[test]
fn a_certificate_that_is_not_there_is_told() {
    assert_eq!(
        told("ingress front tls=shop a.example/>web:80"),
        ["front NoCertificate: secret shop: there is no such secret"]
    );
}

#[test]
fn an_annotation_that_cannot_be_read_is_told() {
    let words = "metadata.annotations[coracle.dev/hsts]: \"x\" is not directives such as max-age=31536000; includeSubDomains; it is ignored";
    assert_eq!(told("ingress front hsts=x a.example/>web:80"), [format!("front InvalidAnnotation: {words}")]);
}
