# SPDX-License-Identifier: GPL-3.0-only
#
# Completion of nspawn-enter and nspawn-stop for fish.

# The machines that run, as far as the user may see them.
function __nspawn_machines
    timeout 2 nspawn-enter --list 2>/dev/null </dev/null | cut -f 1 |
        string match -v -- -
end

# The words before the cursor that are neither options nor theirs: the machine,
# and then the command.
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

# The programs in the machine's directory.  What it calls its files is its own
# choice: nothing but plain names gets onto the caller's command line.
function __nspawn_programs
    set -l root (timeout 2 machinectl show -p RootDirectory --value \
        (__nspawn_words)[1] 2>/dev/null </dev/null)
    string match -qr '^/.' -- $root; or return
    timeout 2 ls $root/{usr/local/,usr/,}{s,}bin/ 2>/dev/null |
        string match -r '^[A-Za-z0-9_][A-Za-z0-9_.+-]*$'
end

complete -c nspawn-enter -f
complete -c nspawn-enter -n '__nspawn_words_are = 0' -a '(__nspawn_machines)'
complete -c nspawn-enter -n '__nspawn_words_are = 1' -a '(__nspawn_programs)'
complete -c nspawn-stop -f -a '(__nspawn_machines)'

# Behind the command's first word options are the command's own.
function __nspawn_enter_option
    complete -c nspawn-enter -n '__nspawn_words_are -lt 2' $argv
end

__nspawn_enter_option -l no-mount -d 'stay in the mount namespace'
__nspawn_enter_option -l no-uts -d 'stay in the uts namespace'
__nspawn_enter_option -l no-ipc -d 'stay in the ipc namespace'
__nspawn_enter_option -s n -l no-network -d 'stay in the network namespace'
__nspawn_enter_option -s p -l no-pid -d 'stay in the pid namespace'
__nspawn_enter_option -l no-cgroup -d 'stay in the cgroup namespace'
__nspawn_enter_option -l no-time -d 'stay in the time namespace'
__nspawn_enter_option -l no-user -d 'stay in the user namespace'
__nspawn_enter_option -l only -x -d 'join only those namespaces' \
    -a '(__fish_append , mount uts ipc network pid cgroup time user)'
__nspawn_enter_option -s u -l user -x -d 'be that user of the machine'
__nspawn_enter_option -s w -l chdir -x -d 'start in that directory'
__nspawn_enter_option -s e -l setenv -x -d 'set a variable' -a '(set -xn)'
__nspawn_enter_option -l preserve-env -d 'keep the caller\'s environment'
__nspawn_enter_option -s t -l tty -d 'make a terminal'
__nspawn_enter_option -s T -l no-tty -d 'make no terminal'
__nspawn_enter_option -l privileged \
    -d 'keep the caller\'s capabilities and cgroup'
__nspawn_enter_option -l no-seccomp -d 'leave out the system call filters'
__nspawn_enter_option -s q -l quiet -d 'no warnings'
__nspawn_enter_option -l foreign -d 'also enter another user\'s machine'
__nspawn_enter_option -l list -d 'list the running machines'
__nspawn_enter_option -s h -l help -d 'show a short help'
__nspawn_enter_option -l version -d 'show the version'
functions -e __nspawn_enter_option

complete -c nspawn-stop -s t -l timeout -x -d 'how long to wait' \
    -a '0 10 60 5min 1h infinity'
complete -c nspawn-stop -s s -l signal -x -d 'send that signal' \
    -a 'TERM INT PWR USR1 USR2 HUP RTMIN+3 RTMIN+4 none'
complete -c nspawn-stop -l strict -d 'not running is a failure'
complete -c nspawn-stop -l dry-run -d 'say what would be done'
complete -c nspawn-stop -l foreign -d 'also stop another user\'s machine'
complete -c nspawn-stop -s v -l verbose -d 'say each step'
complete -c nspawn-stop -s q -l quiet -d 'nothing but errors'
complete -c nspawn-stop -s h -l help -d 'show a short help'
complete -c nspawn-stop -l version -d 'show the version'
