# shellcheck shell=bash
# The lab's tmpfs: the image, what each host wrote over it, data disks, guests' memory, logs, sockets, the key.

is_there() { [[ -d $RUN/guests ]]; }

make_room() {
    mountpoint -q "$RUN" || {
        rm -rf "$RUN" && mkdir -p "$RUN" && mount -t tmpfs -o size=16g,mode=700,exec hactl-lab "$RUN" || return 1
    }
    mkdir -p "$RUN"/{guests,disks,links,logs,ssh,tmp,uml} && make_key && cp "$CACHE/key" "$RUN/key" && chmod 600 "$RUN/key" &&
        make_secrets && write_ssh_config
}

# What the hosts wrote lies over one image: as long as they live, it stays, whatever the tree says by now.
furnish_room() {
    local wanted base=$RUN/base.img
    wanted=$(image) || return 1
    if [[ -s $base && -s $RUN/base.name ]]; then
        [[ $(<"$RUN/base.name") == "$wanted" ]] || say "the hosts go on from an older image; for the newest: lab down, lab up"
        return 0
    fi
    if [[ -s $wanted ]]; then
        cp --sparse=always "$wanted" "$base.part" && mv "$base.part" "$base" || return 1
    else
        build_image "$wanted" "$base" || return 1
    fi
    echo "$wanted" >"$RUN/base.name"
}

remove_room() {
    if mountpoint -q "$RUN"; then
        wait_until 10 "$RUN is free" umount "$RUN" || { fuser -vm "$RUN" 2>&1 | head -n 10 >&2; return 1; }
    fi
    rm -rf "$RUN"
}
