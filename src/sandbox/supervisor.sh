# Runs one throw-away server and removes it when nobody holds its standard input any more.
# Arguments: the directory to make, the directory of the programs, the settings.
# Answers each request with lines of explanation and then ":done" or ":failed".
dir=$1 bin=$2 settings=$3
data=$dir/data log=$dir/log

# The parent may be dead by the time we answer; the clean-up has to follow all the same.
exec 2>&1
trap '' PIPE

# A server that is kept must not hold on to files and locks of those who started its parent.
exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-

answer() {
    if [ "$1" -eq 0 ]; then printf ':done\n'; else tail -n 20 "$log"; printf '\n:failed\n'; fi
}

run() {
    "$@" </dev/null >>"$log" 2>&1
}

make_cluster() {
    run "$bin/initdb" -D "$data" -U postgres -A trust -E UTF8 --no-sync --locale="$1"
}

start() {
    run "$bin/pg_ctl" start -D "$data" -l "$log" -s -w -t 60
}

stop() {
    run "$bin/pg_ctl" stop -D "$data" -m "$1" -s -w -t 60
}

# A frozen or dying process may still write while the files go, so removal is tried again.
clean_up() {
    trap '' HUP INT TERM QUIT
    stop immediate
    for pause in 0 1 1 1; do
        sleep "$pause"
        rm -rf "$dir" 2>/dev/null && break
    done
}

mkdir -m 700 "$dir" || { printf ':failed\n'; exit 1; }
trap clean_up EXIT
trap 'exit 1' HUP INT TERM QUIT

# Not every system knows C.UTF-8.
make_cluster C.UTF-8 || { rm -rf "$data" "$log"; make_cluster C; } &&
    printf '%s' "$settings" >>"$data/postgresql.conf" && : >"$log" && start
answer $?

while read -r request; do
    case $request in
    start) start ;;
    keep) trap - EXIT; answer 0; exit 0 ;;
    *) stop "$request" ;;
    esac
    answer $?
done
