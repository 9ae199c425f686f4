# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
# shellcheck shell=bash
#
# For the tests of inits: machines in a host, one for each init that Debian has
# a package of.  Each runs a service that takes 1.2 s to stop and writes a file
# last.

# Boots the host.  While second is empty the programs keep their names;
# otherwise they are copied to that path, by cp or ln.  If before is set, PID 1
# is first that script.
rows_begin()
{
	inits=/outer$("$TOP/t/host" build inits-bookworm)
	newer=/outer$("$TOP/t/host" build inits-trixie)
	second='' copies=cp before='' rows=()
	host_start
}

# Makes the tree of the machine $1, with the service, as an overlay on the tree
# $2.
TREE='name=$1 tree=/var/lib/machines/$1
    mkdir -p "$tree" "/var/lib/machines/.$name/upper" \
	"/var/lib/machines/.$name/work"
    mount -t overlay -o "lowerdir=$2,upperdir=/var/lib/machines/.$name/upper,\
workdir=/var/lib/machines/.$name/work" overlay "$tree"
    cd "$tree"
    mkdir -p etc
    echo ID=of-test >etc/os-release
    cat >service <<-"END"
	#!/bin/sh
	trap "sleep 1.2; echo served >/served; exit 0" TERM
	trap "" HUP
	echo >/ready
	while :; do sleep 600 & wait $!; done
	END
    chmod 0755 service'

# The end of the script that starts a machine; it runs in its tree, and its
# arguments are the command.
START='exec setsid systemd-nspawn --quiet --link-journal=no --console=pipe \
    --private-network -D "$tree" -M "$name" "$@" </dev/null \
    >"/tmp/$name.log" 2>&1 &'

# row NAME LOWER PROGRAM COMMAND...: runs the script on stdin in the machine's
# tree, and then starts the machine with that command as PID 1.  In the command
# @ stands for the program, or for its second name, which is then also a part of
# the machine's name.
row()
{
	local name=$1${second:+.${second##*/}} lower=$2 program=$3
	shift 3
	set -- "${@//@/${second:-$program}}"
	[ -z "$before" ] || set -- /bin/sh -c "$before; exec \"\$@\"" sh "$@"

	{
		echo "$TREE"
		cat
		[ -z "$second" ] || [ "$second" = "$program" ] ||
		    echo "rm -f .$second; $copies .$program .$second"
		echo 'shift 2'
		echo "$START"
	} | host_script "$name" "$lower" "$@"
	rows+=("$name")
}

# Waits until the service runs in each machine.
rows_await()
{
	local name

	for name in "${rows[@]}"; do
		until_true on_host test -e "/var/lib/machines/$name/ready" ||
		    on_host cat "/tmp/$name.log"
	done
}

# For such a script: ends the service, which may just be starting, and waits
# until it has ended.
ENDS='told=
    while pids=$(pidof -x service); do
	[ "$pids" = "$told" ] || kill $pids
	told=$pids
	sleep 0.1
    done'

# For such a script: write PATH makes a script of the lines on stdin.
WRITE='write() { mkdir -p "$(dirname "$1")"; { echo "#!/bin/sh"; cat; } >"$1"
    chmod 0755 "$1"; }'

# These machines have functions of their own, since other tests give them other
# names.
row_runit()
{
	row "$1" "$inits" /sbin/runit @ <<-END
	$WRITE
	rm -rf etc/runit etc/service
	echo : | write etc/runit/1
	echo 'exec runsvdir -P /etc/service' | write etc/runit/2
	echo 'sv -w 20 force-stop /etc/service/*; sv exit /etc/service/*' |
	    write etc/runit/3
	echo 'exec /service' | write etc/service/x/run
	END
}

row_overlay()
{
	row "$1" "$inits" /usr/bin/s6-svscan /bin/sh -c \
	    'cp -a /sv /run/service
	    exec 4>/dev/null; exec @ -d4 -- /run/service' <<-END
	$WRITE
	echo 'exec /service' | write sv/x/run
	END
}

# row_busybox NAME [LOWER]
row_busybox()
{
	row "$1" "${2:-$inits}" /bin/busybox @ init <<-END
	$WRITE
	printf '%s\n' '::once:/service' '::shutdown:/stop' >etc/inittab
	echo '${ENDS//pidof -x/busybox pidof}' | write stop
	END
}

row_systemd()
{
	row "$1" /tree /lib/systemd/systemd @ <<-'END'
	printf '%s\n' '[Service]' 'ExecStart=/service' 'KillMode=mixed' \
	    >etc/systemd/system/x.service
	mkdir -p etc/systemd/system/multi-user.target.wants
	ln -s ../x.service etc/systemd/system/multi-user.target.wants/
	END
}

rows_of_supervisors()
{
	row_runit runit
	row runsvdir "$inits" /usr/bin/runsvdir @ /sv <<-END
	$WRITE
	echo 'exec /service' | write sv/x/run
	END
	row s6 "$inits" /usr/bin/s6-svscan @ /sv <<-END
	$WRITE
	echo 'exec /service' | write sv/x/run
	END
	row_overlay overlay
	row s6-linux "$inits" /usr/bin/s6-svscan /bin/sh -c \
	    'cp -a /sv /run/service
	    exec 3>/dev/null; exec @ -X3 -- /run/service' <<-END
	$WRITE
	echo 'exec /service' | write sv/x/run
	echo : | write sv/.s6-svscan/SIGTERM
	echo 's6-svscanctl -t /run/service' | write sv/.s6-svscan/SIGUSR1
	END
	row supervisord "$inits" /usr/bin/supervisord @ -n -c /etc/s.conf \
	    <<-'END'
	printf '%s\n' '[supervisord]' '[program:x]' 'command=/service' \
	    >etc/s.conf
	END
}

rows_of_inits()
{
	# busybox runs an applet only by its own name.
	[ "$second" = /sbin/myinit ] || row_busybox busybox
	for suite in bookworm trixie; do
		lower=$inits
		[ "$suite" = bookworm ] || lower=$newer
		row "sysvinit-$suite" "$lower" /sbin/init @ <<-END
		printf '%s\n' 'id:2:initdefault:' 'x:2:respawn:/service' \
		    '0:0:wait:/sbin/halt -d -f -p' >etc/inittab
		END
	done
	row openrc "$inits" /sbin/openrc-init @ <<-END
	$WRITE
	# Without /run/openrc openrc-init uses a whole processor.
	write sbin/openrc <<-'RC'
	mkdir -p /run/openrc
	case \$1 in
	default) /service & ;;
	shutdown) $ENDS ;;
	esac
	RC
	END
	row finit "$inits" /sbin/finit @ <<-END
	echo 'service [2345] /service -- of the test' >etc/finit.conf
	END
	row void "$inits" /sbin/runit @ /stage <<-END
	$WRITE
	# It has the name and the signals of Void's runit, which has no handler
	# for PWR.
	cp bin/dash sbin/runit.new
	mv sbin/runit.new sbin/runit
	write stage <<-'RUNIT'
	/service & service=\$!
	trap 'if [ -x /etc/stopit ]; then $ENDS; exit 0; fi' CONT
	trap : INT
	trap '' TERM
	while :; do wait; done
	RUNIT
	rm sbin/init
	write sbin/init <<-'INIT'
	[ "\$*" = 0 ] || exit 1
	echo >/etc/stopit
	chmod 0755 /etc/stopit
	kill -CONT 1
	INIT
	END
	row_systemd systemd
}

rows_of_programs()
{
	for program in tini dumb-init catatonit; do
		row "$program" "$inits" "/usr/bin/$program" @ -- /service \
		    </dev/null
	done
}

# Those without a program that could be given another name.
rows_of_others()
{
	row stub "$inits" /service --as-pid2 /service </dev/null
	row shell "$inits" /service @ </dev/null
	row sleep "$inits" /bin/sleep @ 600 </dev/null
}

# The machines, and what --verbose says of each: its init, and how it was
# stopped.
CLEAN='runit|runit|sent SIGPWR
void|runit|ran init 0
busybox|busybox init|sent SIGUSR2
sysvinit-bookworm|sysvinit|ran init 0
sysvinit-trixie|sysvinit|sent SIGRTMIN+4
openrc|openrc-init|sent SIGTERM
finit|finit|sent SIGUSR2
s6|s6-svscan|sent SIGTERM
overlay|s6-svscan|sent SIGTERM
s6-linux|s6-linux-init|sent SIGUSR1
supervisord|supervisord|sent SIGTERM
systemd|systemd|sent SIGRTMIN+4
tini|tini|sent SIGTERM
dumb-init|dumb-init|sent SIGTERM
catatonit|catatonit|sent SIGTERM
stub|systemd-nspawn'\''s stub|sent SIGRTMIN+4
shell|service|sent SIGTERM'
