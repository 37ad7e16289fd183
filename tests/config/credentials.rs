//! Secrets that the service manager hands over, laid out as systemd does: a directory of its own, files of mode 0400.

use crate::process::certificate;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

const KMS: &str = "[kms]\nname = \"kms.example\"\nlisten = \"127.0.0.1:8443\"\ndata = \"kms\"\n";

fn check(directory: &Path, text: &str, credentials: Option<&Path>) -> (bool, String) {
    std::fs::write(directory.join("carnet.toml"), text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_carnet"));
    command.args(["check", "-c", "carnet.toml"]).current_dir(directory).env_remove("CREDENTIALS_DIRECTORY");
    if let Some(credentials) = credentials {
        command.env("CREDENTIALS_DIRECTORY", credentials);
    }
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = [stdout, stderr].map(|octets| String::from_utf8_lossy(&octets).into_owned()).concat();
    (status.success(), text)
}

#[test]
fn a_secret_is_a_credential_or_the_reason_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let credentials = directory.path().join("credentials");
    std::fs::create_dir(&credentials).unwrap();
    certificate(directory.path(), "own", "kms.example");
    std::fs::copy(directory.path().join("own.key"), credentials.join("tls.key")).unwrap();
    std::fs::set_permissions(credentials.join("tls.key"), PermissionsExt::from_mode(0o400)).unwrap();
    let tls = |key: &str| format!("{KMS}tls = {{ certificate = \"own.pem\", key = \"{key}\" }}\n");
    let with = |text: &str| check(directory.path(), text, Some(&credentials));

    let (good, said) = with(&tls("credential:tls.key"));
    assert!(good && !said.contains("warning"), "{said}");
    let (good, said) = with(&tls("credential:other.key"));
    assert!(
        !good && said.contains("no credential `other.key`") && said.contains("LoadCredential="),
        "{said}"
    );
    let (good, said) = with(&tls("credential:../own.key"));
    assert!(!good && said.contains("is not the name of a credential"), "{said}");
    let (good, said) = check(directory.path(), &tls("credential:tls.key"), None);
    assert!(!good && said.contains("CREDENTIALS_DIRECTORY is not set"), "{said}");
    // A root key would be made where there is none; a credential is there or not.
    let (good, said) = with(&format!("{KMS}root-key = \"credential:root\"\n"));
    assert!(!good && said.contains("no credential `root`"), "{said}");
}

#[test]
fn a_secret_that_everybody_can_read_is_warned_of() {
    let directory = tempfile::tempdir().unwrap();
    certificate(directory.path(), "own", "kms.example");
    let text = format!("{KMS}tls = {{ certificate = \"own.pem\", key = \"own.key\" }}\n");
    let key = directory.path().join("own.key");
    let whole = |mode| PermissionsExt::from_mode(mode);
    // Nobody gets to a file in a directory that is closed.
    for (directory_mode, mode, warned) in
        [(0o755, 0o600, false), (0o755, 0o640, false), (0o755, 0o644, true), (0o750, 0o644, false)]
    {
        std::fs::set_permissions(directory.path(), whole(directory_mode)).unwrap();
        std::fs::set_permissions(&key, whole(mode)).unwrap();
        let (good, said) = check(directory.path(), &text, None);
        assert!(
            good && said.contains("kms.tls.key: everybody on this host can read") == warned,
            "{mode:o}: {said}"
        );
    }
}
