//! What others wrote and the program holds: `cargo xtask copyright` prints it as Debian's copyright file wants it, with the texts that licences
//! want to be passed on, `cargo xtask sbom` as a bill of materials (CycloneDX 1.5).
//!
//! Both come from what cargo links: crates of normal dependencies, without macros, which leave nothing of themselves. Left out: libraries of
//! the system, which come with their own packages, and what only tests and builds use.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

type Done<T = ()> = Result<T, String>;

/// A crate that somebody else has published.
struct Part {
    name: String,
    version: String,
    licence: String,
    authors: Vec<String>,
    directory: PathBuf,
    /// SHA-256 of what crates.io has.
    sum: Option<String>,
}

/// Parts of the console, which are in the tree as published (`console/vendor/README.md`).
const VENDORED: [(&str, &str, &str, &str); 3] = [
    ("htm", "3.1.1", "Apache-2.0", "LICENSE-htm"),
    ("preact", "", "MIT", "LICENSE-preact"),
    ("uplot", "1.6.32", "MIT", "LICENSE-uplot"),
];

/// The copyright file of all packages: what is written in `packaging/debian/copyright`, and a paragraph for each part of others.
///
/// # Errors
/// cargo does not tell, or a licence has no text.
pub fn copyright() -> Done<String> {
    let mut out = crate::deb::read(Path::new("packaging/debian/copyright"))?.trim_end().to_owned() + "\n";
    // Of those that leave a choice with Apache-2.0 in it that is taken: its text is on every Debian. All others want theirs passed on.
    let (mut apache, mut texts) = (BTreeMap::<String, Vec<String>>::new(), BTreeMap::<_, (_, Vec<_>)>::new());
    for part in parts()? {
        let place = format!("crates.io/{}-{}/*", part.name, part.version);
        let files = licence_files(&part.directory)?;
        if may_be_apache(&part.licence) {
            let mut holders = holders(&files);
            if holders.is_empty() {
                holders.extend(part.authors.iter().cloned());
            }
            if holders.is_empty() {
                holders.insert(format!("the developers of {}", part.name));
            }
            let mut paragraph = field("Copyright", &holders.into_iter().collect::<Vec<_>>().join("\n"));
            paragraph += "License: Apache-2.0\n";
            for (_, text) in files.iter().filter(|(name, _)| name.starts_with("NOTICE")) {
                paragraph += &field("Comment", text);
            }
            apache.entry(paragraph).or_default().push(place);
            continue;
        }
        if files.is_empty() {
            return Err(format!("{} {} has no text of its licence", part.name, part.version));
        }
        let text = files.iter().map(|(_, text)| without_apache(text)).collect::<Vec<_>>().join("\n\n");
        texts.entry((text, part.licence)).or_insert((holders(&files), vec![])).1.push(place);
    }
    let mut apache: Vec<_> = apache.into_iter().map(|(paragraph, places)| (places, paragraph)).collect();
    apache.sort();
    for (places, paragraph) in apache {
        let _ = write!(out, "\n{}{paragraph}", field("Files", &places.join("\n")));
    }
    for ((text, licence), (holders, places)) in texts {
        let holders: Vec<_> = holders.into_iter().collect();
        let holders = if holders.is_empty() { "see the licence".into() } else { holders.join("\n") };
        let _ = write!(
            out,
            "\n{}{}License: {}\n{}",
            field("Files", &places.join("\n")),
            field("Copyright", &holders),
            // A name for this text; blanks would make it several.
            licence.replace(['(', ')'], "").replace(" AND ", " and ").replace(" OR ", " or "),
            indented(&text)
        );
    }
    for (name, _, _, file) in VENDORED {
        let text = crate::deb::read(&Path::new("console/vendor").join(file))?;
        let holders = holders(&[(String::new(), text.clone())]).into_iter().collect::<Vec<_>>().join("\n");
        let holders = if holders.is_empty() { format!("the developers of {name}") } else { holders };
        let licence = if text.contains("Apache License") {
            "Apache-2.0\n".into()
        } else {
            format!("Expat-{name}\n{}", indented(&text))
        };
        let _ =
            write!(out, "\nFiles: console/vendor/{name}\n{}License: {licence}", field("Copyright", &holders));
    }
    Ok(out)
}

/// The bill of materials. `date` is the day it bears.
///
/// # Errors
/// cargo does not tell.
pub fn bill(date: &str) -> Done<String> {
    let component = |kind: &str, name: &str, version: &str, licence: &str| {
        let at = if version.is_empty() { String::new() } else { format!("@{version}") };
        let purl = format!("pkg:{kind}/{name}{at}");
        let mut component = json!({ "type": "library", "bom-ref": purl, "name": name, "purl": purl,
            // Old crates write a bar for a choice.
            "licenses": [{ "expression": licence.replace(" / ", " OR ").replace('/', " OR ") }] });
        if !version.is_empty() {
            component["version"] = version.into();
        }
        component
    };
    let mut components = Vec::new();
    for part in parts()? {
        let mut one = component("cargo", &part.name, &part.version, &part.licence);
        if let Some(sum) = part.sum {
            one["hashes"] = json!([{ "alg": "SHA-256", "content": sum }]);
        }
        components.push(one);
    }
    components
        .extend(VENDORED.iter().map(|(name, version, licence, _)| component("npm", name, version, licence)));
    let version = env!("CARGO_PKG_VERSION");
    let bill = json!({
        "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
        "metadata": { "timestamp": format!("{date}T00:00:00Z"), "component": {
            "type": "application", "bom-ref": "carnet", "name": "carnet", "version": version,
            "licenses": [{ "expression": "MIT OR Apache-2.0" }] } },
        "components": components,
    });
    serde_json::to_string_pretty(&bill).map(|text| text + "\n").map_err(|e| e.to_string())
}

/// What the program is made of, by name.
fn parts() -> Done<Vec<Part>> {
    let mut tree = crate::cargo();
    tree.args([
        "tree",
        "--locked",
        "-p",
        "carnet",
        "-e",
        "normal,no-proc-macro",
        "--prefix",
        "none",
        "-f",
        "{p}",
    ]);
    let tree = crate::deb::output(&mut tree, "cargo tree")?;
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let mut metadata = crate::cargo();
    metadata.args(["metadata", "--locked", "--format-version", "1", "--filter-platform", &target]);
    let metadata = crate::deb::output(&mut metadata, "cargo metadata")?;
    let metadata: Value = serde_json::from_str(&metadata).map_err(|e| format!("cargo metadata: {e}"))?;
    let sums = sums(&crate::deb::read(Path::new("Cargo.lock"))?);
    let packages = metadata["packages"].as_array().ok_or("cargo metadata names no packages")?;
    let linked: BTreeSet<_> = tree
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            Some((words.next()?.to_owned(), words.next()?.strip_prefix('v')?.to_owned()))
        })
        .collect();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut parts = Vec::new();
    // What has no source is ours.
    for package in packages.iter().filter(|package| package["source"].is_string()) {
        let key = (text(&package["name"]), text(&package["version"]));
        if !linked.contains(&key) {
            continue;
        }
        let manifest = PathBuf::from(text(&package["manifest_path"]));
        let sum = sums.get(&key).cloned();
        let (name, version) = key;
        parts.push(Part {
            name,
            version,
            licence: text(&package["license"]),
            authors: package["authors"].as_array().into_iter().flatten().map(text).collect(),
            directory: manifest.parent().unwrap_or(Path::new("")).to_owned(),
            sum,
        });
    }
    if parts.is_empty() {
        return Err("cargo tree names no crates".into());
    }
    parts.sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
    Ok(parts)
}

/// The checksums of `Cargo.lock`.
fn sums(lock: &str) -> BTreeMap<(String, String), String> {
    let of = |block: &str, key: &str| {
        let line = block.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \""))?;
        Some(line.trim_end_matches('"').to_owned())
    };
    let blocks = lock.split("[[package]]").skip(1);
    blocks
        .filter_map(|block| Some(((of(block, "name")?, of(block, "version")?), of(block, "checksum")?)))
        .collect()
}

/// Whether Apache-2.0 alone is one of the choices.
fn may_be_apache(licence: &str) -> bool {
    !licence.contains(" AND ")
        && licence.replace('/', " OR ").split(" OR ").any(|choice| choice.trim() == "Apache-2.0")
}

/// Names and texts.
fn licence_files(directory: &Path) -> Done<Vec<(String, String)>> {
    let is_one = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_uppercase();
        let begins = ["LICENSE", "LICENCE", "UNLICENSE", "COPYING", "COPYRIGHT", "NOTICE"];
        begins.iter().any(|begin| name.starts_with(begin)) && path.is_file()
    };
    let entries = fs::read_dir(directory).map_err(|e| format!("{}: {e}", directory.display()))?;
    let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(is_one).collect();
    paths.sort();
    let named = |path: PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_uppercase();
        // Not all of them are UTF-8.
        let octets = fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let text = String::from_utf8_lossy(&octets).replace('\r', "");
        Ok((name, text.trim_matches('\n').trim_end().to_owned()))
    };
    paths.into_iter().map(named).collect()
}

/// Where the whole text of Apache-2.0 stands in another it is on every Debian already.
fn without_apache(text: &str) -> String {
    let (mut out, mut inside) = (String::new(), false);
    let ends = |text: &str| text.contains("END OF TERMS AND CONDITIONS");
    let lines: Vec<_> = text.lines().collect();
    for (at, line) in lines.iter().enumerate() {
        if !inside && line.trim() == "Apache License" && lines[at..].iter().any(|line| ends(line)) {
            inside = true;
            out.push_str("[The Apache License, Version 2.0: /usr/share/common-licenses/Apache-2.0]\n");
        }
        if !inside {
            let _ = writeln!(out, "{line}");
        }
        inside &= !ends(line);
    }
    out.trim_end().to_owned()
}

/// Lines that say whose it is.
fn holders(files: &[(String, String)]) -> BTreeSet<String> {
    let lines = files.iter().flat_map(|(_, text)| text.lines());
    lines
        .filter_map(|line| {
            let line = line.trim().trim_start_matches(['/', '*', '#']).trim();
            let rest = line.strip_prefix("Copyright")?.trim_start();
            let rest = rest
                .strip_prefix("(c)")
                .or_else(|| rest.strip_prefix("(C)"))
                .or_else(|| rest.strip_prefix('©'))
                .unwrap_or(rest);
            let rest = rest.trim().trim_end_matches(". All rights reserved.");
            // Sentences of licences begin with the word, too; the form that Apache-2.0 has to be filled in is none.
            let dated = rest.starts_with(|first: char| first.is_ascii_digit());
            (dated || rest.starts_with("The ") || rest.contains("Contributors")).then(|| rest.to_owned())
        })
        .filter(|holder| !holder.contains("[yyyy]") && holder.len() < 200)
        .collect()
}

/// A field of several lines.
fn field(name: &str, text: &str) -> String {
    match text.split_once('\n') {
        None => format!("{name}: {text}\n"),
        Some((first, rest)) => format!("{name}: {first}\n{}", indented(rest)),
    }
}

/// As the further lines of a field.
fn indented(text: &str) -> String {
    let line =
        |line: &str| if line.trim().is_empty() { " .\n".into() } else { format!(" {}\n", line.trim_end()) };
    text.trim_end().lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apache_is_taken_where_it_is_a_choice() {
        for licence in
            ["MIT OR Apache-2.0", "Apache-2.0", "MIT/Apache-2.0", "Apache-2.0 / MIT", "Apache-2.0 OR BSL-1.0"]
        {
            assert!(may_be_apache(licence), "{licence}");
        }
        for licence in ["MIT", "ISC AND (Apache-2.0 OR ISC)", "Apache-2.0 WITH LLVM-exception", "Unicode-3.0"]
        {
            assert!(!may_be_apache(licence), "{licence}");
        }
    }

    #[test]
    fn holders_are_lines_and_not_sentences() {
        let text = "  Copyright (c) 2014 A. Person\nCopyright 2013-2020 The B Developers. All rights reserved.\n// Copyright © 2020 C\n\
                    Copyright notice and this permission notice shall be\nCopyright [yyyy] [name of copyright owner]\n";
        let found: Vec<_> = holders(&[("LICENSE".into(), text.into())]).into_iter().collect();
        assert_eq!(found, ["2013-2020 The B Developers", "2014 A. Person", "2020 C"]);
    }

    #[test]
    fn the_text_of_apache_is_left_out_of_others() {
        let text = "one\n  Apache License\n terms\n END OF TERMS AND CONDITIONS\ntwo\nApache License\nthree";
        let left = "one\n[The Apache License, Version 2.0: /usr/share/common-licenses/Apache-2.0]\ntwo\nApache License\nthree";
        assert_eq!(without_apache(text), left);
    }

    #[test]
    fn fields_go_on_in_lines_that_begin_with_a_blank() {
        assert_eq!(field("Files", "a\n\nb"), "Files: a\n .\n b\n");
    }

    #[test]
    fn sums_are_those_of_the_lock() {
        let lock = "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"1.0\"\nsource = \"x\"\nchecksum = \"ff\"\n\n[[package]]\nname = \"ours\"\nversion = \"0.1\"\n";
        let sums = sums(lock);
        assert_eq!(sums.into_iter().collect::<Vec<_>>(), [(("a".into(), "1.0".into()), "ff".into())]);
    }
}
