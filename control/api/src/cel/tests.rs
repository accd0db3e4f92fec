use serde_json::{Value as Json, json};

use super::*;

/// A pod, a deployment and what tests need beside them, with nothing declared about any of it.
fn world() -> Json {
    json!({
        "metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web", "team/owner": "a"}},
        "spec": {
            "replicas": 5, "minReplicas": 1, "maxReplicas": 10, "paused": false, "ratio": 0.5, "big": 18_446_744_073_709_551_615_u64,
            "names": ["a", "b", "c"], "numbers": [3, 1, 2], "nothing": null,
            "containers": [
                {"name": "one", "image": "registry.example/one:v1", "resources": {"limits": {"memory": "64Mi", "cpu": "100m"}}},
                {"name": "two", "image": "two", "resources": {}},
            ],
            "when": "2026-11-21T10:00:00Z", "token": "c2VjcmV0", "wait": "1h30m",
        },
    })
}

fn environment() -> Environment {
    Environment::default()
        .with("object", Type::Dyn)
        .with("self", spec_type())
        .with("authorizer", Type::Opaque(access::AUTHORIZER))
}

/// What is declared of `self`, which is the same `spec`.
fn spec_type() -> Type {
    let container = Type::object("Container", [("name".into(), Type::String), ("image".into(), Type::String)]);
    Type::object(
        "Spec",
        [
            ("replicas".into(), Type::Int),
            ("minReplicas".into(), Type::Int),
            ("maxReplicas".into(), Type::Int),
            ("ratio".into(), Type::Double),
            ("names".into(), Type::list(Type::String)),
            ("numbers".into(), Type::list(Type::Double)),
            ("containers".into(), Type::list(container)),
            ("when".into(), Type::Timestamp),
            ("token".into(), Type::Bytes),
            ("wait".into(), Type::Duration),
            ("absent".into(), Type::String),
            ("namespace".into(), Type::String),
            ("x-y.z/w".into(), Type::String),
        ],
    )
}

/// Allows what is in `shop`.
struct Shop;

impl Authorizer for Shop {
    fn decide(&self, question: &Question) -> Decision {
        let is_allowed = question.namespace == "shop" || question.path.as_deref() == Some("/healthz");
        Decision { is_allowed, reason: format!("{} {}", question.verb, question.resource), error: None }
    }
}

/// What an expression gives, in the language's own words; faults begin with `!`.
fn given(source: &str, budget: &mut Budget) -> String {
    let program = match Program::compile(source, &environment(), &[Type::Dyn]) {
        Ok(program) => program,
        Err(error) => return format!("!{error}"),
    };
    let world = world();
    let question = Question { namespace: "shop".into(), resource: "deployments".into(), ..Question::default() };
    let scope = Scope::default()
        .bind_json("object", &world, &Type::Dyn)
        .bind_json("self", &world["spec"], &spec_type())
        .bind_authorizer(&Shop, question);
    match program.evaluate(&scope, budget) {
        Ok(value) => told(&value),
        Err(fault) => format!("!{fault}"),
    }
}

fn told(value: &Value<'_>) -> String {
    if let Some(elements) = value.elements() {
        return format!("[{}]", elements.map(|element| told(&element)).collect::<Vec<_>>().join(", "));
    }
    if let Some(keys) = value.keys() {
        let entry = |key: &Value<'_>| {
            format!("{}: {}", told(key), value.entry(key).map_or_else(String::new, |held| told(&held)))
        };
        return format!("{{{}}}", keys.iter().map(entry).collect::<Vec<_>>().join(", "));
    }
    match value {
        Value::Null => "null".into(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Uint(value) => format!("{value}u"),
        Value::Double(value) => format!("{value:?}"),
        Value::String(text) => format!("'{}'", &**text),
        Value::Bytes(bytes) => format!("b'{}'", String::from_utf8_lossy(bytes)),
        Value::Optional(None) => "none".into(),
        Value::Optional(Some(held)) => format!("some {}", told(held)),
        Value::Timestamp(time) => time.to_string(),
        Value::Duration(span) => super::text::duration_text(*span),
        Value::Type(name) => name.to_string(),
        Value::Quantity(amount) => amount.to_string(),
        Value::Cidr(range) => range.to_string(),
        Value::Ip(address) => address.to_string(),
        other => other.type_name().into(),
    }
}

fn check(source: &str, expect: &str) {
    assert_eq!(given(source, &mut Budget::default()), expect, "{source}");
}

/// True, and known to be true or false before it is computed.
fn holds(source: &str) {
    check(source, "true");
}

/// The first line of what is wrong with an expression.
fn wrong(source: &str, expect: &str) {
    let told = given(source, &mut Budget::default());
    assert_eq!(
        told.lines().next().unwrap_or_default(),
        format!("!compilation failed: ERROR: <input>:{expect}"),
        "{source}"
    );
}

#[test]
fn rules_of_the_documentation_hold() {
    // The examples of "Validation rules" and of "Common Expression Language in Kubernetes".
    holds("self.minReplicas <= self.replicas && self.replicas <= self.maxReplicas");
    holds("object.spec.names.all(name, name in ['a', 'b', 'c'])");
    holds("'app' in object.metadata.labels");
    holds("has(self.replicas) && !has(self.absent)");
    holds("object.spec.containers.exists(c, c.name == 'one' && c.image.startsWith('registry.example/'))");
    holds("object.spec.containers.all(c, has(c.resources) ? true : c.name == 'x')");
    holds("self.containers.map(c, c.name) == ['one', 'two']");
    holds("self.containers.filter(c, c.image == 'two').size() == 1");
    holds("object.metadata.name == 'web' || !object.metadata.name.startsWith('kube-')");
    holds("type(object.spec.replicas) == int && type(object.spec.names) == list");
    holds("self.replicas % 2 != 0 && self.ratio * 2.0 == 1.0");
    holds("self.when > timestamp('2026-01-01T00:00:00Z') && self.wait == duration('90m')");
    holds("self.token == b'secret'");
    holds("quantity(object.spec.containers[0].resources.limits.memory).isLessThan(quantity('1Gi'))");
    holds("object.spec.containers.all(c, c.?resources.limits.memory.orValue('0') in ['64Mi', '0'])");
    holds("dyn(1) == 1.0 && 1 in [1, 2] && {1: 'a'}[dyn(1u)] == 'a'");
    holds("['a', 'b'].exists_one(x, x == 'a') && ![1, 1].exists_one(x, x == 1)");
}

#[test]
fn the_language_computes_as_it_says() {
    check("1 + 2 * 3 - -4", "11");
    check("(1 + 2) * 3 % 4", "1");
    check("-7 / 2", "-3");
    check("-9223372036854775808", "-9223372036854775808");
    check("0xff + 0x1", "256");
    check("3u - 1u", "2u");
    check("1.5e1", "15.0");
    check("'a' + \"b\" + '''c\nd'''", "'abc\nd'");
    check(r"'\x41\u00e4\101\n'", "'AäA\n'");
    check(r"r'\d'", "'\\d'");
    check("b'\\xff'.size()", "1");
    check("[1, 2] + [3]", "[1, 2, 3]");
    check("{'a': 1, 'b': 2}", "{'a': 1, 'b': 2}");
    check("true ? 'yes' : 'no'", "'yes'");
    check("'äb'.size()", "2");
    check("size({'a': 1})", "1");
    check("1 < 2.5 && 2u >= 2 && 1 != 2 && 'a' < 'b'", "true");
    check("[1, 2, 3].map(x, x > 1, x * x)", "[4, 9]");
    check("{'a': 1, 'b': 2}.map(k, k)", "['a', 'b']");
    check("[5, 6].transformList(i, v, i + v)", "[5, 7]");
    check("{'a': 1}.transformMap(k, v, v + 1)", "{'a': 2}");
    check("{'a': 'x'}.transformMapEntry(k, v, {v: k})", "{'x': 'a'}");
    check("[1, 2].all(i, v, v == i + 1)", "true");
    check("// a word about it\n1 // and more", "1");
    check(
        "self.`x-y.z/w`",
        "!compilation failed: ERROR: <input>:1:5: undefined field 'x-y.z/w'\n | self.`x-y.z/w`\n | ....^",
    );
    check("has(self.x__dash__y__dot__z__slash__w) || has(self.__namespace__)", "false");
    check("object.metadata.namespace", "'shop'");
    check("object.metadata.labels['team/owner']", "'a'");
    check(
        "string(1.5) + string(true) + string(7u) + string(duration('90s')) + string(1000000.0)",
        "'1.5true7u90s1e+06'".replace("7u", "7").as_str(),
    );
    check("string(timestamp('2026-11-21T10:00:00+01:00'))", "'2026-11-21T09:00:00Z'");
    check("int('42') + int(3.9) + int(7u) + int(timestamp('1970-01-01T00:00:01Z'))", "53");
    check(
        "timestamp('2026-11-21T23:30:00Z').getDayOfWeek() * 100 + timestamp('2026-11-21T23:30:00Z').getHours('+02:00')",
        "601",
    );
    check("timestamp('2026-11-21T10:00:00Z') - timestamp('2026-11-21T09:00:00Z')", "3600s");
    check("timestamp('2026-11-21T10:00:00Z') + duration('1h')", "2026-11-21T11:00:00Z");
}

#[test]
fn libraries_of_kubernetes_are_there() {
    check("[1, 2, 2].isSorted() && !['b', 'a'].isSorted()", "true");
    check("[1, 2, 3].sum() + [4, 5].max() - [1, 2].min()", "10");
    check("[1.5, 2.5].sum()", "4.0");
    check("[duration('1m'), duration('1s')].sum()", "61s");
    check("['a', 'b', 'a'].indexOf('a') * 10 + ['a', 'b', 'a'].lastIndexOf('a')", "2");
    check("'tacocat'.charAt(3)", "'o'");
    check("'hello mellow'.indexOf('ello', 2) * 100 + 'hello mellow'.lastIndexOf('ello')", "707");
    check("['hello', 'mellow'].join(' ')", "'hello mellow'");
    check("'TacoCÆt'.lowerAscii() + 'tacoCÆt'.upperAscii()", "'tacocÆtTACOCÆT'");
    check("'hello hello'.replace('he', 'we', 1)", "'wello hello'");
    check("'hello hello hello'.split(' ', 2)", "['hello', 'hello hello']");
    check("'abc'.split('')", "['a', 'b', 'c']");
    check("'tacocat'.substring(4) + 'tacocat'.substring(0, 4)", "'cattaco'");
    check("'  \\ttrim\\n    '.trim() + 'gums'.reverse()", "'trimsmug'");
    check("strings.quote('a\"b')", "'\"a\\\"b\"'");
    check("'%s has %d of %.2f in %x, %b'.format([dyn('it'), 5, 1.005, 255, true])", "'it has 5 of 1.00 in ff, 1'");
    check(
        "'%s'.format([[1, 'a']])",
        "!compilation failed: ERROR: <input>:1:18: expected type 'int' but found 'string'\n | '%s'.format([[1, 'a']])\n | .................^",
    );
    check("'%s'.format([{'k': [1, 2]}])", "'{k: [1, 2]}'");
    check("'abc 123'.find('[0-9]+') + '123 abc 456'.findAll('[0-9]+', 1)[0]", "'123123'");
    check(
        "'x'.matches('^[a-z]$') && !'ä'.matches('^\\\\w$') && 'a]'.matches('[]a]{2}') && 'Ab'.matches('(?i)aB')",
        "true",
    );
    check("url('https://user@example.com:80/path?k=a&k=b%20c#f').getHostname()", "'example.com'");
    check("url('https://[::1]:80/').getHost() + url('https://[::1]:80/').getPort()", "'[::1]:8080'");
    check("url('https://example.com/path with spaces/?k=a&k=b+c').getQuery()", "{'k': ['a', 'b c']}");
    check("isURL('https://a.b/c') && isURL('/path') && !isURL('../x') && !isURL('https://a:b:c/')", "true");
    check("quantity('200M').add(quantity('100k')).sub(5)", "200099995");
    check("quantity('50k').compareTo(quantity('1M')) + quantity('5').asInteger() + quantity('-1').sign()", "3");
    check("isQuantity('1.3Gi') && !isQuantity('200K')", "true");
    check("quantity('50m').asApproximateFloat()", "0.05");
    check("quantity('0.5').asInteger()", "!cannot convert value to integer");
    check("ip('192.168.0.1').family() + ip('::1').family()", "10");
    check(
        "ip('127.0.0.1').isLoopback() && ip.isCanonical('2001:db8::abcd') && !ip.isCanonical('2001:DB8::ABCD')",
        "true",
    );
    check("isIP('10.0.0.1') && !isIP('10.0.0.0/8') && !isIP('::ffff:1.2.3.4')", "true");
    check(
        "cidr('192.168.0.0/24').containsIP('192.168.0.1') && cidr('10.0.0.0/8').containsCIDR(cidr('10.1.0.0/16'))",
        "true",
    );
    check("cidr('192.168.1.7/24').masked()", "192.168.1.0/24");
    check("cidr('192.168.1.0/24').prefixLength()", "24");
    check("format.dns1123Label().validate('a_b').hasValue()", "true");
    check("format.named('uuid').value().validate('123e4567-e89b-12d3-a456-426614174000')", "none");
    check("format.named('unknown')", "none");
    check(
        "semver('1.2.3').isLessThan(semver('1.10.0')) && semver('1.0.0-rc.1').compareTo(semver('1.0.0')) == -1",
        "true",
    );
    check("semver('v1.02', true).minor() == 2 && !isSemver('1.2') && isSemver('1.2.3-a.b+c')", "true");
    check("sets.contains([1, 2, 3], [3, 1]) && sets.intersects([1], [1, 2]) && sets.equivalent([1, 1], [1])", "true");
    check("optional.of(1).or(optional.none()).orValue(2) + optional.none().orValue(3)", "4");
    check("object.?spec.?absent.?deeper", "none");
    check("object.spec.?replicas.optMap(r, r + 1)", "some 6");
    check("[?object.?absent, ?optional.of('x')]", "['x']");
    check("{?'a': optional.none(), ?'b': optional.of(1)}", "{'b': 1}");
    check("object.spec.names[?7].orValue('z')", "'z'");
    check("optional.ofNonZeroValue('')", "none");
}

#[test]
fn permissions_can_be_asked_for() {
    let question = "authorizer.group('apps').resource('deployments')";
    check(&format!("{question}.namespace('shop').check('get').allowed()"), "true");
    check(&format!("{question}.namespace('other').name('x').check('get').allowed()"), "false");
    check("authorizer.path('/healthz').check('get').allowed()", "true");
    check("authorizer.requestResource.check('create').reason()", "'create deployments'");
    check("authorizer.serviceAccount('a', 'b').requestResource.check('get').errored()", "false");
    check(
        &format!("[1, 2, 3].all(x, {question}.namespace('shop').check('get').allowed())"),
        "!operation cancelled: actual cost limit exceeded",
    );
}

#[test]
fn faults_are_told_and_not_fatal() {
    check("object.spec.absent", "!no such key: absent");
    check("self.absent", "!no such key: absent");
    check("object.spec.names[3]", "!index out of bounds: 3");
    check("object.spec.names['a']", "!no such overload");
    check("object.spec.replicas + 'x'", "!no such overload");
    check("object.spec.replicas.size()", "!no such overload");
    check("1 / 0", "!division by zero");
    check("1 % 0", "!modulus by zero");
    check("9223372036854775807 + 1", "!integer overflow");
    check("-9223372036854775808 / -1", "!integer overflow");
    check("-(-9223372036854775808)", "!integer overflow");
    check("0u - 1u", "!unsigned integer overflow");
    check("int('x')", "!type conversion error from 'string' to 'int'");
    check("int(1e300)", "!integer overflow");
    check("[].min()", "!min called on empty list");
    check("timestamp('9999-12-30T00:00:00Z') + duration('48h')", "!timestamp overflow");
    check("duration('2562047h') + duration('2562047h')", "!duration overflow");
    check("'abc'.substring(2, 1)", "!invalid substring range. start: 2, end: 1");
    check("'abc'.charAt(4)", "!index out of range: 4");
    check("optional.none().value()", "!optional.none() dereference");
    check("{'a': 1, 'a': 2}", "!Failed with repeated key: a");
    check("'a'.matches(object.metadata.name + '(')", "!error parsing regexp: unclosed group: `web(`");
    // What decides is enough.
    check("object.spec.absent == 1 || true", "true");
    check("false && object.spec.absent == 1", "false");
    check("object.spec.absent == 1 && false", "false");
    check("[object.spec, object.metadata].exists(x, x.name == 'web')", "true");
    check("[object.spec, object.metadata].all(x, x.name == 'web')", "!no such key: name");
    check("object.spec.replicas ? 1 : 2", "!no such overload");
}

#[test]
fn what_cannot_be_is_found_before() {
    wrong("foo", "1:1: undeclared reference to 'foo' (in container '')");
    wrong("self.foo", "1:5: undefined field 'foo'");
    wrong("1 + 'a'", "1:3: found no matching overload for '_+_' applied to '(int, string)'");
    wrong("self.replicas == 'a'", "1:15: found no matching overload for '_==_' applied to '(int, string)'");
    wrong("'a'.foo()", "1:8: undeclared reference to 'foo' (in container '')");
    wrong("'a'.startsWith(1)", "1:15: found no matching overload for 'startsWith' applied to 'string.(int)'");
    wrong("self.names.all(n, n)", "1:19: expected type 'bool' but found 'string'");
    wrong(
        "self.replicas.all(n, true)",
        "1:5: expression of type 'int' cannot be range of a comprehension (must be list, map, or dynamic)",
    );
    wrong("self.", "1:6: Syntax error: mismatched input '<EOF>' expecting IDENTIFIER");
    wrong("(1", "1:3: Syntax error: missing ')' at '<EOF>'");
    wrong("1 1", "1:3: Syntax error: extraneous input '1' expecting <EOF>");
    wrong("# x", "1:1: Syntax error: token recognition error at: '#'");
    wrong("'a", "1:1: Syntax error: token recognition error at: ''a'");
    wrong("has(1)", "1:4: invalid argument to has() macro");
    wrong("if", "1:1: Syntax error: reserved identifier: if");
    wrong("Foo{a: 1}", "1:4: undeclared reference to 'Foo' (in container '')");
    wrong("'a'.matches('(')", "1:12: error parsing regexp: unclosed group: `(`");
    wrong(
        "'a'.matches('(a{1000}){1000}')",
        "1:12: error parsing regexp: Compiled regex exceeds size limit of 262144 bytes.: `(a{1000}){1000}`",
    );
    let both = Program::compile("foo + bar", &environment(), &[Type::Dyn]).map_err(|error| error.to_string());
    assert_eq!(
        both.err().as_deref(),
        Some(
            "compilation failed: ERROR: <input>:1:1: undeclared reference to 'foo' (in container '')\n | foo + bar\n | ^\nERROR: <input>:1:7: undeclared reference to 'bar' (in container '')\n | foo + bar\n | ......^"
        )
    );
    let gives =
        |wanted: &[Type]| Program::compile("1", &environment(), wanted).map(|_| ()).map_err(|error| error.to_string());
    assert_eq!(gives(&[Type::Bool]), Err("must evaluate to bool".into()));
    assert_eq!(gives(&[Type::String, Type::Null]), Err("must evaluate to one of [string null]".into()));
    assert_eq!(gives(&[Type::Int]), Ok(()));
}

#[test]
fn nobody_gets_more_than_the_budget() {
    let thousand = "[0,1,2,3,4,5,6,7,8,9].map(a, [0,1,2,3,4,5,6,7,8,9].map(b, [0,1,2,3,4,5,6,7,8,9].map(c, 'x')))";
    let all = |over: &str, inner: &str| format!("{over}.all(i, {inner})");
    let deep = all("object.spec.names", &all(thousand, &all(thousand, &all(thousand, &all(thousand, "true")))));
    check(&deep.replace("object.spec.names.all(i", "[1, 2].all(h"), "!operation cancelled: actual cost limit exceeded");
    // Text that doubles, again and again.
    let doubling = (0..40)
        .fold("'xxxxxxxxxx'".to_owned(), |text, round| format!("[{text}].map(t{round}, t{round} + t{round})[0]"));
    check(&doubling, "!operation cancelled: actual cost limit exceeded");
    check("'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'.replace('', 'bbbbbbbbbb').size() > 100", "true");
    // What is gone through unseen is charged as well.
    let dear = |source: &str, at_least: u64| {
        let mut budget = Budget::of(1_000_000);
        given(source, &mut budget);
        let spent = 1_000_000 - budget.left();
        assert!(spent >= at_least, "{source} cost {spent}");
    };
    dear("'a'.matches('a' + 'b')", 1000);
    dear(&format!("[{}].exists(x, true)", vec!["1"; 1000].join(", ")), 200);
    dear(&format!("'{0}' in {{'{0}': 1}}", "k".repeat(1000)), 200);
    dear(&format!("['{0}', '{0}'].isSorted()", "k".repeat(1000)), 100);
    let mut budget = Budget::of(3);
    assert_eq!(given("[1, 2, 3].all(x, x > 0)", &mut budget), format!("!{}", Fault::ObjectCost));
    assert_eq!(budget.left(), 0);
}

#[test]
fn depth_is_limited_and_fits_a_worker_thread() {
    let deepest = |source: String| {
        let thread = std::thread::Builder::new().stack_size(2 * 1024 * 1024);
        thread.spawn(move || given(&source, &mut Budget::default())).expect("a thread").join().expect("no overflow")
    };
    let limit = |told: &str| assert!(told.contains("expression recursion limit exceeded"), "{told}");
    limit(&deepest(format!("{}1{}", "(".repeat(10_000), ")".repeat(10_000))));
    limit(&deepest(format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000))));
    limit(&deepest(vec!["1"; 5_000].join(" + ")));
    limit(&deepest(format!("object{}", ".a".repeat(5_000))));
    assert_eq!(deepest(format!("{}1{}", "[".repeat(150), "]".repeat(150))).len(), 301);
    assert_eq!(deepest(format!("{}true", "true ? ".to_owned() + &"(true) && ".repeat(2000) + "true : ")), "true");
    assert_eq!(deepest(vec!["1"; 150].join(" + ")), "150");
    let nested = (0..70).fold("1".to_owned(), |inner, round| format!("[{inner}].map(v{round}, v{round})"));
    assert_eq!(deepest(nested).len(), 141);
    assert_eq!(deepest("!".repeat(3000) + "true"), "true");
    assert!(deepest("x".repeat(100_000)).contains("exceeds limit"));
}

#[test]
fn variables_are_computed_once_and_only_if_needed() {
    let mut environment = environment().with_variables();
    let mut programs = Vec::new();
    for (name, source) in
        [("count", "object.spec.names.size()"), ("double", "variables.count * 2"), ("broken", "object.absent")]
    {
        let program = Program::compile(source, &environment, &[Type::Dyn]).expect(name);
        environment.declare(name, program.gives().clone());
        programs.push(program);
    }
    let world = world();
    let check = |source: &str, expect: &str| {
        let program = Program::compile(source, &environment, &[Type::Dyn]).expect(source);
        let scope = Scope::default().bind_json("object", &world, &Type::Dyn).variables(&programs);
        let answer = program.evaluate(&scope, &mut Budget::default());
        assert_eq!(answer.map_or_else(|fault| format!("!{fault}"), |value| told(&value)), expect, "{source}");
    };
    check("variables.double", "6");
    check("[1].map(x, variables.double + x)[0]", "7");
    check("variables.count > 0 || variables.broken", "true");
    check("variables.broken", "!no such key: absent");
    let early = Program::compile("variables.later", &environment, &[Type::Dyn]).map_err(|error| error.to_string());
    assert!(early.is_err_and(|error| error.contains("undefined field 'later'")));
}

#[test]
fn names_are_escaped_as_kubernetes_does() {
    let check = |name: &str, expect: Option<&str>| assert_eq!(escaped(name).as_deref(), expect);
    check("plain", Some("plain"));
    check("x-y.z/w", Some("x__dash__y__dot__z__slash__w"));
    check("a__b", Some("a__underscores__b"));
    check("namespace", Some("__namespace__"));
    check("in", Some("__in__"));
    check("1st", None);
    check("ü", None);
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    /// Words that make expressions, right and wrong.
    fn sources() -> impl Strategy<Value = String> {
        let words = prop::sample::select(vec![
            "object",
            "self",
            "authorizer",
            ".",
            ".spec",
            ".names",
            ".metadata",
            "[",
            "]",
            "(",
            ")",
            "{",
            "}",
            "?",
            ":",
            ",",
            "&&",
            "||",
            "!",
            "-",
            "+",
            "*",
            "/",
            "%",
            "==",
            "<",
            "in",
            "1",
            "-9223372036854775808",
            "0u",
            "1.5",
            "'a'",
            "b'a'",
            "true",
            "null",
            ".all(x, ",
            ".map(x, ",
            "x",
            "has(",
            ".size()",
            ".matches(",
            ".split(",
            ".replace(",
            ".substring(",
            "duration(",
            "timestamp(",
            "int(",
            "quantity(",
            ".add(",
            "ip(",
            "cidr(",
            ".?",
            "[?",
            "optional.of(",
            ".orValue(",
            ".format(",
            "'%s'",
            "semver(",
            "url(",
            ".getQuery()",
            "\\",
            "\"",
            "'",
            "`",
            "ä",
        ]);
        prop::collection::vec(words, 0..24).prop_map(|words| words.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn nothing_that_is_written_panics(source in sources()) {
            let _ = given(&source, &mut Budget::of(10_000));
        }

        #[test]
        fn no_pattern_panics(pattern in "[\\[\\]a-z\\\\dwsDWSb^$().*+?{}|&~:-]{0,12}") {
            let _ = functions::patterns::compiled(&pattern);
        }
    }
}
