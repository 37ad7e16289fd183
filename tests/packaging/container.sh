#!/usr/bin/env bash
# The image as an operator meets it: built by packaging/Containerfile, run by podman as packaging/container/compose.yaml and docs/container.md
# say, with a sealed call, a restart under it, health, limits of what it may, and the kernel engine. As root; needs podman, podman-compose,
# crun, debootstrap, openssl, a mirror of Debian, and python3 with kubernetes-validate (in /opt/cyclonedx, or where it is); no registry of images. CARNET_PROGRAM names a program that is built already: without it
# the whole Containerfile is built, for which its base images have to be in reach.
set -euo pipefail
cd "$(dirname "$0")/../.."

# Mounts, network and containers of its own: nothing of it is seen from outside, and nothing stays.
if [ -z "${CARNET_CONTAINER_INSIDE:-}" ]; then
    work=$(mktemp -d)
    trap 'umount -q -R "$work"/store 2>/dev/null || true; rm -rf --one-file-system "$work"' EXIT
    CARNET_CONTAINER_INSIDE=$work unshare --mount --pid --fork --kill-child --mount-proc "$0"
    exit
fi
work=$CARNET_CONTAINER_INSIDE
began=$SECONDS
say() { printf -- '-- %s (%d s)\n' "$*" $((SECONDS - began)); }
fail() {
    echo "FAILED: $*" >&2
    for name in kms border gateway; do podman logs --tail 20 "carnet-$name" 2>&1 | sed "s/^/$name: /" >&2 || true; done
    for name in alice bob; do sed "s/^/$name: /" "$work/scene/$name.out" >&2 2>/dev/null || true; done
    exit 1
}
wait_for() { # what, command
    for _ in $(seq 300); do if "${@:2}" >/dev/null 2>&1; then return; fi; sleep 0.2; done
    fail "$1"
}

# What reads a part and leaves would end who writes: the whole is read (as everywhere here).
logged() { podman logs "carnet-$1" 2>&1 | grep "$2" >/dev/null; }

# crun takes cgroups of the second version alone; that of a host that mixes them is covered for it, in here.
if [ ! -e /sys/fs/cgroup/cgroup.controllers ]; then
    umount -l -R /sys/fs/cgroup
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
fi
printf '[storage]\ndriver = "overlay"\nrunroot = "%s/run"\ngraphroot = "%s/store"\n' "$work" "$work" >"$work/storage.conf"
# Limits are not what is looked at, and setting them needs a right that root in a container does not have.
printf '[containers]\ncgroups = "disabled"\ndefault_ulimits = ["nofile=%s:%s", "nproc=4096:4096"]\n[engine]\nruntime = "crun"\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n' \
    "$(ulimit -Hn)" "$(ulimit -Hn)" >"$work/containers.conf"
export CONTAINERS_STORAGE_CONF="$work/storage.conf" CONTAINERS_CONF="$work/containers.conf"

built() {
    say "base image"
    mirror=${CARNET_DEBIAN_MIRROR:-http://deb.debian.org/debian}
    base=${CARNET_PACKAGE_ROOT:-$work}/base
    if [ ! -e "$base/etc/debian_version" ]; then
        debootstrap --variant=minbase bookworm "$base" "$mirror" >"$work/debootstrap.log" 2>&1 || { tail "$work/debootstrap.log"; exit 1; }
    fi
    tar -C "$base" --exclude './var/cache/apt/archives/*.deb' --exclude './var/lib/apt/lists/*' --exclude './usr/share/doc/*' --exclude './usr/share/man/*' \
        --exclude './usr/share/locale/*' -c . | podman import -q - docker.io/library/debian:bookworm-slim >/dev/null

    say "image"
    prebuilt=()
    if [ -n "${CARNET_PROGRAM:-}" ]; then
        mkdir "$work/build"
        strip --strip-unneeded -o "$work/build/carnet" "$CARNET_PROGRAM"
        cargo xtask copyright >"$work/build/copyright"
        prebuilt=(--build-context "build=$work/build")
    fi
    podman build --format docker --isolation chroot --network host --build-arg VERSION=1.2.3 "${prebuilt[@]}" -f packaging/Containerfile -t carnet . \
        >"$work/build.log" 2>&1 || { cat "$work/build.log"; exit 1; }
    size() { podman image inspect --format '{{.Size}}' "$1"; }
    own=$((($(size carnet) - $(size docker.io/library/debian:bookworm-slim)) / 1048576))
    program=$(podman run --rm --network none --entrypoint /usr/bin/stat carnet -c %s /usr/bin/carnet 2>/dev/null)
    echo "   $own MiB above the base, $((program / 1048576)) of them the program"
    [ $((own - program / 1048576)) -lt 25 ] || fail "the image holds more than the program and what it rests on"
    config() { podman image inspect --format "{{$1}}" carnet; }
    [ "$(config .User)" = 10001:10001 ] || fail "the image runs as $(config .User)"
    [ "$(config .Config.StopSignal)" = SIGTERM ] || fail "no orderly stop"
    config .HealthCheck | grep 'carnet health' >/dev/null || fail "no health check"
    [ "$(config 'index .Labels "org.opencontainers.image.version"')" = 1.2.3 ] || fail "no version"
    [ "$(podman run --rm --network none --cap-drop all --read-only carnet --version 2>/dev/null)" = "carnet $(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)" ] || fail "the program does not start"
    podman run --rm --network none --entrypoint /bin/grep carnet -q '^Files: console/vendor/preact' /usr/share/doc/carnet/copyright 2>/dev/null || fail "licences of others are missing"

    say "the example for Kubernetes"
    python=/opt/cyclonedx/bin/python3
    [ -x "$python" ] || python=python3
    example=$work/kubernetes
    mkdir -p "$example/secrets"
    "$python" tests/packaging/kubernetes.py packaging/kubernetes "$example" || fail "the files for Kubernetes"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=kms.example.org -addext subjectAltName=DNS:kms.example.org \
        -keyout "$example/secrets/tls.key" -out "$example/secrets/tls.crt" 2>/dev/null
    echo "gateway = \"$(openssl rand -hex 32)\"" >"$example/secrets/control.psk"
    echo 'alice = "correct horse"' >"$example/secrets/users.toml"
    chown -R 10001:10001 "$example"
    for role in kms border gateway; do
        podman run --rm --network none --volume "$example/carnet-$role.toml:/etc/carnet/carnet.toml:ro" --volume "$example/secrets:/run/secrets/carnet:ro" \
            carnet check --config /etc/carnet/carnet.toml >"$work/check.log" 2>&1 || { cat "$work/check.log"; fail "the configuration of the $role"; }
    done

    # From here on a network of its own: ports are free whatever else runs on this host.
    unshare --net "$0" scene
}

scene() {
    ip link set lo up
    say "three roles, as docs/container.md has them"
    mkdir -p "$work/scene/secrets" "$work/scene/users"
    cp packaging/container/* "$work/scene/"
    cd "$work/scene"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=localhost -addext subjectAltName=DNS:localhost \
        -keyout secrets/kms.key -out secrets/kms.pem 2>/dev/null
    printf 'alice = "correct horse"\nbob = "battery staple"\n' >secrets/users.toml
    chown 10001:10001 secrets/*
    chmod 400 secrets/*
    # It says of each container that there is no systemd to look after its health.
    podman-compose up -d >"$work/compose.log" 2>&1 || { cat "$work/compose.log"; fail "podman-compose"; }
    for role in kms border gateway; do
        wait_for "the $role is well" podman healthcheck run "carnet-$role"
    done
    field() { sed -n "s/^$2:\t//p" "/proc/$(podman inspect --format '{{.State.Pid}}' "carnet-$1")/status"; }
    for role in kms border gateway; do
        [ "$(field "$role" Uid)" = $'10001\t10001\t10001\t10001' ] || fail "the $role runs as $(field "$role" Uid)"
        [ "$(field "$role" CapEff) $(field "$role" CapBnd)" = "0000000000000000 0000000000000000" ] || fail "the $role has capabilities"
        [ "$(field "$role" NoNewPrivs)" = 1 ] || fail "the $role may gain privileges"
    done
    # A gateway waits for up to two seconds before it registers, so that not all do at once; until then calls are refused.
    registered() { podman exec carnet-border carnet gateway list -c /etc/carnet/carnet.toml | grep 'in service' >/dev/null; }
    wait_for "the gateway has registered" registered

    say "a sealed call, and the border started again under it"
    printf 'correct horse\n' >users/alice.password
    printf 'battery staple\n' >users/bob.password
    cp secrets/kms.pem users/
    for who in alice bob; do
        podman exec carnet-kms carnet kms -c /etc/carnet/carnet.toml user add "sip:$who@example.org" >"users/$who.psk"
        printf '[ue]\nidentity = "sip:%s@example.org"\npassword-file = "%s.password"\nproxy = "sip:127.0.0.1:5060;transport=tcp"\nkms = "https://localhost:8443"\nkms-key-file = "%s.psk"\nkms-ca-file = "kms.pem"\n' \
            "$who" "$who" "$who" >"users/$who.toml"
    done
    chown 10001:10001 users/*
    client() { podman run --rm --interactive --network host --read-only --cap-drop all --volume "$PWD/users:/etc/carnet:ro" "$@"; }
    mkfifo bob.in alice.in
    client --name bob carnet ue -c /etc/carnet/bob.toml listen <bob.in >bob.out 2>&1 &
    bob=$!
    exec 4>bob.in
    wait_for "bob has registered" grep -q 'registered as' bob.out
    client --name alice carnet ue -c /etc/carnet/alice.toml chat sip:bob@example.org <alice.in >alice.out 2>&1 4>&- &
    exec 5>alice.in
    wait_for "the call is sealed" grep -q 'sealed end to end' alice.out
    echo "before the border" >&5
    wait_for "bob reads it" grep -q 'before the border' bob.out
    # What calls need of the border is in its volume. What looks after the container is not to hold alice's pipe.
    podman restart --time 20 carnet-border >/dev/null 2>&1 4>&- 5>&- || fail "the border cannot be started again"
    wait_for "the border is well" podman healthcheck run carnet-border
    echo "after the border" >&5
    wait_for "bob reads on" grep -q 'after the border' bob.out
    wait_for "the border knows the call" logged border call-restored
    exec 5>&-
    wait_for "alice has hung up, and bob knows" sh -c '! podman container exists alice'
    exec 4>&-
    podman kill bob >/dev/null 2>&1 || true
    wait "$bob" || true
    wait_for "bob's container is gone" sh -c '! podman container exists bob'
    wait_for "the border has seen the end of the call" logged border caller-hung-up

    say "health"
    inside=$(podman inspect --format '{{.State.Pid}}' carnet-border)
    kill -STOP "$inside"
    ! podman healthcheck run carnet-border >/dev/null 2>&1 || fail "a process that stands still is called well"
    kill -CONT "$inside"
    wait_for "the border is well again" podman healthcheck run carnet-border
    podman exec carnet-gateway carnet health --node http://127.0.0.1:9460 --node unix:/var/lib/carnet/admin.sock | grep -c ': well$' | grep -x 2 >/dev/null || fail "processes are asked by where they are"

    say "the end, in order and in time"
    podman-compose stop -t 40 >"$work/compose.log" 2>&1 || { cat "$work/compose.log"; fail "podman-compose"; }
    for role in kms border gateway; do
        # One that had to be killed says 137.
        code=$(podman inspect --format '{{.State.Status}} {{.State.ExitCode}}' "carnet-$role")
        [ "$code" = "exited 0" ] || fail "the $role ends: $code"
    done
    podman-compose down -t 40 >"$work/compose.log" 2>&1 || { cat "$work/compose.log"; fail "podman-compose"; }
    wait_for "no containers are left" sh -c '[ -z "$(podman ps -aq)" ]'

    say "the kernel engine: with two capabilities, and the volume of another one before"
    ip link add media type veth peer name far
    ip address add 192.0.2.1/24 dev media
    ip link set media up
    ip link set far up
    echo 1 >/proc/sys/net/ipv4/ip_forward
    echo 1 >/proc/sys/net/netfilter/nf_conntrack_acct
    sed -e 's/^role = .*/&\nengine = "kernel"/' -e 's/^v4 = .*/v4 = "192.0.2.1"/' gateway.toml >kernel.toml
    may=(--cap-drop all --cap-add NET_ADMIN --cap-add NET_RAW --read-only --security-opt no-new-privileges --network host)
    for user in 10001 0; do
        # Docker gives capabilities to root alone; root needs one more for files of somebody else.
        [ "$user" = 10001 ] || may+=(--user 0 --cap-add DAC_OVERRIDE)
        podman run -d --name carnet-gateway "${may[@]}" --volume ./kernel.toml:/etc/carnet/carnet.toml:ro --volume kernel:/var/lib/carnet carnet >/dev/null 2>&1
        wait_for "the kernel engine works as user $user" podman healthcheck run carnet-gateway
        has_table() { nft list tables | grep carnet-gateway >/dev/null; }
        wait_for "the gateway has a table" has_table
        podman rm -f -t 20 carnet-gateway >/dev/null 2>&1
    done
    say "all passed"
}

case "${1:-}" in
    scene) scene ;;
    *) built ;;
esac
