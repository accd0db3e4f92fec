//! The recipes that everybody begins with, as Kubernetes' documentation of network policies and its conformance tests have
//! them.

use super::check;

#[test]
fn the_example_of_the_documentation() {
    // Pods `role=db`: reached at 6379 from a block but for a part of it, from a project's namespaces, and from front ends; they
    // reach 10.0.0.0/24 at 5978.
    check(
        "namespace project project=myproject
         pod default/db 10.42.5.1 role=db
         pod default/front 10.42.5.2 role=frontend
         pod default/other 10.42.5.3 role=other
         pod project/any 10.42.6.1
         policy default/test [role=db] in from 172.17.0.0/16-172.17.1.0/24 {project=myproject} [role=frontend] at 6379; out to 10.0.0.0/24 at 5978",
        "172.17.2.1 -> default/db:6379
         172.17.1.1 -> default/db:6379 ! in by test
         172.18.0.1 -> default/db:6379 ! in by test
         project/any -> default/db:6379
         default/front -> default/db:6379
         default/front -> default/db:6380 ! in by test
         default/other -> default/db:6379 ! in by test
         bank/web -> default/db:6379 ! in by test
         default/db -> 10.0.0.7:5978
         default/db -> 10.0.0.7:5979 ! out by test
         default/db -> 10.0.1.7:5978 ! out by test
         default/db -> default/front:5978 ! out by test
         default/other -> default/front:80",
    );
}

#[test]
fn default_deny_ingress() {
    check(
        "policy shop/default-deny-ingress [] in none",
        "shop/web -> shop/db:80 ! in by default-deny-ingress
         bank/web -> shop/web:80 ! in by default-deny-ingress
         203.0.113.7 -> shop/web:80 ! in by default-deny-ingress
         node -> shop/web:80
         shop/web -> bank/web:80
         shop/web -> 203.0.113.7:80",
    );
}

#[test]
fn allow_all_ingress() {
    check(
        "policy shop/default-deny-ingress [] in none
         policy shop/allow-all-ingress [] in any",
        "shop/web -> shop/db:80\n bank/web -> shop/web:80/UDP\n 203.0.113.7 -> shop/web:80",
    );
}

#[test]
fn default_deny_egress() {
    check(
        "policy shop/default-deny-egress [] out none",
        "shop/web -> shop/db:80 ! out by default-deny-egress
         shop/web -> 203.0.113.7:80 ! out by default-deny-egress
         shop/web -> 203.0.113.7:53/UDP ! out by default-deny-egress
         bank/web -> shop/web:80",
    );
}

#[test]
fn allow_all_egress() {
    check(
        "policy shop/default-deny-egress [] out none
         policy shop/allow-all-egress [] out any",
        "shop/web -> shop/db:80\n shop/web -> 203.0.113.7:53/UDP",
    );
}

#[test]
fn default_deny_all() {
    check(
        "policy shop/default-deny-all [] in none; out none",
        "bank/web -> shop/web:80 ! in by default-deny-all
         shop/web -> bank/web:80 ! out by default-deny-all
         bank/web -> bank/db:80",
    );
}

#[test]
fn a_range_of_ports() {
    check(
        "policy default/multi-port-egress [role=db] out to 10.0.0.0/24 at 32000-32768
         pod default/db 10.42.5.1 role=db",
        "default/db -> 10.0.0.1:32000
         default/db -> 10.0.0.1:32768
         default/db -> 10.0.0.1:31999 ! out by multi-port-egress
         default/db -> 10.0.0.1:32769 ! out by multi-port-egress",
    );
}

#[test]
fn several_namespaces_by_label() {
    check(
        "namespace frontend namespace=frontend
         namespace backend namespace=backend
         pod frontend/a 10.42.5.1 app=a
         pod backend/a 10.42.6.1 app=a
         pod default/myapp 10.42.7.1 app=myapp
         policy default/egress-namespaces [app=myapp] out to {namespace=frontend} {namespace=backend}",
        "default/myapp -> frontend/a:80
         default/myapp -> backend/a:80
         default/myapp -> shop/web:80 ! out by egress-namespaces",
    );
}

#[test]
fn a_namespace_by_its_own_name() {
    check(
        "namespace one kubernetes.io/metadata.name=one
         pod one/a 10.42.5.1
         policy shop/from-one [] in from {kubernetes.io/metadata.name=one}",
        "one/a -> shop/web:80\n bank/web -> shop/web:80 ! in by from-one",
    );
}

#[test]
fn a_web_shop_in_three_tiers() {
    check(
        "pod shop/front 10.42.0.7 tier=front
         policy shop/deny [] in none
         policy shop/front [tier=front] in from 0.0.0.0/0 at 443
         policy shop/web [app=web] in from [tier=front] at http
         policy shop/db [app=db] in from [app=web] at sql",
        "203.0.113.7 -> shop/front:443
         203.0.113.7 -> shop/web:8080 ! in by deny, web
         shop/front -> shop/web:8080
         shop/front -> shop/db:5432 ! in by db, deny
         shop/web -> shop/db:5432
         shop/db -> shop/web:8080 ! in by deny, web",
    );
}
