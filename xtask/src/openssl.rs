//! Finds the system's OpenSSL the way the `openssl-sys` build script would, and helps it where it
//! needs `pkg-config` but could do without.

use std::path::Path;
use std::process::{Command, Stdio};

/// Which OpenSSL the build will use.
pub(crate) enum OpenSsl {
    /// The system's; the variables tell the build script where it is, if it cannot know.
    System(Vec<(&'static str, String)>),
    /// Built from source.
    Vendored,
}

impl OpenSsl {
    /// Adds what `cargo` needs to be told.
    pub(crate) fn apply(&self, cargo: &mut Command) {
        match self {
            Self::System(variables) => {
                cargo.envs(variables.iter().map(|(k, v)| (*k, v)));
            }
            Self::Vendored => {
                cargo.args(["--features", "carnet/vendored-openssl"]);
            }
        }
    }
}

/// Prefers the system's library; says what it does when there is none.
pub(crate) fn choose() -> Result<OpenSsl, String> {
    if std::env::var_os("CARNET_VENDORED_OPENSSL").is_none() {
        if std::env::var_os("OPENSSL_DIR").is_some() || succeeds("pkg-config", &["--exists", "openssl >= 3"])
        {
            return Ok(OpenSsl::System(Vec::new()));
        }
        if let Some(variables) = from_compiler() {
            return Ok(OpenSsl::System(variables));
        }
    }
    let perl = succeeds("perl", &["-MIPC::Cmd", "-MFindBin", "-MPod::Usage", "-e", "1"]);
    if !perl || !succeeds("make", &["--version"]) {
        return Err("no OpenSSL 3 headers here, and building OpenSSL from source needs perl and make: \
                    install libssl-dev (openssl-devel), or perl and make"
            .into());
    }
    eprintln!(
        "xtask: no OpenSSL headers on this system (libssl-dev, openssl-devel). Building OpenSSL from source;\n\
         xtask: this happens once and takes three to four minutes of one processor."
    );
    Ok(OpenSsl::Vendored)
}

/// Without `pkg-config`: asks the C compiler whether it sees headers and library.
fn from_compiler() -> Option<Vec<(&'static str, String)>> {
    let probe =
        "#include <openssl/opensslv.h>\n#if OPENSSL_VERSION_NUMBER < 0x30000000L\n#error old\n#endif\n";
    let mut compiler = Command::new("cc")
        .args(["-xc", "-E", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    std::io::Write::write_all(&mut compiler.stdin.take()?, probe.as_bytes()).ok()?;
    if !compiler.wait().ok()?.success() {
        return None;
    }
    let library = Command::new("cc").arg("-print-file-name=libssl.so").output().ok()?;
    let library = String::from_utf8(library.stdout).ok()?;
    let directory = Path::new(library.trim()).canonicalize().ok()?.parent()?.to_str()?.to_owned();
    Some(vec![("OPENSSL_LIB_DIR", directory), ("OPENSSL_INCLUDE_DIR", "/usr/include".into())])
}

fn succeeds(program: &str, args: &[&str]) -> bool {
    Command::new(program)
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
