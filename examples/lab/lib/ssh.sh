# shellcheck shell=bash
# The command channel: ssh from inside the namespace, one connection a host that all calls share.

write_ssh_config() {
    local host
    {
        for host in $HOSTS; do printf 'Host %s\n  HostName %s\n' "$host" "$(address_of "$host")"; done
        for host in $PAIR; do printf 'Host %s.replication\n  HostName %s\n' "$host" "$(replication_of "$host")"; done
        cat <<CONFIG
Host *
  User root
  BatchMode yes
  IdentityFile $RUN/key
  IdentitiesOnly yes
  StrictHostKeyChecking no
  UserKnownHostsFile /dev/null
  LogLevel ERROR
  ControlMaster auto
  ControlPath $RUN/ssh/%n
  ControlPersist yes
  ConnectTimeout 10
  ServerAliveInterval 5
  ServerAliveCountMax 6
  Compression no
CONFIG
    } >"$RUN/ssh_config"
}

# on_host HOST CMD…: as it is, quoted once. A host whose LAN cable is pulled is reached over the replication link.
on_host() {
    local host=$1 terminal=()
    shift
    [[ $host == witness || ! -e $RUN/links/$host.lan.down ]] || host=$host.replication
    [[ ! -t 0 || ! -t 1 ]] || terminal=(-t)
    inside ssh "${terminal[@]}" -F "$RUN/ssh_config" "$host" "${*@Q}" 9>&-
}

run_on() {
    (($# >= 2)) || misused "exec HOST [--] CMD…"
    known_host "$1"
    local host=$1
    shift
    [[ $1 != -- ]] || shift
    (($#)) || misused "exec HOST [--] CMD…"
    ((EUID == 0)) || preflight
    is_there || fail "the lab is down: examples/lab/lab up"
    [[ $(power_of "$host") != off ]] || fail "$host is off: examples/lab/lab power $host on"
    on_host "$host" "$@"
}

# SRC becomes DST, or lies in it when DST is a folder, as with cp -a.
copy() {
    local host=${2%%:*} target=${2#*:}
    [[ $2 == *:/* ]] || misused "copy SRC HOST:DST, DST an absolute path"
    known_host "$host"
    [[ -r $1 ]] || fail "cannot read $1"
    is_there || fail "the lab is down: examples/lab/lab up"
    # shellcheck disable=SC2016
    tar -C "$(dirname "$1")" -cf - "$(basename "$1")" |
        on_host "$host" sh -c 'set -e; mkdir -p "$(dirname "$1")"; t=$(mktemp -d); tar -C "$t" -xf -; cp -a "$t/$2" "$1"; rm -rf "$t"' \
            copy "$target" "$(basename "$1")"
}

hang_up() {
    local path
    for path in "$RUN/ssh/$1" "$RUN/ssh/$1.replication"; do
        [[ ! -S $path ]] || timeout 5 ssh -F "$RUN/ssh_config" -O exit "$(basename "$path")" 2>/dev/null 9>&- || :
        rm -f "$path"
    done
}

wait_for() {
    wait_until 180 "$1 answers ssh" on_host "$1" true </dev/null && return 0
    tail -n 15 "$RUN/logs/$1.console" >&2
    complain "$1 did not come up; its console: $RUN/logs/$1.console"
    return 1
}

wait_for_ssh() {
    # shellcheck disable=SC2086
    each wait_for $HOSTS
}

end_ssh() {
    local host pid
    for host in $HOSTS; do hang_up "$host"; done
    # Masters whose socket is gone with a lab that was killed.
    for pid in $(pgrep -f "^ssh: $RUN/ssh/" || :); do kill "$pid" 2>/dev/null || :; done
}
