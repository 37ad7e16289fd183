//! Examples pass the check; the schema says the same as the program of files in docs/examples, by Python's `jsonschema`.

use crate::process::certificate;
use std::path::Path;
use std::process::{Command, Output};

const ROLES: &[&str] = &["border", "gateway", "relay", "ng", "conference", "kms", "client"];

fn carnet(directory: &Path, arguments: &[&str]) -> (i32, String) {
    let run = Command::new(env!("CARGO_BIN_EXE_carnet")).args(arguments).current_dir(directory).output();
    let Output { status, stdout, stderr } = run.unwrap();
    let text = [stdout, stderr].map(|octets| String::from_utf8_lossy(&octets).into_owned()).concat();
    (status.code().unwrap_or(-1), text)
}

#[test]
fn every_example_passes_the_check() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    std::fs::write(path.join("users.toml"), "alice = \"secret\"\n").unwrap();
    std::fs::write(path.join("alice.password"), "secret\n").unwrap();
    std::fs::write(path.join("alice.key"), "00112233445566778899aabbccddeeff\n").unwrap();
    let alone = ROLES.iter().map(|role| vec![*role]);
    for roles in alone.chain([vec![], vec!["border", "gateway"], vec!["gateway", "relay", "kms"]]) {
        let (code, text) = carnet(path, &[&["config", "example"], roles.as_slice()].concat());
        assert_eq!(code, 0, "{text}");
        std::fs::write(path.join("carnet.toml"), &text).unwrap();
        let (code, said) = carnet(path, &["check", "-c", "carnet.toml"]);
        assert_eq!(code, 0, "{roles:?}: {said}\n{text}");
    }
}

/// Reads a schema and files; prints for each whether it is valid.
const VALIDATE: &str = r"
import json, sys, tomllib
from jsonschema import Draft202012Validator
schema = json.load(open(sys.argv[1]))
Draft202012Validator.check_schema(schema)
validator = Draft202012Validator(schema)
for name in sys.argv[2:]:
    error = next(validator.iter_errors(tomllib.load(open(name, 'rb'))), None)
    print(name, 'valid' if error is None else 'wrong: ' + error.message.replace('\n', ' ')[:200])
";

#[test]
fn another_validator_says_the_same_as_the_program() {
    let there = Command::new("python3").args(["-c", "import jsonschema, tomllib"]).output();
    if !there.is_ok_and(|output| output.status.success()) {
        assert!(std::env::var_os("CARNET_REQUIRE_INTEROP").is_none(), "python3-jsonschema is required here");
        eprintln!("skipped: needs python3-jsonschema");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let (code, schema) = carnet(path, &["config", "schema"]);
    assert_eq!(code, 0);
    std::fs::write(path.join("schema.json"), schema).unwrap();
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples");
    let mut files = Vec::new();
    for file in std::fs::read_dir(examples).unwrap().map(|entry| entry.unwrap().path()) {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        // Lists of users are no configuration.
        if name.ends_with(".toml") && !name.starts_with("users-") {
            files.push((file, true));
        }
    }
    assert!(files.len() > 10, "{files:?}");
    let kms = "[kms]\nname = \"kms.example\"\nlisten = \"127.0.0.1:8443\"\ndata = \"kms\"\n";
    for (index, wrong) in [
        "[kms]\nname = \"kms.example\"\nlisten = \"127.0.0.1:8443\"\n".to_owned(),
        format!("{kms}ratte = 100\n"),
        format!("{kms}rate = \"100\"\n"),
        format!("{kms}identities = \"fuzzy\"\n"),
        format!("{kms}[log]\nformat = \"xml\"\n"),
        format!("{kms}[[border]]\n"),
        format!("{kms}[gateway.g]\nrole = \"trgw\"\nrealm.a = {{ v4 = \"127.0.0.1\", ports = \"many\" }}\n"),
    ]
    .into_iter()
    .enumerate()
    {
        let file = path.join(format!("wrong-{index}.toml"));
        std::fs::write(&file, &wrong).unwrap();
        let (code, said) = carnet(path, &["check", "-c", &file.display().to_string()]);
        assert_eq!(code, 1, "{wrong}: {said}");
        files.push((file, false));
    }
    let mut validate = Command::new("python3");
    validate.args(["-c", VALIDATE]).arg(path.join("schema.json")).args(files.iter().map(|(file, _)| file));
    let said = validate.output().unwrap();
    let text = String::from_utf8_lossy(&said.stdout);
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    assert_eq!(text.lines().count(), files.len(), "{text}");
    for (line, (file, good)) in text.lines().zip(&files) {
        assert_eq!(line.ends_with(" valid"), *good, "{}: {line}", file.display());
    }
}

#[test]
fn what_a_reload_would_do_is_told_beforehand() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    certificate(path, "own", "kms.example");
    let kms = "[kms]\nname = \"kms.example\"\nlisten = \"127.0.0.1:8443\"\ndata = \"kms\"\n\
               tls = { certificate = \"own.pem\", key = \"own.key\" }\n";
    std::fs::write(path.join("old.toml"), kms).unwrap();
    std::fs::create_dir(path.join("elsewhere")).unwrap();
    let new = |text: &str| {
        std::fs::write(path.join("elsewhere/new.toml"), text).unwrap();
        carnet(path, &["config", "diff", "old.toml", "elsewhere/new.toml"])
    };
    assert_eq!(new(kms), (0, String::new()));
    let (code, said) = new(&format!("{kms}rate = 7\nskew = 8\n[log]\nlevel = \"debug\"\n"));
    assert_eq!(code, 1);
    assert_eq!(
        said,
        "log.level: \"info\" → \"debug\" (applied)\nkms.rate: 100 → 7 (applied)\nkms.skew: 300 → 8 (needs a restart)\n"
    );
    let (code, said) = new(&kms.replace("name", "nmae"));
    assert!(code == 2 && said.contains("unknown field `nmae`"), "{code} {said}");
}
