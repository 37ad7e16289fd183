//! Files that the configuration names: who can read secrets, and where there has to be room.

use super::report::Report;
use crate::check::secrets::is_open_to_others;
use carnet_ops::config::{Config, TlsSection};
use rustix::fs::{Access, access, statvfs};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Octets of free space below which writing is about to fail.
const ALMOST_NOTHING: u64 = 16 << 20;
/// Octets of free space below which a store should not begin.
const LITTLE: u64 = 256 << 20;

/// Who besides its owner can read a secret, or write it.
pub fn secrets(config: &Config, report: &mut Report) {
    report.looked("secrets");
    for (at, path) in all_secrets(config) {
        secret(&at, &path, report);
    }
}

/// The same of one.
pub fn secret(at: &str, path: &Path, report: &mut Report) {
    let shown = path.display();
    let meta = match std::fs::metadata(path) {
        Ok(meta) => meta,
        Err(error) => {
            let fix = "put the file there, or correct the path";
            return report.fault("file-missing", at, format!("{shown}: {error}"), fix);
        }
    };
    let mode = meta.mode() & 0o777;
    let open = is_open_to_others(path);
    if mode & 0o004 != 0 && open {
        let what = format!("{shown} can be read by every user of this host (mode {mode:o})");
        let fix = format!("chmod 600 {shown}, or 640 with the service's group");
        report.warning("secret-readable", at, what, fix);
    } else if mode & 0o022 != 0 && (open || mode & 0o020 != 0) {
        let what = format!("{shown} can be changed by others than its owner (mode {mode:o})");
        report.warning("secret-writable", at, what, format!("chmod go-w {shown}"));
    }
    if access(path, Access::READ_OK).is_err() {
        let owner = meta.uid();
        let what = format!("{shown} cannot be read by the user that runs this (it belongs to user {owner})");
        let fix = "run `carnet doctor` as the user of the service, or as root";
        report.note("secret-unreadable", at, what, fix);
    }
}

/// Where a secret stands, and in which file.
fn all_secrets(config: &Config) -> Vec<(String, PathBuf)> {
    let mut all = Vec::new();
    let mut put = |at: String, path: &PathBuf| all.push((at, path.clone()));
    let tls = |at: &str, section: Option<&TlsSection>, put: &mut dyn FnMut(String, &PathBuf)| {
        if let Some(section) = section {
            put(format!("{at}.key"), section.key.as_ref());
        }
    };
    for (name, border) in &config.border {
        let border = border.as_ref();
        tls(&format!("border.{name}.tls"), border.tls.as_ref(), &mut put);
        if let Some(users) = border.registrar.as_ref().and_then(|registrar| registrar.as_ref().users.as_ref())
        {
            put(format!("border.{name}.registrar.users"), users.as_ref());
        }
    }
    for (name, server) in &config.conference {
        let server = server.as_ref();
        tls(&format!("conference.{name}.tls"), server.tls.as_ref(), &mut put);
        if let Some(kms) = &server.kms {
            put(format!("conference.{name}.kms.key-file"), kms.as_ref().key_file.as_ref());
        }
    }
    for (at, section) in super::control_tls(config) {
        for (key, path) in [("key", &section.key), ("psk", &section.psk)] {
            if let Some(path) = path {
                put(format!("{at}.{key}"), path.as_ref());
            }
        }
    }
    for (at, section) in super::control_authentication(config) {
        for (index, key) in &section.keys {
            put(format!("{at}.keys.{index}"), key.as_ref().file.as_ref());
        }
    }
    for (name, gateway) in &config.gateway {
        let gateway = gateway.as_ref();
        for (realm, section) in &gateway.realm {
            if let Some(key) = &section.as_ref().key {
                put(format!("gateway.{name}.realm.{realm}.key"), key.as_ref());
            }
        }
        if let Some(relay) = gateway.relay.as_ref().map(|relay| relay.as_ref()) {
            put(format!("gateway.{name}.relay.users"), relay.users.as_ref());
            tls(&format!("gateway.{name}.relay.tls"), relay.tls.as_ref(), &mut put);
        }
        if let Some(ng) = gateway.ng.as_ref().map(|ng| ng.as_ref()) {
            if let Some(token) = &ng.token_file {
                put(format!("gateway.{name}.ng.token-file"), token.as_ref());
            }
            tls(&format!("gateway.{name}.ng.tls"), ng.tls.as_ref().map(|tls| tls.as_ref()), &mut put);
        }
    }
    if let Some(kms) = config.kms.as_ref().map(|kms| kms.as_ref()) {
        tls("kms.tls", kms.tls.as_ref(), &mut put);
        // Those that the service makes at its first start may not be there yet.
        let made = kms.root_key.clone().into_iter().map(|path| ("kms.root-key", path));
        for (at, path) in made.chain([("kms.data", kms.data.clone())]).filter(|(_, path)| path.exists()) {
            put(at.to_owned(), &path);
        }
        if let Some(signed) = &kms.signed {
            put("kms.signed.key".to_owned(), signed.key.as_ref());
        }
    }
    if let Some(admin) = config.admin.as_ref().map(|admin| admin.as_ref()) {
        if let Some(token) = &admin.token_file {
            put("admin.token-file".to_owned(), token.as_ref());
        }
        if let Some(token) = &admin.read_token_file {
            put("admin.read-token-file".to_owned(), token.as_ref());
        }
        for node in admin.nodes.iter().map(|node| node.as_ref()) {
            for (file, what) in [(&node.token_file, "token-file"), (&node.key, "key")] {
                if let Some(path) = file {
                    put(format!("admin.nodes.{}.{what}", node.name.as_ref()), path.as_ref());
                }
            }
        }
        tls("admin.tls", admin.tls.as_ref().map(|tls| tls.as_ref()), &mut put);
    }
    if let Some(password) = config.hep.as_ref().and_then(|hep| hep.password_file.as_ref()) {
        put("hep.password-file".to_owned(), password.as_ref());
    }
    let hep = config.hep.as_ref().and_then(|hep| hep.tls.as_ref());
    if let Some(key) = hep.and_then(|tls| tls.as_ref().key.as_ref()) {
        put("hep.tls.key".to_owned(), key.as_ref());
    }
    if let Some(headers) = config.otel.as_ref().and_then(|otel| otel.as_ref().headers_file.as_ref()) {
        put("otel.headers-file".to_owned(), headers.as_ref());
    }
    all
}

/// Room for what is written.
pub fn room(config: &Config, report: &mut Report) {
    report.looked("disk");
    if let Some(records) = &config.records {
        let most = (*records.rotate.as_ref()).saturating_mul(u64::from(*records.keep.as_ref()) + 1) << 20;
        look(
            &records.file,
            "records.file",
            Some((most, written(&records.file, *records.keep.as_ref()))),
            report,
        );
    }
    if let Some(kms) = config.kms.as_ref().map(|kms| kms.as_ref()) {
        look(&kms.data.join("kms.redb"), "kms.data", None, report);
    }
    for (name, border) in &config.border {
        if let Some(state) = &border.as_ref().state {
            look(&state.as_ref().directory.as_ref().join("x"), &format!("border.{name}.state"), None, report);
        }
    }
    for (name, server) in &config.conference {
        if let Some(store) = &server.as_ref().store {
            look(store, &format!("conference.{name}.store"), None, report);
        }
    }
    for (name, gateway) in &config.gateway {
        if let Some(state) = &gateway.as_ref().state {
            look(&state.as_ref().join("x"), &format!("gateway.{name}.state"), None, report);
        }
    }
}

/// Octets of a file of records and of the full ones before it.
fn written(file: &Path, keep: u32) -> u64 {
    let size = |path: &Path| std::fs::metadata(path).map_or(0, |meta| meta.len());
    let before = (1..=keep).map(|n| {
        let mut name = file.as_os_str().to_owned();
        name.push(format!(".{n}"));
        size(Path::new(&name))
    });
    size(file) + before.sum::<u64>()
}

/// `bound` is how much it may become at most, and how much of that is there.
fn look(file: &Path, at: &str, bound: Option<(u64, u64)>, report: &mut Report) {
    // What is made at the first start is looked for where it will be made.
    let place = file.ancestors().skip(1).find(|path| path.is_dir()).unwrap_or(Path::new("."));
    let Ok(stat) = statvfs(place) else { return };
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let (shown, mebi) = (place.display(), free >> 20);
    if stat.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY) {
        report.fault(
            "disk-read-only",
            at,
            format!("{shown} is mounted read-only"),
            "mount it for writing, or name another place",
        );
    } else if free < ALMOST_NOTHING || stat.f_files > 0 && stat.f_favail == 0 {
        let what = format!("the disk of {shown} is full: {mebi} MiB and {} files are left", stat.f_favail);
        report.fault("disk-full", at, what, "make room there, or name a place on another disk");
    } else if let Some((most, _)) = bound.filter(|(most, there)| free.saturating_add(*there) < *most) {
        let what = format!("{shown} has {mebi} MiB left, and records may become {} MiB", most >> 20);
        report.warning("disk-small", at, what, "lower `rotate` or `keep` of [records], or make room there");
    } else if bound.is_none() && free < LITTLE {
        report.warning("disk-small", at, format!("{shown} has {mebi} MiB left"), "make room there");
    }
    if access(place, Access::WRITE_OK).is_err()
        && !stat.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY)
    {
        let what = format!("{shown} cannot be written by the user that runs this");
        report.note(
            "directory-unwritable",
            at,
            what,
            "run `carnet doctor` as the user of the service, or as root",
        );
    }
}
