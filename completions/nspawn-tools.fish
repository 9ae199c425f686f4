# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
#
# Completion of nspawn-enter and nspawn-stop for fish.

# Prints the running machines that the user may see.
function __nspawn_machines
    timeout 2 nspawn-enter --list 2>/dev/null </dev/null | cut -f 1 |
        string match -v -- -
end

# Prints the words before the cursor that are not options or their arguments:
# the machine, and then the command.
function __nspawn_words
    set -l words (commandline -opc)
    set -l awaits no
    set -e words[1]
    for word in $words
        if test $awaits = yes
            set awaits no
        else if contains -- $word --only -u --user -w --chdir -e --setenv
            set awaits yes
        else if not string match -q -- '-*' $word
            echo $word
        end
    end
end

function __nspawn_words_are
    test (count (__nspawn_words)) $argv
end

# Prints the programs of a machine that machined knows.  The machine chooses
# what its folders are and how its files are called.  So a folder is left out if
# a link leads out of the machine, no program starts in it, each list has an
# end, and only plain names get onto the caller's command line.  A folder can
# hang, and then a signal may not end ls: nothing waits longer than 2 s for what
# the folders have.
function __nspawn_programs
    set -l root (timeout 2 machinectl show -p RootDirectory --value \
        (__nspawn_words)[1] 2>/dev/null </dev/null)
    string match -qr '^/.' -- "$root"; or return
    sh -c 'cd -P "$1" && root=$PWD && for folder in \
        usr/local/sbin usr/local/bin usr/sbin usr/bin sbin bin; do
        cd -P "${root:?}/$folder" && case $PWD in
        "$root"/*) { cd / && timeout 2 ls -Uq /proc/self/fd/3/ |
            head -n 5000; } 3<. ;;
        esac
    done &' sh $root 2>/dev/null </dev/null | timeout 2 cat |
        string match -r '^[A-Za-z0-9_][A-Za-z0-9_.+-]*$'
end

complete -c nspawn-enter -f
complete -c nspawn-enter -n '__nspawn_words_are = 0' -a '(__nspawn_machines)'
complete -c nspawn-enter -n '__nspawn_words_are = 1' -a '(__nspawn_programs)'
complete -c nspawn-stop -f -a '(__nspawn_machines)'

# The options after the command's first word belong to the command.
function __nspawn_enter_option
    complete -c nspawn-enter -n '__nspawn_words_are -lt 2' $argv
end

__nspawn_enter_option -s u -l user -x -d 'run as this user of the machine'
__nspawn_enter_option -s w -l chdir -x -d 'start in this directory'
__nspawn_enter_option -s e -l setenv -x -d 'set a variable' -a '(set -xn)'
__nspawn_enter_option -l preserve-env -d 'keep the caller\'s environment'
__nspawn_enter_option -s t -l tty -d 'always give the command a terminal'
__nspawn_enter_option -s T -l no-tty -d 'never give the command a terminal'
__nspawn_enter_option -l privileged -d 'do not confine the command'
__nspawn_enter_option -l no-seccomp -d 'do not apply the system call filters'
__nspawn_enter_option -s q -l quiet -d 'print no warnings'
__nspawn_enter_option -l foreign -d 'allow a machine of another user'
__nspawn_enter_option -l list -d 'list the running machines'
__nspawn_enter_option -s h -l help -d 'show the help'
__nspawn_enter_option -l version -d 'show the version'
__nspawn_enter_option -l only -x -d 'join only these namespaces' \
    -a '(__fish_append , mount uts ipc network pid cgroup time user)'
__nspawn_enter_option -l no-mount -d 'do not join the mount namespace'
__nspawn_enter_option -l no-uts -d 'do not join the uts namespace'
__nspawn_enter_option -l no-ipc -d 'do not join the ipc namespace'
__nspawn_enter_option -s n -l no-network -d 'do not join the network namespace'
__nspawn_enter_option -s p -l no-pid -d 'do not join the pid namespace'
__nspawn_enter_option -l no-cgroup -d 'do not join the cgroup namespace'
__nspawn_enter_option -l no-time -d 'do not join the time namespace'
__nspawn_enter_option -l no-user -d 'do not join the user namespace'
functions -e __nspawn_enter_option

complete -c nspawn-stop -s t -l timeout -x -d 'how long to wait' \
    -a '0 10 60 5min 1h infinity'
complete -c nspawn-stop -s s -l signal -x -d 'send this signal' \
    -a 'TERM INT PWR USR1 USR2 HUP RTMIN+3 RTMIN+4 none'
complete -c nspawn-stop -l strict -d 'fail if a machine is not running'
complete -c nspawn-stop -l dry-run -d 'show what would be done'
complete -c nspawn-stop -l foreign -d 'allow a machine of another user'
complete -c nspawn-stop -s v -l verbose -d 'report each step'
complete -c nspawn-stop -s q -l quiet -d 'report only errors'
complete -c nspawn-stop -s h -l help -d 'show the help'
complete -c nspawn-stop -l version -d 'show the version'
