//! Components are written `IMPORT… => EXPORT…`. Each thing is an interface `acme:NAME` with one function, whose number is one more than
//! those of all imports together; it is a `u32` unless `:TYPE` says otherwise.

use wasmtime::Store;
use wasmtime::component::{Component, Linker};

use super::*;

fn component(words: &str) -> Vec<u8> {
    let (imports, exports) = words.split_once("=>").expect("IMPORT… => EXPORT…");
    let core = |kind: &str| if kind == "u64" { "i64" } else { "i32" };
    let each = |words: &str, piece: &dyn Fn(usize, &str, &str) -> String| -> String {
        let pieces = things(words).enumerate().map(|(index, (name, kind))| piece(index, &name, kind));
        pieces.collect::<Vec<_>>().concat()
    };
    let outer = each(imports, &|index, name, kind| {
        format!(
            r#"(import "{name}" (instance $in{index} (export "number" (func (result {kind})))))
               (core func $f{index} (canon lower (func $in{index} "number")))"#
        )
    });
    let inner = each(imports, &|index, _, kind| {
        format!(r#"(import "in" "f{index}" (func $f{index} (result {})))"#, core(kind))
    });
    let given = each(imports, &|index, _, _| format!(r#"(export "f{index}" (func $f{index}))"#));
    let sum = each(imports, &|index, _, _| format!("(i32.add (call $f{index}))"));
    let exports =
        each(exports, &|_, name, kind| format!(r#"(instance (export "{name}") (export "number" (func ${kind})))"#));
    let text = format!(
        r#"(component {outer}
            (core module $m {inner}
                (func (export "u32") (result i32) (i32.const 1) {sum})
                (func (export "u64") (result i64) (i64.const 1)))
            (core instance $i (instantiate $m (with "in" (instance {given}))))
            (func $u32 (result u32) (canon lift (core func $i "u32")))
            (func $u64 (result u64) (canon lift (core func $i "u64")))
            {exports})"#
    );
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn things(words: &str) -> impl Iterator<Item = (String, &str)> {
    words.split_whitespace().map(|word| {
        let (name, kind) = word.split_once(':').unwrap_or((word, "u32"));
        (format!("acme:{name}"), kind)
    })
}

/// The number that `acme:app/run` of a component gives, or what it wants first.
fn run(component: &[u8]) -> String {
    let engine = crate::engine::compiler().expect("an engine without a pool");
    let component = Component::new(&engine, component).expect("it compiles");
    let wants: Vec<String> = component.component_type().imports(&engine).map(|(name, _)| name.to_owned()).collect();
    if !wants.is_empty() {
        return format!("wants {}", wants.join(" "));
    }
    let mut store = Store::new(&engine, ());
    store.set_epoch_deadline(1);
    let instance = Linker::new(&engine).instantiate(&mut store, &component).expect("nothing is missing");
    let interface = instance.get_export_index(&mut store, None, "acme:app/run").expect("it is exported");
    let number = instance.get_export_index(&mut store, Some(&interface), "number").expect("it is in there");
    let number = instance.get_typed_func::<(), (u32,)>(&mut store, number).expect("it is of this type");
    number.call(&mut store, ()).expect("it does not trap").0.to_string()
}

/// What becomes of a component and those that are linked to it: its number, what it still wants, or why not.
fn check(main: &str, links: &[&str], expected: &str) {
    let names = ["first", "second", "third"];
    let bytes: Vec<Vec<u8>> = links.iter().map(|words| component(words)).collect();
    let parts: Vec<Part<'_>> = names.iter().zip(&bytes).map(|(name, bytes)| Part { name, bytes }).collect();
    let main = component(main);
    let found = match compose(Part { name: "app", bytes: &main }, &parts) {
        Ok(joined) => run(&joined),
        Err(error) => error.to_string(),
    };
    assert!(found.starts_with(expected), "{found}, not {expected}");
}

#[test]
fn an_import_is_satisfied_by_the_first_that_exports_it() {
    check("shop/prices@1.0.0 => app/run", &["=> shop/prices@1.0.0"], "2");
    check("shop/prices => app/run", &["=> shop/taxes shop/prices"], "2");
    check("shop/prices shop/taxes => app/run", &["=> shop/taxes", "=> shop/prices"], "3");
    check("shop/prices => app/run", &["shop/taxes => shop/prices", "=> shop/taxes shop/prices"], "3");
}

#[test]
fn linked_components_import_from_each_other_and_each_is_there_once() {
    check("shop/prices => app/run", &["shop/taxes => shop/prices", "=> shop/taxes"], "3");
    check(
        "shop/prices shop/taxes => app/run",
        &["shop/rates => shop/prices", "shop/rates => shop/taxes", "=> shop/rates"],
        "5",
    );
    // One that hands on what it exports itself stands between.
    check("shop/prices => app/run", &["shop/prices => shop/prices", "=> shop/prices"], "3");
}

#[test]
fn what_nobody_exports_is_still_wanted() {
    check("shop/prices => app/run", &[], "wants acme:shop/prices");
    check("shop/prices shop/taxes => app/run", &["=> shop/prices"], "wants acme:shop/taxes");
    check("shop/prices => app/run", &["shop/taxes => shop/prices"], "wants acme:shop/taxes");
    // What the main component exports is for those outside.
    check("shop/prices => app/run", &["app/run => shop/prices"], "wants acme:app/run");
}

#[test]
fn versions_are_compatible_as_semver_has_it() {
    check("shop/prices@1.0.0 => app/run", &["=> shop/prices@1.2.0"], "2");
    check("shop/prices@1.2.0 => app/run", &["=> shop/prices@1.0.0"], "2");
    check("shop/prices@0.2.0 => app/run", &["=> shop/prices@0.2.6"], "2");
    check("shop/prices@1.0.0 => app/run", &["=> shop/prices@2.0.0"], "first exports nothing that is imported here");
    check("shop/prices@0.2.0 => app/run", &["=> shop/prices@0.3.0"], "first exports nothing that is imported here");
    check("shop/prices@1.0.0 => app/run", &["=> shop/prices@1.0.0-rc1"], "first exports nothing that is imported here");
    // Two who import the same thing in two compatible versions.
    let links = ["shop/taxes@1.0.0 => shop/prices", "=> shop/taxes@1.3.0"];
    check("shop/prices shop/taxes@1.2.0 => app/run", &links, "4");
}

#[test]
fn refusals_name_the_components() {
    check(
        "shop/prices => app/run",
        &["=> shop/prices:u64"],
        "app imports acme:shop/prices, and first exports that as something else: ",
    );
    check(
        "shop/prices => app/run",
        &["=> shop/prices", "=> shop/taxes shop/rates"],
        "second exports nothing that is imported here, or only what one before it exports: it exports acme:shop/taxes, acme:shop/rates",
    );
    check("shop/prices => app/run", &["=> shop/prices", "=> shop/prices"], "second exports nothing");
    check(
        "=> app/run",
        &["=>"],
        "first exports nothing that is imported here, or only what one before it exports: it exports nothing",
    );
    let links = ["shop/taxes => shop/prices", "shop/prices => shop/taxes"];
    check("shop/prices => app/run", &links, "second imports from a component that imports from it in turn");
    let module = wat::parse_str("(module)").expect("well-formed");
    let refused = compose(Part { name: "app", bytes: &module }, &[]).expect_err("refused");
    assert!(refused.to_string().starts_with("app is not a component: "), "{refused}");
}

#[test]
fn names_are_those_of_the_outermost_component() {
    let bytes = component("shop/prices => app/run");
    let joined = compose(
        Part { name: "app", bytes: &bytes },
        &[Part { name: "first", bytes: &component("shop/taxes@1.0.0 => shop/prices") }],
    );
    let expected =
        Names { imports: vec!["acme:shop/taxes@1.0.0".to_owned()], exports: vec!["acme:app/run".to_owned()] };
    assert_eq!(names(&joined.expect("they are joined")).expect("it can be read"), expected);
}
