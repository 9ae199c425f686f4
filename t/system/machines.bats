#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
# bats file_tags=releases
#
# The two programs on real machines.

load ../common
load ../machines

# Checks that every namespace of a command is that of the machine's leader.
namespaces_are_the_leaders()
{
	local pid

	pid=$(leader "$1")
	on_host sh -c "cd /proc/$pid/ns && readlink mnt uts ipc net pid cgroup \
	    user" >"$BATS_TEST_TMPDIR/leader"
	enter "$1" sh -c 'cd /proc/self/ns &&
	    for n in mnt uts ipc net pid cgroup user; do readlink $n; done' \
	    >"$BATS_TEST_TMPDIR/entered"
	diff "$BATS_TEST_TMPDIR/leader" "$BATS_TEST_TMPDIR/entered"
}

# found_entered_stopped KIND NAME [OPTION]...
found_entered_stopped()
{
	local comm name=$2 pid nspawn

	machine "$@"
	pid=$(leader "$name")
	comm=$(on_host cat "/proc/$pid/comm")
	nspawn=$(supervisor "$name")
	run -0 enter "$name" hostname
	[ "$output" = "$name" ]
	namespaces_are_the_leaders "$name"
	run -0 stop --verbose "$name"
	[ "$output" = "nspawn-stop: $name: PID 1 is $comm ($pid)
nspawn-stop: $name: sent SIGTERM to its leader $pid
nspawn-stop: $name: has stopped" ]
	machine_file_is "$name" stopped stopped
	run ! lives "$pid"
	run ! lives "$nspawn"
	run -0 stop "$name"
	[ "$output" = "nspawn-stop: $name: is not running" ]
	run -125 enter "$name" true
	[ "$output" = "nspawn-enter: $name: is not running" ]
	machines_end
}

@test "a machine that was started by hand is found, entered and stopped" {
	for name in web my-box.x memory machine-web; do
		echo "case: $name"
		found_entered_stopped scope "$name"
	done
}

@test "the completions understand what this machinectl says" {
	machine scope my-box
	machine unregistered unknown
	run -0 on_host env PATH="$BIN:$PATH" bash -c '
	    . /src/completions/nspawn-tools.bash
	    _nspawn_machines
	    _nspawn_programs my-box | grep -x sh'
	[[ $'\n'$output$'\n' == *$'\nmy-box\n'* ]]
	[[ $'\n'$output$'\n' == *$'\nunknown\n'* ]]
	[ "${lines[-1]}" = sh ]
}

@test "a machine that is not registered is found, entered and stopped" {
	for name in web my-box.x memory; do
		echo "case: $name"
		found_entered_stopped unregistered "$name"
	done
}

@test "a machine in a unit of another name is found, entered and stopped" {
	for name in web my-box.x memory; do
		echo "case: $name"
		found_entered_stopped unit "$name"
	done
}

@test "an unregistered one in a unit of another name is found and stopped" {
	for name in web my-box.x memory; do
		echo "case: $name"
		found_entered_stopped orphan-unit "$name"
	done
}

@test "a machine of systemd-nspawn@.service is found, entered and stopped" {
	for name in web my-box.x memory; do
		echo "case: $name"
		found_entered_stopped template "$name"
	done
}

@test "each kind of machine with a user namespace is found and stopped" {
	for kind in scope unregistered unit orphan-unit; do
		echo "case: $kind"
		found_entered_stopped "$kind" "web" -U
	done
}

# bats test_tags=kernel,slow
@test "a machine with another of its name inside is entered and stopped" {
	machine nested web
	pid=$(leader web)
	run -0 enter web sh -c 'systemctl is-active nspawn-tools-inner'
	[ "$output" = active ]
	namespaces_are_the_leaders web
	run -0 enter web sh -c "$BIN/nspawn-enter web cat /etc/os-release"
	[[ "$output" == *'ID=nspawn-tools'* ]]
	run -0 enter web cat /etc/os-release
	[[ "$output" == *'ID=debian'* ]]
	run -0 stop --verbose web
	[ "$output" = "nspawn-stop: web: PID 1 is systemd ($pid)
nspawn-stop: web: sent SIGRTMIN+4 to its leader $pid
nspawn-stop: web: has stopped" ]
	run ! lives "$pid"
}

# bats test_tags=kernel
@test "a machine whose systemd-nspawn was killed is entered and stopped" {
	machine scope web
	pid=$(leader web)
	on_host kill -KILL "$(supervisor web)"
	until_true on_host grep -q '^PPid:.*[^0-9]1$' "/proc/$pid/status"
	run -0 enter web hostname
	[ "$output" = web ]
	run -0 stop web
	[ "$output" = '' ]
	machine_file_is web stopped stopped
	run ! lives "$pid"
}

@test "the scope machine-web.scope belongs to the machine machine-web alone" {
	machine unregistered machine-web
	run -0 stop web
	[ "$output" = "nspawn-stop: web: is not running" ]
	run -0 enter machine-web hostname
	[ "$output" = machine-web ]
}

@test "every machine is found without D-Bus and machined, too" {
	for kind in scope unregistered unit orphan-unit template; do
		echo "case: $kind"
		machine "$kind" "m-$kind"
	done
	host_script <<-'END'
	systemctl mask --runtime --quiet systemd-machined dbus.socket dbus
	systemctl stop --quiet systemd-machined dbus.socket dbus 2>/dev/null
	END
	failed=
	for name in "${machines[@]}"; do
		echo "case: $name"
		run enter "$name" hostname
		[ "$status:$output" = "0:$name" ] || failed+=" enter-$name"
		run stop "$name"
		[ "$status:$output" = 0: ] || failed+=" stop-$name"
		machine_file_is "$name" stopped stopped || failed+=" end-$name"
	done
	run stop nothing
	[ "$status:$output" = "0:nspawn-stop: nothing: is not running" ] ||
		failed+=" nothing"
	host_script <<-'END'
	systemctl unmask --runtime --quiet systemd-machined dbus.socket dbus
	systemctl start dbus.socket dbus
	END
	until_true on_host busctl --quiet --timeout=5 call \
	    org.freedesktop.machine1 /org/freedesktop/machine1 \
	    org.freedesktop.DBus.Peer Ping
	[ "$failed" = '' ]
}

@test "if machinectl hangs, the deadline is kept and the signal is sent" {
	machine scope web
	machine orphan-unit own
	nspawn=$(supervisor web)
	pid=$(on_host systemctl show -p MainPID --value systemd-machined)
	on_host kill -STOP "$pid"
	SECONDS=0
	run stop --timeout 8 web own nothing
	took=$SECONDS
	on_host kill -CONT "$pid"
	[ "$status" = 1 ]
	[ "${lines[0]}" = "nspawn-stop: nothing: cannot tell whether it is\
 running: /proc does not show it, and machinectl did not answer" ]
	# The end of a registered machine waits for machined, which unregisters
	# it.
	[ "${lines[1]}" = "nspawn-stop: web: its leader has ended, but its\
 systemd-nspawn $nspawn is still running at the timeout" ]
	[ "${#lines[@]}" = 2 ]
	[ "$took" -lt 20 ]
	machine_file_is web stopped stopped
	machine_file_is own stopped stopped
}

@test "a short time-out is kept, and the signal sent, while machinectl hangs" {
	machine scope web
	on_host sh -c 'echo 600 >/var/lib/machines/web/etc/stop-delay'
	pid=$(on_host systemctl show -p MainPID --value systemd-machined)
	on_host kill -STOP "$pid"
	SECONDS=0
	run stop --timeout 2 web
	took=$SECONDS
	on_host kill -CONT "$pid"
	[ "$status" = 124 ]
	[ "$took" -lt 4 ]
	machine_file_is web signal 15
	lives "$(leader web)"
}

# A unit as a user would write it, whose PID 1 takes three seconds to stop.
slow_unit()
{
	host_script "$BIN" "$1" <<-'END'
	mkdir -p /var/lib/machines/slow
	cp -a /usr/lib/nspawn-tools/skeleton/. /var/lib/machines/slow
	cat >/run/systemd/system/slow.service <<-UNIT
	[Unit]
	After=dbus.service systemd-machined.service
	[Service]
	Type=$2
	ExecStart=systemd-nspawn --quiet --keep-unit --link-journal=no \
	    --console=pipe -M slow-box -D /var/lib/machines/slow \
	    /bin/sh /init
	ExecStop=$1/nspawn-stop --timeout 60 slow-box
	KillMode=mixed
	Delegate=yes
	Slice=machine.slice
	RestartForceExitStatus=133
	SuccessExitStatus=133 143
	UNIT
	mkdir -p /var/lib/machines/slow/etc
	echo ID=slow >/var/lib/machines/slow/etc/os-release
	cat >/var/lib/machines/slow/init <<-'INIT'
	trap 'sleep 3; echo stopped >/stopped; exit 0' TERM
	trap 'exit 0' USR1
	echo ready >/ready
	while :; do sleep 600 & wait $!; done
	INIT
	rm -f /var/lib/machines/slow/stopped /var/lib/machines/slow/ready
	systemctl daemon-reload
	systemctl start slow.service
	END
	until_true machine_file_is slow ready ready
}

slow_unit_state()
{
	on_host systemctl show -p ActiveState,Result --value slow.service |
	    tr '\n' ' '
}

slow_unit_is()
{
	[ "$(slow_unit_state)" = "$1" ]
}

@test "a unit with nspawn-stop as ExecStop= lets PID 1 finish" {
	for type in notify simple; do
		echo "case: $type"
		slow_unit "$type"
		on_host systemctl stop slow.service
		machine_file_is slow stopped stopped
		slow_unit_is 'success inactive ' || slow_unit_is 'inactive success '
	done
}

@test "a unit whose machine ended by itself is inactive, not failed" {
	for type in notify simple; do
		echo "case: $type"
		slow_unit "$type"
		# The machine may end before the command returns.
		run on_host "$BIN/nspawn-enter" slow-box kill -USR1 1
		until_true not on_host systemctl --quiet is-active slow.service
		until_true slow_unit_ended
	done
}

slow_unit_ended()
{
	slow_unit_is 'success inactive ' || slow_unit_is 'inactive success '
}

@test "a virtual machine is neither entered nor stopped" {
	host_script <<-'END'
	systemd-run --quiet --unit=vm-of-test sleep 600
	pid=$(systemctl show -p MainPID --value vm-of-test)
	busctl --quiet call org.freedesktop.machine1 \
	    /org/freedesktop/machine1 org.freedesktop.machine1.Manager \
	    RegisterMachine sayssus virtual 0 test vm "$pid" ""
	END
	pid=$(on_host systemctl show -p MainPID --value vm-of-test)
	run -125 enter virtual true
	[ "$output" = "nspawn-enter: virtual: is not a container: its leader\
 $pid is in the host's PID namespace" ]
	run -1 stop virtual
	[ "$output" = "nspawn-stop: virtual: is not a container: its leader\
 $pid is in the host's PID namespace" ]
	lives "$pid"
	on_host systemctl stop vm-of-test
}

@test "a machine of another user is refused unless it is asked for" {
	host_script <<-'END'
	systemd-run --quiet --unit=foreign --uid=daemon \
	    --property=KillMode=mixed unshare --user --map-root-user --pid \
	    --fork sh -c 'trap "exit 0" TERM; sleep 600 & wait'
	END
	nspawn=$(on_host systemctl show -p MainPID --value foreign)
	until_true on_host pgrep sleep
	pid=$(on_host pgrep -P "$nspawn" sh)
	on_host busctl --quiet call org.freedesktop.machine1 \
	    /org/freedesktop/machine1 org.freedesktop.machine1.Manager \
	    RegisterMachine sayssus foreign 0 test container "$pid" ""
	run -125 enter foreign true
	[ "$output" = "nspawn-enter: foreign: belongs to user 1, not to root;\
 use --foreign to enter it anyway" ]
	run -1 stop foreign
	[ "$output" = "nspawn-stop: foreign: belongs to user 1, not to root;\
 use --foreign to stop it anyway" ]
	lives "$pid"
	run -0 enter --quiet --foreign foreign echo in
	[ "$output" = in ]
	run -0 stop --foreign foreign
	run ! lives "$pid"
}

@test "one call stops several machines, even if one of them fails" {
	machine scope one
	machine unregistered two
	machine scope deaf -- /bin/sleep 600
	pid=$(leader deaf)
	run -124 stop one nothing deaf --timeout 3 two one
	[ "${lines[0]}" = "nspawn-stop: nothing: is not running" ]
	[[ "${lines[1]}" == "nspawn-stop: deaf: PID 1 is sleep ($pid): no signal\
 stops it cleanly: "* ]]
	[ "${lines[2]}" = "nspawn-stop: deaf: is still running at the timeout;\
 its leader is $pid" ]
	[ "${lines[3]}" = 'nspawn-stop: deaf: SIGTERM was never sent' ]
	[ "${lines[4]}" = "nspawn-stop: deaf: process $pid (1 inside), sleep, is\
 in state S" ]
	[ "${#lines[@]}" = 5 ]
	lives "$pid"
	machine_file_is one stopped stopped
	machine_file_is two stopped stopped
}

@test "--timeout 0 sends the signal and does not wait" {
	machine scope web
	on_host sh -c 'echo 2 >/var/lib/machines/web/etc/stop-delay'
	pid=$(leader web)
	run -0 stop --timeout 0 web
	[ "$output" = '' ]
	lives "$pid"
	run -0 stop --signal none web
	machine_file_is web stopped stopped
}

@test "--signal none only waits" {
	machine scope web
	run -124 stop --signal none --timeout 0.2 web
	run ! machine_file_is web signal 15
	lives "$(leader web)"
}

@test "--signal sends the signal that was asked for" {
	for signal in RTMIN+3 38; do
		echo "case: $signal"
		machine scope web
		run -0 stop --signal "$signal" web
		[ "$output" = '' ]
		case $signal in
		RTMIN+3) machine_file_is web signal 37 ;;
		*) machine_file_is web signal "$signal" ;;
		esac
		machines_end
	done
}

@test "busybox init is told to power off, not to reboot" {
	machine scope bb -- /bin/sh -c 'printf "%s\n" \
	    "::sysinit:/bin/touch /ready" \
	    "::shutdown:/bin/touch /stopped" >/etc/inittab
	    exec /bin/busybox init'
	until_true on_host test -e /var/lib/machines/bb/ready
	pid=$(leader bb)
	run -0 stop --verbose bb
	[ "$output" = "nspawn-stop: bb: PID 1 is busybox init ($pid)
nspawn-stop: bb: sent SIGUSR2 to its leader $pid
nspawn-stop: bb: has stopped" ]
	on_host test -e /var/lib/machines/bb/stopped
}

@test "nspawn's stub init passes the signal on" {
	# TERM, and HUP at the same time.
	machine scope stub --as-pid2 -- /bin/sh -c 'trap "" HUP
	    trap "echo stopped >/stopped; exit 0" TERM; echo ready >/ready
	    while :; do sleep 600 & wait $!; done'
	until_true machine_file_is stub ready ready
	run -0 stop --verbose stub
	[[ "${lines[0]}" == *"PID 1 is systemd-nspawn's stub ("* ]]
	[[ "${lines[1]}" == *'sent SIGRTMIN+4 '* ]]
	machine_file_is stub stopped stopped
}

@test "the signal of systemd-nspawn's own --kill-signal= is sent" {
	machine scope web --kill-signal=RTMIN+3
	run -0 stop web
	[ "$output" = '' ]
	machine_file_is web signal 37
	machines_end
	machine scope web --kill-signal=SIGKILL
	run -0 stop web
	[ "$output" = "nspawn-stop: web: ignoring its --kill-signal= or\
 KillSignal=: that signal cannot stop a machine cleanly" ]
	machine_file_is web signal 15
}
