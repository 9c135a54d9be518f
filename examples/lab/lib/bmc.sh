# shellcheck shell=bash
# Secrets that the hosts share, and the BMC: what stands in for the hosts' management boards. A fence agent on one host asks
# it to cut the other's power; it answers whatever the hosts do, and does it with this same program's `power`.

BMC_ADDRESS=192.0.2.254
BMC_PORT=7123

make_secrets() {
    local name
    mkdir -p "$RUN/secrets" && chmod 700 "$RUN/secrets" || return 1
    for name in cluster.key bmc; do
        [[ -s $RUN/secrets/$name ]] || (umask 077 && head -c 33 /dev/urandom | base64 -w 0 | tr '+/' '-_' >"$RUN/secrets/$name") || return 1
    done
}

# put_secrets HOST: root-only files, there after a power cut as well.
put_secrets() {
    # shellcheck disable=SC2016
    on_host "$1" sh -c 'umask 077 && mkdir -p /etc/hactl/secrets && cat >/etc/hactl/cluster.key' <"$RUN/secrets/cluster.key" &&
        printf 'password=%s\n' "$(<"$RUN/secrets/bmc")" |
        on_host "$1" sh -c 'umask 077 && cat >/etc/hactl/secrets/lab-bmc && sync -f /etc'
}

start_bmc() {
    resident bmc >/dev/null && return 0
    begin_resident bmc "$BMC_ADDRESS" "$BMC_PORT" "$RUN/secrets/bmc" "$HERE/lab"
    wait_until 10 "the BMC is started" bmc_answers || { cat "$RUN/logs/bmc.log" >&2; return 1; }
}

bmc_answers() {
    local said
    said=$(inside bash -c "exec 3<>/dev/tcp/$BMC_ADDRESS/$BMC_PORT && echo '- status hosta' >&3 && head -n 1 <&3" 2>/dev/null)
    [[ $said == "error: wrong password" ]]
}
