# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
# shellcheck shell=bash
#
# Completion of nspawn-enter and nspawn-stop for bash; needs no other package.

# Prints the running machines that the user may see, one per line.
_nspawn_machines()
{
	timeout 2 nspawn-enter --list 2>/dev/null </dev/null | cut -f 1 |
	    grep -vx -- -
}

# Prints the programs of a machine that machined knows.  The machine chooses
# what its folders are and how its files are called.  So a folder is left out if
# a link leads out of the machine, no program starts in it, each list has an
# end, and only plain names get onto the caller's command line.  A folder can
# hang, and then a signal may not end ls: nothing waits longer than 2 s for what
# the folders have.
_nspawn_programs()
{
	local root

	root=$(timeout 2 machinectl show -p RootDirectory --value "$1" \
	    2>/dev/null </dev/null)
	[[ ${root} == /?* ]] || return
	# shellcheck disable=SC2016 # variables of sh
	sh -c 'cd -P "$1" && root=$PWD && for folder in \
	    usr/local/sbin usr/local/bin usr/sbin usr/bin sbin bin; do
		cd -P "${root:?}/$folder" && case $PWD in
		"$root"/*) { cd / && timeout 2 ls -Uq /proc/self/fd/3/ |
		    head -n 5000; } 3<. ;;
		esac
	done &' sh "${root}" 2>/dev/null </dev/null | timeout 2 cat |
	    LC_ALL=C grep -Ex '[A-Za-z0-9_][A-Za-z0-9_.+-]*'
}

# Prints possible arguments of an option, one per line.
_nspawn_arguments()
{
	case $1 in
	-s | --signal)
		printf '%s\n' TERM INT PWR USR1 USR2 HUP RTMIN+3 RTMIN+4 none
		;;
	-t | --timeout) printf '%s\n' 0 10 60 5min 1h infinity ;;
	-e | --setenv) compgen -e ;;
	--only) printf '%s\n' mount uts ipc network pid cgroup time user ;;
	esac
}

# Prints the options, one per line; one that takes an argument ends with "=".
_nspawn_options()
{
	case $1 in
	nspawn-enter)
		printf '%s\n' --no-mount --no-uts --no-ipc -n --no-network -p \
		    --no-pid --no-cgroup --no-time --no-user --only= -u= \
		    --user= -w= --chdir= -e= --setenv= --preserve-env -t --tty \
		    -T --no-tty --privileged --no-seccomp -q --quiet \
		    --foreign --list -h --help --version
		;;
	nspawn-stop)
		printf '%s\n' -t= --timeout= -s= --signal= --strict --dry-run \
		    --foreign -v --verbose -q --quiet -h --help --version
		;;
	esac
}

# _nspawn_candidates PROGRAM CURRENT WORD...: prints the candidates for the word
# CURRENT, which follows the other words, one per line.
_nspawn_candidates()
{
	local program=$1 current=$2 options word awaits='' machine='' over=''
	shift 2

	options=$'\n'$(_nspawn_options "${program}")$'\n'
	for word in "$@"; do
		if [[ -n ${awaits} ]]; then
			awaits=
		elif [[ -z ${over} && ${options} == *$'\n'"${word}="* ]]; then
			awaits=${word}
		elif [[ -z ${over} && ${word} == -- ]]; then
			over=yes
		elif [[ -n ${over} || ${word} != -* ]]; then
			[[ -z ${machine} || ${program} == nspawn-stop ]] ||
			    return	# the command has begun
			machine=${word}
		fi
	done
	if [[ -n ${awaits} ]]; then
		_nspawn_arguments "${awaits}"
	elif [[ -z ${over} && ${current} == --*=* ]]; then
		_nspawn_arguments "${current%%=*}"
	elif [[ -z ${over} && ${current} == -* ]]; then
		while read -r word; do
			[[ ${word} != -?= ]] || word=${word%=}
			printf '%s\n' "${word}"
		done <<<"${options:1:-1}"
	elif [[ -n ${machine} && ${program} == nspawn-enter ]]; then
		_nspawn_programs "${machine}"
	else
		_nspawn_machines
	fi
}

_nspawn_tools()
{
	local words=() rest=${COMP_LINE:0:COMP_POINT}
	local current candidates candidate lead=''
	# A word may have quotes, which are then taken away.
	local word="([^[:space:]\"'\\]|\\\\.|\"([^\"\\]|\\\\.)*\"|'[^']*')+"
	word="^[[:space:]]*(${word})[[:space:]]+"

	# Bash also splits words at "=" and ":"; it replaces only the last part.
	while [[ ${rest} =~ ${word} ]]; do
		words+=("${BASH_REMATCH[1]//[\"\'\\]/}")
		rest=${rest:${#BASH_REMATCH}}
	done
	current=${rest//[\"\'\\]/}
	mapfile -t candidates < <(_nspawn_candidates "${1##*/}" "${current}" \
	    "${words[@]:1}")
	[[ ${current} != --*=* ]] || current=${current#*=}
	[[ ${current} != *,* ]] || lead=${current%,*},
	COMPREPLY=()
	for candidate in "${candidates[@]}"; do
		[[ ${lead}${candidate} != "${current}"* ]] ||
		    COMPREPLY+=("${lead}${candidate}")
	done
	[[ ${#COMPREPLY[@]} != 1 || ${COMPREPLY[0]} != *= ]] ||
	    compopt -o nospace
}

complete -F _nspawn_tools nspawn-enter nspawn-stop
