//! What comes with the program: manual pages, completions, units, and the configuration that packages bring. Each is judged by a program
//! that we did not write.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const CARNET: &str = env!("CARGO_BIN_EXE_carnet");

/// The repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn have(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let here = std::env::split_paths(&path).any(|dir| dir.join(program).is_file());
    if !here {
        assert!(std::env::var_os("CARNET_REQUIRE_INTEROP").is_none(), "{program} is required here");
        eprintln!("skipped: {program} is not installed");
    }
    here
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Two formatters have nothing to complain of, and every command has its page.
#[test]
fn manual_pages_are_clean() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path();
    let done = Command::new(CARNET).args(["man", "--date", "2026-01-31"]).arg(dir).output().unwrap();
    assert!(done.status.success(), "{}", said(&done));
    let help = said(&Command::new(CARNET).arg("--help").output().unwrap());
    let commands = help.lines().skip_while(|line| !line.starts_with("Commands:")).skip(1);
    let commands: Vec<_> = commands.map_while(|line| line.strip_prefix("  ")?.split(' ').next()).collect();
    assert!(commands.contains(&"run") && commands.len() > 10, "{help}");
    for command in commands.iter().filter(|command| **command != "help" && !command.is_empty()) {
        assert!(dir.join(format!("carnet-{command}.1")).exists(), "{command}");
    }
    let page = std::fs::read_to_string(dir.join("carnet-run.1")).unwrap();
    assert!(page.contains("\\-\\-grace") && page.contains(".BR carnet.toml (5)"), "{page}");
    // The date is one it was given: pages of the same day are the same.
    assert!(page.contains("\"2026-01-31\""), "{page}");
    for page in std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        for (program, options) in
            [("mandoc", &["-Tlint", "-Wwarning"][..]), ("groff", &["-ww", "-man", "-z", "-Tutf8"])]
        {
            if have(program) {
                let output = Command::new(program).args(options).arg(&page).output().unwrap();
                assert!(output.status.success() && said(&output).is_empty(), "{}", said(&output));
            }
        }
    }
}

/// bash completes commands, options and values with the script.
#[test]
fn bash_completes_what_there_is() {
    let script = Command::new(CARNET).args(["completions", "bash"]).output().unwrap();
    assert!(script.status.success());
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("carnet.bash");
    std::fs::write(&file, &script.stdout).unwrap();
    assert!(Command::new("bash").arg("-n").arg(&file).status().unwrap().success());
    for (words, expected) in [
        ("carnet ru", "run"),
        ("carnet run --gr", "--grace"),
        ("carnet trace --format s", "svg"),
        ("carnet gateway au", "audit"),
        ("carnet completions fi", "fish"),
    ] {
        // As readline calls it.
        let ask = format!(
            "source {}; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); COMP_LINE='{words}'; \
             COMP_POINT=${{#COMP_LINE}}; _carnet carnet \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD - 1]}}\"; \
             printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            file.display()
        );
        let output = Command::new("bash").args(["--norc", "-c", &ask]).output().unwrap();
        assert_eq!(said(&output).trim(), expected, "{words}");
    }
}

/// A terminal inside zsh, since completion is a matter of its line editor: a line with a tab in it, which is then made a comment.
const ZSH: &str = r#"
zmodload zsh/zpty
zpty z 'zsh -f -i'
zpty -w z "PS1=; fpath=(DIR \$fpath); autoload -Uz compinit; compinit -u -D; echo LOA''DED"
zpty -r -m z line '*LOADED*'
zpty -w -n z $'carnet run --gr\t'
zpty -w -n z $'\C-a: \C-e\n'
zpty -w z "echo EN''DED"
zpty -r -m z line '*ENDED*'
print -r -- "$line"
"#;

/// zsh completes in a terminal, as a user types.
#[test]
fn zsh_completes_what_there_is() {
    if !have("zsh") {
        return;
    }
    let directory = completions("zsh", "_carnet");
    let script = directory.path().join("ask");
    std::fs::write(&script, ZSH.replace("DIR", &directory.path().display().to_string())).unwrap();
    let output = Command::new("timeout").args(["60", "zsh", "-f"]).arg(&script).output().unwrap();
    assert!(said(&output).contains("--grace"), "{}", said(&output));
}

/// fish says what it would complete.
#[test]
fn fish_completes_what_there_is() {
    if !have("fish") {
        return;
    }
    let directory = completions("fish", "carnet.fish");
    for (words, expected) in
        [("carnet ru", "run"), ("carnet run --gr", "--grace"), ("carnet trace --format s", "svg")]
    {
        let ask =
            format!("source {}/carnet.fish; complete --do-complete '{words}'", directory.path().display());
        let output = Command::new("fish")
            .args(["--no-config", "-c", &ask])
            .env("HOME", directory.path())
            .output()
            .unwrap();
        assert!(
            said(&output).lines().any(|line| line.split('\t').next() == Some(expected)),
            "{words}: {}",
            said(&output)
        );
    }
}

/// A directory with the script for a shell.
fn completions(shell: &str, name: &str) -> tempfile::TempDir {
    let script = Command::new(CARNET).args(["completions", shell]).output().unwrap();
    assert!(script.status.success(), "{}", said(&script));
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join(name), &script.stdout).unwrap();
    directory
}

/// systemd finds nothing wrong with the units, and little to want of their confinement.
#[test]
fn units_are_tight() {
    if !have("systemd-analyze") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let units = directory.path().join("usr/lib/systemd/system");
    let drop_in = units.join("carnet@gateway.service.d");
    std::fs::create_dir_all(&drop_in).unwrap();
    std::fs::create_dir_all(directory.path().join("usr/bin")).unwrap();
    std::fs::copy(CARNET, directory.path().join("usr/bin/carnet")).unwrap();
    // The shell of the unit.
    std::fs::create_dir_all(directory.path().join("bin")).unwrap();
    std::fs::copy("/bin/sh", directory.path().join("bin/sh")).unwrap();
    let ours = root().join("packaging/systemd");
    std::fs::copy(ours.join("carnet@.service"), units.join("carnet@.service")).unwrap();
    std::fs::copy(ours.join("kernel-engine.conf"), drop_in.join("kernel-engine.conf")).unwrap();
    // What every unit rests on.
    for target in ["sysinit", "basic", "shutdown", "network-online", "nss-lookup", "time-sync", "multi-user"]
    {
        std::fs::write(units.join(format!("{target}.target")), "[Unit]\nDescription=a target\n").unwrap();
    }
    let in_root = format!("--root={}", directory.path().display());
    for (unit, threshold) in [
        ("carnet@border.service", "20"),
        ("carnet@kms.service", "20"),
        ("carnet@conference.service", "20"),
        ("carnet@gateway.service", "25"),
    ] {
        let verify = ["verify", "--man=no", &in_root, unit];
        let output = Command::new("systemd-analyze").args(verify).output().unwrap();
        // It looks for slices of the running system, too.
        let complaints = said(&output);
        let of_ours: Vec<_> =
            complaints.lines().filter(|line| line.contains("carnet") && !line.contains("slice")).collect();
        assert!(of_ours.is_empty(), "{complaints}");
        let security = ["security", "--offline=true", "--no-pager", &in_root, "--threshold", threshold, unit];
        let output = Command::new("systemd-analyze").args(security).output().unwrap();
        assert!(output.status.success(), "{unit}: {}", said(&output));
    }
}

/// The configuration that each package brings is good as it comes, without root and without other hosts.
#[test]
fn what_packages_bring_is_good_as_it_comes() {
    for role in ["border", "gateway", "conference", "kms"] {
        let file = root().join(format!("packaging/debian/etc/{role}.toml"));
        let output = Command::new(CARNET).args(["check", "-c"]).arg(&file).output().unwrap();
        assert!(output.status.success(), "{role}: {}", said(&output));
        assert!(!said(&output).contains("0.0.0.0"), "{role} serves this host alone");
    }
}
