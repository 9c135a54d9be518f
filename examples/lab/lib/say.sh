# shellcheck shell=bash
# What the user reads: the step under way, and when one fails, which, and where its log is.

say() { echo "lab: $*"; }
fail() { echo "lab: $*" >&2; exit 1; }
misused() { echo "lab: usage: lab $*" >&2; exit 2; }
since() { echo "$(($(date +%s) - $1)) s"; }

# step NAME FUNCTION: says how long it took; a failure names it and its log.
step() {
    local name=$1 began log
    began=$(date +%s)
    mkdir -p "$RUN"
    log=$RUN/$name.log
    CURRENT_LOG=$log
    if ! "$2"; then
        fail "step '$name' failed after $(since "$began"); its log: $(log_of "$name")"
    fi
    say "$name: $(since "$began")"
}

log_of() { if [[ -s $RUN/logs/$1.log ]]; then echo "$RUN/logs/$1.log"; else echo "the lines above"; fi; }

# alone: commands that change the lab wait for each other.
alone() {
    ((EUID == 0)) || preflight
    exec 9>/run/lock/hactl-lab
    flock -w 600 9 || fail "another lab command has been running for 10 minutes: see fuser /run/lock/hactl-lab"
}

# wait_until SECONDS WHAT COMMAND…: true as soon as the command is; a line of progress every 15 s.
wait_until() {
    local limit=$1 what=$2 began said
    shift 2
    began=$(date +%s) said=$began
    until "$@" >/dev/null 2>&1; do
        (($(date +%s) - began < limit)) || { echo "lab: $what: not within $limit s" >&2; return 1; }
        if (($(date +%s) - said >= 15)); then
            said=$(date +%s)
            say "waiting since $(since "$began"): $what"
        fi
        sleep 0.3
    done
}
