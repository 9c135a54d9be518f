# shellcheck shell=bash
# The operator's desk. A guest takes five seconds to start a Python with all that hactl imports, this machine a half.

at_the_desk() {
    local python=$TREE/.venv/bin/python endpoints="" host
    [[ -x $python ]] || { run_on witness -- hactl "$@"; return; }
    ((EUID == 0)) || preflight
    is_there || fail "the lab is down: examples/lab/lab up"
    for host in $HOSTS; do endpoints+="${endpoints:+,}http://$(address_of "$host"):2379"; done
    inside env HACTL_ENDPOINTS="$endpoints" PYTHONPATH="$TREE" "$python" -P -m reconciler.cli "$@"
}
