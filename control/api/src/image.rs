//! Images that are named by a file.
//!
//! A manifest may name a component by the file it stands in, `./hello.wasm`. Whoever applies it from that file's machine with
//! `coracle` pushes the file to the cluster's own registry, to the repository of the file's name, and puts the digest in its
//! place. Applied by others, who push nothing, the same name means what was pushed there last.

/// The repository that holds what an image names by a file (`./x.wasm`, `../x.wasm`, `/x.wasm`); none for other images.
pub fn local_repository(image: &str) -> Option<String> {
    let is_path = image.starts_with("./") || image.starts_with("../") || image.starts_with('/');
    let file = image.rsplit('/').next().filter(|_| is_path)?;
    let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem).to_lowercase();
    let words: Vec<&str> =
        stem.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
    (!words.is_empty()).then(|| words.join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(image: &str, expect: Option<&str>) {
        assert_eq!(local_repository(image).as_deref(), expect, "{image}");
    }

    #[test]
    fn a_file_gives_its_repository_a_name() {
        check("./hello.wasm", Some("hello"));
        check("../x/My_App v2.wasm", Some("my-app-v2"));
        check("/srv/app.wasm", Some("app"));
        check("./---.wasm", None);
        check("hello:v1", None);
        check("registry.example/hello:v1", None);
    }
}
