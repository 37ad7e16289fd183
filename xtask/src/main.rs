//! The chores of the repository: `cargo xtask demo`, `cargo xtask test`, `cargo xtask sim`,
//! `cargo xtask rings`, `cargo xtask performance`, `cargo xtask man`, `cargo xtask deb`, `cargo xtask copyright`,
//! `cargo xtask sbom`.
//!
//! `demo` and `test` exist so that one command works on a fresh machine: they look for the
//! system's OpenSSL and, where there is none, build the vendored one and say so.

mod deb;
mod man;
mod openssl;
mod performance;
mod rings;
mod thirdparty;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const USAGE: &str = "\
cargo xtask COMMAND

  demo [ARGS]    build Carnet and run the demonstration; ARGS go to `carnet demo`
  test [ARGS]    run all tests; ARGS go to `cargo test`
  sim [SEEDS]    simulate gateway control with so many seeds (10000), optimised: for a night
  rings          check that imports between crates only point inward
  man DIR        build Carnet and write its manual pages to DIR
  deb [DIR]      build Carnet and write its Debian packages to DIR (target/deb); CARNET_PROGRAM names a program
                 that is there already, CARNET_VERSION a version of the packages, DEBFULLNAME and DEBEMAIL who answers for them
  copyright      print what others wrote of the program, with their licences, as Debian's copyright file
  sbom           print the same as a bill of materials (CycloneDX)
  performance [--rounds N] [--seconds S] [--only relay,idle,threads,edge,msrp,calls] [--quick] [--machine]
                 measure Carnet beside its peers, and write docs/performance.md
";

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let command = args.next().unwrap_or_default();
    let rest: Vec<String> = args.collect();
    let outcome = match command.as_str() {
        "demo" => demo(&rest),
        "test" => test(&rest),
        "sim" => sim(&rest),
        "rings" => rings::check(),
        "man" => man_pages(&rest),
        "deb" => deb::packages(&rest),
        "copyright" => thirdparty::copyright().and_then(|text| printed(&text)),
        "sbom" => deb::date().and_then(|(day, _)| thirdparty::bill(&day)).and_then(|text| printed(&text)),
        "performance" => performance::performance(&rest),
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Cargo itself, as the one that runs this program.
fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Builds the program as it is delivered; where it is. `CARNET_PROGRAM` names one that is there already.
fn program() -> Result<PathBuf, String> {
    if let Some(there) = std::env::var_os("CARNET_PROGRAM") {
        return Ok(there.into());
    }
    let mut build = cargo();
    build.args(["build", "--release", "--package", "carnet"]);
    openssl::choose()?.apply(&mut build);
    run(&mut build, "the build")?;
    Ok(target_directory()?.join("release").join("carnet"))
}

fn printed(text: &str) -> Result<(), String> {
    std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes()).map_err(|e| e.to_string())
}

fn man_pages(args: &[String]) -> Result<(), String> {
    let [dir] = args else { return Err("man takes the directory to write to".into()) };
    man::pages(&program()?, Path::new(dir), &deb::date()?.0)
}

fn demo(args: &[String]) -> Result<(), String> {
    run(Command::new(program()?).arg("demo").args(args), "the demonstration")
}

/// Where cargo puts what it builds, wherever it is called from and whatever its settings say.
fn target_directory() -> Result<std::path::PathBuf, String> {
    let output = cargo()
        .args(["metadata", "--format-version", "1", "--no-deps"])
        .output()
        .map_err(|e| format!("cargo metadata could not start: {e}"))?;
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)
        .map_err(|e| format!("cargo metadata: {e}: {}", String::from_utf8_lossy(&output.stderr)))?;
    metadata["target_directory"].as_str().map(Into::into).ok_or("cargo metadata names no directory".into())
}

fn test(args: &[String]) -> Result<(), String> {
    for (program, needed_for) in [
        ("tshark", "captures are not read by a second implementation"),
        ("tcpdump", "nothing is captured between hosts"),
        ("sipp", "no calls are driven by another SIP implementation"),
        ("openssl", "no handshake with another TLS program"),
        ("gnutls-cli", "no handshake with a second other TLS program"),
        ("erl", "H.248 text is not read by a second implementation"),
        ("kamailio", "no registrar but our own behind a border"),
    ] {
        if !on_path(program) {
            eprintln!("xtask: {program} is not installed: {needed_for}");
        }
    }
    if !is_root() {
        eprintln!(
            "xtask: not root: tests that put each role on a host of its own (network namespaces) are skipped"
        );
    }
    let mut test = cargo();
    // All that fails is worth knowing, not only what fails first.
    test.args(["test", "--workspace", "--no-fail-fast"]).args(args);
    openssl::choose()?.apply(&mut test);
    run(&mut test, "the tests")
}

/// Many seeds of the simulation; a seed that fails is played again with `CARNET_SEED=N cargo test -p
/// carnet-sim`.
fn sim(args: &[String]) -> Result<(), String> {
    let seeds = match args {
        [] => 10_000,
        [seeds] => seeds.parse::<u64>().map_err(|_| format!("{seeds} is no number of seeds"))?,
        _ => return Err("sim takes one number of seeds".into()),
    };
    let mut test = cargo();
    test.args(["test", "--release", "--package", "carnet-sim", "--test", "seeds", "--", "--nocapture"]);
    run(test.env("CARNET_SEEDS", seeds.to_string()), "the simulation")
}

fn run(command: &mut Command, what: &str) -> Result<(), String> {
    let status = command.status().map_err(|e| format!("{what} could not start: {e}"))?;
    if status.success() { Ok(()) } else { Err(format!("{what} failed ({status})")) }
}

/// Whether a program of that name can be started.
fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|out| out.stdout.trim_ascii() == b"0")
}
