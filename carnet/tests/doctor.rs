//! `carnet doctor`: a sound setup has no finding, and each way to break it has the one that names it. Certificates are
//! made by `openssl`, next hops and key servers are processes and sockets that are really there, or not.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

mod common;

use common::{Kms, Running, free};
use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const CARNET: &str = env!("CARGO_BIN_EXE_carnet");

/// What depends on the host that tests run on, and not on the setup.
const OF_THE_HOST: [&str; 9] = [
    "clock-unkept",
    "clock-off",
    "conntrack-buckets",
    "memory",
    "kernel-setting",
    "descriptors",
    "disk-small",
    "not-root",
    "time-zone",
];

/// An authority, and what it issues.
struct Authority {
    directory: PathBuf,
    name: &'static str,
}

impl Authority {
    fn new(directory: &Path, name: &'static str) -> Self {
        let this = Self { directory: directory.to_owned(), name };
        let text = format!(
            "[ca]\ndefault_ca=d\n[d]\ndatabase={name}.txt\nnew_certs_dir=.\nserial={name}.srl\npolicy=p\n\
             default_md=sha256\ncopy_extensions=copy\nunique_subject=no\n[p]\ncommonName=supplied\n"
        );
        this.write(&format!("{name}.cnf"), &text);
        this.write(&format!("{name}.txt"), "");
        this.write(&format!("{name}.srl"), "01\n");
        let (key, pem, subject) = (format!("{name}.key"), format!("{name}.pem"), format!("/CN={name}"));
        this.openssl(&[
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "100", "-keyout", &key, "-out", &pem,
            "-subj", &subject,
        ]);
        this
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.directory.join(name), text).unwrap();
    }

    fn openssl(&self, arguments: &[&str]) {
        let output = Command::new("openssl").args(arguments).current_dir(&self.directory).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// `NAME.pem` and `NAME.key`, good for these names between two times (`YYYYMMDDHHMMSSZ`).
    fn issue(&self, name: &str, alternatives: &str, from: &str, to: &str) {
        let (key, csr, pem) = (format!("{name}.key"), format!("{name}.csr"), format!("{name}.pem"));
        let alternatives = format!("subjectAltName={alternatives}");
        self.openssl(&[
            "req",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-keyout",
            &key,
            "-out",
            &csr,
            "-subj",
            "/CN=x",
            "-addext",
            &alternatives,
        ]);
        let (config, own, own_key) =
            (format!("{}.cnf", self.name), format!("{}.pem", self.name), format!("{}.key", self.name));
        self.openssl(&[
            "ca",
            "-batch",
            "-notext",
            "-config",
            &config,
            "-cert",
            &own,
            "-keyfile",
            &own_key,
            "-in",
            &csr,
            "-out",
            &pem,
            "-startdate",
            from,
            "-enddate",
            to,
        ]);
        let path = self.directory.join(key);
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
    }
}

/// A SIP server that answers everything with one status.
fn neighbour(status: &'static str) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut octets = [0; 4096];
        while let Ok((length, from)) = socket.recv_from(&mut octets) {
            let request = String::from_utf8_lossy(&octets[..length]).into_owned();
            let kept = request.lines().filter(|line| {
                ["Via", "From", "To", "Call-ID", "CSeq"]
                    .iter()
                    .any(|name| line.starts_with(&format!("{name}:")))
            });
            let lines: Vec<_> = kept.collect();
            let answer = format!("SIP/2.0 {status}\r\n{}\r\nContent-Length: 0\r\n\r\n", lines.join("\r\n"));
            let _ = socket.send_to(answer.as_bytes(), from);
        }
    });
    address
}

/// A setup in which nothing is wrong: a border with its gateway and a conference server, their key management service,
/// and their next hop.
struct Setup {
    directory: tempfile::TempDir,
    kms: Kms,
    text: String,
}

impl Setup {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let kms = Kms::start();
        std::fs::copy(kms.path("alice.psk"), directory.path().join("alice.psk")).unwrap();
        std::fs::write(directory.path().join("users.toml"), "alice = \"a password\"\n").unwrap();
        let good = Authority::new(directory.path(), "good");
        good.issue("sound", "DNS:x.example", "20200101000000Z", "20490101000000Z");
        let control = free();
        let text = format!(
            "[border.alg]\nrole = \"ims-alg\"\ndomain = \"x.example\"\n\
             registrar = {{ mode = \"built-in\", users = \"users.toml\" }}\n\
             tls = {{ certificate = \"sound.pem\", key = \"sound.key\", ca = \"good.pem\" }}\n\
             control = {{ listen = [\"tcp:{control}\"], gateways = [\"agw\"] }}\n\
             [border.alg.network.access]\nlisten = [\"udp:{}\", \"tls:{}\"]\nsubscribers = true\n\
             [border.alg.network.core]\nlisten = [\"udp:{}\"]\n\
             [[border.alg.route]]\ndomain = \"*\"\nnetwork = \"core\"\nnext-hop = \"sip:{}\"\n\
             [gateway.agw]\nrole = \"ims-agw\"\ncontrollers = [\"local:alg\"]\nmemory = 16\n\
             [gateway.agw.realm.access]\nv4 = \"127.0.0.1\"\nports = \"20000-20009\"\n\
             [gateway.agw.realm.core]\nv4 = \"127.0.0.1\"\nports = \"20010-20019\"\n\
             [conference.conf]\ndomain = \"conf.example\"\nlisten = [\"udp:{}\"]\n\
             factory = [\"sip:new@conf.example\"]\ncontrol = {{ gateways = [\"mrfp\"] }}\n\
             [conference.conf.kms]\nurl = \"http://{}\"\nidentity = \"sip:kms.example\"\n\
             account = \"sip:alice@x.example\"\nkey-file = \"alice.psk\"\n\
             [gateway.mrfp]\nrole = \"mrfp\"\ncontrollers = [\"local:conf\"]\n\
             [gateway.mrfp.realm.core]\nv4 = \"127.0.0.1\"\nports = \"20020-20029\"\n",
            free(),
            free(),
            free(),
            neighbour("200 OK"),
            free(),
            kms.address,
        );
        // As /etc/carnet is, and not as a directory for one's own files is.
        std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let this = Self { directory, kms, text };
        for name in ["users.toml", "alice.psk"] {
            std::fs::set_permissions(this.path(name), PermissionsExt::from_mode(0o600)).unwrap();
        }
        this
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// What is found of this file.
    fn findings(&self, text: &str) -> Findings {
        std::fs::write(self.path("carnet.toml"), text).unwrap();
        let mut command = Command::new(CARNET);
        Findings::of(command.args(["doctor", "--json", "-c"]).arg(self.path("carnet.toml")).output().unwrap())
    }

    fn with(&self, from: &str, to: &str) -> Findings {
        assert!(self.text.contains(from), "{from}");
        self.findings(&self.text.replace(from, to))
    }
}

#[derive(Debug)]
struct Findings {
    code: Option<i32>,
    json: Value,
}

impl Findings {
    fn of(output: Output) -> Self {
        let json = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"));
        let this = Self { code: output.status.code(), json };
        assert_eq!(this.code, Some(i32::from(this.json["ok"] == false)), "{this:?}");
        for finding in this.json["findings"].as_array().unwrap() {
            assert!(!finding["fix"].as_str().unwrap().is_empty(), "{finding} says not what to do");
        }
        this
    }

    /// All but what is the host's.
    fn own(&self) -> Vec<&Value> {
        let all = self.json["findings"].as_array().unwrap().iter();
        all.filter(|finding| !OF_THE_HOST.contains(&finding["check"].as_str().unwrap())).collect()
    }

    /// There is this one, and nothing else.
    fn only(&self, check: &str, weight: &str, at: &str, what: &str) {
        let own = self.own();
        self.has(check, weight, at, what);
        assert_eq!(own.len(), 1, "{own:#?}");
    }

    fn has(&self, check: &str, weight: &str, at: &str, what: &str) {
        let fits = |finding: &&Value| {
            finding["check"] == check
                && finding["weight"] == weight
                && finding["at"] == at
                && finding["what"].as_str().unwrap().contains(what)
        };
        let found = self.own().into_iter().any(|finding| fits(&finding));
        assert!(found, "{check} at {at} ({what}) is not in {:#}", self.json);
    }
}

#[test]
fn a_sound_setup_has_no_finding() {
    let setup = Setup::new();
    let findings = setup.findings(&setup.text);
    assert_eq!(findings.own(), Vec::<&Value>::new());
    assert_eq!(findings.code, Some(0));
    let looked: Vec<_> =
        findings.json["looked_at"].as_array().unwrap().iter().map(|at| at.as_str().unwrap()).collect();
    for at in [
        "configuration",
        "secrets",
        "certificates",
        "clock",
        "sockets",
        "key management service",
        "next hops",
    ] {
        assert!(looked.contains(&at), "{at} was not looked at: {looked:?}");
    }
    // For people.
    let output = Command::new(CARNET).args(["doctor", "-c"]).arg(setup.path("carnet.toml")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && said.contains("looked at: ") && said.contains("0 faults"), "{said}");
}

#[test]
fn what_is_wrong_with_files_is_found() {
    let setup = Setup::new();
    let mode = |name: &str, mode| {
        std::fs::set_permissions(setup.path(name), PermissionsExt::from_mode(mode)).unwrap();
    };
    for (name, at) in [
        ("sound.key", "border.alg.tls.key"),
        ("users.toml", "border.alg.registrar.users"),
        ("alice.psk", "conference.conf.kms.key-file"),
    ] {
        mode(name, 0o644);
        setup.findings(&setup.text).only(
            "secret-readable",
            "warning",
            at,
            "every user of this host (mode 644)",
        );
        mode("", 0o700);
        assert!(setup.findings(&setup.text).own().is_empty(), "nobody else gets to it");
        mode("", 0o755);
        mode(name, 0o660);
        setup.findings(&setup.text).only("secret-writable", "warning", at, "(mode 660)");
        mode(name, 0o640);
        assert!(setup.findings(&setup.text).own().is_empty(), "a group may read it");
        mode(name, 0o600);
    }
    setup.with("users.toml", "nobody.toml").has(
        "configuration",
        "fault",
        setup.path("carnet.toml").to_str().unwrap(),
        "nobody.toml",
    );
    // A key that does not fit is the file's mistake, and the rest is looked at all the same.
    let good = Authority { directory: setup.directory.path().to_owned(), name: "good" };
    good.issue("other", "DNS:x.example", "20200101000000Z", "20490101000000Z");
    let findings = setup.with("key = \"sound.key\"", "key = \"other.key\"");
    findings.only("configuration", "fault", setup.path("carnet.toml").to_str().unwrap(), "sound.pem");
    assert!(findings.json["looked_at"].as_array().unwrap().contains(&"next hops".into()));
}

#[test]
fn what_is_wrong_with_certificates_is_found() {
    let setup = Setup::new();
    let good = Authority { directory: setup.directory.path().to_owned(), name: "good" };
    let bad = Authority::new(setup.directory.path(), "bad");
    good.issue("old", "DNS:x.example", "20200101000000Z", "20200201000000Z");
    good.issue("young", "DNS:x.example", "20480101000000Z", "20490101000000Z");
    good.issue("another", "DNS:y.example,IP:192.0.2.1", "20200101000000Z", "20490101000000Z");
    good.issue("star", "DNS:*.example", "20200101000000Z", "20490101000000Z");
    // Half a day over, so that the second in which the certificate is read does not decide the number.
    let soon = from_now(5 * 24 + 12);
    good.issue("ending", "DNS:x.example", "20200101000000Z", &soon);
    let of = |name: &str| {
        let text = setup.text.replace("sound.pem", &format!("{name}.pem"));
        setup.findings(&text.replace("sound.key", &format!("{name}.key")))
    };
    of("old").only("certificate-expired", "fault", "border.alg.tls", "days ago");
    of("young").only("certificate-not-yet", "fault", "border.alg.tls", "not valid yet");
    of("ending").only("certificate-expires-soon", "warning", "border.alg.tls", "expires in 5 days");
    of("another").only(
        "certificate-name",
        "warning",
        "border.alg.tls",
        "is good for y.example, 192.0.2.1; peers look for x.example or 127.0.0.1",
    );
    assert!(of("star").own().is_empty());
    setup.with("good.pem", "bad.pem").only("certificate-chain", "warning", "border.alg.tls", "do not vouch");
    setup.with(", ca = \"good.pem\"", "").only(
        "certificate-private",
        "note",
        "border.alg.tls",
        "do not vouch",
    );
    drop(bad);
}

/// As `openssl ca` wants it.
fn from_now(hours: u64) -> String {
    let output =
        Command::new("date").args(["-u", "-d", &format!("{hours} hours"), "+%Y%m%d%H%M%SZ"]).output();
    String::from_utf8(output.unwrap().stdout).unwrap().trim().to_owned()
}

#[test]
fn what_is_wrong_with_the_host_is_found() {
    let setup = Setup::new();
    // The pool is among the ports that everybody gets.
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap();
    let last: u16 = text.split_whitespace().nth(1).unwrap().parse().unwrap();
    let pool = format!("{}-{last}", last - 9);
    setup.with("20000-20009", &pool).only("ports-overlap", "warning", "gateway.agw", &pool);
    let missing = "this host has no address 192.0.2.77";
    let realm = "[gateway.agw.realm.access]\nv4 = \"127.0.0.1\"";
    let findings = setup.with(realm, "[gateway.agw.realm.access]\nv4 = \"192.0.2.77\"");
    findings.has("address-missing", "fault", "gateway.agw.realm.access", missing);
    // Somebody else has the port.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let text = format!("{}[admin]\nlisten = \"{address}\"\n", setup.text);
    let us = format!("(process {})", std::process::id());
    setup.findings(&text).only("port-taken", "fault", "admin.listen", &us);
    drop(taken);
    let memory = setup.with("memory = 16", "memory = 1048576");
    let found =
        memory.json["findings"].as_array().unwrap().iter().any(|finding| finding["check"] == "memory");
    assert!(found && memory.code == Some(1), "{memory:?}");
    // Records have their own disk, which is small, and then full.
    let disk = setup.path("disk");
    std::fs::create_dir(&disk).unwrap();
    let records = format!("{}[records]\nfile = \"disk/sessions.jsonl\"\n", setup.text);
    let mount = |size: &str| {
        Command::new("mount")
            .args(["-t", "tmpfs", "-o", size, "tmpfs"])
            .arg(&disk)
            .status()
            .is_ok_and(|s| s.success())
    };
    if !mount("size=100m") {
        assert!(std::env::var_os("CARNET_REQUIRE_ROOT").is_none(), "a disk cannot be mounted");
        eprintln!("skipped: a disk cannot be mounted");
        return;
    }
    let _mounted = Mounted(disk.clone());
    let small = setup.findings(&records);
    let small: Vec<_> =
        small.json["findings"].as_array().unwrap().iter().map(|f| f["check"].clone()).collect();
    assert!(small.contains(&"disk-small".into()), "{small:?}");
    std::fs::write(disk.join("other"), vec![0; 95 << 20]).unwrap();
    setup.findings(&records).only("disk-full", "fault", "records.file", "is full: 5 MiB");
}

struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn who_is_not_there_is_found() {
    let setup = Setup::new();
    let nobody = free();
    let kms = format!("url = \"http://{}\"", setup.kms.address);
    setup.with(&kms, &format!("url = \"http://{nobody}\"")).only(
        "kms-unreachable",
        "fault",
        "conference.conf.kms",
        "cannot be reached",
    );
    // Bob's key is not alice's.
    std::fs::copy(setup.kms.path("bob.psk"), setup.path("bob.psk")).unwrap();
    std::fs::set_permissions(setup.path("bob.psk"), PermissionsExt::from_mode(0o600)).unwrap();
    setup.with("alice.psk", "bob.psk").only(
        "kms-credentials",
        "fault",
        "conference.conf.kms",
        "the account sip:alice@x.example is not accepted",
    );

    let hop = setup.text.split("next-hop = \"").nth(1).unwrap().split('"').next().unwrap();
    let at = "border.alg.route.*";
    setup.with(hop, &format!("sip:{nobody}")).only(
        "next-hop-unreachable",
        "fault",
        at,
        &format!("UDP {nobody}: Connection refused"),
    );
    setup.with(hop, &format!("sip:{nobody};transport=tcp")).only("next-hop-unreachable", "fault", at, "TCP");
    let refuses = neighbour("403 Forbidden");
    setup.with(hop, &format!("sip:{refuses}")).only(
        "next-hop-refuses",
        "warning",
        at,
        "answers OPTIONS with 403",
    );
    // One that is there and says nothing.
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let silent_at = format!("sip:{}", silent.local_addr().unwrap());
    setup.with(hop, &silent_at).only("next-hop-unreachable", "fault", at, "no answer");
    setup.with(hop, "sip:nobody.invalid").only(
        "name-unresolved",
        "fault",
        at,
        "sip:nobody.invalid does not resolve",
    );
    setup
        .with("[border.alg.network.core]\n", "[border.alg.network.core]\ncontact = \"sip:nobody.invalid\"\n")
        .only(
            "name-unresolved",
            "warning",
            "border.alg.network.core.contact",
            "nobody.invalid does not resolve",
        );
    // Nobody on other hosts is asked where that is not wanted.
    std::fs::write(setup.path("carnet.toml"), setup.text.replace(hop, &format!("sip:{nobody}"))).unwrap();
    let mut command = Command::new(CARNET);
    let output =
        command.args(["doctor", "--offline", "--json", "-c"]).arg(setup.path("carnet.toml")).output();
    assert!(Findings::of(output.unwrap()).own().is_empty());
}

/// A gateway by itself, with a controller that is not there.
#[test]
fn a_controller_that_is_not_there_is_found() {
    let setup = Setup::new();
    let file = |controller: &str, more: &str| {
        format!(
            "[gateway.agw]\nrole = \"ims-agw\"\ncontrollers = [\"alg@{controller}\"]\nmemory = 16\n{more}\n\
             [gateway.agw.realm.access]\nv4 = \"127.0.0.1\"\nports = \"20000-20009\"\n"
        )
    };
    let nobody = free();
    for proto in ["udp", "tcp"] {
        setup.findings(&file(&format!("{proto}:{nobody}"), "")).only(
            "controller-unreachable",
            "fault",
            "gateway.agw.controllers",
            "Connection refused",
        );
    }
    setup.findings(&file("udp:nobody.invalid", "")).only(
        "name-unresolved",
        "fault",
        "gateway.agw.controllers",
        "does not resolve",
    );
    let (there, socket) =
        (TcpListener::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
    assert!(setup.findings(&file(&format!("tcp:{}", there.local_addr().unwrap()), "")).own().is_empty());
    assert!(setup.findings(&file(&format!("udp:{}", socket.local_addr().unwrap()), "")).own().is_empty());

    // A border that speaks TLS, and a gateway with another authority.
    let good = Authority { directory: setup.directory.path().to_owned(), name: "good" };
    let bad = Authority::new(setup.directory.path(), "bad");
    let life = ("20200101000000Z", "20490101000000Z");
    good.issue("alg", "DNS:alg", life.0, life.1);
    good.issue("agw", "DNS:agw", life.0, life.1);
    bad.issue("agw-bad", "DNS:agw", life.0, life.1);
    let control = free();
    let border = setup.text.replace(
        "gateways = [\"agw\"] }",
        "gateways = [\"agw\"], tls = { certificate = \"alg.pem\", key = \"alg.key\", ca = \"good.pem\" } }",
    );
    let plain = border.split("listen = [\"tcp:").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let border = border.replace(&format!("\"tcp:{plain}\""), &format!("\"tls:{control}\""));
    let border = border.replace("local:alg", &format!("alg@tls:{control}")).replace(
        "memory = 16",
        "memory = 16\ncontrol-tls = { certificate = \"agw.pem\", key = \"agw.key\", ca = \"good.pem\" }",
    );
    std::fs::write(setup.path("border.toml"), border).unwrap();
    let process = Running::start(Command::new(CARNET).args(["run", "-c"]).arg(setup.path("border.toml")));
    process.line("ready");
    let tls = |name: &str, ca: &str| {
        let more = format!(
            "control-tls = {{ certificate = \"{name}.pem\", key = \"{name}.key\", ca = \"{ca}.pem\" }}"
        );
        setup.findings(&file(&format!("tls:{control}"), &more))
    };
    assert!(tls("agw", "good").own().is_empty());
    tls("agw-bad", "bad").only("controller-unreachable", "fault", "gateway.agw.controllers", "certificate");
}

/// A key server whose certificate is another authority's, and one whose clock is wrong.
#[test]
fn a_key_server_that_is_not_ours_is_found() {
    let setup = Setup::new();
    let good = Authority { directory: setup.directory.path().to_owned(), name: "good" };
    Authority::new(setup.directory.path(), "bad");
    good.issue("kms", "IP:127.0.0.1", "20200101000000Z", "20490101000000Z");
    let address = free();
    let text = format!(
        "[kms]\nname = \"kms.example\"\nlisten = \"{address}\"\ndata = \"data\"\n\
         tls = {{ certificate = \"kms.pem\", key = \"kms.key\" }}\n"
    );
    std::fs::write(setup.path("kms.toml"), text).unwrap();
    let key = setup.path("key");
    let added = Command::new(CARNET)
        .args(["kms", "user", "add", "sip:alice@x.example", "--out"])
        .arg(&key)
        .arg("-c")
        .arg(setup.path("kms.toml"))
        .output()
        .unwrap();
    assert!(added.status.success(), "{added:?}");
    let process = Running::start(Command::new(CARNET).args(["run", "-c"]).arg(setup.path("kms.toml")));
    process.line("ready");
    let plain = format!("url = \"http://{}\"", setup.kms.address);
    let with = |ca: &str| {
        let text =
            setup.text.replace(&plain, &format!("url = \"https://{address}\"\nca-file = \"{ca}.pem\""));
        setup.findings(&text.replace("alice.psk", "key"))
    };
    assert!(with("good").own().is_empty(), "{:?}", with("good"));
    with("bad").only("kms-unreachable", "fault", "conference.conf.kms", "an authority that is not in `ca`");

    // Ten minutes in the past, by what it says.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let wrong = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let output = Command::new("date")
                .args(["-u", "-d", "-600 seconds", "+%a, %d %b %Y %T GMT"])
                .env("LC_ALL", "C")
                .output();
            let date = String::from_utf8(output.unwrap().stdout).unwrap();
            let answer = format!(
                "HTTP/1.1 404 Not Found\r\nDate: {}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                date.trim()
            );
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    let findings = setup.with(&plain, &format!("url = \"http://{wrong}\""));
    findings.has("clock-skew", "warning", "conference.conf.kms", "s behind that of this host");
}

/// A process that runs is asked how it is, and its sockets are its own.
#[test]
fn a_process_that_runs_is_asked() {
    let setup = Setup::new();
    let (admin, lonely) = (free(), free());
    // The conference server's gateway is elsewhere, and never comes.
    let (whole, _) = setup.text.split_once("[gateway.mrfp]").unwrap();
    let whole = whole.replace(
        "control = { gateways = [\"mrfp\"] }",
        &format!("control = {{ listen = [\"tcp:{lonely}\"], gateways = [\"mrfp\"] }}"),
    );
    let text = format!("{whole}[admin]\nlisten = \"{admin}\"\n");
    std::fs::write(setup.path("carnet.toml"), &text).unwrap();
    let process = Running::start(Command::new(CARNET).args(["run", "-c"]).arg(setup.path("carnet.toml")));
    process.line("ready");
    let deadline = std::time::Instant::now() + common::PATIENCE;
    loop {
        let findings = setup.findings(&text);
        findings.has("gateway-not-in-service", "fault", "conference.conf", "its gateway mrfp is ");
        if findings.own().len() == 1 {
            break;
        }
        // The gateway beside it may still be on its way to its border.
        assert!(std::time::Instant::now() < deadline, "{findings:#?}");
    }
    let more = free();
    let changed = text.replace(
        "[border.alg.network.core]\nlisten = [",
        &format!("[border.alg.network.core]\nlisten = [\"tcp:{more}\", "),
    );
    let what = format!("does not listen at TCP {more}");
    setup.findings(&changed).has("socket-not-open", "warning", "border.alg.network.core.listen", &what);
    // One that does nothing any more is not taken for one that has no door.
    let pid = rustix::process::Pid::from_child(&process.child);
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    let stopped = setup.findings(&text);
    let what = format!("it runs (process {}) and is stopped", process.child.id());
    stopped.has("process-silent", "fault", "admin", &what);
    assert!(!stopped.own().iter().any(|finding| finding["check"] == "port-taken"), "{stopped:#?}");
}

/// Why a certificate is not accepted is told, with what to do about it.
#[test]
fn a_key_servers_certificate_says_what_is_wrong_with_it() {
    let setup = Setup::new();
    let authority = Authority::new(setup.directory.path(), "keys");
    let (long_ago, late) = ("20200101000000Z", "20490101000000Z");
    for (name, names, from, to, what, fix) in [
        ("over", "IP:127.0.0.1", long_ago, "20200201000000Z", "certificate has expired", "is over"),
        ("early", "IP:127.0.0.1", "20480101000000Z", late, "certificate is not valid yet", "is behind"),
        ("other", "DNS:other.example", long_ago, late, "mismatch", "other names"),
    ] {
        authority.issue(name, names, from, to);
        let at = free();
        let (pem, key) = (format!("{name}.pem"), format!("{name}.key"));
        let mut command = Command::new("openssl");
        command.args(["s_server", "-www", "-accept", &at.to_string(), "-cert", &pem, "-key", &key]);
        let _server = Running::start(command.current_dir(setup.directory.path()));
        let until = std::time::Instant::now() + common::PATIENCE;
        while std::net::TcpStream::connect(at).is_err() {
            assert!(std::time::Instant::now() < until, "openssl s_server does not listen");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        let plain = format!("url = \"http://{}\"", setup.kms.address);
        let findings = setup.with(&plain, &format!("url = \"https://{at}\"\nca-file = \"keys.pem\""));
        findings.has("kms-unreachable", "fault", "conference.conf.kms", what);
        let found = findings.own().into_iter().find(|finding| finding["check"] == "kms-unreachable").unwrap();
        assert!(found["fix"].as_str().unwrap().contains(fix), "{found}");
    }
}

/// So is one that cannot be asked, found by what it was started with.
#[test]
fn a_process_that_cannot_be_asked_is_found() {
    let setup = Setup::new();
    std::fs::write(setup.path("carnet.toml"), &setup.text).unwrap();
    let mut command = Command::new(CARNET);
    let process =
        Running::start(command.args(["run", "-c", "carnet.toml"]).current_dir(setup.directory.path()));
    process.line("ready");
    let findings = setup.findings(&setup.text);
    findings.only("administration-unseen", "note", "admin", &format!("(process {})", process.child.id()));
    drop(process);
    assert!(setup.findings(&setup.text).own().is_empty());
}

/// A client's file is looked at too.
#[test]
fn a_client_is_looked_at() {
    let setup = Setup::new();
    let hop = neighbour("200 OK");
    let text = format!(
        "[ue]\nidentity = \"sip:alice@x.example\"\nproxy = \"sip:{hop}\"\nno-register = true\n\
         kms = \"http://{}\"\nkms-identity = \"sip:kms.example\"\nkms-key-file = \"alice.psk\"\n",
        setup.kms.address
    );
    assert_eq!(setup.findings(&text).own(), Vec::<&Value>::new());
    std::fs::set_permissions(setup.path("alice.psk"), PermissionsExt::from_mode(0o644)).unwrap();
    setup.findings(&text).only("secret-readable", "warning", "ue.kms-key-file", "mode 644");
    std::fs::set_permissions(setup.path("alice.psk"), PermissionsExt::from_mode(0o600)).unwrap();
    let nobody = free();
    let gone = text.replace(&hop.to_string(), &nobody.to_string());
    setup.findings(&gone).only("next-hop-unreachable", "fault", "ue.proxy", "Connection refused");
    let stranger = text.replace("alice@x", "mallory@x");
    setup.findings(&stranger).only(
        "kms-credentials",
        "fault",
        "ue.kms",
        "sip:mallory@x.example is not accepted",
    );
    let file = setup.path("carnet.toml");
    setup.findings("[ue]\nidentity = 1\n").only("configuration", "fault", file.to_str().unwrap(), "");
}

/// In a network of its own, whose kernel forwards nothing.
#[test]
fn what_the_kernel_lacks_is_found() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let file = directory.path().join("carnet.toml");
    let text = |engine: &str| {
        format!(
            "[admin]\nlisten = \"127.0.0.1:80\"\n[gateway.agw]\nrole = \"trgw\"\nengine = \"{engine}\"\nmemory = 16\n\
             controllers = [\"alg@tcp:127.0.0.1:1\"]\n\
             [gateway.agw.realm.core]\nv4 = \"192.0.2.77\"\nports = \"20000-20009\"\n"
        )
    };
    let doctor = |engine: &str, before: &str| {
        std::fs::write(&file, text(engine)).unwrap();
        let command = format!(
            "ip link set lo up && ip address add 192.0.2.77/32 dev lo && sysctl -qw net.ipv4.ip_forward=0 \
             net.netfilter.nf_conntrack_acct=1 && {before} {CARNET} doctor --offline --json -c {}",
            file.display()
        );
        let output = Command::new("unshare").args(["-n", "sh", "-c", &command]).output();
        output.ok().filter(|output| !output.stdout.is_empty()).map(Findings::of)
    };
    let Some(findings) = doctor("kernel", "") else {
        assert!(std::env::var_os("CARNET_REQUIRE_ROOT").is_none(), "there is no network of one's own");
        eprintln!("skipped: there is no network of one's own");
        return;
    };
    findings.only("kernel-engine", "fault", "gateway.agw", "net.ipv4.ip_forward is not 1");
    let fix = findings.own()[0]["fix"].as_str().unwrap();
    assert!(fix.starts_with("sysctl -w net.ipv4.ip_forward=1"), "{fix}");
    doctor("auto", "").unwrap().only("kernel-engine", "note", "gateway.agw", "everything is relayed");
    assert!(doctor("kernel", "sysctl -qw net.ipv4.ip_forward=1 &&").unwrap().own().is_empty());
    assert!(doctor("relay", "").unwrap().own().is_empty());
    // Somebody else's firewall.
    let others = |port: &str| {
        format!(
            "sysctl -qw net.ipv4.ip_forward=1 && nft add table inet host && nft add chain inet host in              '{{ type filter hook input priority 0; policy drop; }}' &&              nft add rule inet host in ip daddr 192.0.2.77 tcp dport {port} accept &&"
        )
    };
    let shut = doctor("relay", &others("22")).unwrap();
    let at = "gateway.agw.realm.core";
    shut.only("firewall-drops", "warning", at, "none lets in TCP to 192.0.2.77 ports 20000-20009");
    assert!(doctor("relay", &others("20000-20009")).unwrap().own().is_empty());
    // Who may not open such a port, and may not look at the kernel.
    let before = "sysctl -qw net.ipv4.ip_unprivileged_port_start=1024 && \
                  setpriv --reuid=65534 --regid=65534 --clear-groups";
    let findings = doctor("kernel", before).unwrap();
    findings.has("port-privileged", "warning", "admin.listen", "may not open TCP port 80");
    findings.has("kernel-engine-unseen", "note", "gateway.agw", "nftables: not permitted");
}

/// It needs no root, and says what it could not see.
#[test]
fn anybody_may_ask() {
    let setup = Setup::new();
    std::fs::write(setup.path("carnet.toml"), &setup.text).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", CARNET, "doctor", "--json", "-c"]);
    let output = command.arg(setup.path("carnet.toml")).output();
    let Some(output) = output.ok().filter(|output| !output.stdout.is_empty()) else {
        assert!(std::env::var_os("CARNET_REQUIRE_ROOT").is_none(), "nobody cannot be become");
        eprintln!("skipped: nobody cannot be become");
        return;
    };
    let findings = Findings::of(output);
    findings.has(
        "secret-unreadable",
        "note",
        "border.alg.tls.key",
        "cannot be read by the user that runs this",
    );
    let all = findings.json["findings"].as_array().unwrap();
    assert!(all.iter().any(|finding| finding["check"] == "not-root"), "{all:#?}");
}

/// Log and records are in UTC; a host that shows another time is told so.
#[test]
fn another_time_zone_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("carnet.toml");
    std::fs::write(&file, "[kms]\nname = \"kms.example\"\nlisten = \"127.0.0.1:1\"\ndata = \"data\"\n")
        .unwrap();
    let told = |zone: &str| {
        let mut command = Command::new(CARNET);
        command.args(["doctor", "--offline", "--json", "-c"]).arg(&file).env("TZ", zone);
        let findings = Findings::of(command.output().unwrap());
        let all = findings.json["findings"].as_array().unwrap().clone();
        all.into_iter().find(|finding| finding["check"] == "time-zone")
    };
    let found = told("IST-5:30").unwrap();
    assert_eq!((&found["weight"], &found["at"]), (&"note".into(), &"log".into()));
    assert!(found["what"].as_str().unwrap().contains("+05:30"), "{found}");
    assert_eq!(told("UTC0"), None);
}

/// The kernel's own numbers, as files that are laid over them.
#[test]
fn connections_that_the_kernel_follows_are_counted() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    std::fs::write(
        path("carnet.toml"),
        "[gateway.agw]\nrole = \"trgw\"\nmemory = 16\ncontrollers = [\"alg@tcp:127.0.0.1:1\"]\n\
         [gateway.agw.realm.core]\nv4 = \"192.0.2.77\"\nports = \"20000-20009\"\n",
    )
    .unwrap();
    let found = |count: &str, most: &str, buckets: &str| {
        let mut command = "ip link set lo up && ip address add 192.0.2.77/32 dev lo".to_owned();
        for (name, value) in [("count", count), ("max", most), ("buckets", buckets)] {
            std::fs::write(path(name), format!("{value}\n")).unwrap();
            let over = format!("/proc/sys/net/netfilter/nf_conntrack_{name}");
            command += &format!(" && mount --bind {} {over}", path(name).display());
        }
        command += &format!(" && exec {CARNET} doctor --offline --json -c {}", path("carnet.toml").display());
        let output = Command::new("unshare").args(["-n", "-m", "sh", "-c", &command]).output().unwrap();
        if output.stdout.is_empty() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        let all = Findings::of(output).json["findings"].as_array().unwrap().clone();
        let told = all.into_iter().filter(|finding| {
            finding["check"].as_str().unwrap().starts_with("conntrack-") && finding["at"] == "gateway.agw"
        });
        Ok(told.collect::<Vec<_>>())
    };
    let full = match found("81", "100", "100") {
        Ok(full) => full,
        Err(why) => {
            assert!(std::env::var_os("CARNET_REQUIRE_ROOT").is_none(), "{why}");
            eprintln!("skipped: {why}");
            return;
        }
    };
    assert_eq!(full.len(), 1, "{full:#?}");
    assert_eq!((&full[0]["check"], &full[0]["weight"]), (&"conntrack-full".into(), &"warning".into()));
    assert!(full[0]["what"].as_str().unwrap().contains("81 connections of 100"), "{full:#?}");
    assert!(full[0]["fix"].as_str().unwrap().contains("nf_conntrack_max"), "{full:#?}");
    let small = found("79", "1000", "100").unwrap();
    assert_eq!(small.len(), 1, "{small:#?}");
    assert_eq!((&small[0]["check"], &small[0]["weight"]), (&"conntrack-buckets".into(), &"note".into()));
    assert!(small[0]["what"].as_str().unwrap().contains("1000 connections share 100 buckets"), "{small:#?}");
    assert_eq!(found("80", "100", "100").unwrap(), Vec::<Value>::new());
}
