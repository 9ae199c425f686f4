# SPDX-License-Identifier: GPL-3.0-only
# Copyright (C) 2026 the nspawn-tools authors
#
# storm.py: runs machines that start, reboot and end at random, while several
# nspawn-stop stop them.  A judge checks what each nspawn-stop reports.
#
#   storm.py storm NSPAWN-STOP SEED SECONDS TINI
#	Prints what the judge found wrong; status 1 if it found something.
#   storm.py rows TINI <ROWS
#	Compares what the judge says of a fake nspawn-stop; see rows().
#
# What keeps it right:
# - No times are needed to know that a machine was there during a whole call.
#   It was there if the same supervisor was seen before the call and after it,
#   or a supervisor before the call and its scope after it.
# - Two times are needed to know that a machine was gone: when all of it had
#   been seen to be gone, and just before its next start.  Only the machine's
#   one starter writes them.
# - If a PID 1 ends just while its scope is made, systemd believes for ever that
#   the scope is running.  This is not an error of nspawn-stop.
# - PID 1 of each machine writes its starts and ends to /said, with
#   /proc/uptime.  Each start, reboot and kill by a starter is recorded, too.

import os
import random
import re
import select
import signal
import subprocess
import sys
import threading
import time

TREES = '/var/lib/machines'
SKELETON = '/usr/lib/nspawn-tools/skeleton'
# systemd removes the cgroup of an ended scope, and later the file of its unit.
SLICE = '/sys/fs/cgroup/machine.slice'
UNITS = '/run/systemd/transient'
MACHINES = 50
STOPPERS = 10
SLACK = 5		# s, that a call may take longer than its --timeout
LATE = 0.3		# s, by which a report at the deadline may be too old
TICK = 0.02		# s, two ticks of /proc/uptime
STALE = 5		# s, after which an empty scope is removed by us
LIFE = 15		# s, after which any machine is ended

# There is no read in this trap: in busybox 1.38 it would never return.
SAY = 'say() { echo "$1 $(cat /proc/uptime)" >>/said; }; '
STAY = 'say start; while :; do sleep 600 & wait $!; done'
REBOOTS = 'trap "say reboot; reboot -f" USR1; '
ENDS = 'trap "say end; exit 0" TERM; '


class Kind:
    """A kind of PID 1, and what it does when it is told to stop."""

    def __init__(self, script, reboot=None, ends=True, stub=False, front=()):
        self.script = SAY + script
        self.reboot = reboot	# the signal at which it reboots
        self.ends = ends	# it writes "end", unless it is killed
        self.stub = stub
        self.front = front

    def words(self):
        return [*self.front, '/bin/sh', '-c', self.script]


KINDS = {
    'sh': Kind(ENDS + REBOOTS + STAY, signal.SIGUSR1),
    'slow': Kind('trap "sleep 1; say end; exit 0" TERM; ' + STAY),
    'late': Kind('sleep 0.4; ' + ENDS + REBOOTS + STAY, signal.SIGUSR1),
    'busybox': Kind('exec /bin/busybox init', signal.SIGTERM),
    'tini': Kind(ENDS + STAY, front=('/tini', '--')),
    'stub': Kind('trap "" HUP; ' + ENDS + STAY, stub=True),
    'self': Kind(ENDS + 'say start; sleep 1.5 & wait $!; say end'),
    'plain': Kind('say start; exec sleep 2', ends=False),
    'deaf': Kind('trap "" TERM; ' + STAY, ends=False),
    'back': Kind('trap "say reboot; reboot -f" TERM; ' + STAY, ends=False),
}
INITTAB = '::sysinit:/say start\n::shutdown:/say end\n'


def clock():
    """The time of /proc/uptime."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def ended(pidfd, seconds=0):
    """True if a process has ended, or ends in that time."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(max(0, seconds) * 1000))


class Life:
    """A supervisor of a machine, from its start until all of it is gone."""

    def __init__(self, number):
        self.number = number
        self.begin = clock()	# it was not there before this time
        self.gone = None	# it was not there after this time
        self.process = None
        self.pidfd = -1
        self.lock = threading.Lock()
        self.killed = False
        self.stale = False	# systemd did not remove its empty scope
        self.asked = 0		# how often we told it to reboot
        self.said = []		# (word, time), written by PID 1

    def alive(self):
        with self.lock:
            return self.pidfd != -1 and not ended(self.pidfd)

    def wait(self, seconds):
        """True once the supervisor has ended."""
        return ended(self.pidfd, seconds)

    def close(self):
        self.process.wait()
        with self.lock:
            os.close(self.pidfd)
            self.pidfd = -1

    def leader(self):
        """A pidfd of the machine's PID 1, and its PID; or (-1, 0)."""
        pid = self.process.pid
        try:
            with open(f'/proc/{pid}/task/{pid}/children') as f:
                children = f.read().split()
            for child in children:
                fd = os.pidfd_open(int(child))
                with open(f'/proc/{child}/status') as f:
                    ids = re.search(r'^NSpid:(.*)', f.read(), re.M)
                if ids and ids[1].split()[1:] == ['1']:
                    return fd, int(child)
                os.close(fd)
        except OSError:
            pass
        return -1, 0

    def signal(self, number):
        fd, _ = self.leader()
        if fd == -1:
            return False
        try:
            signal.pidfd_send_signal(fd, number)
        except OSError:
            return False
        finally:
            os.close(fd)
        return True


class Machine:
    """A name, and the machines that had it, one after the other."""

    def __init__(self, name, kind, options, tini):
        self.name = name
        self.kind = KINDS[kind]
        self.kind_name = kind
        self.options = list(options)
        self.tree = f'{TREES}/{name}'
        self.lives = []
        self.scopes = [f'machine-{name}.scope', f'{name}.scope']
        self.traces = [f'{folder}/{scope}' for folder in (SLICE, UNITS)
                       for scope in self.scopes]
        subprocess.run(['cp', '-a', SKELETON, self.tree], check=True)
        os.makedirs(f'{self.tree}/etc', exist_ok=True)
        self.write('etc/os-release', 'ID=storm\n')
        self.write('etc/inittab', INITTAB)
        self.write('say', '#!/bin/sh\n' + SAY + 'say "$1"\n')
        if kind == 'tini':
            subprocess.run(['cp', tini, f'{self.tree}/tini'], check=True)

    def write(self, path, text):
        with open(f'{self.tree}/{path}', 'w') as f:
            f.write(text)
        os.chmod(f'{self.tree}/{path}', 0o755)

    def scope(self):
        """True if systemd has the machine's scope, or a part of it."""
        return any(os.path.exists(path) for path in self.traces)

    def start(self):
        life = Life(len(self.lives))
        self.write('said', '')
        self.lives.append(life)
        with open(f'/tmp/{self.name}.log', 'w') as log:
            life.process = subprocess.Popen(
                ['systemd-nspawn', '--quiet', '--link-journal=no',
                 '--console=pipe', '-M', self.name, '-D', self.tree,
                 *self.options, *(['--as-pid2'] if self.kind.stub else []),
                 *self.kind.words()],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        with life.lock:
            life.pidfd = os.pidfd_open(life.process.pid)
        return life

    def hears(self):
        """What PID 1 has written until now."""
        with open(f'{self.tree}/said') as f:
            words = [line.split() for line in f]
        return [(w[0], float(w[1])) for w in words if len(w) == 3]

    def scope_drop(self):
        """Removes a scope that systemd has not removed."""
        for scope in self.scopes:
            subprocess.run(['systemctl', 'stop', scope],
                           stderr=subprocess.DEVNULL)
            subprocess.run(['find', f'{SLICE}/{scope}', '-depth', '-type', 'd',
                            '-exec', 'rmdir', '{}', ';'],
                           stderr=subprocess.DEVNULL)
        time.sleep(0.5)

    def end(self, life):
        """Waits until all of an ended life is gone."""
        life.close()
        until = clock() + STALE
        while self.scope():
            if clock() >= until:
                life.stale = True
                self.scope_drop()
            time.sleep(0.005)
        life.said = self.hears()
        life.gone = clock()

    def seen(self):
        """The life that is there for certain, or None."""
        life = self.lives[-1] if self.lives else None
        return life if life and life.alive() else None

    def still(self, life):
        """True if that life, seen before, has always been there since."""
        scope = self.scope()

        return life.alive() or (
            scope and self.lives[-1] is life and life.gone is None)

    def away(self, since, until):
        """True if nothing of the machine was there in that time."""
        free = -1
        for life in list(self.lives):
            if free is not None and free <= since and until <= life.begin:
                return True
            free = life.gone
        return free is not None and free <= since


# ---- starters ---------------------------------------------------------------

class Starter(threading.Thread):
    """Starts, reboots and ends a machine, again and again."""

    def __init__(self, machine, seed, over):
        super().__init__()
        self.machine = machine
        self.random = random.Random(f'{seed} {machine.name}')
        self.over = over

    def run(self):
        while not self.over.wait(self.random.choice((0, 0.5, 2, 4))):
            life = self.machine.start()
            self.live(life)
            self.machine.end(life)

    def live(self, life):
        rand, kind = self.random, self.machine.kind
        limit = clock() + (rand.uniform(2, 8) if not kind.ends else
                           rand.uniform(4, LIFE))
        reboot = clock() + rand.uniform(0.5, LIFE)
        if kind.reboot is None or rand.random() < 0.5:
            reboot = float('inf')
        while not life.wait(min(limit, reboot, clock() + 0.5) - clock()):
            if self.over.is_set() or clock() >= limit:
                life.killed = True
                life.signal(signal.SIGKILL)
                limit = clock() + 1
            elif clock() >= reboot:
                life.asked += 1
                life.signal(kind.reboot)
                reboot = float('inf')


# ---- the judge -------------------------------------------------------------

OUTCOMES = [
    ('stopped', r'has stopped$'),
    ('absent', r'is not running(; did you mean [^?]*\?)?$'),
    ('running', r'is still running (at|when)'),
    ('running', r'its leader has ended, but its systemd-nspawn \d+ is'),
    ('running', r'has ended, but systemd still keeps its scope'),
    ('rebooted', r'has rebooted instead of stopping'),
    ('starting', r'is starting, restarting or ending'),
    ('unknown', r'cannot tell whether it is running: .*did not answer'),
    ('failed', r'cannot (?!tell)|is ambiguous|belongs to|open files'),
]
STATUS = {'stopped': 0, 'absent': 0, 'running': 124, 'rebooted': 1,
          'starting': 1, 'unknown': 1, 'failed': 1}


class Call:
    """One nspawn-stop, what was there before and after, and its output."""

    def __init__(self, program, machines, limit, options):
        self.machines = machines
        self.limit = limit
        self.options = options
        before = [machine.seen() for machine in machines]
        leaders = [life.leader()[0] if life else -1 for life in before]
        self.begin = clock()
        ran = subprocess.run([*program, *options, '-t', str(limit),
                              *(m.name for m in machines)],
                             stdin=subprocess.DEVNULL,
                             capture_output=True, text=True)
        self.end = clock()
        # True if still there: the machine, its supervisor, its PID 1.
        self.there = [life and machine.still(life)
                      for machine, life in zip(machines, before)]
        self.before = before
        self.supervised = [life and life.alive() for life in before]
        self.led = [fd != -1 and not ended(fd) for fd in leaders]
        for fd in leaders:
            if fd != -1:
                os.close(fd)
        self.status = ran.returncode
        self.said = ran.stdout + ran.stderr
        self.outcomes = [self.outcome(m.name) for m in machines]

    def outcome(self, name):
        lines = [line.split(': ', 2)[2] for line in self.said.splitlines()
                 if line.startswith(f'nspawn-stop: {name}: ')]
        found = {outcome for outcome, form in OUTCOMES
                 for line in lines if re.search(form, line)}
        if not found and '-v' not in self.options:
            found = {'stopped'}
        return found.pop() if len(found) == 1 else sorted(found)

    def words(self, machine):
        """What happened to a machine around a call."""
        words = [f'call {self.begin:.2f}-{self.end:.2f} -t {self.limit}'
                 f' status {self.status}: {self.said!r}']
        for life in machine.lives:
            if life.gone and life.gone < self.begin - 2 or \
                    life.begin > self.end + 2:
                continue
            gone = f'{life.gone:.2f}' if life.gone else ''
            words.append(f'    life {life.number}: {life.begin:.2f}-{gone}'
                         f' {"killed " if life.killed else ""}{life.said}')
        return '\n'.join(words)

    def judge(self):
        """Returns lines that say what is wrong with the call."""
        wrong = []
        for i, machine in enumerate(self.machines):
            what = self.judge_machine(machine, self.outcomes[i], i)
            if what:
                wrong.append(f'{machine.name} ({machine.kind_name}): {what};'
                             f' {self.words(machine)}')
        due = {int('--strict' in self.options) if o == 'absent' else STATUS[o]
               for o in self.outcomes if isinstance(o, str)}
        due = 1 if 1 in due else max(due, default=None)
        if self.status != due and not wrong:
            wrong.append(f'the status should be {due};'
                         f' {self.words(self.machines[0])}')
        if self.end - self.begin > self.limit + SLACK:
            wrong.append(f'it took {self.end - self.begin:.1f} s;'
                         f' {self.words(self.machines[0])}')
        return wrong

    def judge_machine(self, machine, outcome, i):
        if not isinstance(outcome, str):
            return f'not one thing is said of it, but {outcome}'
        there = self.supervised[i] or \
            self.there[i] and not self.before[i].stale
        if there and (outcome == 'stopped' or
                      self.status == 0 and outcome != 'absent'):
            return 'was there all the time'
        if self.supervised[i] and outcome == 'absent':
            return 'was running all the time'
        if outcome == 'stopped' and machine.away(self.begin, self.end):
            return 'was not there at all'
        if outcome == 'running' and self.end < self.begin + self.limit - TICK:
            return 'was given up before the deadline'
        if outcome in ('running', 'starting') and machine.away(
                self.begin + self.limit - LATE, self.end):
            return 'was gone at the deadline'
        if outcome in ('rebooted', 'starting') and self.led[i]:
            return 'had one PID 1 all the time'
        if outcome == 'rebooted' and not self.reboots(machine):
            return 'did not reboot'
        if outcome == 'failed':
            return 'could not be told'
        return None

    def reboots(self, machine):
        """True if a supervisor had more than one PID 1 during the call."""
        for life in machine.lives:
            if life.begin > self.end or life.gone < self.begin:
                continue
            # The new PID 1 may need a while to write "start", or be killed
            # before; and busybox needs a while from its end to the reboot.
            since = self.begin - (SLACK if life.asked else TICK)
            if life.process.returncode == 133 or any(
                    (word != 'end' or life.asked) and
                    since <= at <= self.end + SLACK
                    for word, at in life.said[1:]):
                return True
        return False


def judge_life(machine, life):
    """Returns lines that say what is wrong with a machine's own words."""
    words = [word for word, _ in life.said]
    wrong = []
    reboots = words.count('reboot') if machine.kind_name != 'busybox' else \
        life.asked
    if words.count('start') > 1 + reboots:
        wrong.append('has been rebooted')
    if machine.kind.ends and words and not life.killed and \
            words[-1] not in ('end', 'reboot'):
        wrong.append('has not ended cleanly')
    return [f'{machine.name} ({machine.kind_name}): {what}:'
            f' {life.begin:.2f}-{life.gone:.2f} asked {life.asked} {life.said}'
            for what in wrong]


# ---- the storm -------------------------------------------------------------

class Stopper(threading.Thread):
    """Calls nspawn-stop for some machines, again and again."""

    def __init__(self, number, program, machines, seed, over):
        super().__init__()
        self.random = random.Random(f'{seed} stopper {number}')
        self.program = [program]
        self.machines = machines
        self.over = over
        self.calls = []

    def run(self):
        rand = self.random
        while not self.over.wait(rand.choice((0, 0.1, 0.5))):
            names = rand.sample(self.machines, rand.choice((1, 1, 2, 3, 8)))
            limit = rand.choice((0.3, 1, 3, 8))
            options = rand.choice((['-v'], ['-v'], ['-v'], [],
                                   ['-v', '--strict'],
                                   ['-v', '--signal', 'none']))
            self.calls.append(Call(self.program, names, limit, options))


def machines_make(count, tini):
    kinds = list(KINDS)
    ways = ([], ['--register=no'], [], ['--register=no', '--keep-unit'])
    return [Machine(f'm{n}', kinds[n % len(kinds)],
                    ways[n // len(kinds) % len(ways)], tini)
            for n in range(count)]


def storm(program, seed, seconds, tini):
    machines = machines_make(MACHINES, tini)
    over, all_over = threading.Event(), threading.Event()
    starters = [Starter(machine, seed, all_over) for machine in machines]
    stoppers = [Stopper(n, program, machines, seed, over)
                for n in range(STOPPERS)]
    for thread in starters + stoppers:
        thread.start()
    over.wait(float(seconds))
    for event, threads in ((over, stoppers), (all_over, starters)):
        event.set()
        for thread in threads:
            thread.join()
    return summary([call for s in stoppers for call in s.calls], machines)


def summary(calls, machines):
    wrong = [line for call in calls for line in call.judge()]
    counts = {}
    for call in calls:
        for word in [f'status {call.status}', *call.outcomes]:
            counts[str(word)] = counts.get(str(word), 0) + 1
    starts = stale = 0
    for machine in machines:
        for life in machine.lives:
            starts += [word for word, _ in life.said].count('start')
            stale += life.stale
            wrong += judge_life(machine, life)
    lives = sum(len(machine.lives) for machine in machines)
    print(f'{clock() - calls[0].begin:.0f} s, {len(calls)} calls, {lives}'
          f' supervisors, {starts} starts of PID 1, {stale} stale scopes')
    for word in sorted(counts):
        print(f'{counts[word]} {word}')
    # An outcome that never happened has not been tested.
    for word in ('stopped', 'absent', 'running', 'rebooted', 'status 0',
                 'status 1', 'status 124'):
        if word not in counts:
            wrong.append(f'this never happened: {word}')
    print(f'{len(wrong)} wrong')
    for line in wrong[:10]:
        print(line)
    return 1 if wrong else 0


# ---- rows ------------------------------------------------------------------

def held(machine, life):
    """Starts and returns a holder: a process that keeps a life's scope."""
    folder = next(path for path in machine.traces if os.path.exists(path))
    os.makedirs('/tmp/fuse', exist_ok=True)
    os.mkdir(f'{folder}/holder')
    holder = subprocess.Popen(
        ['perl', '/src/t/holder.pl', '/tmp/fuse', f'{folder}/holder',
         str(life.process.pid), '600'], stdout=subprocess.PIPE)
    holder.stdout.readline()
    return holder


TEXT = {
    '': '',
    'stopped': 'has stopped',
    'absent': 'is not running',
    'running': 'is still running at the timeout',
    'scope': 'has ended, but systemd still keeps its scope',
    'rebooted': 'has rebooted instead of stopping',
    'starting': 'is starting, restarting or ending',
    'failed': 'cannot send SIGTERM to its leader',
}


def row(machine, state, does, status, says):
    """Runs a fake nspawn-stop; returns what the judge says of it."""
    # A fake that stops the machine needs time on a busy computer.
    limit = 5 if does == 'stops' and status == '124' else 0.6
    text = TEXT[says] and f'nspawn-stop: {machine.name}: {TEXT[says]}'
    script = f'echo "{text}"; exit {status}'
    life = machine.start()
    while 'start' not in [word for word, _ in machine.hears()]:
        time.sleep(0.01)
    holder = held(machine, life) if state == 'held' else None
    # The name of a unit that this release does not give the machine.
    kept = next(path for path in machine.traces if UNITS in path and
                not os.path.exists(path)) if state == 'kept' else None
    if kept:
        open(kept, 'w').close()
    starter = threading.Thread(target=lambda: (life.wait(60),
                                              machine.end(life)))
    starter.start()
    if state == 'gone':
        life.signal(signal.SIGTERM)
        starter.join()
    pid = life.process.pid
    fd, leader = life.leader() if state != 'gone' else (-1, 0)
    if does == 'stops':
        gone = ' || '.join(f'[ -e {path} ]' for path in machine.traces)
        script = f'kill {leader}; while [ -d /proc/{pid} ] || {gone}; do' \
            f' sleep 0.01; done; sleep {limit + 0.1}; {script}'
    elif does == 'scopes':
        script = f'kill {leader}; while [ -d /proc/{pid} ]; do' \
            f' sleep 0.01; done; sleep 0.6; {script}'
    elif does == 'reboots':
        script = f'kill -USR1 {leader}; while [ $(grep -c start' \
            f' {machine.tree}/said) != 2 ]; do sleep 0.01; done; {script}'
    elif does == 'waits':
        script = f'sleep 0.6; {script}'
    call = Call(['sh', '-c', script, 'nspawn-stop'], [machine], limit,
                ['-v'])
    if fd != -1:
        os.close(fd)
    if holder:
        holder.terminate()
        holder.wait()
        subprocess.run(['umount', '-l', '/tmp/fuse'], check=True)
    if kept:
        os.remove(kept)
    if life.gone is None:
        life.killed = True
        life.signal(signal.SIGKILL)
    starter.join()
    wrong = call.judge()
    return wrong[0] if wrong else 'true'


def rows(tini):
    """
    Reads lines of five fields, separated by "|":
    - the machine when the fake is called: running, gone; held: the cgroup of
      its scope cannot be removed; or kept: a unit's file of its name stays
    - what the fake does: nothing; waits: until the deadline; stops: ends the
      machine; scopes: ends it and waits only for its supervisor; reboots
    - the status of the fake
    - its message, by a name in TEXT
    - what the judge should say of it
    """
    machine = Machine('row', 'sh', [], tini)
    bad = 0
    for line in sys.stdin:
        *words, due = [field.strip() for field in line.split('|')]
        what = row(machine, *words).split(';')[0].replace('row (sh): ', '')
        if what != due:
            bad += 1
            print(f'{line.strip()}: but the judge says: {what}')
    return 1 if bad else 0


if __name__ == '__main__':
    sys.exit({'storm': storm, 'rows': rows}[sys.argv[1]](*sys.argv[2:]))
