//! Files that the service manager hands over: `credential:NAME` is the file NAME in the directory that systemd names in
//! `$CREDENTIALS_DIRECTORY` (`LoadCredential=`, `LoadCredentialEncrypted=`). It can stand wherever a file is named.

use std::path::{Component, Path, PathBuf};

const SCHEME: &str = "credential:";
const VARIABLE: &str = "CREDENTIALS_DIRECTORY";

/// Where credentials are, if the process was given any.
#[must_use]
pub fn directory() -> Option<PathBuf> {
    std::env::var_os(VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// A file as it is named, seen from `base` or among the `credentials`. A credential that cannot be stays as it is
/// written, and there is no such file.
#[must_use]
pub fn located(path: &Path, base: &Path, credentials: Option<&Path>) -> PathBuf {
    match (name(path), credentials) {
        (Some(name), Some(directory)) if is_name(name) => directory.join(name),
        (Some(_), _) => path.to_owned(),
        (None, _) if path.is_relative() => base.join(path),
        (None, _) => path.to_owned(),
    }
}

fn name(path: &Path) -> Option<&str> {
    path.to_str()?.strip_prefix(SCHEME)
}

/// One name, which leads nowhere else.
fn is_name(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    matches!((parts.next(), parts.next()), (Some(Component::Normal(only)), None) if only == name)
}

/// Why there is no such file, and what to do, if it is a credential.
pub(super) fn missing(path: &Path) -> Option<(String, String)> {
    missing_in(path, directory().as_deref())
}

fn missing_in(path: &Path, credentials: Option<&Path>) -> Option<(String, String)> {
    if let Some(name) = name(path) {
        if !is_name(name) {
            return Some((
                format!("`{name}` is not the name of a credential"),
                "write `credential:NAME`, without a directory".into(),
            ));
        }
        return Some((
            format!("there are no credentials: ${VARIABLE} is not set"),
            format!("start it by systemd, with `LoadCredential={name}:FILE` in the unit"),
        ));
    }
    let directory = credentials?;
    let name = path.strip_prefix(directory).ok()?.display();
    Some((
        format!("there is no credential `{name}` in {}", directory.display()),
        format!("add `LoadCredential={name}:FILE` to the unit"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_in_its_directory_and_nowhere_else() {
        let (base, run) = (Path::new("/etc/carnet"), Path::new("/run/credentials/carnet.service"));
        let at = |text: &str, there| located(Path::new(text), base, there).display().to_string();
        assert_eq!(at("credential:kms.key", Some(run)), "/run/credentials/carnet.service/kms.key");
        assert_eq!(at("kms.key", Some(run)), "/etc/carnet/kms.key");
        assert_eq!(at("/a/kms.key", Some(run)), "/a/kms.key");
        for not in ["credential:kms.key", "credential:../x", "credential:", "credential:a/b", "credential:/x"]
        {
            let there = (not != "credential:kms.key").then_some(run);
            assert_eq!(at(not, there), not);
            let (why, _) = missing_in(Path::new(not), there).unwrap();
            assert!(why.contains("not"), "{why}");
        }
        let (why, help) = missing_in(&run.join("kms.key"), Some(run)).unwrap();
        assert!(why.contains("no credential `kms.key`") && help.contains("LoadCredential=kms.key"), "{why}");
        assert_eq!(missing_in(Path::new("/a/b"), Some(run)), None);
    }
}
