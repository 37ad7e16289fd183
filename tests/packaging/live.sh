# Sourced by run.sh: a sealed call of two clients, each on a host of its own beside the machine under systemd, while packages change under it.
# Lines of text go from one to the other all the time; every one has to arrive, once and in order.
# shellcheck shell=bash disable=SC2154

# Hosts of alice and bob, and roles that serve them: 192.0.2.1 is the machine.
live_network() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=kms.example.org -addext subjectAltName=DNS:kms.example.org \
        -keyout "$work/boot/etc/carnet/kms.key" -out "$work/boot/etc/carnet/kms.pem" 2>"$work/openssl.log" || { cat "$work/openssl.log"; fail "no certificate"; }
    on sh -ec '
        for who in alice:10 bob:20; do
            name=${who%:*} ip=192.0.2.${who#*:}
            ip netns add $name
            ip link add to-$name type veth peer name eth0 netns $name
            ip link set to-$name up
            ip -n $name link set lo up
            ip -n $name link set eth0 up
            ip -n $name address add $ip/32 dev eth0
            ip -n $name route add 192.0.2.1 dev eth0
            ip -n $name route add default via 192.0.2.1
            ip route add $ip dev to-$name src 192.0.2.1
        done
        cd /etc/carnet
        mkdir -p /root/live
        cp kms.pem /root/live/
        chown carnet kms.key
        sed -i "s/127.0.0.1:8443/192.0.2.1:8443/; s/^# tls = /tls = /" kms.toml
        sed -i "s/\"udp:127.0.0.1:5060\", \"tcp:127.0.0.1:5060\"/\"udp:192.0.2.1:5060\", \"tcp:192.0.2.1:5060\"/" border.toml
        printf "alice = \"correct horse\"\nbob = \"battery staple\"\n" >users.toml
        sed -i "0,/^v4 = .*/s//v4 = \"192.0.2.1\"/" gateway.toml
        echo 192.0.2.1 kms.example.org >>/etc/hosts
        systemctl restart carnet@kms carnet@border carnet@gateway
        cd /root/live
        echo "correct horse" >alice.password
        echo "battery staple" >bob.password
        domain=$(sed -n "s/^domain = \"\(.*\)\"/\1/p" /etc/carnet/border.toml)
        for who in alice bob; do
            carnet kms -c /etc/carnet/kms.toml user add sip:$who@$domain --out $who.psk
            printf "[ue]\nidentity = \"sip:%s@%s\"\npassword-file = \"%s.password\"\nproxy = \"sip:192.0.2.1:5060;transport=tcp\"\nkms = \"https://kms.example.org:8443\"\nkms-key-file = \"%s.psk\"\nkms-ca-file = \"kms.pem\"\n" \
                $who $domain $who $who >$who.toml
        done' || fail "a network for two clients"
}

client() { on sh -c "cd /root/live && echo \$\$ >$1.pid && exec ip netns exec $1 carnet ue -c $1.toml ${*:2}"; }
# Both say so: a border may not have heard yet that its gateway has started again.
served() {
    on carnet gateway list -c /etc/carnet/gateway.toml | grep '^gateway (ims-agw): registered at' >/dev/null &&
        on carnet gateway list -c /etc/carnet/border.toml | grep '^  gateway: in service' >/dev/null
}

# A call is up, and lines go; `$live` is where they are seen.
live_begin() {
    live=$work/live-$1
    rm -rf "$live"
    mkdir "$live"
    wait_for "the border has its gateway" served
    mkfifo "$live/alice.in" "$live/bob.in"
    client bob listen <"$live/bob.in" >"$live/bob.out" 2>&1 &
    bob=$!
    exec 8>"$live/bob.in"
    wait_for "bob has registered" grep -q 'registered as' "$live/bob.out"
    domain=$(on sed -n 's/^domain = "\(.*\)"/\1/p' /etc/carnet/border.toml)
    client alice chat "sip:bob@$domain" <"$live/alice.in" >"$live/alice.out" 2>&1 8>&- &
    alice=$!
    exec 9>"$live/alice.in"
    wait_for "a sealed call" grep -q 'sealed end to end' "$live/alice.out"
    (
        # Beside the number, octets that are like no others.
        n=0
        while [ ! -e "$live/enough" ]; do
            n=$((n + 1))
            line="$n $(head -c 300 /dev/urandom | base64 -w 0)"
            echo "$line" >>"$live/said"
            echo "$line" >&9
            sleep 0.05
        done
    ) 8>&- &
    talking=$!
    wait_for "lines go" lines_since 0
}

heard() { sed -n "s/^sip:alice@[^:]*: \([0-9]* [A-Za-z0-9+/=]*\)$/\1/p" "$live/bob.out"; }
# Twenty more than there were then.
lines_since() { [ "$(heard | wc -l)" -ge $(($1 + 20)) ]; }

# How many times a role has started.
starts() { on journalctl -u "carnet@$1" --no-pager -o cat | grep -c '^ready$' || true; }

# The call goes on, nothing is lost, and it ends as others do.
live_end() {
    wait_for "lines go on" lines_since "$(heard | wc -l)"
    touch "$live/enough"
    wait "$talking"
    wait_for "every line has arrived" eval '[ "$(heard | wc -l)" -ge "$(wc -l <"$live/said")" ]'
    heard | cmp - "$live/said" || fail "what arrives is not what was said"
    echo "   $(wc -l <"$live/said") lines arrived, $(wc -c <"$live/said") octets"
    exec 9>&-
    wait "$alice" || { cat "$live/alice.out"; fail "alice does not leave in order"; }
    live_over
    live_leave
}

# Nothing of the call is left.
live_over() { wait_for "the gateway gives everything back" eval 'on carnet gateway audit gateway -c /etc/carnet/gateway.toml | grep -x "0 contexts" >/dev/null'; }

live_leave() {
    exec 9>&- 8>&-
    touch "$live/enough"
    on sh -c 'kill $(cat /root/live/bob.pid /root/live/alice.pid) 2>/dev/null' || true
    wait "$alice" "$bob" "$talking" 2>/dev/null || true
}
