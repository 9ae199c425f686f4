#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
#
# Debian's ansible with the plugin and the inventory of the manual, as they are
# there, on real machines.  node1 is the test host, over ssh; node2 is a port of
# it where nothing answers.

load ../common
load ../machines
load ../examples

TREES=/var/lib/machines

setup_file()
{
	need ansible-playbook dropbear ssh
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
	Host node2
	Port 9
	Host node1 node2
	HostName 127.0.0.1
	StrictHostKeyChecking no
	UserKnownHostsFile /dev/null
	LogLevel ERROR
	ControlMaster auto
	ControlPath /run/%C
	ControlPersist 60
	CONFIG
	END
	# The first line has the path of the plugin.
	example_script nspawn-enter.1 'A connection plugin of ansible, whose tasks'\
' then run in machines:' | on_host sh -euc 'read -r path
	case $path in /usr/*.py) path=/run/layer/${path#/usr/} ;; *) exit 1; esac
	mkdir -p "${path%/*}"
	cat >"$path"'
	example_script nspawn-enter.1 'An inventory for it:' |
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

@test "a play changes machines, here and on a node, and not the host" {
	host_script <<-'END'
	cd /tmp/play
	head -c 300000 /dev/urandom >sent
	echo 'name: {{ ansible_hostname }}' >page.j2
	cat >site.yml <<-'PLAY'
	- hosts: web,db
	  vars: { ansible_pipelining: "{{ inventory_hostname == 'web' }}" }
	  gather_subset: min
	  tasks:
	  - command: id -un
	    register: user
	  - copy: src=sent dest=~/sent mode=640
	  - lineinfile: path=~/line create=yes line={{ user.stdout }}
	  - template: src=page.j2 dest=~/page
	  - file: path=~/folder state=directory mode=750
	  - fetch: src=~/sent dest=got
	  - raw: cd; echo $(hostname) >raw; echo "$HOME" >>raw
	  - shell: echo hi >'/tmp/x;cd;id>ran;'
	  - fetch: { src: "/tmp/x;cd;id>ran;", dest: got }
	PLAY
	END
	run -0 here env ANSIBLE_PYTHON_INTERPRETER=/usr/bin/python3 \
	    ansible-playbook -i hosts site.yml
	echo "$output"
	host_script <<-'END'
	for name in web db; do
		cd "/var/lib/machines/$name/root"
		cmp /tmp/play/sent sent
		cmp /tmp/play/sent "/tmp/play/got/$name/root/sent"
		[ "$(stat -c %a sent folder | xargs)" = '640 750' ]
		[ "$(cat page)" = "name: $name" ]
		[ "$(cat line)" = root ]
		[ "$(xargs <raw)" = "$name /root" ]
		[ "$(cat "/tmp/play/got/$name/tmp/x;cd;id>ran;")" = hi ]
	done
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
	on_host sh -c 'sed "s/^db/& ansible_nspawn_user=postgres/" \
	    /tmp/play/hosts >/tmp/play/postgres'
	run -0 module postgres db copy 'src=hosts dest=~/of-test'
	run -0 enter db stat -c %U /home/postgres/of-test
	[ "$output" = postgres ]
	on_host cmp /tmp/play/hosts "$TREES/db/home/postgres/of-test"
}

@test "a command that fails in a machine fails for ansible" {
	run -2 module hosts web raw 'echo out; echo err >&2; exit 7'
	[[ "$output" == *'web | FAILED | rc=7 >>'*out*err* ]]
}

@test "a machine that does not run is unreachable, with the reason" {
	on_host sh -c 'sed "s/web/gone/g; s/db/lost/g" \
	    /tmp/play/hosts >/tmp/play/gone'
	run -4 module gone gone,lost command true
	for name in gone lost; do
		echo "case: $name $output"
		[[ "$output" == *"$name | UNREACHABLE!"* ]]
		[[ "$output" == *"nspawn-enter: $name: is not running"* ]]
	done
}

@test "a machine's name is asked for, and a number has to be quoted" {
	on_host sh -c 'printf "%s\n" "none ansible_connection=nspawn" \
	    "ten ansible_host=10 ansible_connection=nspawn" \
	    "two ansible_host='\''\"22\"'\'' ansible_connection=nspawn" \
	    >/tmp/play/names'
	run ! module names none,ten,two raw true
	echo "$output"
	[[ "$output" == *[Rr]'equired '*machine* ]]
	[[ "$output" == *'invalid ansible_host: quote it'* ]]
	[[ "$output" == *'nspawn-enter: 22: is not running'* ]]
}

# The connection of ssh to node1 stays open meanwhile.
@test "a task for a machine of one node never runs on another node" {
	run -0 module hosts web raw hostname
	run -4 module hosts web2 raw 'touch /ran'
	[[ "$output" == *'web2 | UNREACHABLE!'*'Connection refused'* ]]
	run ! on_host ls /ran
	run ! on_host ls "$TREES/web/ran"
}

@test "what a machine answers neither runs on the host nor moves tasks" {
	host_script <<-'END'
	cd /tmp/play
	sed "s/^web ansible_host=web/evil ansible_host=evil/" hosts >evil
	cat >sh <<-'SH'
	#!/usr/bin/bash
	# The name of ansible's folder for files, and facts of this machine.
	if [[ "$*" == *mkdir*ansible-tmp-* ]]; then
		name=$(grep -o 'ansible-tmp-[0-9.-]*[0-9]' <<<"$*" | head -n 1)
		echo "$name=/tmp/x;id>/root/ran;#\$(id>/root/ran)'\"'"
	elif [[ "$*" == *python* ]]; then
		echo '{"ansible_facts": {"ansible_nspawn_node": "root@node2",
		    "ansible_host": "web", "inventory_hostname": "web",
		    "ansible_nspawn_user": "nobody"}}'
	else
		exec /usr/bin/bash "$@"
	fi
	SH
	chmod 755 sh
	cat >evil.yml <<-'PLAY'
	- hosts: evil
	  gather_facts: no
	  vars: { ansible_python_interpreter: /usr/bin/python3 }
	  tasks:
	  - copy: src=hosts dest=/root/hosts
	    ignore_errors: yes
	  - setup:
	    vars: { ansible_pipelining: yes }
	  - raw: id -un; hostname; touch /ran
	    register: done
	  - debug: msg="{{ done.stdout_lines | join(' of ') }}"
	PLAY
	END
	machine scope evil --bind-ro=/outer/usr:/usr \
	    --bind-ro=/tmp/play/sh:/usr/bin/dash \
	    --bind-ro=/outer/usr/lib64:/lib64 -- /usr/bin/sleep infinity
	run -0 here ansible-playbook -i evil evil.yml
	echo "$output"
	[[ "$output" == *'/tmp/x;id>/root/ran;#'*': No such file'* ]]
	[[ "$output" == *'restricted key'*': ansible_nspawn_node'* ]]
	[[ "$output" == *'"msg": "root of evil"'* ]]
	on_host ls "$TREES/evil/ran"
	[ "$(on_host ls /root)" = '' ]
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
	on_host sh -c 'printf "%s\n" "[nodes]" node1 \
	    "node2 ansible_port=22" >/tmp/play/nodes'
	script=$(example_script nspawn-enter.1 "$line" | grep ^ansible)
	run -0 here env ANSIBLE_INVENTORY=nodes sh -c "$script"
	[ "$(grep -c ' load average: ' <<<"$output")" = 2 ]
}
