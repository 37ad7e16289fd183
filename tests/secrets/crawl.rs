//! Asks an API all that its document says can be asked, well and badly.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// An API at a Unix socket.
pub struct Api {
    socket: PathBuf,
}

/// What stands for `{name}` in a path.
type Names<'a> = &'a [(&'a str, &'a [&'a str])];

impl Api {
    pub fn at(socket: &Path) -> Self {
        Self { socket: socket.to_path_buf() }
    }

    fn curl(&self, arguments: &[&str], target: &str) -> (u16, Vec<u8>) {
        let mut command = Command::new("curl");
        command.args(["-s", "-m", "15", "-i", "--unix-socket"]).arg(&self.socket);
        let output = command.args(arguments).arg(format!("http://localhost{target}")).output().unwrap();
        let head = String::from_utf8_lossy(&output.stdout);
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
        (status, output.stdout)
    }

    pub fn json(&self, target: &str) -> Value {
        let (status, answer) = self.curl(&[], target);
        let text = String::from_utf8_lossy(&answer);
        let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        serde_json::from_str(body).unwrap_or_else(|e| panic!("{target}: {status} {e}: {text}"))
    }

    /// All answers: to every GET of the document, with every name that is known; to everything else with bodies that are no good
    /// and have a secret in them.
    pub fn crawl(&self, names: Names<'_>, secret: &str) -> Vec<(String, Vec<u8>)> {
        let document = self.json("/api/v1/openapi.json");
        let mut answers = Vec::new();
        let mut good = 0;
        for target in ["/metrics", "/health", "/nothing", "/api/v1/openapi.json", "/api/v1/nothing"] {
            answers.push((format!("GET {target}"), self.curl(&[], target).1));
        }
        for (path, operations) in document["paths"].as_object().unwrap() {
            for method in operations.as_object().unwrap().keys().filter(|key| *key != "parameters") {
                for target in named(path, names) {
                    let place = format!("{} {target}", method.to_uppercase());
                    if method == "get" {
                        let more: &[&str] = if path.ends_with("/events") { &["-m", "2"] } else { &[] };
                        let (status, answer) = self.curl(more, &target);
                        good += usize::from(status == 200);
                        answers.push((place, answer));
                        continue;
                    }
                    if method == "delete" {
                        continue;
                    }
                    // Keys are taken in by the key management service.
                    let most = if path.contains("/kms/users") { usize::MAX } else { 4 };
                    for body in bad(secret).into_iter().take(most) {
                        let (status, answer) = self.curl(
                            &[
                                "-X",
                                &method.to_uppercase(),
                                "-H",
                                "Content-Type: application/json",
                                "-d",
                                &body,
                            ],
                            &target,
                        );
                        // Making a new ticket key takes no body, and reading the file again neither.
                        let without = path.ends_with("/keys") || path.ends_with("/reload");
                        assert!(status >= 400 || without, "{place}: {status}");
                        answers.push((format!("{place} with {}", &body[..body.len().min(12)]), answer));
                    }
                }
            }
        }
        assert!(good >= 3, "hardly anything was answered");
        answers
    }
}

/// Bodies that cannot be, with a secret where it may be told again.
fn bad(secret: &str) -> Vec<String> {
    vec![
        secret.into(),
        format!("\"{secret}\""),
        format!("{{\"{secret}\": 1}}"),
        format!("[\"{secret}\"]"),
        format!("{{\"users\": \"{secret}\"}}"),
        format!("{{\"users\": [\"{secret}\"]}}"),
        format!("{{\"users\": [{{\"name\": 1, \"identities\": [], \"psk\": \"{secret}\"}}]}}"),
        format!("{{\"users\": [{{\"name\": \"x\", \"identities\": \"{secret}\", \"psk\": \"{secret}\"}}]}}"),
        format!(
            "{{\"users\": [{{\"name\": \"x\", \"identities\": [\"sip:x@x.example\"], \"psk\": [\"{secret}\"]}}]}}"
        ),
        format!(
            "{{\"users\": [{{\"name\": \"x\", \"identities\": [\"sip:x@x.example\"], \"psk\": \"{secret}zz\"}}]}}"
        ),
        format!(
            "{{\"users\": [{{\"name\": \"x\", \"identities\": [\"sip:x@x.example\"], \"psk\": \"{}\"}}]}}",
            secret.repeat(9)
        ),
        format!(
            "{{\"users\": [{{\"name\": \"x\", \"identities\": [\"sip:x@x.example\"], \"psk\": \"{secret}\", \"key\": 1}}]}}"
        ),
    ]
}

/// A path with every name that is known for its parts.
fn named(path: &str, names: Names<'_>) -> Vec<String> {
    let mut all = vec![path.to_owned()];
    for (name, values) in names {
        let part = format!("{{{name}}}");
        if path.contains(&part) {
            let with = |value: &&str| {
                let value: String = value.replace('%', "%25").replace(':', "%3A").replace('@', "%40");
                all.iter().map(|path| path.replace(&part, &value)).collect::<Vec<_>>()
            };
            all = values.iter().flat_map(with).collect();
        }
    }
    assert!(all.iter().all(|path| !path.contains('{')), "{path} has a part without a name");
    all
}
