//! Knows prices, and is no program: it exports an interface, and whoever imports that is linked with it.

wit_bindgen::generate!({ path: "../wit", world: "prices-list" });

use exports::example::shop::prices::Guest;

struct List;

export!(List);

impl Guest for List {
    fn of(product: String) -> Option<u32> {
        match product.as_str() {
            "tea" => Some(320),
            "cake" => Some(450),
            _ => None,
        }
    }
}
