#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
#
# nspawn-enter --list compared with what machined, systemd and /proc say of real
# machines; and the similar names that are proposed for an unknown one.

load ../common
load ../machines
load ../sweep

SUITE=${SUITE:-trixie}

TREES=/var/lib/machines

list()
{
	enter --list
}

# row NAME UNIT [UID]: prints the line of a machine, as t/machine knows it.
row()
{
	printf '%s\t%s\t%s\t%s\t%s\n' "$1" "$(leader "$1")" \
	    "$(supervisor "$1")" "$2" "${3:-0}"
}

# rows NAME...: prints the lines of machines in scopes.
rows()
{
	local name

	for name; do
		row "$name" "machine-${name//-/\\x2d}.scope"
	done
}

# as_user USER COMMAND...: runs a command of the host as that user, without
# other groups.
as_user()
{
	local user=$1
	shift

	on_host env -C / setpriv --reuid "$user" --regid "$user" \
	    --clear-groups "$@"
}

# tree_make NAME...: makes trees of machines that t/host does not start.
tree_make()
{
	host_script "$@" <<-'END'
	for name; do
		cp -a /usr/lib/nspawn-tools/skeleton "/var/lib/machines/$name"
		mkdir -p "/var/lib/machines/$name/etc"
		echo ID=tree >"/var/lib/machines/$name/etc/os-release"
	done
	END
}

# unit_start UNIT NSPAWN-OPTION...: starts a systemd-nspawn in a unit, which
# ends with the test; returns once its leader has started.
unit_start()
{
	local unit=$1
	shift

	units+=("$unit")
	on_host systemd-run --quiet --unit="$unit" -p Delegate=yes \
	    -p KillMode=mixed -p Slice=machine.slice -p TimeoutStopSec=5 \
	    systemd-nspawn --quiet --link-journal=no --console=pipe "$@" \
	    /bin/sleep 600
	until_true unit_leader "$unit" >/dev/null
}

# unit_leader UNIT: prints the leader and the supervisor of such a unit.
unit_leader()
{
	host_script "$1" <<-'END'
	nspawn=$(systemctl show -p MainPID --value "$1")
	leader=$(pgrep -P "$nspawn" -x sleep)
	printf '%s\t%s\n' "$leader" "$nspawn"
	END
}

setup()
{
	machines=() units=()
}

teardown()
{
	local unit

	console_show
	for unit in "${units[@]}"; do
		on_host systemctl stop "$unit" || true
		on_host systemctl reset-failed "$unit" 2>/dev/null || true
	done
	machines_end
}

# Checks for every line that its name leads to the machine with that leader.
names_lead_to_leaders()
{
	on_host bash -eu -s "$BIN/nspawn-enter" <<-'END'
	"$1" --list >/tmp/lines
	while IFS=$'\t' read -r name leader _; do
		[ "$name" != - ] || continue
		entered=$("$1" --quiet --foreign "$name" \
		    readlink /proc/self/ns/pid </dev/null)
		is=$(readlink "/proc/$leader/ns/pid")
		[ "$entered" = "$is" ] || { echo "$name: $entered"; exit 1; }
	done </tmp/lines
	END
}

# Checks that every line has the form of a list.
FORM='^[A-Za-z0-9.-]+\t[0-9]+\t([0-9]+|-)\t[^\t]+\t[0-9]+$'

well_formed()
{
	! grep -Pv "$FORM"
}

# Starts one machine of each kind.
machines_of_kinds()
{
	machine template web
	machine scope webu -U
	machine unregistered alone
	machine unit own
	machine orphan-unit orphan
	machine scope my-box.x
}

@test "without a machine nothing is listed" {
	run -0 list
	[ "$output" = '' ]
}

@test "a machine of each kind is one line, sorted by name" {
	machines_of_kinds
	run -0 list
	[ "$output" = "$(
	    row alone alone.scope
	    row my-box.x 'machine-my\x2dbox.x.scope'
	    row orphan own-orphan-unit.service
	    row own own-own-unit.service
	    row web systemd-nspawn@web.service
	    row webu machine-webu.scope
	)" ]
}

@test "every name that is listed leads to the machine of that leader" {
	machines_of_kinds
	[ "$(list | wc -l)" = 6 ]
	names_lead_to_leaders
}

@test "the leader is machined's, the unit and its processes systemd's" {
	machine template web
	machine scope webu -U
	machine unit own
	machine scope my-box.x
	run -0 on_host bash -eu -s "$BIN/nspawn-enter" <<-'END'
	"$1" --list >/tmp/lines
	while IFS=$'\t' read -r name leader supervisor unit owner; do
		[ "$leader" = \
		    "$(machinectl show -p Leader --value "$name")" ]
		[ "$supervisor" = "$(ps -o ppid= -p "$leader" | tr -d ' ')" ]
		[ "$unit" = "$(machinectl show -p Unit --value "$name")" ]
		[ "$owner" = "$(ps -o ruid= -p "$supervisor" | tr -d ' ')" ]
		echo "$name"
	done </tmp/lines
	END
	[ "${lines[*]}" = 'my-box.x own web webu' ]
}

@test "a list does not need machined" {
	machine scope web
	machine unregistered alone
	expected=$(row alone alone.scope; rows web)
	host_script <<-'END'
	systemctl mask --runtime --quiet systemd-machined dbus.socket dbus
	systemctl stop systemd-machined
	END
	run list
	host_script <<-'END'
	systemctl unmask --runtime --quiet systemd-machined dbus.socket dbus
	END
	[ "$status" = 0 ]
	[ "$output" = "$expected" ]
}

@test "shells offer machines that machined does not know, but no programs" {
	machine scope web
	machine unregistered alone
	run ! on_host machinectl show alone
	for shell in bash zsh; do
		echo "case: $shell"
		offers "$shell" 'nspawn-enter ' alone web
		offers "$shell" 'nspawn-stop a' alone
		offers "$shell" 'nspawn-enter web mkfi' mkfifo
		offers "$shell" 'nspawn-enter alone mkfi'
	done
}

@test "a folder or an image gives a machine its name" {
	tree_make by_folder image
	# The image is made outside, since the host may have no mkfs(8).
	tree=$BATS_TEST_TMPDIR/tree
	mkdir "$tree"
	on_host tar -C "$TREES/image" -c . | tar -C "$tree" -x
	truncate -s 16M "$tree.raw"
	mkfs.ext4 -q -d "$tree" "$tree.raw"
	on_host sh -c 'cat >/var/lib/machines/disk.raw' <"$tree.raw"
	udev_stand_in
	unit_start folder --keep-unit -D "$TREES/by_folder"
	unit_start disk --keep-unit --read-only \
	    --image="$TREES/disk.raw"
	run -0 list
	[ "$output" = "$(
	    printf 'byfolder\t%s\tfolder.service\t0\n' "$(unit_leader folder)"
	    printf 'disk\t%s\tdisk.service\t0\n' "$(unit_leader disk)"
	)" ]
	names_lead_to_leaders
	offers bash 'nspawn-enter disk mkfi'
}

@test "an ephemeral copy has the random name of its unit, else none" {
	tree_make fresh
	unit_start copy -x -D "$TREES/fresh"
	until_true on_host sh -c 'machinectl list --no-legend | grep -q ^fresh-'
	name=$(on_host machinectl list --no-legend | cut -d ' ' -f 1)
	[[ "$name" =~ ^fresh-[0-9a-f]{16}$ ]]
	run -0 list
	[ "$output" = "$(printf '%s\t%s\t%s\t0' "$name" \
	    "$(unit_leader copy)" "machine-${name/-/\\x2d}.scope")" ]
	names_lead_to_leaders
	unit_start nameless --keep-unit --register=no -x -D "$TREES/fresh"
	run -0 list
	[ "${lines[0]}" = "$(printf -- '-\t%s\tnameless.service\t0' \
	    "$(unit_leader nameless)")" ]
	[ "${#lines[@]}" = 2 ]
}

@test "a machine whose supervisor was killed is listed without one" {
	machine scope web
	pid=$(leader web)
	on_host kill -KILL "$(supervisor web)"
	until_true not lives "$(supervisor web)"
	run -0 list
	[ "$output" = "$(printf 'web\t%s\t-\tmachine-web.scope\t0' "$pid")" ]
	names_lead_to_leaders
	lives "$pid"
}

@test "two machines of one name are two lines" {
	tree_make twin
	unit_start one --keep-unit --register=no --read-only -M twin \
	    -D "$TREES/twin"
	# Without this mount nspawn itself would refuse the second one.
	on_host umount /run/systemd/nspawn/unix-export/twin
	on_host rmdir /run/systemd/nspawn/unix-export/twin
	unit_start two --keep-unit --register=no --read-only -M twin \
	    -D "$TREES/twin"
	run -0 list
	[ "$output" = "$({
	    printf 'twin\t%s\tone.service\t0\n' "$(unit_leader one)"
	    printf 'twin\t%s\ttwo.service\t0\n' "$(unit_leader two)"
	    } | sort -t $'\t' -k 2n)" ]
	run -125 enter twin true
	[[ "$output" == *': two machines have this name: '* ]]
}

@test "a process with only a pid namespace of its own is not a machine" {
	machine scope web
	on_host systemd-run --quiet --unit=sandbox \
	    -p KillSignal=KILL unshare --pid --fork \
	    --kill-child sleep 601
	units+=(sandbox)
	until_true runs_in_host 'sleep 601'
	run -0 list
	[ "$output" = "$(rows web)" ]
}

@test "the machines in a machine are listed only inside it" {
	machine nested outer
	run -0 list
	[ "$output" = "$(rows outer)" ]
	run -0 enter outer "$BIN/nspawn-enter" --list
	well_formed <<<"$output"
	[[ "$output" == $'outer\t'*$'\tmachine-outer.scope\t0' ]]
	[ "${#lines[@]}" = 1 ]
	IFS=$'\t' read -r _ pid nspawn _ <<<"$output"
	run -0 enter outer ps -o ppid= -p "$pid"
	[ "${output// /}" = "$nspawn" ]
	run -0 enter outer ps -o comm= -p "$nspawn"
	[ "$output" = systemd-nspawn ]
}

# Starts the machine of another user, and sets its line.
foreign_row()
{
	units+=(foreign)
	foreign_start
	FOREIGN=$(printf 'strict\t%s\t%s\t-\t1' \
	    "$(on_host pgrep -x -f 'sleep 602')" \
	    "$(on_host systemctl show -p MainPID --value foreign)")
}

@test "a machine of another user is listed as that user's" {
	machine scope web
	foreign_row
	run -0 list
	[ "$output" = "$FOREIGN"$'\n'"$(rows web)" ]
	names_lead_to_leaders
	run -0 as_user 1 "$BIN/nspawn-enter" --list
	[ "$output" = "$FOREIGN"$'\n'"$(rows web)" ]
}

@test "a third user sees another user's machine, too" {
	machine scope web
	foreign_row
	run -0 as_user 65534 "$BIN/nspawn-enter" --list
	[ "$output" = "$FOREIGN"$'\n'"$(rows web)" ]
}

@test "an ordinary user lists the machines of root, too" {
	machine scope web
	machine scope webu -U
	machine unit own
	machine unregistered alone
	expected=$(list)
	[ "$(wc -l <<<"$expected")" = 4 ]
	run -0 as_user 65534 "$BIN/nspawn-enter" --list
	[ "$output" = "$expected" ]
	run -125 as_user 65534 "$BIN/nspawn-enter" web true
	[[ "$output" == *'only root can enter a machine'* ]]
}

@test "machines that hidepid= hides from a user are left out silently" {
	machine scope web
	expected=$(list)
	for option in hidepid=1 hidepid=2 hidepid=4 subset=pid; do
		echo "case: $option"
		run -0 on_host env -C / unshare --mount sh -c "mount -t proc \
		    -o '$option' proc /proc; exec setpriv --reuid 65534 \
		    --regid 65534 --clear-groups '$BIN/nspawn-enter' --list"
		[ "$output" = '' ] || [ "$output" = "$expected" ]
		case $option in
		hidepid=[24]) [ "$output" = '' ] ;;
		subset=*) [ "$output" = "$expected" ] ;;
		esac
		run -0 on_host unshare --mount sh -c "mount -t proc \
		    -o '$option' proc /proc; exec '$BIN/nspawn-enter' --list"
		[ "$output" = "$expected" ]
	done
}

@test "--list takes no machine" {
	for words in '--list web' 'web --list' '--list -- web' '--list web -q'
	do
		echo "case: $words"
		# shellcheck disable=SC2086
		run -125 enter $words
		[ "${lines[0]}" = 'nspawn-enter: --list does not take a'\
' machine name' ]
		[ "${lines[1]}" = "Try 'nspawn-enter --help'." ]
		[ "${#lines[@]}" = 2 ]
	done
	run -125 enter
	[ "${lines[0]}" = 'nspawn-enter: no machine name given; --list shows'\
' the running ones' ]
}

@test "a list that cannot be written is an error" {
	machine scope web
	run -125 on_host sh -c "'$BIN/nspawn-enter' --list >/dev/full"
	[ "$output" = 'nspawn-enter: cannot write to standard output: No'\
' space left on device' ]
}

@test "a list without a standard output is an error" {
	machine scope web
	run -125 on_host sh -c "'$BIN/nspawn-enter' --list >&-"
	[[ "$output" == 'nspawn-enter: cannot write to standard output'* ]]
}

@test "nspawn-enter --list ends when nobody reads it" {
	machine scope web
	machine scope webu
	run -0 on_host timeout 20 sh -c "'$BIN/nspawn-enter' --list | head -n 1"
	[ "$output" = "$(rows web)" ]
	run -0 on_host timeout 20 bash -c "'$BIN/nspawn-enter' --list | true
	    case \${PIPESTATUS[0]} in 0 | 125 | 141) ;; *) exit 1 ;; esac"
}

@test "eight lists at once are right while machines come and go" {
	machine scope web
	lists=$BATS_TEST_TMPDIR/lists
	on_host bash -s "$BIN/nspawn-enter" >"$lists" 3>&- <<-'END' &
	for n in 1 2 3 4 5 6 7 8; do
		until [ -e /run/enough ]; do
			"$1" --list 2>&1 || echo "status $?"
		done &
	done
	wait
	END
	job=$!
	for _ in 1 2 3; do
		pool_start p1 p2 p3
		on_host sh -c 'for name in p1 p2 p3; do
		    kill -TERM "$(pgrep -P "$(cat "/run/pool/$name")")"; done'
		for name in p1 p2 p3; do
			echo "case: $name"
			until_true pool_ended "$name"
		done
	done
	on_host touch /run/enough
	wait "$job"
	on_host rm /run/enough
	# Each list has that machine.
	[ "$(grep -cxF "$(rows web)" "$lists")" -gt 50 ]
	grep -q ^p2 "$lists"
	well_formed <"$lists"
	run -0 list
	[ "$output" = "$(rows web)" ]
}

EIO=5
ENOMEM=12
EMFILE=24

# A list is complete, or there is a message why not.
LISTED='case $status in
    0) cmp -s /tmp/out /tmp/full ;;
    125) said . ;;
    139) [ "$call" = "$ARCH_PRCTL" ] ;;
    *) false ;;
    esac'

list_sweep()
{
	sweep_prepare
	on_host sh -c "$PROGRAMS/nspawn-enter --list >/tmp/full"
	[ "$(on_host cat /tmp/full)" = "$(rows web webu)" ]
	LEAST=40 sweep "fail $1 $(leader web)" "$LISTED" \
	    "$PROGRAMS/nspawn-enter" --list
}

# bats test_tags=static
@test "if any call fails with EIO, a list is whole or an error" {
	machine scope web
	machine scope webu -U
	list_sweep "$EIO"
}

# bats test_tags=static
@test "if any call fails with ENOMEM, a list is whole or an error" {
	machine scope web
	machine scope webu -U
	list_sweep "$ENOMEM"
}

# bats test_tags=static
@test "if any call fails with EMFILE, a list is whole or an error" {
	machine scope web
	machine scope webu -U
	list_sweep "$EMFILE"
}

# near NAME HINT: checks what both programs say of an unknown name.
near()
{
	run -125 enter "$1" touch /entered
	[ "$output" = "nspawn-enter: $1: is not running$2" ]
	run -0 stop "$1"
	[ "$output" = "nspawn-stop: $1: is not running$2" ]
	run -1 stop --strict "$1"
	[ "$output" = "nspawn-stop: $1: is not running$2" ]
	run -0 stop --quiet "$1"
	[ "$output" = '' ]
}

@test "for a name that no machine has, similar ones are proposed" {
	machine scope web
	machine scope webu -U
	machine unit database
	near wob '; did you mean web?'
	near wabu '; did you mean webu?'
	near wxb '; did you mean web?'
	near WEBU1 '; did you mean webu?'
	near webb '; did you mean web or webu?'
	near databse '; did you mean database?'
	near DataBases '; did you mean database?'
	near dataabasee '; did you mean database?'
	near dataabaseee ''
	near atabas '; did you mean database?'
	near atabs ''
	near elsewhere ''
	# A name is not similar if all of its letters differ.
	near xy ''
	near x ''
	for name in web webu database; do
		echo "case: $name"
		lives "$(leader "$name")"
		run ! on_host test -e "$TREES/$name/entered"
	done
}

@test "for the name of a scope, that of its machine is proposed" {
	machine scope alpha
	machine template my-site
	for name in alpha.scope machine-alpha.scope alhpa.scope \
	    machine-alpa.scope; do
		echo "case: $name"
		near "$name" '; did you mean alpha?'
	done
	near my-site.scope '; did you mean my-site?'
	for name in elsewhere.scope machine-elsewhere.scope elsewhere.service
	do
		echo "case: $name"
		near "$name" ''
	done
}

@test "for the name of a service, that of its machine is proposed" {
	machine scope alpha
	machine template my-site
	near my-site.service '; did you mean my-site?'
	near alpha.service '; did you mean alpha?'
	near alhpa.service '; did you mean alpha?'
}

@test "the name of a scope need not be escaped for that" {
	machine scope my-site
	near machine-my-site.scope '; did you mean my-site?'
}

@test "at most three names are proposed, the nearest first" {
	for name in site1 site22 site2 site3 site4; do
		echo "case: $name"
		machine scope "$name"
	done
	run -125 enter site true
	[[ "$output" =~ 'did you mean '(site[1-4]', '){1}site[1-4]\
' or '(site[1-4])'?'$ ]]
	run -125 enter site222 true
	[[ "$output" == *'; did you mean site22?' ]]
}

@test "each of several names gets proposals of its own" {
	machine scope web
	machine scope mail
	run -0 stop wob mial nothing
	[ "${lines[0]}" = \
	    'nspawn-stop: wob: is not running; did you mean web?' ]
	[ "${lines[1]}" = \
	    'nspawn-stop: mial: is not running; did you mean mail?' ]
	[ "${lines[2]}" = 'nspawn-stop: nothing: is not running' ]
	[ "${#lines[@]}" = 3 ]
	lives "$(leader web)"
	lives "$(leader mail)"
}

NOT_OURS="cannot open /proc or the host's cgroups: this /proc belongs to\
 another PID namespace than the caller or the host's systemd"

@test "a /proc of another pid namespace is refused, and nothing is signalled" {
	machine scope web
	for words in 'nspawn-enter web true' 'nspawn-enter --list' \
	    'nspawn-stop web' 'nspawn-stop --quiet web'; do
		echo "case: $words"
		refused="${words%% *}: $NOT_OURS"
		run -125 on_host sh -c "unshare --pid --fork '$BIN'/$words"
		[ "$output" = "$refused" ]
		# In there our own PID is unknown, which the sanitizer does not
		# support.
		run -125 on_host unshare --mount sh -c \
		    "unshare --pid --fork mount -t proc proc /proc
		    $PROGRAMS/$words"
		[ "$output" = "$refused" ]
		# Here it is the caller's, but it does not have the machine.
		for option in '' --cgroup; do
			run -125 on_host unshare --pid --fork --mount-proc \
			    $option sh -c "'$BIN'/$words; exit \$?"
			[ "$output" = "$refused" ]
		done
	done
	lives "$(leader web)"
	run -0 list
	[ "$output" = "$(rows web)" ]
}

# A host with another init may have systemd's folder.  These tests may run in
# any PID namespace: in the first one each PID 1 will do.
@test "in the first pid namespace PID 1 need not be systemd" {
	expected=(125 "nspawn-stop: $NOT_OURS")
	if [ "$(stat -L -c %i /proc/self/ns/pid)" = "$((0xeffffffc))" ] ||
	    [ "$(cat /proc/1/comm)" = systemd ]; then
		expected=(0 'nspawn-stop: nothing: is not running')
	fi
	run "-${expected[0]}" unshare --mount sh -c 'mount -t tmpfs none /run &&
	    mkdir -p /run/systemd/system && exec "$@"' sh \
	    "$BUILD/nspawn-stop" --dry-run nothing
	[ "$output" = "${expected[1]}" ]
}
