//! A user written from RFC 6043 in another language asks the service over HTTPS, and `carnet
//! inspect mikey` reads what the two say to each other.

use crate::service::Service;
use std::path::Path;
use std::process::{Command, Stdio};

/// An authority, and what it vouches for: the service by address and by URI, alice and bob by URI.
const CERTIFICATES: &str = r#"
set -e
openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -subj /CN=ca -days 2 2>/dev/null
certificate() {
  openssl req -newkey rsa:2048 -nodes -keyout $1.key -out r.csr -subj /CN=$1 2>/dev/null
  echo "subjectAltName=$2" > ext
  openssl x509 -req -in r.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out $1.pem 2>/dev/null
}
certificate kms IP:127.0.0.1,URI:sip:kms.example
certificate alice URI:sip:alice@x.example
certificate bob URI:sip:bob@x.example
"#;

fn run(directory: &Path, program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(directory).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program}: {said}\n{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stdout).unwrap()
}

/// What `carnet inspect mikey` makes of a message in hex.
fn inspect(message: &str) -> serde_json::Value {
    use std::io::Write;
    let mut child = Command::new(env!("CARGO_BIN_EXE_carnet"))
        .args(["inspect", "mikey", "--hex"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(message.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{message}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_user_of_another_make_is_served_and_refused_as_the_rfc_has_it() {
    for program in ["python3", "openssl"] {
        if Command::new(program).arg("--version").output().is_err() {
            assert!(std::env::var_os("CARNET_REQUIRE_INTEROP").is_none(), "{program} is required here");
            eprintln!("skipped: {program} is not installed");
            return;
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    run(at, "sh", &["-c", CERTIFICATES]);
    let more = "\
         tls = { certificate = \"kms.pem\", key = \"kms.key\" }\n\
         signed = { certificate = \"kms.pem\", key = \"kms.key\", ca = \"ca.pem\" }";
    let mut service = Service::new(at, &at.join("data"), more);
    std::fs::write(at.join("carol"), format!("carol sip:carol@x.example {}\n", "03".repeat(32))).unwrap();
    assert!(service.admin(&["user", "import", "carol"]).status.success());
    let rules = "deny sip:alice@x.example sip:carol@x.example\notherwise allow\n";
    std::fs::write(at.join("rules"), rules).unwrap();
    assert!(service.admin(&["policy", "set", "rules"]).status.success());
    service.start();

    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let program = root.join("tests/interop/mikey/stranger.py");
    let reader = root.join("proto/mikey/tests");
    let url = format!("https://{}", service.address);
    let arguments = [&program.to_string_lossy(), url.as_str(), "ca.pem", &reader.to_string_lossy(), "."];
    let said = run(at, "python3", &arguments.map(|a| a as &str));
    assert!(said.ends_with("all held\n"), "{said}\n{}", service.log());
    assert_eq!(said.matches("held: ").count(), 23, "{said}");

    let kinds = [
        ("request_init", 11),
        ("request_resp", 13),
        ("transfer_init", 14),
        ("resolve_init", 16),
        ("resolve_resp", 18),
        ("error", 6),
        ("request_init_pk", 12),
        ("resolve_init_pk", 17),
    ];
    for (name, number) in kinds {
        let line = said.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' ')).unwrap();
        let read = inspect(line);
        assert!(read.to_string().contains(&format!("\"data_type\":{number}")), "{name}: {read}");
    }
    // Nothing but what was granted is in the trail: three tickets and two signed ones, and as many
    // resolves as were answered.
    let deeds: Vec<_> = service.trail().iter().map(|r| r["deed"].as_str().unwrap().to_owned()).collect();
    assert_eq!(deeds.iter().filter(|d| *d == "issued").count(), 5, "{deeds:?}");
    assert_eq!(deeds.iter().filter(|d| *d == "resolved").count(), 4, "{deeds:?}");
    let log = service.log();
    for reason in
        ["no user `zoe`", "may not call sip:carol@x.example", "is not sip:carol@x.example", "replay"]
    {
        assert!(log.contains(reason), "{reason}: {log}");
    }
}
