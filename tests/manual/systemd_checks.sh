#!/bin/bash
# What systemd.sh has checked, in the machine that it boots: prints "ok" or "not ok" lines.
set -u
cd /root
own=/sys/fs/cgroup/system.slice/harpd.service
mkdir -p /etc/harpd
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 \
    -subj /CN=agent.example.net -addext subjectAltName=DNS:agent.example.net \
    -keyout /etc/harpd/harpd.key.pem -out /etc/harpd/harpd.cert.pem 2> /dev/null
cat > /etc/harpd/harpd.conf <<'END'
network: {certfile: harpd.cert.pem, keyfile: harpd.key.pem}
authentication:
  module: harpd.auth.inconfig
  users: {tester: "plain:secret"}
limits: {max_memory: 1000000000, max_processes: 200, stop_grace: 2}
END
cat > good.py <<'END'
import os, signal, time
from harpd.proc import procedure, streaming_procedure

@procedure
def add(a, b):
    return a + b

@procedure
def environment():
    return sorted(os.environ)

@procedure
def eats():
    kept = []
    while True:
        kept.append(b"x" * 10_000_000)

@streaming_procedure
def fugitive():
    "Have a process that does all it can to get away."
    r, w = os.pipe()
    for generation in range(3):
        if os.fork() != 0:
            break
        os.setsid()
    else:
        for number in set(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, signal.SIG_IGN)
        os.write(w, b"%d" % os.getpid())
        os.closerange(0, 100)
        while True:
            time.sleep(1)
    if os.getpid() != os.getpgrp() or generation:
        os._exit(0)
    yield int(os.read(r, 100))
    time.sleep(1000)

@streaming_procedure
def bomb():
    yield os.getpid()
    while True:
        try:
            os.fork()
        except OSError:
            pass
END
cat > call.py <<'END'
import json, sys
import harp
agent = harp.HarpServer("agent.example.net", "tester", "secret",
                        ca_file="/etc/harpd/harpd.cert.pem", connect_timeout=120)
try:
    got = getattr(agent, sys.argv[1])(*map(json.loads, sys.argv[2:]))
    for one in got if hasattr(got, "__next__") else [got]:
        print(one, flush=True)
except harp.HarpException as error:
    print(error, flush=True)
END
# Only in a subshell, whose number is then the caller's.
call() { exec /opt/harpcaller/bin/python -P call.py "$@"; }
check() { # NAME EXPECTED FOUND
    if [[ $3 == *$2* ]]; then echo "ok: $1"; else echo "not ok: $1: expected $2, found: $3"; fi
}
property() { systemctl show harpd --property="$1" --value; }
started_with() { cp "$1" /etc/harpd/harpd.py; systemctl restart harpd; }
until_equal() { # EXPECTED COMMAND...: wait, but not for ever
    local expected=$1 tries
    shift
    for tries in $(seq 60); do [ "$("$@")" = "$expected" ] && return; sleep 1; done
}
# The agent, its network process and its template are three; threads don't count.
processes() { cat $own/*/cgroup.procs $own/*/*/cgroup.procs 2> /dev/null | wc -l; }
lives() { [ -d "/proc/$1" ] && echo yes || echo no; }

started_with good.py
check "ready when systemctl returns" active "$(property ActiveState)"
check "status" "procedures: 5" "$(property StatusText)"
check "the agent moves aside" /agent "$(cat /proc/"$(property MainPID)"/cgroup)"
check "controllers" "cpu memory pids" "$(cat $own/cgroup.subtree_control)"
check "a call" 3 "$(call add 1 2)"
check "clean environment" "['INVOCATION_ID', 'LANG', 'PATH', 'STATE_DIRECTORY']" "$(call environment)"

call fugitive > out & caller=$!
until_equal 1 grep -c . out
pid=$(cat out)
check "a call's own group" harpd- "$(cat "/proc/$pid/cgroup")"
kill $caller
until_equal no lives "$pid"
check "nothing gets away" no "$(lives "$pid")"

call bomb > out & caller=$!
until_equal 200 eval "cat $own/harpd-*/call-*/pids.current 2> /dev/null"
check "a bomb's limit" 200 "$(cat $own/harpd-*/call-*/pids.current)"
check "others go on meanwhile" 5 "$(call add 2 3)"
kill $caller
until_equal 3 processes
check "a bomb is gone" 3 "$(processes)"

check "memory" "signal 9" "$(call eats)"
check "others go on after that" 6 "$(call add 3 3)"

systemctl reload harpd
until_equal active property ActiveState
check "reload" 0 "$(property NRestarts)"
echo "1/0" | cat good.py - > bad.py
cp bad.py /etc/harpd/harpd.py
systemctl reload harpd
sleep 15
check "bad procedures leave the good ones" ZeroDivisionError "$(property StatusText)"
check "and calls go on" 7 "$(call add 3 4)"
started_with bad.py
check "bad procedures at the start" procedure_loading_error "$(call add 3 4)"
check "are told to the operator" ZeroDivisionError "$(property StatusText)"
started_with good.py

call fugitive > out & caller=$!
until_equal 1 grep -c . out
systemctl stop harpd
wait $caller
check "a stop is told to callers" "the agent was stopped" "$(cat out)"
check "and ends what they had" no "$(lives "$(head -1 out)")"
check "and leaves no group" no "$([ -d $own ] && echo yes || echo no)"

systemctl start harpd.socket
check "the socket alone" inactive "$(property ActiveState)"
check "starts it" 8 "$(call add 4 4)"
check "with its port" '"inherited":true' "$(journalctl -u harpd --no-pager | grep listening | tail -1)"
systemctl stop harpd
check "and again" 9 "$(call add 4 5)"
echo "all checks are through"
