# shellcheck shell=bash
# Programs of tools/ that run beside the guests, in the lab's network, as long as the lab is up: each one's PID in guests/NAME.pid.

resident() { # NAME: its PID, when it runs, whichever tree began it
    local pid
    pid=$(cat "$RUN/guests/$1.pid" 2>/dev/null) && [[ -n $pid ]] &&
        [[ $(tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline") == *"/tools/$1.py "* ]] && echo "$pid"
}

begin_resident() { # NAME ARGUMENT…
    local name=$1
    shift
    # shellcheck disable=SC2016
    inside setsid sh -c 'echo $$ >"$0" && exec "$@"' "$RUN/guests/$name.pid" \
        "$PYTHON" -I "$HERE/tools/$name.py" "$@" </dev/null >>"$RUN/logs/$name.log" 2>&1 9>&- &
}

end_resident() {
    local pid
    pid=$(resident "$1") || return 0
    kill "$pid" 2>/dev/null || :
    wait_until 10 "$1 ends" all_gone "$pid"
}
