//! `cargo xtask deb [DIR]`: Debian packages of the program that is built here. `carnet` has the program and everything around
//! it; a package for each role sets up one service. What is fixed about them is in `packaging/debian`; who answers for them says whoever
//! builds them.
//!
//! Plain `dpkg-deb`: the packages are files in places, a few scripts and a paragraph each. Left out: a source package, and symbols
//! for debuggers.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const ROLES: [&str; 4] = ["border", "gateway", "conference", "kms"];
const FIXED: &str = "packaging/debian";
/// Whoever publishes packages names themselves: `DEBFULLNAME` and `DEBEMAIL`, as Debian's tools have it, or `authors` in the workspace's Cargo.toml.
const AUTHORS: &str = env!("CARGO_PKG_AUTHORS");
/// No host of such a name can be (RFC 2606 §2): nobody gets what is sent there.
const NOBODY: &str = ".example>";

type Done<T = ()> = Result<T, String>;

/// Builds them all.
pub fn packages(args: &[String]) -> Done {
    let out = match args {
        [] => crate::target_directory()?.join("deb"),
        [dir] => dir.into(),
        _ => return Err("deb takes one directory to write to".into()),
    };
    let program = crate::program()?;
    let work = out.join("work");
    // What an earlier run left there.
    let _ = fs::remove_dir_all(&work);
    let facts = Facts::find(&program, &work)?;
    if facts.maintainer.ends_with(NOBODY) {
        eprintln!(
            "xtask: the packages' maintainer is {}, which reaches nobody: set DEBFULLNAME and DEBEMAIL",
            facts.maintainer
        );
    }
    let mut built = vec![facts.finish("carnet", main_package(&facts, &program, &work)?, &out)?];
    for role in ROLES {
        built.push(facts.finish(&format!("carnet-{role}"), role_package(&facts, role, &work)?, &out)?);
    }
    let _ = fs::remove_dir_all(&work);
    built.iter().for_each(|file| println!("{}", file.display()));
    Ok(())
}

/// The second of what is packaged: of its commit, or what `SOURCE_DATE_EPOCH` says.
fn epoch() -> Done<String> {
    std::env::var("SOURCE_DATE_EPOCH")
        .or_else(|_| output(Command::new("git").args(["log", "-1", "--format=%ct"]), "git log"))
}

/// The day of that. As `2026-01-31`, and as in mails.
pub fn date() -> Done<(String, String)> {
    let epoch = epoch()?;
    let at = format!("@{epoch}");
    let of = |format: &str| {
        output(Command::new("date").env("LC_ALL", "C").args(["-u", "-d", &at, format]), "date")
    };
    let (day, mail) = (of("+%F")?, of("-R")?);
    Ok((day, mail))
}

/// Who answers for the packages, `Name <address>`: one line, as it stands in fields.
fn maintainer(name: Option<&str>, address: Option<&str>, authors: &str) -> Done<String> {
    let first = authors.split(':').next().unwrap_or_default();
    let (known, reached) = first.strip_suffix('>').and_then(|it| it.split_once(" <")).unwrap_or((first, ""));
    let (name, address) = (name.unwrap_or(known).trim(), address.unwrap_or(reached).trim());
    let bad = |text: &str, more: &[char]| {
        text.is_empty() || text.contains(|c: char| c.is_control() || "<>,".contains(c) || more.contains(&c))
    };
    let host = address.split_once('@').filter(|(user, host)| !user.is_empty() && !host.is_empty());
    if bad(name, &[]) || bad(address, &[' ']) || host.is_none() {
        return Err(format!(
            "{name} <{address}> is no maintainer: DEBFULLNAME is a name, DEBEMAIL its address"
        ));
    }
    Ok(format!("{name} <{address}>"))
}

/// What all packages have in common.
struct Facts {
    maintainer: String,
    version: String,
    architecture: String,
    libraries: String,
    day: String,
    mail_date: String,
    /// Paragraphs of `packaging/debian/control`.
    control: String,
    /// Whose it is, and under which licences.
    copyright: String,
}

impl Facts {
    fn find(program: &Path, work: &Path) -> Done<Self> {
        let (day, mail_date) = date()?;
        let copyright = crate::thirdparty::copyright()?;
        let said = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let (name, address) = (said("DEBFULLNAME"), said("DEBEMAIL"));
        let maintainer = maintainer(name.as_deref(), address.as_deref(), AUTHORS)?;
        let version =
            std::env::var("CARNET_VERSION").unwrap_or_else(|_| format!("{}-1", env!("CARGO_PKG_VERSION")));
        let architecture = output(Command::new("dpkg").arg("--print-architecture"), "dpkg")?;
        // It wants to be in a source package.
        write(
            &work.join("source/debian/control"),
            "Source: carnet\n\nPackage: carnet\nArchitecture: any\n",
            0o644,
        )?;
        let program = program.canonicalize().map_err(|e| format!("{}: {e}", program.display()))?;
        let mut shlibdeps = Command::new("dpkg-shlibdeps");
        shlibdeps.current_dir(work.join("source")).arg("-O").arg("-e").arg(program).stderr(Stdio::null());
        let libraries = output(&mut shlibdeps, "dpkg-shlibdeps")?;
        let libraries = libraries.strip_prefix("shlibs:Depends=").unwrap_or(&libraries).to_owned();
        Ok(Self {
            maintainer,
            version,
            architecture,
            libraries,
            day,
            mail_date,
            control: read(&fixed("control"))?,
            copyright,
        })
    }

    /// The fields of a package, in their order.
    fn control(&self, name: &str, kilobytes: u64) -> Done<String> {
        let paragraph =
            self.control.split("\n\n").find(|p| p.lines().next() == Some(&format!("Package: {name}")));
        let paragraph = paragraph.ok_or(format!("{FIXED}/control does not know {name}"))?.trim_end();
        let of_role = format!("Depends: carnet (= {})", self.version);
        let depends = if paragraph.contains("\nDepends:") { String::new() } else { of_role + "\n" };
        let (first, rest) = paragraph.split_once('\n').ok_or("a package is more than its name")?;
        Ok(format!(
            "{first}\nSource: carnet\nVersion: {}\nArchitecture: {}\nMaintainer: {}\nInstalled-Size: {kilobytes}\n\
             Section: net\nPriority: optional\n{depends}{}\n",
            self.version,
            if name == "carnet" { &self.architecture } else { "all" },
            self.maintainer,
            rest.replace("@shlibs@", &self.libraries)
        ))
    }

    /// Adds what every package has, and packs it.
    fn finish(&self, name: &str, root: PathBuf, out: &Path) -> Done<PathBuf> {
        let doc = root.join("usr/share/doc").join(name);
        // Configuration and a unit are ours alone.
        match name {
            "carnet" => write(&doc.join("copyright"), &self.copyright, 0o644)?,
            _ => copy(&fixed("copyright"), &doc.join("copyright"), 0o644)?,
        }
        let changes = format!(
            "carnet ({}) unstable; urgency=medium\n\n  * Built from the source tree; its CHANGELOG.md says what is new.\n\n \
             -- {}  {}\n",
            self.version, self.maintainer, self.mail_date
        );
        packed(&changes, &doc.join("changelog.Debian.gz"))?;
        let overrides = read(&fixed("lintian-overrides"))?.replace("PACKAGE", name);
        write(&root.join("usr/share/lintian/overrides").join(name), &overrides, 0o644)?;
        let (mut sums, mut octets) = (String::new(), 0);
        for file in files(&root)? {
            let inside = file.strip_prefix(&root).map_err(|e| e.to_string())?;
            octets += fs::symlink_metadata(&file).map_err(|e| e.to_string())?.len().div_ceil(1024);
            if !inside.starts_with("DEBIAN") && !inside.starts_with("etc") && file.is_file() {
                let sum = output(Command::new("md5sum").arg(&file), "md5sum")?;
                let sum = sum.split(' ').next().unwrap_or_default();
                sums += &format!("{sum}  {}\n", inside.display());
            }
        }
        let debian = root.join("DEBIAN");
        write(&debian.join("md5sums"), &sums, 0o644)?;
        let conffiles = files(&root.join("etc"))?;
        let named = |file: &PathBuf| Some(format!("/{}\n", file.strip_prefix(&root).ok()?.display()));
        if !conffiles.is_empty() {
            write(&debian.join("conffiles"), &conffiles.iter().filter_map(named).collect::<String>(), 0o644)?;
        }
        write(&debian.join("control"), &self.control(name, octets)?, 0o644)?;
        let architecture = if name == "carnet" { &self.architecture } else { "all" };
        let package = out.join(format!("{name}_{}_{architecture}.deb", self.version));
        let mut build = Command::new("dpkg-deb");
        build.args(["--root-owner-group", "-Zxz", "--build"]).arg(&root).arg(&package).stdout(Stdio::null());
        // No file is younger, whenever it is built.
        build.env("SOURCE_DATE_EPOCH", epoch()?);
        crate::run(&mut build, "dpkg-deb")?;
        Ok(package)
    }
}

fn main_package(facts: &Facts, program: &Path, work: &Path) -> Done<PathBuf> {
    let root = work.join("carnet");
    let share = root.join("usr/share");
    let bin = root.join("usr/bin/carnet");
    copy(program, &bin, 0o755)?;
    let strip = ["--strip-unneeded", "--remove-section=.comment", "--remove-section=.note"];
    crate::run(Command::new("strip").args(strip).arg(&bin), "strip")?;
    let pages = work.join("man");
    crate::man::pages(program, &pages, &facts.day)?;
    for page in files(&pages)? {
        let name = page.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let section = name.rsplit('.').next().unwrap_or("1").to_owned();
        packed(&read(&page)?, &share.join(format!("man/man{section}/{name}.gz")))?;
    }
    for (shell, place) in [
        ("bash", "bash-completion/completions/carnet"),
        ("zsh", "zsh/vendor-completions/_carnet"),
        ("fish", "fish/vendor_completions.d/carnet.fish"),
    ] {
        let script = output(Command::new(program).args(["completions", shell]), "carnet completions")?;
        write(&share.join(place), &(script + "\n"), 0o644)?;
    }
    copy(
        Path::new("packaging/systemd/carnet@.service"),
        &root.join("lib/systemd/system/carnet@.service"),
        0o644,
    )?;
    let doc = share.join("doc/carnet");
    for file in files(Path::new("docs"))? {
        // Pictures and tables of measurements are for who works on it.
        if ["svg", "json"].iter().all(|kind| file.extension().is_none_or(|it| it != *kind))
            || file.ends_with("dashboard.json")
        {
            let inside = file.strip_prefix("docs").map_err(|e| e.to_string())?;
            copy(&file, &doc.join(inside), 0o644)?;
        }
    }
    copy(Path::new("packaging/wireshark/mikey_ticket.lua"), &doc.join("wireshark/mikey_ticket.lua"), 0o644)?;
    copy(Path::new("packaging/wireshark/README.md"), &doc.join("wireshark/README.md"), 0o644)?;
    packed(&read(Path::new("CHANGELOG.md"))?, &doc.join("changelog.gz"))?;
    write(&doc.join("carnet.cdx.json"), &crate::thirdparty::bill(&facts.day)?, 0o644)?;
    let etc = root.join("etc/carnet");
    fs::create_dir_all(&etc).map_err(|e| format!("{}: {e}", etc.display()))?;
    for script in ["postinst", "prerm", "postrm"] {
        copy(&fixed(&format!("carnet.{script}")), &root.join("DEBIAN").join(script), 0o755)?;
    }
    copy(&fixed("carnet.triggers"), &root.join("DEBIAN/triggers"), 0o644)?;
    Ok(root)
}

fn role_package(_: &Facts, role: &str, work: &Path) -> Done<PathBuf> {
    let root = work.join(format!("carnet-{role}"));
    copy(&fixed(&format!("etc/{role}.toml")), &root.join(format!("etc/carnet/{role}.toml")), 0o644)?;
    if role == "border" {
        copy(&fixed("etc/users.toml"), &root.join("etc/carnet/users.toml"), 0o644)?;
    }
    if role == "gateway" {
        let place = "lib/systemd/system/carnet@gateway.service.d/kernel-engine.conf";
        copy(Path::new("packaging/systemd/kernel-engine.conf"), &root.join(place), 0o644)?;
    }
    for script in ["postinst", "prerm", "postrm"] {
        let text = read(&fixed(&format!("role.{script}")))?.replace("ROLE", role);
        write(&root.join("DEBIAN").join(script), &text, 0o755)?;
    }
    Ok(root)
}

fn fixed(name: &str) -> PathBuf {
    Path::new(FIXED).join(name)
}

/// Every file below, in order.
fn files(dir: &Path) -> Done<Vec<PathBuf>> {
    let fail = |e: std::io::Error| format!("{}: {e}", dir.display());
    let mut found = Vec::new();
    if !dir.exists() {
        return Ok(found);
    }
    let mut entries = fs::read_dir(dir).map_err(fail)?.collect::<Result<Vec<_>, _>>().map_err(fail)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        match entry.file_type().map_err(fail)?.is_dir() {
            true => found.extend(files(&entry.path())?),
            false => found.push(entry.path()),
        }
    }
    Ok(found)
}

/// A text of the tree.
pub fn read(path: &Path) -> Done<String> {
    fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))
}

fn copy(from: &Path, to: &Path, mode: u32) -> Done {
    place(&fs::read(from).map_err(|e| format!("{}: {e}", from.display()))?, to, mode)
}

fn write(to: &Path, text: &str, mode: u32) -> Done {
    place(text.as_bytes(), to, mode)
}

/// Compressed, without what would make two builds differ.
fn packed(text: &str, to: &Path) -> Done {
    let plain = to.with_extension("");
    write(&plain, text, 0o644)?;
    crate::run(Command::new("gzip").args(["-9n", "-f"]).arg(&plain), "gzip")
}

fn place(octets: &[u8], to: &Path, mode: u32) -> Done {
    let fail = |e: std::io::Error| format!("{}: {e}", to.display());
    if let Some(dir) = to.parent() {
        fs::create_dir_all(dir).map_err(fail)?;
    }
    fs::write(to, octets).map_err(fail)?;
    fs::set_permissions(to, fs::Permissions::from_mode(mode)).map_err(fail)
}

/// What a program prints.
pub fn output(command: &mut Command, what: &str) -> Done<String> {
    let output = command.output().map_err(|e| format!("{what} could not start: {e}"))?;
    if !output.status.success() {
        return Err(format!(
            "{what} failed ({}): {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        ));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_publishes_is_the_maintainer() {
        let authors = "The Carnet developers <carnet@carnet.example>:Somebody Else";
        let of = |name, address| maintainer(name, address, authors);
        assert_eq!(of(None, None).unwrap(), "The Carnet developers <carnet@carnet.example>");
        assert_eq!(of(Some("Ann Other"), Some("ann@isp.net")).unwrap(), "Ann Other <ann@isp.net>");
        assert_eq!(of(None, Some("ann@isp.net")).unwrap(), "The Carnet developers <ann@isp.net>");
        for (name, address) in [
            ("Ann\nDepends: evil", "ann@isp.net"),
            ("Ann", "ann"),
            ("Ann", "@isp.net"),
            ("Ann", "ann @isp.net"),
            ("Ann, Bob", "ann@isp.net"),
            ("", "ann@isp.net"),
        ] {
            assert!(of(Some(name), Some(address)).is_err(), "{name} {address}");
        }
        assert!(maintainer(None, None, "").is_err(), "nobody");
    }
}
