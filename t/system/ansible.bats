#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
#
# Debian's ansible with the inventory of the manual, as it stands there, on real
# machines.  node1 and node2 are the test host, over ssh.

load ../common
load ../machines
load ../examples

TREES=/var/lib/machines

setup_file()
{
	local program

	for program in ansible-playbook dropbear ssh; do
		command -v "$program" >/dev/null ||
		    cannot "there is no $program"
	done
	host_start
	# The programs that Ansible needs are this system's, also in machines.
	for name in web 'db -U'; do
		# shellcheck disable=SC2086,SC2153
		host machine "$HOST" scope $name --bind-ro=/outer/usr:/usr \
		    --bind-ro=/outer/usr/lib64:/lib64 -- /usr/bin/sleep infinity
	done
	on_host sh -c 'cat >>/var/lib/machines/db/etc/passwd' <<-'END'
	postgres:x:1001:1001::/home/postgres:/bin/sh
	END
	enter db install -d -o 1001 /home/postgres
	host_script "$BIN" <<-'END'
	mkdir -p /run/layer/bin /root/.ssh /tmp/play
	ln -s "$1/nspawn-enter" "$1/nspawn-stop" /run/layer/bin
	cat >/root/.ssh/config <<-CONFIG
	Host node1 node2
	HostName 127.0.0.1
	StrictHostKeyChecking no
	UserKnownHostsFile /dev/null
	LogLevel ERROR
	CONFIG
	END
	example_script nspawn-enter.1 'An inventory of ansible whose hosts are'\
' machines, one of node1 and one of node2:' |
	    on_host sh -c 'cat >/tmp/play/hosts'
	here sh -euc 'ssh-keygen -q -t ed25519 -N "" -f /root/.ssh/id_ed25519
	cp /root/.ssh/id_ed25519.pub /root/.ssh/authorized_keys
	dropbearkey -t ed25519 -f /run/key >/dev/null 2>&1
	dropbear -r /run/key -p 127.0.0.1:22'
}

# Runs a command in the host, where /usr is this system's and has both programs,
# too.  A session of ssh has a PATH of its own.
here()
{
	# shellcheck disable=SC2016 # for that shell to expand
	on_host env -C /tmp/play unshare --mount sh -euc 'mount -t overlay \
	    -o ro,lowerdir=/run/layer:/outer/usr of-test /usr; exec "$@"' \
	    sh "$@"
}

@test "a play over machines changes them, and not the host" {
	host_script <<-'END'
	cd /tmp/play
	head -c 300000 /dev/urandom >sent
	echo 'name: {{ ansible_hostname }}' >page.j2
	cat >site.yml <<-'PLAY'
	- hosts: machines
	  gather_subset: min
	  tasks:
	  - command: id -un
	    register: user
	  - copy: src=sent dest=~/sent mode=640
	  - lineinfile: path=~/line create=yes line={{ user.stdout }}
	  - template: src=page.j2 dest=~/page
	  - file: path=~/folder state=directory mode=750
	  - fetch: src=~/sent dest=got
	PLAY
	END
	run -0 here env ANSIBLE_PIPELINING=1 \
	    ansible-playbook -i hosts -l web site.yml
	host_script <<-'END'
	cd /var/lib/machines/web/root
	cmp /tmp/play/sent sent
	cmp /tmp/play/sent /tmp/play/got/web/root/sent
	[ "$(stat -c %a sent folder | xargs)" = '640 750' ]
	[ "$(cat page)" = 'name: web' ]
	[ "$(cat line)" = root ]
	[ "$(ls /root)" = '' ]
	END
}

# module INVENTORY HOST MODULE ARGUMENTS: runs it, without a warning of where
# python3 was found.
module()
{
	here env ANSIBLE_PYTHON_INTERPRETER=auto_silent ansible -i "$1" "$2" \
	    -m "$3" -a "$4"
}

@test "another user of a machine gets files, too" {
	on_host sh -c 'sed "s/-enter db/-enter -u postgres db/" \
	    /tmp/play/hosts >/tmp/play/postgres'
	run -0 module postgres db copy 'src=hosts dest=~/of-test'
	run -0 enter db stat -c %U /home/postgres/of-test
	[ "$output" = postgres ]
	on_host cmp /tmp/play/hosts "$TREES/db/home/postgres/of-test"
}

@test "a command that fails in a machine fails for ansible" {
	run -2 module hosts web raw 'echo out; echo err >&2; exit 7'
	[[ "$output" == *'web | FAILED | rc=7 >>'*out*err* ]]
	on_host sh -c 'sed "s/-enter web/-enter gone/" \
	    /tmp/play/hosts >/tmp/play/gone'
	run -2 module gone web raw true
	[[ "$output" == *'nspawn-enter: gone: is not running'* ]]
}

@test "without the name of a host ansible runs nothing" {
	on_host sh -c 'sed "s/ansible_ssh_extra_args[^ ]*//" \
	    /tmp/play/hosts >/tmp/play/nowhere'
	run -4 module nowhere web raw 'touch /ran'
	[[ "$output" == *'hostname contains invalid characters'* ]]
	run ! on_host ls /ran "$TREES/web/ran"
}

# The manual warns of this.
@test "become leaves out nspawn-enter, or cannot copy files" {
	on_host sh -c 'cat >/tmp/play/become' <<-'END'
	web ansible_connection=local ansible_become=yes ansible_become_method=sudo ansible_become_flags='' ansible_become_exe='nspawn-enter web'
	END
	host=$(on_host hostname)
	run -0 module become web command hostname
	[[ "$output" == *$'\n'"$host" ]]
	run -0 here env ANSIBLE_BECOME_ALLOW_SAME_USER=1 ANSIBLE_PIPELINING=1 \
	    ansible -i become web -m command -a hostname
	[[ "$output" == *$'\nweb' ]]
	run ! here env ANSIBLE_BECOME_ALLOW_SAME_USER=1 ANSIBLE_PIPELINING=1 \
	    ansible -i become web -m copy -a 'src=hosts dest=/root/hosts'
	[[ "$output" == *"Source "*" not found"* ]]
}

@test "the manual's command for many hosts runs in a machine on each" {
	line='A command in a machine on each of many hosts, with pdsh or ansible:'
	on_host sh -c 'printf "%s\n" "[nodes]" node1 node2 >/tmp/play/nodes'
	script=$(example_script nspawn-enter.1 "$line" | grep ^ansible)
	run -0 here env ANSIBLE_INVENTORY=nodes sh -c "$script"
	[ "$(grep -c ' load average: ' <<<"$output")" = 2 ]
}
