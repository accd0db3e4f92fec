use super::*;
use crate::world::world;

/// What is wished for in a world: the secret, the hosts, the challenge and when.
fn check(text: &str, expected: &[&str]) {
    let told = wishes(&world(text), "https://acme.example/").into_iter().map(|wish| {
        let hosts: Vec<&str> = wish.hosts.iter().map(String::as_str).collect();
        let due = match wish.due {
            Due::AtOnce => "at once".to_owned(),
            Due::At(moment) => moment.to_string(),
        };
        let (secret, hosts) = (format!("{}/{}", wish.secret.namespace(), wish.secret.name()), hosts.join(","));
        format!("{secret} {hosts} {} {due}", wish.challenge.name())
    });
    assert_eq!(told.collect::<Vec<_>>(), expected, "{text}");
}

/// What is refused in a world.
fn check_refused(text: &str, expected: &[&str]) {
    let notices = refusals(&world(text)).into_iter();
    let told: Vec<String> = notices.map(|notice| format!("{}: {}", notice.ingress.name(), notice.message)).collect();
    assert_eq!(told, expected, "{text}");
}

#[test]
fn an_annotation_asks() {
    check("ingress a tls=a a.example/>web:80", &[]);
    check("ingress a acme=true tls=a a.example/>web:80", &["default/a a.example http-01 at once"]);
    check("ingress a acme=http-01 tls=a a.example/>web:80", &["default/a a.example http-01 at once"]);
    check("ingress a acme=tls-alpn-01 tls=a a.example/>web:80", &["default/a a.example tls-alpn-01 at once"]);
    check("ingress a issuer=letsencrypt tls=a a.example/>web:80", &["default/a a.example http-01 at once"]);
    check("ingress a issuer=x acme=tls-alpn-01 tls=a a.example/>web:80", &["default/a a.example tls-alpn-01 at once"]);
    check("ingress a issuer=letsencrypt acme=false tls=a a.example/>web:80", &[]);
    check("ingress a acme=perhaps tls=a a.example/>web:80", &[]);
    check("ingress a class=nginx acme=true tls=a a.example/>web:80", &[]);
}

#[test]
fn a_tls_entry_says_for_whom() {
    let rules = "A.example/>web:80 b.example/>web:80 />web:80";
    check(&format!("ingress a acme=true tls=a {rules}"), &["default/a a.example,b.example http-01 at once"]);
    check(
        &format!("ingress shop/a acme=true tls=one:B.example tls=two:c.example,a.example {rules}"),
        &["shop/one b.example http-01 at once", "shop/two a.example,c.example http-01 at once"],
    );
}

#[test]
fn a_good_certificate_is_renewed_when_two_thirds_of_its_life_are_over() {
    let asked = "ingress a acme=true tls=a:a.example,b.example a.example/>web:80";
    let secret = |rest: &str| format!("secret a from={rest}\n{asked}");
    let due = "default/a a.example,b.example http-01 2026-03-02T00:00:00Z";
    check(&secret("https://acme.example/ a.example b.example"), &[due]);
    check(&secret("https://acme.example/ b.example c.example A.example"), &[due]);
    let at_once = "default/a a.example,b.example http-01 at once";
    check(&secret("https://acme.example/ a.example"), &[at_once]);
    check(&secret("https://other.example/ a.example b.example"), &[at_once]);
    let mut secret = world(&secret("https://acme.example/ a.example b.example"))
        .get(&kinds::SECRET.key("default", "a"))
        .expect("the secret")
        .to_value()
        .expect("JSON");
    secret["data"]["tls.crt"] = "eA==".into();
    let secret = Object::from_value(kinds::SECRET, &secret).expect("a secret");
    let world = Snapshot::load(api::Revision(2), world(asked).objects().cloned().chain([secret]));
    let told = wishes(&world, "https://acme.example/");
    assert_eq!(told[0].due, Due::AtOnce, "what cannot be read is of no use");
}

#[test]
fn ingresses_of_one_namespace_share_a_secret() {
    let text = "ingress old acme=tls-alpn-01 tls=a:b.example b.example/>web:80
        ingress new acme=http-01 tls=a:a.example tls=a:b.example a.example/>web:80";
    check(text, &["default/a a.example,b.example tls-alpn-01 at once"]);
    let wish = wishes(&world(text), "").remove(0);
    assert_eq!(wish.ingresses.iter().map(Key::name).collect::<Vec<_>>(), ["old", "new"]);
    check_refused(text, &[]);
}

#[test]
fn a_secret_of_somebody_else_is_left_as_it_is() {
    let text = "secret a foreign\ningress a acme=true tls=a:a.example tls=b:b.example a.example/>web:80";
    check(text, &["default/b b.example http-01 at once"]);
    check_refused(text, &["a: secret a was not made here (it has no label coracle.dev/acme); it is left as it is"]);
}

#[test]
fn a_wildcard_is_left_out() {
    let text = "ingress a acme=true tls=a:*.example,a.example *.example/>web:80";
    check(text, &["default/a a.example http-01 at once"]);
    check_refused(text, &["a: *.example: a wildcard is proved by DNS-01 alone, which is not spoken here"]);
    check("ingress a acme=true tls=a *.example/>web:80", &[]);
}

#[test]
fn nobody_gets_a_certificate_for_a_host_of_another_namespace() {
    let thief = "ingress evil/a acme=true tls=a:shop.example,evil.example shop.example/x>web:80";
    check(thief, &["evil/a evil.example,shop.example http-01 at once"]);
    for owner in
        ["ingress shop/front Shop.example/>web:80", "ingress shop/front tls=x:SHOP.example other.example/>web:80"]
    {
        let text = format!("{owner}\n{thief}");
        check(&text, &["evil/a evil.example http-01 at once"]);
        check_refused(&text, &["a: shop.example belongs to the older ingress shop/front of another namespace"]);
    }
    // Who came first keeps it, and within a namespace all may have it.
    check(
        &format!("{thief}\ningress shop/front shop.example/>web:80"),
        &["evil/a evil.example,shop.example http-01 at once"],
    );
    check(
        &format!("ingress evil/b shop.example/>web:80\n{thief}"),
        &["evil/a evil.example,shop.example http-01 at once"],
    );
    // What is not served here owns nothing.
    check(
        &format!("ingress shop/front class=nginx shop.example/>web:80\n{thief}"),
        &["evil/a evil.example,shop.example http-01 at once"],
    );
}

#[test]
fn who_does_not_say_where_to_keep_it_is_told() {
    check("ingress a acme=true a.example/>web:80", &[]);
    check_refused(
        "ingress a acme=true a.example/>web:80",
        &["a: spec.tls: names no hosts to get a certificate for, and no secret to keep it in"],
    );
    check_refused(
        "ingress a acme=true tls=:a.example a.example/>web:80",
        &["a: spec.tls[0].secretName: names no secret to keep the certificate in"],
    );
    check_refused("ingress a tls=:a.example a.example/>web:80", &[]);
}

#[test]
fn what_is_on_its_way_is_no_cause_for_a_notice() {
    let told = |text: &str| crate::notices(&world(text)).len();
    assert_eq!(told("ingress a tls=a a.example/>web:80"), 1);
    assert_eq!(told("ingress a acme=true tls=a a.example/>web:80"), 0);
    assert_eq!(told("ingress a acme=dns-01 tls=a a.example/>web:80"), 2);
    assert_eq!(told("secret a foreign\ningress a acme=true tls=a a.example/>web:80"), 2);
}
