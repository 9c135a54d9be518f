# shellcheck shell=bash
# The command channel: ssh from inside the namespace, one connection a host that all calls share.

write_ssh_config() {
    local host
    {
        for host in $HOSTS; do printf 'Host %s\n  HostName %s\n' "$host" "$(address_of "$host")"; done
        cat <<CONFIG
Host *
  User root
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

# on_host HOST CMD…: as it is, quoted once.
on_host() {
    local host=$1 terminal=()
    shift
    [[ ! -t 0 || ! -t 1 ]] || terminal=(-t)
    inside ssh "${terminal[@]}" -F "$RUN/ssh_config" "$host" "${*@Q}" 9>&-
}

run_on() {
    (($# >= 2)) || misused "exec HOST [--] CMD…"
    known_host "$1"
    local host=$1
    shift
    [[ $1 != -- ]] || shift
    [[ -d $RUN/guests ]] || fail "the lab is down: examples/lab/lab up"
    [[ $(power_of "$host") != off ]] || fail "$host is off: examples/lab/lab power $host on"
    on_host "$host" "$@"
}

copy() {
    local host=${2%%:*} target=${2#*:}
    [[ $2 == *:/* ]] || misused "copy SRC HOST:DST, DST an absolute path"
    known_host "$host"
    tar -C "$(dirname "$1")" -cf - "$(basename "$1")" |
        on_host "$host" sh -c 'set -e; mkdir -p "$(dirname "$1")"; t=$(mktemp -d); tar -C "$t" -xf -; cp -a "$t/$2" "$1"; rm -rf "$t"' \
            copy "$target" "$(basename "$1")"
}

hang_up() {
    [[ ! -S $RUN/ssh/$1 ]] || timeout 5 ip netns exec "$NETNS" ssh -F "$RUN/ssh_config" -O exit "$1" 2>/dev/null || :
    rm -f "$RUN/ssh/$1"
}

wait_for() {
    wait_until 180 "$1 answers ssh" on_host "$1" true </dev/null || {
        echo "lab: the console of $1 ($RUN/logs/$1.console):" >&2
        tail -n 15 "$RUN/logs/$1.console" >&2
        return 1
    }
}

wait_for_ssh() {
    local host
    for host in $HOSTS; do wait_for "$host" || return 1; done
}

end_ssh() {
    local host pid
    for host in $HOSTS; do hang_up "$host"; done
    for pid in $(pgrep -f "^ssh: $RUN/ssh/" || :); do kill "$pid" 2>/dev/null || :; done
}
