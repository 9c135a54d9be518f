# shellcheck shell=bash
# What the user reads: the step under way, and when one fails, which, why, and where its log is.

say() { echo "lab: $*"; }
complain() { echo "lab: $*" >&2; }
fail() { complain "$@"; exit 1; }
misused() { echo "usage: examples/lab/lab $*" >&2; exit 2; }
since() { echo "$(($(date +%s) - $1)) s"; }

# step NAME FUNCTION: says how long it took. One that fails has said why; the state of everything follows.
step() {
    local began
    began=$(date +%s)
    if ! "$2"; then
        diagnose >&2
        fail "step '$1' failed after $(since "$began"): the reason is above; consoles of the hosts: $RUN/logs, image: $CACHE/build.log"
    fi
    say "$1: $(since "$began")"
}

# All that a reader of CI's output needs, since the machine is gone by then.
diagnose() {
    local host
    echo "--- this machine: load $(cut -d' ' -f1-3 /proc/loadavg), $(nproc) cores; $(grep MemAvailable /proc/meminfo)"
    ps -eo pid,stat,etime,time,rss,args --sort=-time | cut -c 1-110 | head -n 12
    df -h "$RUN" "$(dirname "$CACHE")" 2>/dev/null || :
    for host in $HOSTS; do
        [[ -s $RUN/logs/$host.console ]] || continue
        echo "--- $host is $(power_of "$host"); the end of its console:"
        tail -n 12 "$RUN/logs/$host.console"
        echo "--- $host: load, failed units, etcd's journal:"
        timeout 20 "$HERE/lab" exec "$host" -- sh -c 'cat /proc/loadavg; systemctl --failed --no-legend
            journalctl -q -o short-monotonic --no-hostname -u etcd -n 25' </dev/null 2>&1 || echo "(no answer)"
    done
}

# alone: commands that change the lab wait for each other. Every child that outlives us closes 9.
alone() {
    ((EUID == 0)) || preflight
    exec 9>/run/lock/hactl-lab
    flock -n 9 && return
    complain "waiting for another lab command to end"
    flock -w 600 9 || fail "another lab command has been running for 10 minutes: fuser -v /run/lock/hactl-lab shows which"
}

# wait_until SECONDS WHAT COMMAND…: true as soon as the command is; a line of progress every 15 s.
wait_until() {
    local limit=$1 what=$2 began said
    shift 2
    began=$(date +%s) said=$began
    until "$@" >/dev/null 2>&1; do
        (($(date +%s) - began < limit)) || { complain "$what: not within $limit s"; return 1; }
        if (($(date +%s) - said >= 15)); then
            said=$(date +%s)
            say "waiting since $(since "$began") of at most $limit s: $what"
        fi
        sleep 0.3
    done
}

# each FUNCTION HOST…: side by side; false when one is.
each() {
    local function=$1 host child children=() bad=0
    shift
    for host in "$@"; do
        "$function" "$host" </dev/null &
        children+=($!)
    done
    for child in "${children[@]}"; do wait "$child" || bad=1; done
    return "$bad"
}
