#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
# bats file_tags=releases
#
# Settings files and options tell systemd-nspawn how its machine is to be
# stopped, and nspawn-stop has to know it: systemd-nspawn itself shows what is
# right when it gets TERM.  t/settings.bash explains the columns.

load ../common
load ../machines

setup_file()
{
	host_start
	images_start
}

# Makes a small raw image, and stands in for udev, which systemd-nspawn wants to
# see before it uses a loop device.
images_start()
{
	local tree=$BATS_FILE_TMPDIR/tree

	mkdir -p "$tree"/usr/{bin,sbin,lib} \
	    "$tree"/{dev,etc,out,proc,root,run,sys,tmp,var}
	echo ID=settings >"$tree/etc/os-release"
	cp "$TOP/build/static/catcher" "$tree/usr/bin"
	truncate -s 1M "$BATS_FILE_TMPDIR/image.raw"
	mkfs.ext4 -q -O ^has_journal -d "$tree" "$BATS_FILE_TMPDIR/image.raw"
	# If our /tmp is a tmpfs, the host does not see it.
	on_host sh -c 'cat >/var/lib/machines/image.raw' \
	    <"$BATS_FILE_TMPDIR/image.raw"
	udev_stand_in
}

# rows VERB: checks that none of the rows on stdin is wrong or left out.
rows()
{
	local count

	cat >"$BATS_TEST_TMPDIR/rows"
	count=$(grep -vc '^[[:blank:]]' "$BATS_TEST_TMPDIR/rows")
	run on_host bash /src/t/settings.bash "$1" "$BIN" \
	    <"$BATS_TEST_TMPDIR/rows"
	echo "status $status: $output"
	[ "$output" = "$count rows" ]
}

@test "a settings file counts where systemd-nspawn reads it" {
	rows table <<-'END'
	none||$MD|-
	in /etc|etc QUIT|$MD|QUIT
	in /run|run QUIT|$MD|QUIT
	beside the tree|beside QUIT|$MD|QUIT
	/etc before /run|etc QUIT; run HUP|$MD|QUIT
	/etc before that beside|etc QUIT; beside HUP|$MD|QUIT
	/run before that beside|run QUIT; beside HUP|$MD|QUIT
	/etc before both|etc QUIT; run HUP; beside USR1|$MD|QUIT
	one without KillSignal= in /etc
	    |etc '[Exec]\nBoot=no\n'; run HUP|$MD|-
	one without KillSignal= in /run
	    |run '[Network]\n'; beside HUP|$MD|-
	an empty one in /etc|etc ''; run HUP; beside HUP|$MD|-
	an empty one in /run|run ''; beside HUP|$MD|-
	/dev/null in /etc
	    |run HUP; ln -s /dev/null /etc/systemd/nspawn/$n.nspawn|$MD|-
	/dev/null in /run
	    |beside HUP; ln -s /dev/null /run/systemd/nspawn/$n.nspawn|$MD|-
	a link in /etc
	    |put $w/x QUIT; ln -s $w/x /etc/systemd/nspawn/$n.nspawn|$MD|QUIT
	a relative link in /etc
	    |run QUIT; ln -s ../../../run/systemd/nspawn/$n.nspawn
	    /etc/systemd/nspawn|$MD|QUIT
	a link beside|put $w/x QUIT; ln -s x $w/$n.nspawn|$MD|QUIT
	a link to nothing in /etc, one in /run
	    |run QUIT; ln -s nothing /etc/systemd/nspawn/$n.nspawn|$MD|QUIT
	a link to nothing in /run, one beside
	    |beside QUIT; ln -s nothing /run/systemd/nspawn/$n.nspawn|$MD|QUIT
	a link to nothing beside|ln -s nothing $w/$n.nspawn|$MD|-
	one that only root can read
	    |etc QUIT; chmod 0 /etc/systemd/nspawn/$n.nspawn|$MD|QUIT
	one that only root can read, before another
	    |etc QUIT; chmod 0 /etc/systemd/nspawn/$n.nspawn; run HUP|$MD|QUIT
	one of another user
	    |beside QUIT; chown 1000:1000 $w/$n.nspawn|$MD|QUIT
	one in /usr/lib|put /usr/lib/systemd/nspawn/$n.nspawn HUP|$MD|-
	one in /usr/local/lib
	    |put /usr/local/lib/systemd/nspawn/$n.nspawn HUP|$MD|-
	one in the tree|put $w/$n/etc/systemd/nspawn/$n.nspawn HUP|$MD|-
	one in a .nspawn.d
	    |put /etc/systemd/nspawn/$n.nspawn.d/x.nspawn HUP
	    ;put /etc/systemd/nspawn/$n.nspawn.d/x.conf HUP|$MD|-
	one of a name that ends so|put /etc/systemd/nspawn/x$n.nspawn HUP|$MD|-
	one in capitals|put $w/${n^^}.nspawn HUP|$MD|-
	one without .nspawn|put /etc/systemd/nspawn/$n HUP|$MD|-
	a view of its own on /etc/systemd/nspawn
	    |put $w/v/$n.nspawn QUIT; view $w/v|$MD|QUIT
	a view without what others see
	    |mkdir v; etc HUP; view $w/v|$MD|-
	a root of its own|put v/$n.nspawn QUIT; etc HUP; in_root $w/v|$MD|QUIT
	a root of its own, beside|mkdir v; beside QUIT; in_root $w/v|$MD|QUIT
	a user namespace|etc QUIT; chmod 0777 out; chmod 0666 out/up|$MD -U|QUIT
	END
}

@test "a settings file has the name of the machine or of its tree" {
	rows table <<-'END'
	a tree of another name|mv $n x; etc QUIT|-M $n -D $w/x|QUIT
	a tree of another name, beside
	    |mv $n x; beside QUIT; put x.nspawn HUP|-M $n -D $w/x|QUIT
	the tree's name is not it
	    |mv $n x; put x.nspawn HUP|-M $n -D $w/x|-
	no -M|etc QUIT|-D $w/$n|QUIT
	no -M, beside|beside QUIT|-D $w/$n|QUIT
	a slash|etc QUIT|-D $w/$n/|QUIT
	a slash, beside|beside QUIT|-D $w/$n/|QUIT
	-M and a slash, beside|beside QUIT; put $n/$n.nspawn HUP|$MD/|QUIT
	slashes|beside QUIT|-D $w//$n//|QUIT
	a dot|beside QUIT|-D $w/./$n/.|QUIT
	relative|beside QUIT|-D $n|QUIT
	relative, with dots|beside QUIT|-D ./$n/|QUIT
	relative, -M|beside QUIT|-M $n -D $n|QUIT
	the working folder, named
	    |beside QUIT; put $n/$n.nspawn HUP; cd $n|-D .|QUIT
	the working folder|beside QUIT; cd $n|--quiet|QUIT
	the working folder, in /etc|etc QUIT; cd $n|--quiet|QUIT
	characters that no name has
	    |mv $n my_$n; put my$n.nspawn QUIT; put my_$n.nspawn HUP
	    |-D $w/my_$n|QUIT
	the same in /etc
	    |mv $n my_$n; put /etc/systemd/nspawn/my$n.nspawn QUIT|-D my_$n|QUIT
	a dot in it|mv $n $n.x; etc HUP; put $n.x.nspawn QUIT|-D $w/$n.x|QUIT
	a folder with .raw
	    |mv $n $n.raw; put $n.raw.nspawn QUIT; beside HUP
	    |-D $w/$n.raw|QUIT
	capitals|mv $n X$n; put X$n.nspawn QUIT|-D X$n|QUIT
	ephemeral|etc QUIT|-D $w/$n -x|QUIT
	ephemeral, /run|run QUIT|-D $w/$n --ephemeral|QUIT
	ephemeral, beside|beside QUIT|-x -D $w/$n|QUIT
	ephemeral, a slash|beside QUIT|-xD $w/$n/|QUIT
	ephemeral, -M
	    |mv $n x; etc QUIT; put x.nspawn HUP|-M $n -D $w/x -x|QUIT
	ephemeral, -M, beside
	    |mv $n x; beside QUIT; put x.nspawn HUP|-M $n -D $w/x -x|QUIT
	ephemeral, characters that no name has
	    |mv $n my_$n; put my$n.nspawn QUIT|-x -D my_$n|QUIT
	a link to the tree
	    |mkdir x; mv $n x/y; ln -s x/y $n; beside QUIT
	    ;put x/y.nspawn HUP; put x/$n.nspawn HUP|-D $w/$n|QUIT
	a link to the tree, a slash
	    |mkdir x; mv $n x/y; ln -s x/y $n; beside QUIT
	    ;put x/y.nspawn HUP; put x/$n.nspawn HUP|-D $w/$n/|QUIT
	a link on the way|mkdir x; mv $n x; beside HUP; ln -s . y
	    ;put x/$n.nspawn QUIT|-D $w/y/x/$n|QUIT
	a template|mv $n x; etc QUIT; put x.nspawn HUP
	    |-D $w/$n --template=$w/x|QUIT
	a template, beside|mv $n x; beside QUIT; put x.nspawn HUP
	    |-D $w/$n --template $w/x|QUIT
	of /var/lib/machines
	    |mv $n /var/lib/machines; etc QUIT|-M $n|QUIT
	of /var/lib/machines, beside
	    |mv $n /var/lib/machines
	    ;put /var/lib/machines/$n.nspawn QUIT|-M $n|QUIT
	of /var/lib/machines, ephemeral, beside
	    |mv $n /var/lib/machines
	    ;put /var/lib/machines/$n.nspawn QUIT|-M $n -x|QUIT
	of /run/machines, beside
	    |mkdir -p /run/machines; mv $n /run/machines
	    ;put /run/machines/$n.nspawn QUIT|-M $n|QUIT
	of /etc/machines, beside
	    |mkdir -p /etc/machines; mv $n /etc/machines
	    ;put /etc/machines/$n.nspawn QUIT
	    ;put /var/lib/machines/$n.nspawn HUP|-M $n|QUIT
	of /usr/local/lib/machines, beside
	    |mkdir -p /usr/local/lib/machines; mv $n /usr/local/lib/machines
	    ;put /usr/local/lib/machines/$n.nspawn QUIT|-M $n|QUIT
	-D given twice|beside QUIT; put x/x.nspawn HUP; put x.nspawn HUP
	    |-D $w/x --directory=$w/$n|QUIT
	an image|image $n.raw; etc QUIT|-i $w/$n.raw|QUIT
	an image, beside
	    |image $n.raw; beside QUIT; put $n.raw.nspawn HUP|-i $w/$n.raw|QUIT
	an image, -M
	    |image x.raw; etc QUIT; put x.nspawn HUP|-M $n -i $w/x.raw|QUIT
	an image, -M, beside
	    |image x.raw; beside QUIT; put x.nspawn HUP
	    |-M $n --image=$w/x.raw|QUIT
	an image, -M, not its name
	    |image x.raw; put x.nspawn HUP|-M $n --image $w/x.raw|-
	an image, relative|image $n.raw; beside QUIT|-i $n.raw|QUIT
	an image without .raw
	    |image x$n; put x$n.nspawn QUIT|-i $w/x$n|QUIT
	an image with another suffix
	    |image $n.img; put $n.img.nspawn QUIT; beside HUP|-i $n.img|QUIT
	an image of /var/lib/machines
	    |image /var/lib/machines/$n.raw; etc QUIT|-M $n|QUIT
	an image of /var/lib/machines, beside
	    |image /var/lib/machines/$n.raw
	    ;put /var/lib/machines/$n.nspawn QUIT|-M $n|QUIT
	an ephemeral image|image $n.raw; beside QUIT|-x -i $n.raw|QUIT
	an OCI bundle|bundle; etc HUP; put x.nspawn HUP; put rootfs.nspawn HUP
	    |-M $n --oci-bundle=$w/x|-
	an OCI bundle, and an option|bundle; etc HUP
	    |-M $n --oci-bundle=$w/x --kill-signal=QUIT|QUIT
	an OCI bundle, override|bundle; etc HUP
	    |-M $n --oci-bundle $w/x --settings=override --kill-signal=QUIT
	    |QUIT
	-M given twice|mv $n x; etc QUIT; put x.nspawn HUP
	    ;put y.nspawn HUP|-M y -D $w/x --machine $n|QUIT
	-M in one word|mv $n x; beside QUIT|-M$n -D$w/x|QUIT
	-M shortened|mv $n x; beside QUIT|--mach=$n --dir=$w/x|QUIT
	-M behind another letter|mv $n x; beside QUIT|-qM$n -xD $w/x|QUIT
	END
}

@test "--settings= and --kill-signal= count as they do for systemd-nspawn" {
	rows table <<-'END'
	yes|etc QUIT|$MD --settings=yes|QUIT
	override|etc QUIT|$MD --settings=override|QUIT
	trusted|etc QUIT|$MD --settings=trusted|QUIT
	no|etc HUP|$MD --settings=no|-
	yes, beside|beside QUIT|$MD --settings=yes|QUIT
	override, beside|beside QUIT|$MD --settings=override|QUIT
	trusted, beside|beside QUIT|$MD --settings=trusted|QUIT
	no, beside|beside HUP|$MD --settings=no|-
	both|etc HUP|$MD --kill-signal=QUIT|QUIT
	both, yes|etc HUP|$MD --settings=yes --kill-signal=QUIT|QUIT
	both, override|etc QUIT|$MD --settings=override --kill-signal=HUP|QUIT
	both, trusted|etc HUP|$MD --settings=trusted --kill-signal=QUIT|QUIT
	both, no|etc HUP|$MD --settings=no --kill-signal=QUIT|QUIT
	both, override last
	    |etc QUIT|$MD --kill-signal=HUP --settings=override|QUIT
	override, beside
	    |beside QUIT|$MD --kill-signal=HUP --settings=override|QUIT
	override, no file|
	    |$MD --kill-signal=QUIT --settings=override|QUIT
	override, a file without it
	    |etc '[Exec]\n'; run HUP
	    |$MD --kill-signal=QUIT --settings=override|QUIT
	override, an unknown one
	    |etc NOSUCH|$MD --kill-signal=QUIT --settings=override|QUIT
	true|etc QUIT|$MD --settings=true|QUIT
	1|etc QUIT|$MD --settings=1|QUIT
	ON|etc QUIT|$MD --settings=ON|QUIT
	y|etc QUIT|$MD --settings=y|QUIT
	false|etc HUP|$MD --settings=false|-
	0|etc HUP|$MD --settings=0|-
	Off|etc HUP|$MD --settings=Off|-
	n|etc HUP|$MD --settings=n|-
	f|etc HUP|$MD --settings=f|-
	two words|etc HUP|$MD --settings no|-
	shortened|etc HUP|$MD --sett=no|-
	no, yes|etc QUIT|$MD --settings=no --settings=yes|QUIT
	yes, no|etc HUP|$MD --settings=yes --settings=no|-
	no, override, both
	    |etc QUIT|$MD --settings=no --settings=override --kill-signal=HUP
	    |QUIT
	override, yes, both
	    |etc HUP|$MD --settings=override --settings=yes --kill-signal=QUIT
	    |QUIT
	yes, override, both
	    |etc QUIT|$MD --settings=yes --settings=override --kill-signal=HUP
	    |QUIT
	override, trusted, both
	    |etc HUP
	    |$MD --settings=override --kill-signal=QUIT --settings=trusted|QUIT
	override, no, both
	    |etc HUP|$MD --settings=override --settings=no --kill-signal=QUIT
	    |QUIT
	override, no|etc HUP|$MD --settings=override --settings=no|-
	for the payload|etc QUIT; payload+=(--settings=no)|$MD|QUIT
	a signal||$MD --kill-signal=QUIT|QUIT
	in two words||$MD --kill-signal QUIT|QUIT
	shortened||$MD --kill-s=QUIT|QUIT
	more so, in two words||$MD --ki QUIT|QUIT
	twice||$MD --kill-signal=HUP --kill-signal=QUIT|QUIT
	with SIG||$MD --kill-signal=SIGQUIT|QUIT
	a number||$MD --kill-signal=3|QUIT
	a real-time one||$MD --kill-signal=RTMIN+5|39
	a real-time one, from above||$MD --kill-signal=SIGRTMAX-2|62
	a hexadecimal number||$MD --kill-signal=0x3|QUIT
	for the payload|payload+=(--kill-signal=HUP)|$MD|-
	behind --|payload=(-- /usr/bin/catcher --kill-signal=HUP)|$MD|-
	behind an option with an argument of its own
	    |ln -s $n ./--kill-signal=HUP
	    |-M $n -D --kill-signal=HUP|-
	behind an option that may have an argument
	    ||$MD --volatile --kill-signal=QUIT|QUIT
	in another option||$MD -E x=--kill-signal=HUP|-
	in another option, two words||$MD --setenv x=--settings=no
	    --kill-signal=QUIT|QUIT
	KILL is never sent||$MD --kill-signal=KILL|-
	KILL of a file is never sent|etc KILL|$MD|-
	KILL before a file's|etc HUP|$MD --kill-signal=KILL|-
	KILL of a file before an option
	    |etc KILL|$MD --kill-signal=HUP --settings=override|-
	STOP is never sent||$MD --kill-signal=STOP|?|TERM
	STOP of a file is never sent|etc STOP|$MD|?|TERM
	END
}

@test "an explicit TERM replaces an init's own signal, --boot does not" {
	rows table <<-'END'
	an init's own|as_runit|$MD|-
	a file's TERM|as_runit; etc TERM|$MD|TERM
	a file's TERM, beside|as_runit; beside SIGTERM|$MD|TERM
	an option's TERM|as_runit|$MD --kill-signal=TERM|TERM
	an option's TERM before a file's
	    |as_runit; etc HUP|$MD --kill-signal=TERM|TERM
	a file's TERM before an option's
	    |as_runit; etc 15|$MD --kill-signal=HUP --settings=override|TERM
	a file's PWR|as_runit; etc PWR|$MD|PWR
	a file's QUIT|as_runit; etc QUIT|$MD|QUIT
	an unknown one|as_runit; etc NOSUCH|$MD|-
	a file that is not read|as_runit; etc TERM|$MD --settings=no|-
	--boot|as_init|$MD --boot|boot
	-b|as_init|$MD -b|boot
	--boot and an option|as_init|$MD -b --kill-signal=QUIT|QUIT
	--boot and a file|as_init; etc QUIT|$MD --boot|QUIT
	--boot and a file beside|as_init; beside QUIT|$MD --boot|QUIT
	--boot and both|as_init; etc HUP|$MD --boot --kill-signal=QUIT|QUIT
	--boot and both, override|as_init; etc QUIT
	    |$MD --boot --kill-signal=HUP --settings=override|QUIT
	--boot, a file that is not read
	    |as_init; etc HUP|$MD --boot --settings=no|boot
	--boot and an unknown one|as_init; etc NOSUCH|$MD --boot|boot
	--boot and TERM|as_init; etc TERM|$MD --boot|TERM
	--boot and RTMIN+3 of an option
	    |as_init|$MD --boot --kill-signal=RTMIN+3|37
	--boot and RTMIN+3 of a file|as_init; etc RTMIN+3|$MD --boot|37
	RTMIN+3 of a file|etc RTMIN+3|$MD|37
	RTMIN+3 of an option||$MD --kill-signal=SIGRTMIN+3|37
	Boot=yes|as_init; etc '[Exec]\nBoot=yes\n'|$MD|boot
	Boot=1, beside|as_init; beside '[Exec]\nBoot=1\n'|$MD|boot
	Boot=yes and a signal
	    |as_init; etc '[Exec]\nBoot=yes\nKillSignal=QUIT\n'|$MD|QUIT
	Boot=yes and an option
	    |as_init; etc '[Exec]\nBoot=yes\n'|$MD --kill-signal=QUIT|QUIT
	Boot=yes, and a command|etc '[Exec]\nBoot=yes\n'|$MD|-
	Boot=no, and a signal
	    |etc '[Exec]\nBoot=no\nKillSignal=QUIT\n'|$MD|QUIT
	END
}

# Every signal that has a name, in a file and as an option.
signals()
{
	local signal

	for signal in HUP INT QUIT ILL TRAP ABRT BUS FPE USR1 SEGV USR2 PIPE \
	    ALRM TERM STKFLT CHLD CONT TSTP TTIN TTOU URG XCPU XFSZ VTALRM \
	    PROF WINCH IO PWR SYS; do
		echo "$signal|etc $signal|\$MD|$signal"
		echo "SIG$signal||\$MD --kill-signal=SIG$signal|$signal"
	done
}

@test "every form of a signal that systemd-nspawn knows counts" {
	{
		signals
		cat <<-'END'
		a number|etc 3|$MD|QUIT
		the highest|etc 64|$MD|64
		one of libc's own|etc 32|$MD|32
		the other of libc's own|etc 33|$MD|33
		hexadecimal|etc 0x3|$MD|QUIT
		octal|etc 017|$MD|TERM
		with a sign|etc +3|$MD|QUIT
		real-time|etc RTMIN|$MD|34
		real-time, SIG|etc SIGRTMIN|$MD|34
		real-time and 0|etc RTMIN+0|$MD|34
		real-time and 4|etc SIGRTMIN+4|$MD|38
		real-time and 30|etc RTMIN+30|$MD|64
		real-time from above|etc RTMAX|$MD|64
		real-time from above, SIG|etc SIGRTMAX|$MD|64
		real-time from above, 4|etc RTMAX-4|$MD|60
		real-time from above, 30|etc SIGRTMAX-30|$MD|34
		too far up|etc RTMIN+31|$MD|-
		too far down|etc RTMAX-31|$MD|-
		up from the top|etc RTMAX+1|$MD|-
		down from the bottom|etc RTMIN-1|$MD|-
		no number behind it|etc RTMIN+|$MD|-
		0|etc 0|$MD|-
		-1|etc -1|$MD|-
		65|etc 65|$MD|-
		a big number|etc 4294967299|$MD|-
		a number and more|etc 3x|$MD|-
		SIG and a number|etc SIG3|$MD|-
		SIG alone|etc SIG|$MD|-
		SIG twice|etc SIGSIGQUIT|$MD|-
		small letters|etc quit|$MD|-
		small letters, SIG|etc sigquit|$MD|-
		another name of CHLD|etc CLD|$MD|-
		another name of IO|etc POLL|$MD|-
		another name of ABRT|etc IOT|$MD|-
		an unknown one|etc NOSUCH|$MD|-
		two|etc 'QUIT HUP'|$MD|-
		with a comma|etc QUIT,|$MD|-
		in quotes|etc '"QUIT"'|$MD|-
		in single quotes|etc "'QUIT'"|$MD|-
		an option's|etc 38|$MD|38
		none|etc none|$MD|-
		END
	} | rows forms
}

@test "a settings file is read as systemd-nspawn reads it" {
	rows forms <<-'END'
	empty|etc '[Exec]\nKillSignal=\n'|$MD|-
	twice|etc '[Exec]\nKillSignal=HUP\nKillSignal=QUIT\n'|$MD|QUIT
	then empty|etc '[Exec]\nKillSignal=QUIT\nKillSignal=\n'|$MD|QUIT
	then unknown|etc '[Exec]\nKillSignal=QUIT\nKillSignal=NO\n'|$MD|QUIT
	first unknown|etc '[Exec]\nKillSignal=NO\nKillSignal=QUIT\n'|$MD|QUIT
	then KILL|etc '[Exec]\nKillSignal=HUP\nKillSignal=KILL\n'|$MD|-
	then 0|etc '[Exec]\nKillSignal=QUIT\nKillSignal=0\n'|$MD|QUIT
	a comment behind it|etc 'QUIT # why'|$MD|-
	another comment behind it|etc 'QUIT ; why'|$MD|-
	a comment|etc '[Exec]\n#KillSignal=HUP\n'|$MD|-
	another comment|etc '[Exec]\n;KillSignal=HUP\n'|$MD|-
	a comment, indented|etc '[Exec]\n \t# KillSignal=HUP\n'|$MD|-
	blanks|etc '[Exec]\n  KillSignal  =  QUIT  \n'|$MD|QUIT
	tabs|etc '[Exec]\n\tKillSignal\t=\tQUIT\t\n'|$MD|QUIT
	blanks around the section
	    |etc '  [Exec]  \nKillSignal=QUIT\n'|$MD|QUIT
	blank lines|etc '\n\n[Exec]\n\n  \nKillSignal=QUIT\n\n'|$MD|QUIT
	no end of the last line|etc '[Exec]\nKillSignal=QUIT\c'|$MD|QUIT
	\r\n|etc '[Exec]\r\nKillSignal=QUIT\r\n'|$MD|QUIT
	\r|etc '[Exec]\rKillSignal=QUIT\r'|$MD|QUIT
	\0|etc '[Exec]\0KillSignal=QUIT\0X=1\n'|$MD|QUIT
	a byte order mark|etc '\xef\xbb\xbf[Exec]\nKillSignal=QUIT\n'|$MD|QUIT
	the next line|etc '[Exec]\nKillSignal=\\\nQUIT\n'|$MD|QUIT
	the next line, indented|etc '[Exec]\nKillSignal=\\\n  QUIT\n'|$MD|QUIT
	the name's next line|etc '[Exec]\nKillSignal\\\n=QUIT\n'|$MD|QUIT
	cut in the middle|etc '[Exec]\nKillSignal=QU\\\nIT\n'|$MD|-
	the line before goes on
	    |etc '[Exec]\nX-A=1 \\\nKillSignal=HUP\n'|$MD|-
	the line before goes on, twice
	    |etc '[Exec]\nX-A=1 \\\n2 \\\nKillSignal=HUP\n'|$MD|-
	the line before goes on, then it ends
	    |etc '[Exec]\nX-A=1 \\\n2\nKillSignal=QUIT\n'|$MD|QUIT
	a comment does not go on
	    |etc '[Exec]\n# 1 \\\nKillSignal=QUIT\n'|$MD|QUIT
	a comment in the middle
	    |etc '[Exec]\nKillSignal=\\\n# which\nQUIT\n'|$MD|QUIT
	a line that goes on at the end
	    |etc '[Exec]\nKillSignal=QUIT\\\n'|$MD|QUIT
	a line that goes on to an empty one
	    |etc '[Exec]\nKillSignal=QUIT\\\n\nX-A=1\n'|$MD|QUIT
	a blank behind the backslash
	    |etc '[Exec]\nX-A=1\\ \nKillSignal=QUIT\n'|$MD|QUIT
	two backslashes|etc '[Exec]\nX-A=1\\\\\nKillSignal=QUIT\n'|$MD|QUIT
	no section|etc 'KillSignal=HUP\n'|$MD|-
	another section|etc '[Network]\nKillSignal=HUP\n'|$MD|-
	one more section|etc '[Files]\nKillSignal=HUP\n[Exec]\n'|$MD|-
	an unknown section|etc '[Service]\nKillSignal=HUP\n'|$MD|-
	a section of somebody's own|etc '[X-Exec]\nKillSignal=HUP\n'|$MD|-
	small letters|etc '[exec]\nKillSignal=HUP\n'|$MD|-
	blanks in the section|etc '[ Exec ]\nKillSignal=HUP\n'|$MD|-
	before the section|etc 'KillSignal=HUP\n[Exec]\n'|$MD|-
	the section twice
	    |etc '[Exec]\nX-A=1\n[Exec]\nKillSignal=QUIT\n'|$MD|QUIT
	the section again
	    |etc '[Exec]\nKillSignal=QUIT\n[Files]\nKillSignal=HUP\n[Exec]\n'
	    |$MD|QUIT
	the section again, and another
	    |etc '[Exec]\nKillSignal=HUP\n[Files]\n[Exec]\nKillSignal=QUIT\n'
	    |$MD|QUIT
	a name in small letters|etc '[Exec]\nkillsignal=HUP\n'|$MD|-
	a name of two words|etc '[Exec]\nKill Signal=HUP\n'|$MD|-
	a longer name|etc '[Exec]\nKillSignals=HUP\n'|$MD|-
	a name that ends so|etc '[Exec]\nXKillSignal=HUP\n'|$MD|-
	a name with -|etc '[Exec]\n-KillSignal=HUP\n'|$MD|-
	no =|etc '[Exec]\nKillSignal QUIT\n'|$MD|-
	two =|etc '[Exec]\nKillSignal==QUIT\n'|$MD|-
	no name|etc '[Exec]\n=HUP\nKillSignal=QUIT\n'|$MD|QUIT
	other lines|etc '[Exec]\nNotifyReady=no\nKillSignal=QUIT\nX-A=1\n'
	    |$MD|QUIT
	a line of 5,000 bytes before
	    |line 5000 >/etc/systemd/nspawn/$n.nspawn|$MD|QUIT
	a line of 900,000 bytes before
	    |line 900000 >/etc/systemd/nspawn/$n.nspawn|$MD|QUIT
	100,000 bytes of lines before
	    |lines 1000 >/etc/systemd/nspawn/$n.nspawn|$MD|QUIT
	1,000,000 bytes of lines before
	    |lines 10000 >/etc/systemd/nspawn/$n.nspawn|$MD|QUIT
	END
}

# What happens after a machine's start.  systemd still knows what nspawn was
# told about a scope that nspawn made; without such a scope there is only the
# file as it is now.
@test "a file that has changed since counts only where systemd cannot tell" {
	rows cases <<-'END'
	scope|another|etc QUIT|$MD|etc HUP; scope_has 3|QUIT
	unregistered|another|etc QUIT|$MD|etc HUP; scope_has 3|QUIT
	orphan|another|etc HUP|$MD|etc QUIT|QUIT
	scope|another beside|beside QUIT|$MD|beside HUP; scope_has 3|QUIT
	orphan|another beside|beside HUP|$MD|beside QUIT|QUIT
	scope|none any more|etc QUIT|$MD
	    |rm /etc/systemd/nspawn/$n.nspawn; scope_has 3|QUIT
	orphan|none any more|etc HUP|$MD
	    |rm /etc/systemd/nspawn/$n.nspawn|TERM
	scope|empty now|etc QUIT|$MD|etc ''; scope_has 3|QUIT
	orphan|empty now|etc HUP|$MD|etc ''|TERM
	scope|an unknown one now|etc QUIT|$MD|etc NOSUCH; scope_has 3|QUIT
	orphan|an unknown one now|etc HUP|$MD|etc NOSUCH|TERM
	scope|none before||$MD|etc HUP; scope_has 15|TERM
	unregistered|none before||$MD|etc HUP; scope_has 15|TERM
	orphan|none before||$MD|etc QUIT|QUIT
	scope|none before, of runit|as_runit|$MD|etc HUP; scope_has 15|PWR
	orphan|none before, of runit|as_runit|$MD|etc QUIT|QUIT
	scope|none before, --boot|as_init|$MD --boot|etc HUP; scope_has 37|TERM
	scope|none before, Boot=|as_init; etc '[Exec]\nBoot=yes\n'|$MD
	    |etc '[Exec]\nBoot=yes\nKillSignal=HUP\n'; scope_has 37|TERM
	orphan|none before, --boot|as_init|$MD --boot|etc QUIT|QUIT
	scope|--boot|as_init; etc QUIT|$MD --boot|etc HUP; scope_has 3|QUIT
	scope|--boot, none any more|as_init; etc QUIT|$MD --boot
	    |rm /etc/systemd/nspawn/$n.nspawn; scope_has 3|QUIT
	scope|another before it|run QUIT|$MD|etc HUP; scope_has 3|QUIT
	orphan|another before it|run HUP|$MD|etc QUIT|QUIT
	scope|override|etc QUIT|$MD --kill-signal=HUP --settings=override
	    |etc USR1; scope_has 3|QUIT
	orphan|override|etc HUP|$MD --kill-signal=INT --settings=override
	    |etc QUIT|QUIT
	orphan|override, none any more|etc HUP
	    |$MD --kill-signal=QUIT --settings=override
	    |rm /etc/systemd/nspawn/$n.nspawn|QUIT
	scope|an option||$MD --kill-signal=QUIT|etc HUP; scope_has 3|QUIT
	orphan|an option||$MD --kill-signal=QUIT|etc HUP|QUIT
	scope|an option's TERM|as_runit|$MD --kill-signal=TERM
	    |etc HUP; scope_has 15|TERM
	orphan|an option's TERM|as_runit|$MD --kill-signal=TERM|etc HUP|TERM
	scope|a folder|etc QUIT|$MD
	    |etc ''; rm /etc/systemd/nspawn/$n.nspawn
	    ;mkdir /etc/systemd/nspawn/$n.nspawn|QUIT
	orphan|a folder|etc HUP|$MD|rm /etc/systemd/nspawn/$n.nspawn
	    ;mkdir /etc/systemd/nspawn/$n.nspawn|TERM
	orphan|a folder, an option||$MD --kill-signal=QUIT
	    |mkdir /etc/systemd/nspawn/$n.nspawn|QUIT
	orphan|a link to itself|etc HUP|$MD
	    |ln -sf $n.nspawn /etc/systemd/nspawn/$n.nspawn|TERM
	orphan|a link to itself, override|etc HUP
	    |$MD --kill-signal=QUIT --settings=override
	    |ln -sf $n.nspawn /etc/systemd/nspawn/$n.nspawn|QUIT
	orphan|a section that does not end||$MD|etc '[Exec\nKillSignal=HUP\n'
	    |TERM
	orphan|a line of 3,000,000 bytes||$MD --kill-signal=QUIT
	    |line 3000000 >/etc/systemd/nspawn/$n.nspawn|QUIT
	scope|nspawn is killed|etc QUIT|$MD|etc HUP; nspawn_is_killed|QUIT
	scope|nspawn is killed, an option||$MD --kill-signal=QUIT
	    |etc HUP; nspawn_is_killed|QUIT
	scope|nspawn is killed, none||$MD|etc HUP; nspawn_is_killed|TERM
	scope|nspawn is killed, --boot|as_init; etc QUIT|$MD --boot
	    |etc HUP; nspawn_is_killed|QUIT
	scope|nspawn is killed, --boot alone|as_init|$MD --boot
	    |nspawn_is_killed|TERM
	scope|but --signal=|etc HUP|$MD|stop_options=(--signal QUIT)|QUIT
	orphan|but --signal=, and an option|etc HUP|$MD --kill-signal=USR1
	    |stop_options=(--signal QUIT)|QUIT
	orphan|no file of its name|etc QUIT|$MD
	    |put /etc/systemd/nspawn/x$n.nspawn HUP|QUIT
	END
}

# A scope or a service that nspawn did not make has a KillSignal= of its own,
# which nspawn was not told.
@test "KillSignal= of a unit that nspawn did not make does not count" {
	rows cases <<-'END'
	orphan|a scope|in_scope|$MD|scope_has 10|TERM
	orphan|a scope, and a file|in_scope; etc QUIT|$MD|scope_has 10|QUIT
	orphan|a scope, and an option|in_scope|$MD --kill-signal=QUIT
	    |scope_has 10|QUIT
	kept|a scope, registered|in_scope|$MD|scope_has 10|TERM
	kept|a scope, registered, and a file|in_scope; etc QUIT|$MD
	    |scope_has 10|QUIT
	kept|a scope, registered, and an option|in_scope
	    |$MD --kill-signal=QUIT|scope_has 10|QUIT
	orphan|a service|in_service|$MD|service_has 10|TERM
	orphan|a service, and a file|in_service; etc QUIT|$MD|service_has 10
	    |QUIT
	kept|a service, registered|in_service|$MD|service_has 10|TERM
	kept|a service, registered, and a file|in_service; etc QUIT|$MD
	    |service_has 10|QUIT
	kept|a service, registered, and an option|in_service
	    |$MD --kill-signal=QUIT|service_has 10|QUIT
	scope|--property=||$MD --kill-signal=QUIT --property=KillSignal=HUP
	    |scope_has 1|QUIT
	END
}

# Machines with a scope, for which systemctl has an answer, and without one.
@test "if systemctl hangs, fails or lies, the file and the options count" {
	rows cases <<-'END'
	scope|hangs|etc QUIT|$MD|systemctl_is 'exec sleep 99'|QUIT
	scope|hangs, an option||$MD --kill-signal=QUIT
	    |systemctl_is 'exec sleep 99'|QUIT
	scope|hangs, nothing told||$MD|systemctl_is 'exec sleep 99'|TERM
	scope|hangs, override|etc QUIT
	    |$MD --kill-signal=HUP --settings=override
	    |systemctl_is 'exec sleep 99'|QUIT
	scope|hangs, --boot|as_init; etc QUIT|$MD --boot
	    |systemctl_is 'exec sleep 99'|QUIT
	unregistered|hangs|etc QUIT|$MD|systemctl_is 'exec sleep 99'|QUIT
	scope|hangs, and 2 s|etc QUIT|$MD
	    |systemctl_is 'exec sleep 99'; timeout=2|QUIT
	scope|hangs and will not end, and 2 s|etc QUIT|$MD
	    |systemctl_is 'trap "" TERM HUP INT; while :; do sleep 9; done'
	    ;timeout=2|QUIT
	scope|hangs, and a child of it, and 2 s|etc QUIT|$MD
	    |systemctl_is 'sleep 30 & exec sleep 30'; timeout=2|QUIT
	scope|both hang, and 4 s|etc QUIT|$MD
	    |systemctl_is 'exec sleep 99' 'exec sleep 99'; timeout=4|QUIT
	scope|both hang|etc QUIT|$MD
	    |systemctl_is 'exec sleep 99' 'exec sleep 99'|QUIT
	scope|is not there|etc QUIT|$MD|caller=(env PATH=/nowhere)|QUIT
	scope|is not there, nothing told||$MD|caller=(env PATH=/nowhere)|TERM
	scope|fails|etc QUIT|$MD|systemctl_is 'exit 1'|QUIT
	scope|fails with an answer|etc QUIT|$MD
	    |systemctl_is 'echo 1; exit 1'|QUIT
	scope|dies|etc QUIT|$MD|systemctl_is 'kill -KILL $$'|QUIT
	scope|says nothing|etc QUIT|$MD|systemctl_is 'exit 0'|QUIT
	scope|says an empty line|etc QUIT|$MD|systemctl_is 'echo'|QUIT
	scope|says 0|etc QUIT|$MD|systemctl_is 'echo 0'|QUIT
	scope|says 65|etc QUIT|$MD|systemctl_is 'echo 65'|QUIT
	scope|says -1|etc QUIT|$MD|systemctl_is 'echo -1'|QUIT
	scope|says a word|etc QUIT|$MD|systemctl_is 'echo SIGHUP'|QUIT
	scope|says a number and more|etc QUIT|$MD|systemctl_is 'echo 1x'|QUIT
	scope|says a big number|etc QUIT|$MD
	    |systemctl_is 'echo 4294967297'|QUIT
	scope|says two lines|etc QUIT|$MD
	    |systemctl_is 'echo 1; echo 1'|QUIT
	scope|says 9, and is not obeyed||$MD|systemctl_is 'echo 9'|TERM
	scope|says 19, and is not obeyed||$MD|systemctl_is 'echo 19'|TERM
	scope|does not end to speak|etc QUIT|$MD
	    |systemctl_is 'exec yes'; timeout=4|QUIT
	END
}

# A process that reads such a file reads for ever, or waits for ever.
@test "a settings file that does not end does not hold nspawn-stop up" {
	rows cases <<-'END'
	orphan|a FIFO||$MD
	    |mkfifo /etc/systemd/nspawn/$n.nspawn; timeout=4|TERM
	orphan|a FIFO beside||$MD|mkfifo $w/$n.nspawn; timeout=4|TERM
	scope|a FIFO|etc QUIT|$MD|rm /etc/systemd/nspawn/$n.nspawn
	    ;mkfifo /etc/systemd/nspawn/$n.nspawn; timeout=4|QUIT
	scope|a FIFO, no systemctl||$MD|mkfifo $w/$n.nspawn; timeout=4
	    ;caller=(env PATH=/nowhere)|TERM
	orphan|a FIFO, an option||$MD --kill-signal=QUIT
	    |mkfifo $w/$n.nspawn; timeout=4|QUIT
	orphan|a FIFO, override||$MD --kill-signal=QUIT --settings=override
	    |mkfifo $w/$n.nspawn; timeout=4|QUIT
	orphan|a FIFO, runit|as_runit|$MD|mkfifo $w/$n.nspawn; timeout=4|PWR
	orphan|a FIFO that is held open||$MD|mkfifo $w/$n.nspawn; timeout=4
	    ;exec 7<>$w/$n.nspawn|TERM
	orphan|a link to a FIFO||$MD|mkfifo x; ln -s $w/x $w/$n.nspawn
	    ;timeout=4|TERM
	orphan|a link to /dev/zero||$MD|ln -s /dev/zero $w/$n.nspawn
	    ;timeout=4|TERM
	orphan|a link to /dev/zero, override||$MD --kill-signal=QUIT
	    --settings=override|ln -s /dev/zero $w/$n.nspawn; timeout=4|QUIT
	orphan|a link to /dev/urandom||$MD|ln -s /dev/urandom $w/$n.nspawn
	    ;timeout=4|TERM
	orphan|a link to a terminal||$MD|ln -s /dev/ptmx $w/$n.nspawn
	    ;timeout=4|TERM
	orphan|a link to a pipe||$MD
	    |exec 7< <(exec sleep 99); ln -s /proc/$BASHPID/fd/7 $w/$n.nspawn
	    ;timeout=4|TERM
	orphan|a file of 1 TB||$MD|truncate -s 1T $w/$n.nspawn; timeout=4|TERM
	orphan|a file of 1 TB, an option||$MD --kill-signal=QUIT
	    --settings=override|truncate -s 1T $w/$n.nspawn; timeout=4|QUIT
	orphan|a file of 100 MB in lines||$MD --kill-signal=QUIT
	    |lines 1000000 >$w/$n.nspawn; timeout=4|QUIT
	orphan|a socket||$MD
	    |perl -MSocket -e 'socket(S, AF_UNIX, SOCK_STREAM, 0);
	    bind(S, pack_sockaddr_un($ARGV[0]))' x; mv x $w/$n.nspawn
	    ;timeout=4|TERM
	orphan|a FUSE that hangs||$MD
	    |fuse_start; ln -s $w/fuse/x $w/$n.nspawn; timeout=4|unknown
	orphan|a FUSE that hangs, an option||$MD --kill-signal=QUIT
	    |fuse_start; ln -s $w/fuse/x $w/$n.nspawn; timeout=4|QUIT
	orphan|a FUSE that hangs, override
	    ||$MD --kill-signal=QUIT --settings=override
	    |fuse_start; ln -s $w/fuse/x $w/$n.nspawn; timeout=4|unknown
	scope|a FUSE that hangs||$MD --kill-signal=QUIT --settings=override
	    |fuse_start; ln -s $w/fuse/x $w/$n.nspawn; timeout=4|QUIT
	scope|a link to /dev/zero|etc QUIT|$MD
	    |ln -sf /dev/zero /etc/systemd/nspawn/$n.nspawn; timeout=4|QUIT
	END
}

# The unit that systemd ships has --boot and --settings=override.  With the
# drop-in of nspawn-stop.8 it stops as it does without, where nspawn is told
# how.
@test "a unit of the template stops as its settings file says" {
	for told in QUIT RTMIN+5 USR2; do
		for line in '' "ExecStop=$BIN/nspawn-stop --timeout 60 %i"; do
			echo "case: $told $line"
			run -0 host_script "$told" "$line" <<-'END'
			tree=/var/lib/machines/told out=/run/told
			mkdir -p "$tree"/usr/lib "$tree"/usr/bin "$tree/etc" \
			    "$tree/usr/sbin" "$out" /etc/systemd/nspawn
			ln -s usr/lib usr/bin usr/sbin "$tree"
			echo ID=told >"$tree/etc/os-release"
			cp /src/build/static/catcher "$tree/usr/sbin/init"
			mkfifo "$out/up"
			chmod 0777 "$out"
			chmod 0666 "$out/up"
			printf '%s\n' '[Exec]' "KillSignal=$1" '[Files]' \
			    "Bind=$out:/out" >/etc/systemd/nspawn/told.nspawn
			unit=systemd-nspawn@told.service
			folder=/run/systemd/system/$unit.d
			mkdir -p "$folder"
			printf '%s\n' '[Service]' "$2" >"$folder/x.conf"
			systemctl daemon-reload
			exec 8<>"$out/up"
			systemctl start "$unit"
			timeout 20 head -n 1 <&8 >/dev/null
			systemctl stop "$unit"
			systemctl show -p Result --value "$unit"
			cat "$out/got"
			rm -rf "$tree" "$out"
			END
			echo "$told, '$line': $output"
			[ "${lines[0]}" = success ]
			case $told in
			QUIT) [ "${lines[1]}" = 3 ] ;;
			USR2) [ "${lines[1]}" = 12 ] ;;
			RTMIN+5) [ "${lines[1]}" = 39 ] ;;
			esac
		done
	done
}

# A script that ends at a signal, and writes its name to /got.
TELLS='for s in HUP QUIT USR1 TERM; do trap "echo $s >/got; exit 0" $s; done; '

# told NAME [SIGNAL]: a machine whose settings file says so.
told()
{
	[ $# = 1 ] || on_host sh -c 'mkdir -p /etc/systemd/nspawn
	    printf "[Exec]\nKillSignal=%s\n" "$2" \
	    >"/etc/systemd/nspawn/$1.nspawn"' '' "$1" "$2"
	machine_sh "$1" "$TELLS$WAITS"
}

@test "several machines each get the right signal, even if systemctl hangs" {
	told one QUIT
	told two HUP
	told three
	told four USR1
	host_script <<-'END'
	mkdir -p /tmp/fake
	printf '#!/bin/sh\nexec sleep 99\n' >/tmp/fake/systemctl
	cp /tmp/fake/systemctl /tmp/fake/machinectl
	chmod 0755 /tmp/fake/*
	END
	began=${EPOCHREALTIME/./}
	run -0 on_host env PATH=/tmp/fake:/usr/bin:/bin "$BIN/nspawn-stop" \
	    --timeout 5 one two three four
	ended=${EPOCHREALTIME/./}
	echo "$(((ended - began) / 1000)) ms: $output"
	[ $((ended - began)) -lt 5500000 ]
	machine_file_is one got QUIT
	machine_file_is two got HUP
	machine_file_is three got TERM
	machine_file_is four got USR1
}

# As root, systemctl does not need D-Bus; systemd-nspawn needs it at its end.
@test "systemd is asked even if D-Bus hangs" {
	told web QUIT
	on_host sh -c 'printf "[Exec]\nKillSignal=HUP\n" \
	    >/etc/systemd/nspawn/web.nspawn'
	bus=$(on_host systemctl show -p MainPID --value dbus)
	on_host kill -STOP "$bus"
	job_start "$BIN/nspawn-stop" --timeout 20 web
	status=0
	until_true on_host test -s /var/lib/machines/web/got || status=$?
	on_host kill -CONT "$bus"
	job_end
	cat "$job_log"
	[ "$status" = 0 ]
	[ "$job_status" = 0 ]
	machine_file_is web got QUIT
}
