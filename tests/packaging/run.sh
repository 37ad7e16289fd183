#!/usr/bin/env bash
# The packages as an administrator meets them: lintian, installation with apt in a clean Debian without systemd, then under systemd itself:
# start, confinement, sockets, watchdog, upgrade under a call, removal, purge. As root; needs debootstrap, systemd-container, lintian, dpkg-dev,
# openssl, python3 with cyclonedx-python-lib[json-validation] and python-debian (in /opt/cyclonedx, or where it is), and a mirror of Debian. CARNET_PROGRAM names a program that is built already; CARNET_PACKAGE_ROOT a directory for what is
# made on the way, which is then kept.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/packaging/live.sh

work=${CARNET_PACKAGE_ROOT:-$(mktemp -d)}
leader=
cleanup() {
    code=$?
    [ -z "$leader" ] || kill -TERM "$nspawn" 2>/dev/null || true
    [ -z "$leader" ] || wait "$nspawn" 2>/dev/null || true
    umount -q "$work/plain/proc" 2>/dev/null || true
    [ -n "${CARNET_PACKAGE_ROOT:-}" ] || rm -rf --one-file-system "$work"
    exit "$code"
}
trap cleanup EXIT

began=$SECONDS
say() { printf -- '-- %s (%d s)\n' "$*" $((SECONDS - began)); }
fail() { echo "FAILED: $*" >&2; exit 1; }
roles="border gateway conference kms"
health="border:9460 gateway:9461 conference:9462 kms:9463"

say "packages of two versions"
# A commit in between is no difference.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH
# They are thrown away again.
export DPKG_DEB_COMPRESSOR_LEVEL=1
for version in 1 2; do
    [ -e "$work/debs/$version" ] || CARNET_VERSION="0.1.0-$version" cargo xtask deb "$work/debs/$version" >/dev/null
done
say "the same tree and day make the same packages"
CARNET_VERSION=0.1.0-1 cargo xtask deb "$work/debs/again" >/dev/null
for package in "$work"/debs/1/*.deb; do cmp "$package" "$work/debs/again/${package##*/}" || fail "two builds differ"; done
rm -r "$work/debs/again"
lintian --allow-root --fail-on error,warning "$work"/debs/1/*.deb

say "bill of materials and copyright file, by readers of others"
python=/opt/cyclonedx/bin/python3
[ -x "$python" ] || python=python3
dpkg-deb -x "$work"/debs/1/carnet_*.deb "$work/papers"
"$python" tests/packaging/bill.py "$work"/papers/usr/share/doc/carnet/{carnet.cdx.json,copyright}
rm -r "$work/papers"

say "a clean Debian"
mirror=${CARNET_DEBIAN_MIRROR:-http://deb.debian.org/debian}
if [ ! -e "$work/base/etc/debian_version" ]; then
    debootstrap --variant=minbase bookworm "$work/base" "$mirror" >"$work/debootstrap.log" 2>&1 || { tail "$work/debootstrap.log"; exit 1; }
fi

# A repository of ours in a root, with the packages of that version.
publish() {
    mkdir -p "$1/srv/carnet"
    rm -f "$1"/srv/carnet/*
    cp "$work/debs/$2"/*.deb "$1/srv/carnet/"
    (cd "$1/srv/carnet" && dpkg-scanpackages -m . >Packages 2>/dev/null)
    echo 'deb [trusted=yes] file:/srv/carnet ./' >"$1/etc/apt/sources.list.d/carnet.list"
}

# What there is in a root that packages could have left behind.
contents() {
    (cd "$1" && find etc usr lib var/lib var/log run home opt -xdev ! -path 'var/lib/dpkg/*' ! -path 'var/lib/apt/*' ! -path 'var/log/*apt*' \
        ! -path 'var/log/dpkg.log' ! -path 'var/log/alternatives.log' ! -path 'var/log/journal*' ! -path 'var/lib/systemd/*' \
        ! -path 'run/*' ! -path 'etc/*-' ! -name '*.pyc' | sort)
    (cd "$1" && cut -d: -f1 etc/passwd etc/group)
}

say "without systemd: apt resolves what is missing, and the program runs as its user"
rm -rf "$work/plain"
cp -a "$work/base" "$work/plain"
cp /etc/resolv.conf "$work/plain/etc/resolv.conf"
plain() { chroot "$work/plain" env DEBIAN_FRONTEND=noninteractive LC_ALL=C "$@"; }
mount -t proc proc "$work/plain/proc"
publish "$work/plain" 1
plain apt-get update -qq
# What it rests on stays when it goes; only its own remains are looked for.
plain apt-get install -y -qq --no-install-recommends adduser libssl3 >/dev/null 2>&1
contents "$work/plain" >"$work/before"
plain apt-get install -y -qq --no-install-recommends carnet-kms carnet-border carnet-gateway carnet-conference >"$work/apt.log" 2>&1 || { cat "$work/apt.log"; exit 1; }
plain carnet --version | grep '^carnet ' >/dev/null || fail "the program does not start"
for role in $roles; do
    plain carnet check -c "/etc/carnet/$role.toml" >/dev/null || fail "$role.toml is not good as it comes"
done
[ "$(plain stat -c '%U:%G %a' /etc/carnet)" = "root:carnet 750" ] || fail "/etc/carnet is for others to read"
plain sh -c 'mkdir -p /run/carnet/kms /var/lib/carnet/kms && chown carnet:carnet /run/carnet/kms /var/lib/carnet/kms'
# A network of its own: the ports are free whatever else runs here.
unshare --net chroot "$work/plain" sh -c '
    exec 2>&1
    (command -v ip >/dev/null && ip link set lo up) || true
    setpriv --reuid=carnet --regid=carnet --clear-groups carnet run -c /etc/carnet/kms.toml >/tmp/out 2>&1 & pid=$!
    for _ in $(seq 600); do grep -q "^ready" /tmp/out && break; sleep 0.2; done
    grep -q "^ready" /tmp/out || { cat /tmp/out; exit 1; }
    kill "$pid"; wait "$pid"'

say "an upgrade keeps what was edited, also where the package has another text"
cp -r "$work/debs/2" "$work/debs/renewed"
for role in border kms; do
    package=$(echo "$work"/debs/renewed/carnet-"$role"_*.deb)
    dpkg-deb -R "$package" "$work/renewed"
    echo '# another text' >>"$work/renewed/etc/carnet/$role.toml"
    dpkg-deb --root-owner-group -Zxz -b "$work/renewed" "$package" >/dev/null
    rm -r "$work/renewed"
done
publish "$work/plain" renewed
plain apt-get update -qq
plain sed -i 's/domain = "example.org"/domain = "mine.example"/' /etc/carnet/border.toml
plain apt-get upgrade -y -qq -o Dpkg::Options::=--force-confold >"$work/apt.log" 2>&1 || { cat "$work/apt.log"; exit 1; }
plain grep -q mine.example /etc/carnet/border.toml || fail "an edited file was overwritten"
! plain grep -q 'another text' /etc/carnet/border.toml || fail "an edited file was changed"
plain grep -q 'another text' /etc/carnet/border.toml.dpkg-dist || fail "what the package has is not beside it"
plain grep -q 'another text' /etc/carnet/kms.toml || fail "a file that nobody edited is not renewed"
[ -z "$(plain dpkg --audit)" ] || fail "packages are not whole"

say "a purge takes what is its own"
plain sh -c 'mkdir -p /var/lib/carnet/kms /var/lib/carnet/border /var/lib/carnet/edge-2 && chown carnet /var/lib/carnet/* && touch /var/lib/carnet/kms/root.key'
plain sh -c 'echo "# of an administrator" >/etc/carnet/edge-2.toml'
plain apt-get remove -y -qq carnet-kms >/dev/null 2>&1
plain apt-get purge -y -qq carnet >/dev/null 2>&1
plain test -e /var/lib/carnet/kms/root.key || fail "the key of a key server that was only removed is gone"
plain test -e /var/lib/carnet/edge-2 || fail "what an administrator's service has stored is gone"
! plain test -e /var/lib/carnet/border || fail "what the border has stored is left"
plain getent passwd carnet >/dev/null || fail "files are left, and nobody owns them"
plain rm /etc/carnet/edge-2.toml
plain rm -r /var/lib/carnet/edge-2
plain apt-get purge -y -qq 'carnet*' >/dev/null 2>&1
rm -rf "$work/plain/run/carnet" "$work/plain/tmp/out"
contents "$work/plain" >"$work/after"
diff "$work/before" "$work/after" || fail "something is left after purge"
umount "$work/plain/proc"

say "under systemd"
rm -rf "$work/boot"
cp -a "$work/base" "$work/boot"
cp /etc/resolv.conf "$work/boot/etc/resolv.conf"
in_boot() { chroot "$work/boot" env DEBIAN_FRONTEND=noninteractive LC_ALL=C "$@"; }
in_boot apt-get update -qq
in_boot apt-get install -y -qq --no-install-recommends systemd-sysv dbus curl iproute2 adduser libssl3 man-db bash-completion >/dev/null 2>&1
# What follows needs no network.
in_boot sh -c 'rm -f /etc/apt/sources.list; rm -rf /var/lib/apt/lists/*'
publish "$work/boot" 1
setsid systemd-nspawn -q -D "$work/boot" --register=no --keep-unit --boot --console=pipe --private-network \
    --capability=CAP_NET_ADMIN,CAP_NET_RAW --machine="carnet-$$" </dev/null >"$work/console.log" 2>&1 &
nspawn=$!
for _ in $(seq 450); do
    leader=$(pgrep -P "$nspawn" | head -n 1 || true)
    if [ -n "$leader" ] && [ "$(nsenter -t "$leader" -m -p -n -u -i systemctl is-system-running 2>/dev/null)" = running ]; then break; fi
    sleep 0.4
done
on() { nsenter -t "$leader" -m -p -n -u -i env DEBIAN_FRONTEND=noninteractive LC_ALL=C "$@"; }
[ "$(on systemctl is-system-running)" = running ] || { cat "$work/console.log"; fail "systemd does not come up"; }
# systemd has made what it makes at its first start.
contents "$work/boot" >"$work/before"
property() { on systemctl show -P "$2" "carnet@$1.service"; }
wait_for() { # what, command
    for _ in $(seq 300); do if "${@:2}"; then return; fi; sleep 0.2; done
    on journalctl --no-pager -n 60 || true
    fail "$1"
}
active() { [ "$(property "$1" ActiveState)" = active ]; }
all_well() {
    for place in $health; do
        active "${place%:*}" && [ "$(on curl -s -m 5 "127.0.0.1:${place#*:}/health")" = well ] || return 1
    done
}

on apt-get update -qq
on apt-get install -y -qq carnet-border carnet-gateway carnet-conference carnet-kms >"$work/apt.log" 2>&1 || { cat "$work/apt.log"; exit 1; }
wait_for "every role is up after the installation" all_well
for role in $roles; do
    [ "$(on systemctl is-enabled "carnet@$role")" = enabled ] || fail "$role is not enabled"
    on systemd-analyze verify "carnet@$role.service" || fail "the unit of $role"
done
uid=$(on id -u carnet)
for role in $roles; do
    on grep -q "^Uid:[[:space:]]$uid[[:space:]]$uid" "/proc/$(property "$role" MainPID)/status" || fail "$role does not run as carnet"
done
# The gateway alone may touch the host's packets (CAP_NET_ADMIN 12, CAP_NET_RAW 13), the others may take low ports (10).
capabilities() { on sed -n 's/^CapEff:\t//p' "/proc/$(property "$1" MainPID)/status"; }
[ "$(capabilities border)" = 0000000000000400 ] || fail "capabilities of the border: $(capabilities border)"
[ "$(capabilities gateway)" = 0000000000003400 ] || fail "capabilities of the gateway: $(capabilities gateway)"
on man -w carnet-run carnet.toml >/dev/null || fail "manual pages"
on bash -c 'source /usr/share/bash-completion/bash_completion; _completion_loader carnet; complete -p carnet' >/dev/null || fail "completions"
in_service() { on carnet gateway list -c /etc/carnet/border.toml | grep '^  gateway: in service' >/dev/null; }
wait_for "the border has its gateway" in_service
on carnet kms -c /etc/carnet/kms.toml user add sip:alice@example.org --out /root/alice.psk >/dev/null || fail "no user can be added"

# A program that reads its configuration again keeps its number.
if on carnet config --help >/dev/null 2>&1; then
    say "reload"
    before=$(property border MainPID)
    on systemctl reload carnet@border || fail "no reload"
    told() { on journalctl -u carnet@border --no-pager -o cat | grep 'nothing in the configuration has changed' >/dev/null; }
    wait_for "the border has read its file again" told
    wait_for "every role is well after a reload" all_well
    [ "$(property border MainPID)" = "$before" ] || fail "a reload ends the border"
fi

say "scripts of the packages, each of them twice"
script() { # package, script, what dpkg says to it
    for _ in 1 2; do
        on env DPKG_MAINTSCRIPT_PACKAGE="$1" DPKG_MAINTSCRIPT_NAME="$2" "/var/lib/dpkg/info/$1.$2" "${@:3}" || fail "$1: $2 ${*:3}"
    done
}
script carnet-border prerm remove
[ "$(property border ActiveState)" = inactive ] || fail "a service that is removed runs"
[ "$(on systemctl is-enabled carnet@border || true)" = disabled ] || fail "a service that is removed is enabled"
script carnet-border postinst abort-remove
wait_for "a removal that is called off brings the border back" active border
[ "$(on systemctl is-enabled carnet@border)" = enabled ] || fail "the border is not enabled again"
before=$(property border MainPID)
script carnet-border postinst configure 0.1.0-1
script carnet postinst configure 0.1.0-1
on dpkg --configure -a
[ -z "$(on dpkg --audit)" ] || fail "packages are not whole"
new() { [ "$(property border MainPID)" != "$before" ] && active border; }
wait_for "a package that is configured again has its service start anew" new

say "the kernel engine, confined"
on sh -ec 'ip link add media type veth peer name far; ip address add 192.0.2.1/24 dev media; ip link set media up; ip link set far up
    echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/netfilter/nf_conntrack_acct
    cp /etc/carnet/gateway.toml /root/gateway.before
    sed -i "s/^v4 = .*/v4 = \"192.0.2.1\"/; s/^role = .*/&\nengine = \"kernel\"/" /etc/carnet/gateway.toml' || fail "a network for the gateway"
# With `engine = "kernel"` it does not start where the kernel engine cannot work.
on systemctl restart carnet@gateway || { on journalctl -u carnet@gateway --no-pager -n 8 -o cat; fail "the kernel engine is kept from working"; }
has_table() { nsenter -t "$leader" -n nft list tables | grep carnet-gateway >/dev/null; }
wait_for "the gateway has a table" has_table
on sh -ec 'cp /root/gateway.before /etc/carnet/gateway.toml; systemctl restart carnet@gateway'

say "sockets that systemd holds"
on sh -c 'printf "[Socket]\nListenStream=127.0.0.1:8443\n" >/etc/systemd/system/carnet@kms.socket; systemctl daemon-reload; systemctl stop carnet@kms; systemctl start carnet@kms.socket'
[ "$(property kms ActiveState)" = inactive ] || fail "the key server runs before anybody calls"
[ "$(on curl -s -m 60 -o /dev/null -w '%{http_code}' 127.0.0.1:8443/)" = 404 ] || fail "the first caller is not served"
wait_for "a caller starts the key server" active kms
on sh -c 'systemctl stop carnet@kms.socket; rm /etc/systemd/system/carnet@kms.socket; systemctl daemon-reload; systemctl restart carnet@kms'

say "a role that is stuck"
on sh -c 'mkdir -p /etc/systemd/system/carnet@border.service.d; printf "[Service]\nWatchdogSec=10\n" >/etc/systemd/system/carnet@border.service.d/watchdog.conf; systemctl daemon-reload; systemctl restart carnet@border'
cat >"$work/hold.py" <<'PYTHON'
import ctypes, os, sys, time
ptrace = ctypes.CDLL(None, use_errno=True).ptrace
ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
# Its number out here, by the name of the thread and the number in there.
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        numbers = [l for l in open(f"/proc/{pid}/status") if l.startswith("NSpid:")][0].split()[1:]
        if len(numbers) < 2 or numbers[-1] != sys.argv[2] or open(f"/proc/{pid}/comm").read().strip() != "carnet": continue
        for tid in os.listdir(f"/proc/{pid}/task"):
            if open(f"/proc/{pid}/task/{tid}/comm").read().strip() == "carnet-border":
                if ptrace(16, int(tid), None, None): sys.exit(os.strerror(ctypes.get_errno()))
                os.waitpid(int(tid), 0x40000000)
                deadline = time.time() + 60
                while os.path.exists(f"/proc/{pid}/task/{tid}") and time.time() < deadline:
                    if os.waitpid(int(tid), 0x40000000 | os.WNOHANG)[0]: break
                    time.sleep(0.2)
                sys.exit(0)
    except (FileNotFoundError, ProcessLookupError, ChildProcessError, IndexError):
        continue
sys.exit(1)
PYTHON
# A process that was just started may not have named its threads yet.
held() {
    inside=$(property border MainPID)
    python3 "$work/hold.py" "$leader" "$inside"
}
wait_for "a thread of the border is held" held
again() { [ "$(property border MainPID)" != "$inside" ] && active border && [ "$(property border NRestarts)" -ge 1 ]; }
wait_for "systemd starts the border again" again
watchdog_said() { on journalctl -u carnet@border --no-pager -o cat | grep 'Watchdog timeout' >/dev/null; }
wait_for "it was the watchdog" watchdog_said
on sh -c 'rm -r /etc/systemd/system/carnet@border.service.d; systemctl daemon-reload; systemctl restart carnet@border'
wait_for "every role is up" all_well

say "upgrade: what was edited stays, what runs is restarted once, what was disabled stays so, and a call that the kernel carries goes on"
on sed -i 's/domain = "example.org"/domain = "mine.example"/' /etc/carnet/border.toml
on sed -i 's/^role = .*/&\nengine = "kernel"/' /etc/carnet/gateway.toml
live_network
live_begin kernel
carried() { on carnet gateway audit gateway -c /etc/carnet/gateway.toml | grep 'moved by the kernel' >/dev/null; }
wait_for "the kernel carries the call" carried
restored=$(starts border)
on systemctl -q disable --now carnet@conference
on sh -c 'echo broken >>/etc/carnet/kms.toml'
before=$(for role in border gateway kms; do property "$role" MainPID; done)
read -r border gateway kms <<<"$(echo $before)"
publish "$work/boot" 2
on apt-get update -qq
on apt-get upgrade -y -qq >"$work/apt.log" 2>&1 || { cat "$work/apt.log"; exit 1; }
[ "$(on dpkg-query -W -f '${Version}' carnet-border)" = 0.1.0-2 ] || fail "not upgraded"
on grep -q mine.example /etc/carnet/border.toml || fail "an edited file was overwritten"
wait_for "the border is up" active border
wait_for "the gateway is up" active gateway
[ "$(property border MainPID)" != "$border" ] && [ "$(property gateway MainPID)" != "$gateway" ] || fail "the new program does not run"
# What a process wrote comes to the journal a moment later.
started() { [ "$(starts border)" -gt "$restored" ]; }
wait_for "the border has begun anew" started
live_end
[ "$(starts border)" = $((restored + 1)) ] || fail "restarted more than once"
[ "$(property kms MainPID)" = "$kms" ] && grep -q 'kms.toml is not accepted' "$work/apt.log" || fail "a service was ended by an upgrade"
[ "$(property conference ActiveState)" = inactive ] && [ "$(on systemctl is-enabled carnet@conference || true)" = disabled ] || fail "a disabled service came back"
on sh -c 'sed -i \$d /etc/carnet/kms.toml; systemctl restart carnet@kms'

say "downgrade under a call that is relayed: its clients connect again, and every line arrives once; removal, purge"
on sh -c 'sed -i "s/^engine = .*/engine = \"relay\"/; /^state = /d" /etc/carnet/gateway.toml; systemctl restart carnet@gateway'
live_begin relay
publish "$work/boot" 1
on apt-get update -qq
on apt-get install -y -qq --allow-downgrades carnet=0.1.0-1 carnet-{border,gateway,conference,kms}=0.1.0-1 >"$work/apt.log" 2>&1 || { cat "$work/apt.log"; exit 1; }
wait_for "the border is up" active border
live_end
on apt-get remove -y -qq carnet-border >/dev/null 2>&1
[ "$(property border ActiveState)" = inactive ] || fail "a removed service runs"
on test -e /etc/carnet/border.toml || fail "a removal takes the configuration along"
on apt-get install -y -qq carnet-border >/dev/null 2>&1
wait_for "it is back" active border
# What an administrator has put there keeps the directory.
on rm /etc/carnet/kms.key /etc/carnet/kms.pem
on apt-get purge -y -qq 'carnet*' >"$work/apt.log" 2>&1 || { cat "$work/apt.log"; exit 1; }
on systemctl reset-failed
# systemd forgets a unit that nobody asks for any more when it has nothing else to do.
forgotten() { [ -z "$(on systemctl list-units --all --plain --no-legend 'carnet*')" ]; }
wait_for "no units are left" forgotten
on sh -c 'rm -rf /root/alice.psk /root/gateway.* /root/live; sed -i "/kms.example.org/d" /etc/hosts; [ -s /etc/hosts ] || rm /etc/hosts; ip netns del alice; ip netns del bob'
contents "$work/boot" >"$work/after"
diff "$work/before" "$work/after" || fail "something is left after purge"
! on test -e /run/carnet || fail "/run/carnet is left"

say "all passed"
