/* SPDX-License-Identifier: GPL-3.0-only */
/*
 * What programs about systemd-nspawn machines share: names, deadlines,
 * processes held by pidfd, a machine's leader, its namespaces.
 *
 * The library prints nothing, never exits and has no settings.  Unless a
 * contract says otherwise a function returns 0, or -1 with errno set, and
 * touches its outputs only when it succeeds.
 *
 * A time is an int64_t of milliseconds.  A deadline is such a time on
 * CLOCK_MONOTONIC; DEADLINE_NEVER never comes.
 *
 * A "proc" argument is the descriptor of a directory with the layout of
 * proc(5), usually "/proc" itself.
 */
#ifndef COMMON_H
#define COMMON_H

#include <sys/types.h>

#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct process;
struct termios;
struct winsize;

/* ---- text ---------------------------------------------------------- */

#define MACHINE_NAME_MAX	64	/* bytes, without the final NUL */
#define UNIT_NAME_MAX		(4 * MACHINE_NAME_MAX + 32)

/* Says of a name, and MACHINE_NAME_MAX, that it is not valid. */
#define MACHINE_NAME_INVALID	"invalid machine name '%s': give a host name" \
				" of at most %d letters, digits, '-' and '.'"

/* The kernel's real-time signals, which systemd means on every libc. */
#define SIGNAL_RTMIN		34
#define SIGNAL_RTMAX		64
#define SIGNAL_NAME_SIZE	16	/* "SIGRTMIN+30" and its NUL */

/*
 * Says whether name can be the name of a machine: labels of [A-Za-z0-9-],
 * none empty, none with '-' at an end, separated by dots, MACHINE_NAME_MAX
 * bytes at most.  The reserved name ".host" is none.
 * Returns  true or false
 * source   machinectl(1), hostname(7)
 */
bool machine_name_valid(const char *name);

/*
 * Writes text to escaped as a part of a unit's name: every byte outside
 * [A-Za-z0-9:_.] becomes \xHH in lower case.
 *   size     of escaped; 4 * strlen(text) + 1 is always enough
 * errors   ENAMETOOLONG  when size is too small
 * source   systemd.unit(5), "String escaping"
 */
int unit_name_escape(const char *text, char *escaped, size_t size);

/*
 * Reads the whole of text as a decimal number from 0 to max.
 * errors   EINVAL  when text is empty or has anything but digits
 *          ERANGE  when the number is above max
 */
int number_parse(const char *text, uint64_t max, uint64_t *number);

/*
 * Writes a text as snprintf(3) does, with %s, %.*s, %c, %d, %u, %zd, %zu and %%
 * alone; what does not fit is cut.  printf(3) itself is a tenth of a static
 * program, most of it for floating point.
 *   size     of text, at least 1
 * Returns  the length of text
 */
size_t text_format(char *text, size_t size, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
size_t text_vformat(char *text, size_t size, const char *format, va_list args)
    __attribute__((format(printf, 3, 0)));

/*
 * Writes a line that a program says: its name, a text as text_vformat() makes
 * it, and unless that is NULL a reason, with ": " between them.
 *   size     of line, at least 2
 * Returns  the length of line
 */
size_t text_line(char *line, size_t size, const char *program,
    const char *format, va_list args, const char *reason)
    __attribute__((format(printf, 4, 0)));

/*
 * Reads a span of time: a sum of numbers, with fractions or without, each with
 * a unit of systemd.time(7), seconds where there is none; or "infinity".
 *   ms       milliseconds, rounded up; INT64_MAX for infinity
 * errors   EINVAL  when text is no span of time
 *          ERANGE  when it is more than about 31 years
 * source   systemd.time(7), "Parsing Time Spans"
 */
int time_parse(const char *text, int64_t *ms);

/*
 * Finds the number of the signal that text names: TERM, SIGTERM, 15, RTMIN+3,
 * RTMAX-1, in upper or lower case.
 * Returns  the kernel's number from 1 to SIGNAL_RTMAX; -1 for anything else
 * source   signal(7), kill(1)
 */
int signal_number(const char *text);

/*
 * Writes the name of a signal to name: "SIGTERM", "SIGRTMIN+4", or its number
 * where it has no name.
 * Returns  name
 */
const char *signal_name(int signal, char name[SIGNAL_NAME_SIZE]);

/*
 * Writes text to clean in a form that is safe to show on a terminal: printable
 * ASCII stays, every other byte and the backslash become \xHH.  What does not
 * fit is cut.
 *   size     of clean, at least 1
 * Returns  clean
 */
const char *printable(const char *text, char *clean, size_t size);

/* ---- options ------------------------------------------------------- */

/*
 * One option of a command line.  A table of them ends with an entry without a
 * name; the same table drives getopt_long(3) and the text of --help.
 */
struct option_spec {
	const char	*name;	/* the long form, without "--" */
	int		 key;	/* the short form's letter, or above 255 */
	const char	*arg;	/* how --help calls its argument, or NULL */
	const char	*help;	/* one line of --help */
};

#define OPTIONS_MAX	32
#define OPTION_WORD	1	/* what option_next says of another word */

/*
 * Takes the next option off a command line, or the next other word, in the
 * order in which they stand.  optarg is the option's argument, or the word.
 * A mistake is reported on stderr by getopt_long(3) itself.
 * Returns  the option's key; OPTION_WORD; '?' for a mistake; -1 at the end or
 *          behind "--", from where argv[optind] goes on
 * source   getopt_long(3)
 */
int option_next(int argc, char **argv, const struct option_spec *table);

/*
 * Prints the options of table to stream, a line each.
 */
void option_help(FILE *stream, const struct option_spec *table);

/* ---- time ---------------------------------------------------------- */

#define DEADLINE_NEVER	INT64_MAX

/*
 * Says when ms milliseconds from now will be.
 * Returns  a deadline; DEADLINE_NEVER where ms reaches too far
 */
int64_t deadline_in(int64_t ms);

/*
 * Says how long it is until deadline, in the form that poll(2) takes.
 * Returns  ms; 0 when it is over; -1 for DEADLINE_NEVER
 */
int deadline_left(int64_t deadline);

/* ---- files --------------------------------------------------------- */

#define STANDARD	3	/* descriptors: 0, 1 and 2 */

/*
 * Closes *fd unless it is -1, and makes it -1.  Keeps errno.
 */
void fd_close(int *fd);

/*
 * Closes all descriptors from first on.
 * source   close_range(2)
 */
void fds_close_from(int first);

/*
 * Makes 0, 1 and 2 the only descriptors of this process, which is to be done
 * before it opens any: a missing one becomes /dev/null, others are closed.
 */
int fds_tidy(void);

/*
 * Reads the file path below the directory dir into buffer, and ends it with a
 * NUL.
 *   size     of buffer: the longest acceptable file and one byte more
 * Returns  the file's length in bytes, or -1
 * errors   EFBIG  when the file is longer; buffer then holds its beginning
 */
ssize_t file_read(int dir, const char *path, char *buffer, size_t size);

/*
 * Finds out whether the file path is there below the directory dir.
 * errors   ENOENT  when it is not
 */
int file_exists(int dir, const char *path);

/*
 * Opens the regular file path as a process whose root directory is root would
 * see it: no symbolic link and no ".." leads out of there, and no link of
 * /proc is followed.
 * Returns  a descriptor for reading, or -1
 * errors   EINVAL  when path is no regular file
 *          ENOSYS  before Linux 5.6
 * source   openat2(2)
 */
int file_open_in_root(int root, const char *path);

#define STREAM_SIZE	4096

/*
 * A text that is read word by word, however long it is: a file, or a text in
 * memory.  Whoever opens one closes it, with stream_close().
 */
struct stream {
	int		 fd;		/* -1: all of it is in memory */
	int		 error;		/* errno of what ended it early; or 0 */
	bool		 cut;		/* the last word did not fit */
	const char	*next, *end;	/* what was read and not yet taken */
	char		 buffer[STREAM_SIZE + 1];
};

/*
 * Opens the file path below the directory dir as a stream.
 */
int stream_open(int dir, const char *path, struct stream *stream);

/*
 * Makes a stream of a descriptor, which becomes the stream's.
 */
void stream_of_fd(int fd, struct stream *stream);

/*
 * Makes a stream of a text in memory, which has to stay there.
 *   length   of text, which may contain NULs; text[length] is one
 */
void stream_of_text(const char *text, size_t length, struct stream *stream);

/*
 * Takes the next word of a stream, and the delimiter that ends it.  A NUL and
 * the end of the text end a word, too.
 *   delimiters  the other bytes that end a word
 *   word        ended with a NUL; what does not fit is passed over, and
 *               stream->cut then is true
 * Returns  the delimiter, 0 for a NUL; -1 at the end of the text, where the
 *          last word may still be one; stream->error tells whether the text
 *          ended because it could not be read
 */
int stream_word(struct stream *stream, const char *delimiters, char *word,
    size_t size);

/*
 * Passes over the rest of the line, whose last delimiter was so.
 * Returns  false at the end of the text
 */
bool stream_line(struct stream *stream, int delimiter);

/*
 * Closes stream.  Keeps errno.
 */
void stream_close(struct stream *stream);

/* ---- memory -------------------------------------------------------- */

/*
 * Gives memory that is all 0, and that children share.
 * Returns  NULL where there is none
 */
void *memory_map(size_t size);

/*
 * Gives memory of memory_map() back; NULL is nothing.  Keeps errno.
 */
void memory_unmap(void *memory, size_t size);

/* ---- helper -------------------------------------------------------- */

/*
 * Waits for the end of a child.
 *   status   as wait(2) gives it
 * errors   ECHILD  when it is no child, or SIGCHLD is ignored
 */
int child_wait(pid_t pid, int *status);

/*
 * Starts a child that does what may be held up for ever, and then ends.  What
 * it has found out stands in memory of memory_map().  When it has ended the
 * caller waits for it by child_wait(); who gives up kills it and does not wait.
 *   child    for the caller to close
 */
int child_start(void (*work)(void *), void *argument, struct process *child);

/*
 * Runs a program that is looked up on PATH, with /dev/null as its input and
 * its error output, and waits for its end.  At the deadline it is killed, and
 * where its end cannot be waited for.
 *   argv     its words; ends with NULL
 *   output   what it wrote to stdout, ended with a NUL and cut at size - 1
 * SIGCHLD must not be ignored.
 * Returns  its exit status as exit_status() gives it, or -1
 * errors   ENOENT     when there is no such program
 *          ETIMEDOUT  when it had not ended by the deadline, or its end
 *                     could not be waited for: it may have done its work
 */
int helper_run(const char *const argv[], int64_t deadline, char *output,
    size_t size);

/* ---- process ------------------------------------------------------- */

/*
 * A process that cannot be mistaken for another: the pidfd holds on to it when
 * the number is given to somebody else.  Empty: PROCESS_NONE.  Who has it
 * closes it, with process_close().
 */
struct process {
	pid_t	pid;
	int	fd;
};

#define PROCESS_NONE	((struct process){ .pid = 0, .fd = -1 })

/*
 * Takes hold of the process that has the number pid now.
 * errors   ESRCH   when there is none
 *          ENOSYS  before Linux 5.3
 * source   pidfd_open(2)
 */
int process_open(pid_t pid, struct process *process);

/*
 * True if process has certainly not ended.  A zombie has, unless it is a first
 * thread that others outlive.
 * Returns  true; false, also for the empty process
 * errors   ESRCH   when it has ended
 *          ENOMEM  or another, when nobody can tell
 */
bool process_alive(const struct process *process);

/*
 * Sends a signal to process.
 * errors   ESRCH   when it has been reaped
 *          EPERM   when the caller may not
 * source   pidfd_send_signal(2)
 */
int process_signal(const struct process *process, int signal);

/*
 * Lets go of process, which becomes empty.  Keeps errno.
 */
void process_close(struct process *process);

/*
 * Says what a shell would make of a status of wait(2).
 * Returns  the exit status, or 128 + n for the end by signal n
 */
int exit_status(int status);

#define PROCESS_NAME_SIZE	64

/* What /proc/PID/status says of a process; bit n - 1 of a set is signal n. */
struct process_status {
	char		name[PROCESS_NAME_SIZE];	/* as it says itself */
	char		state;		/* as ps(1) shows it; T: stopped */
	pid_t		ppid;
	pid_t		tracer;		/* 0: none */
	uid_t		uid;		/* the real one */
	unsigned	depth;		/* numbers it has: pid namespaces */
	pid_t		inner;		/* its number in the innermost */
	uint64_t	pending;	/* for the whole process */
	uint64_t	blocked;
	uint64_t	caught;		/* those with a handler */
	uint64_t	bounding;	/* capabilities: bit n is number n */
	bool		no_new_privs;
	bool		filtered;	/* by system call filters */
	bool		grouped;	/* it has supplementary groups */
};

/*
 * True if signal is in a set of struct process_status.
 */
bool signal_in(uint64_t set, int signal);

/*
 * Blocks each signal that can be, those that a libc keeps for itself, too.
 */
void signals_block(void);

/*
 * Ends the caller by a signal, as something else was ended by it, without a
 * core file of a process that did nothing wrong.  Returns only if that fails.
 *   whom     to send it to, as kill(2) has it: the caller is one of these
 */
void end_by_signal(int number, pid_t whom);

/*
 * True if the caller ignores a signal, as those do whom nohup(1) has started.
 */
bool signal_is_ignored(int signal);

/*
 * Reads a /proc/PID/status, whose lines may be of any length.
 * errors   EINVAL  when a line is missing or is no such line; that of filters
 *                  is missing where the kernel has none
 *          or stream->error
 * source   proc_pid_status(5)
 */
int process_status_parse(struct stream *stream, struct process_status *status);

/*
 * Reads the /proc/PID/status of a process.  Whose it was is certain only if the
 * pidfd still lives then.  The same holds for what the next two read.
 *   pid      0 is the caller
 * errors   ENOENT, ESRCH  when there is no such process
 */
int process_status_read(int proc, pid_t pid, struct process_status *status);


#define GROUPS_MAX	65536	/* all that Linux takes */

/*
 * Reads the supplementary groups of a process, however many they are.
 *   groups   as the caller's user namespace knows them; groups_free() frees
 *            them
 * errors   ENOENT, ESRCH  when there is no such process
 */
int process_groups_read(int proc, pid_t pid, gid_t **groups, size_t *count);

/*
 * Frees what process_groups_read() has given; NULL is nothing.  Keeps errno.
 */
void groups_free(gid_t *groups);

/*
 * Reads the path of a process in one hierarchy of cgroups.
 *   hierarchy  "" for cgroup v2; one of v1 by a controller of it, "cpu", by all
 *              of them, "cpu,cpuacct", or by its name, "name=systemd"
 *   path       with the '/' at its beginning
 *   size       of path; PATH_MAX is always enough
 * errors   ENOENT        when there is no such process, or no such hierarchy
 *          ESRCH         when there is no such process
 *          ENAMETOOLONG  when it does not fit, or the kernel cannot say it: a
 *                        path of PATH_MAX - 1 bytes or more is refused or cut
 * source   cgroups(7), "/proc/[pid]/cgroup"
 */
int process_cgroup(int proc, pid_t pid, const char *hierarchy, char *path,
    size_t size);

/*
 * Says how long ago a process was started.
 * Returns  ms, or -1 where that cannot be read
 * source   proc_pid_stat(5), the field starttime
 */
int64_t process_age(int proc, pid_t pid);

/*
 * Gives a number that stands for a process's program, the signals that it
 * catches and blocks, and whether it waits for some: it is another when any of
 * these has changed.
 */
uint64_t process_fingerprint(int proc, pid_t pid);

/*
 * Says where a process sleeps in the kernel, as far as that tells.
 * Returns  place, which is empty where it does not sleep
 * source   proc_pid_wchan(5)
 */
const char *process_wchan(int proc, pid_t pid, char wchan[PROCESS_NAME_SIZE]);

/*
 * Says how a process has ended that is no child of the caller's.
 *   status   as wait(2) gives it
 * errors   EAGAIN  when it has not been reaped yet, which poll(2) shows by
 *                  POLLHUP of its pidfd
 *          ENOTTY  before Linux 6.15, which cannot tell
 * source   PIDFD_GET_INFO of <linux/pidfd.h>
 */
int process_wait_status(const struct process *process, int *status);

/* ---- machine ------------------------------------------------------- */

/*
 * A running machine: its leader (the PID 1 of its pid namespace) and its
 * supervisor (the systemd-nspawn process; empty where that has been killed).
 * Empty: MACHINE_NONE.  Who has it closes it, with machine_close().
 */
struct machine {
	struct process	leader;
	struct process	supervisor;
	uid_t		owner;	/* whose it is; 0 is root */
	struct process_status status;	/* the leader's, when it was found */
};

#define MACHINE_NONE	((struct machine){ .leader = PROCESS_NONE, \
			.supervisor = PROCESS_NONE })

/*
 * What is left of a program's patience: machinectl is run until the deadline at
 * most, and never again after it hung.
 */
struct machined {
	int64_t	deadline;
	bool	hung;
	int64_t	search;	/* a deadline of looks at all processes; 0: none */
	int64_t	strangers;	/* and of reading what other users can hold up;
				   0: not yet begun */
	pid_t	stranger;	/* the last process that did so */
};

/*
 * Where machines are looked for.  Who has it closes it, with host_close().
 */
struct host {
	int	proc;
	int	cgroup;		/* where systemd keeps its units; or -1 */
	bool	real;		/* proc is the kernel's: pidfds say the same */
};

/*
 * Opens two directories of a host.
 *   proc     "/proc", or one with its layout
 *   cgroup   the hierarchy of cgroups in which systemd keeps its units, which
 *            need not be there; NULL: that of cgroup v2, or on a legacy or
 *            hybrid host the one called systemd, where systemd mounts them
 * errors   EXDEV  when proc is that of another pid namespace, whose numbers
 *                 of processes are not ours
 * source   systemd's CGROUP_DELEGATION document, "Three Different Tree Setups"
 */
int host_open(const char *proc, const char *cgroup, struct host *host);

/*
 * Says in words what an error of host_open() means.
 */
const char *host_strerror(int error);

/*
 * Closes what host has open, which becomes empty.  Keeps errno.
 */
void host_close(struct host *host);

#define NEAR_NAMES	3
#define NEAR_DISTANCE	2	/* letters that differ, at most */

/* A machine that is looked for by its name, and what came of it. */
struct wanted {
	const char	*name;
	int		 error;		/* why there is none; 0: there is */
	struct machine	 machine;
	pid_t		 pids[2];	/* see machine_find() */
	bool		 open;		/* machines_find() still looks */
	/* Of those that run the nearest names, empty: none; and how near. */
	char		 near[NEAR_NAMES][MACHINE_NAME_MAX + 1];
	unsigned	 near_distance;
};

/*
 * Finds the running machine of that name, and takes hold of it.  In this
 * order, and the first that yields a leader which is root's or the caller's
 * ends it (a stranger's is taken when nothing else is found):
 *   1. PID 1 in the payload of the unit that is named after the machine;
 *   2. among all processes, PID 1 in such a payload that the hierarchy of
 *      cgroups did not show, or whose parent is a systemd-nspawn whose command
 *      line names the machine;
 *   3. what machinectl says, before 2 where there are very many processes.
 * In 1 the hierarchy says which processes to look at, and proc what they are;
 * without it 2 does the same.  It shows every unit that is directly in a slice,
 * and that is where systemd has all but those of its users.  So 1 tells two
 * machines of one name as surely as a look at all processes; one that only a
 * later way would show is not looked for.
 * Its owner is the supervisor's real user; without a supervisor the one that
 * made the leader's user namespace, and root where it has none of its own.
 *   pids on ENOTUNIQ the two leaders, on ENOTSUP the process in question
 * errors   ESRCH      when no machine of that name is running
 *          EAGAIN     when it has a supervisor and no leader: it is starting,
 *                     or has ended just now
 *          ETIMEDOUT  when machinectl hung and so nobody can tell
 *          ETIME      when there was no time to look at all processes
 *          ENOTUNIQ   when one way shows two machines of that name
 *          ENOTSUP    when it is no container: its leader is in the caller's
 *                     own pid namespace (a virtual machine, say)
 *          ENOSYS     before Linux 5.3
 *          any other  when something that would tell cannot be read: the
 *                     machine may be running
 */
int machine_find(const struct host *host, const char *name,
    struct machined *machined, struct machine *machine, pid_t pids[2]);

/*
 * Finds the machines of many names in one look at the host, as machine_find()
 * does each.  The caller sets the names, and closes the machines: where the
 * error is EAGAIN, too, which has a supervisor.
 *   fds_kept   descriptors below the caller's limit that are left free: it is
 *              EMFILE for a machine that would take one of them
 */
void machines_find(const struct host *host, struct machined *machined,
    struct wanted *wanted, size_t count, size_t fds_kept);

/*
 * Names the machines that run and whose names are nearest to one that does not:
 * two letters differ at most, and no more than half of them, in whatever case;
 * or it is the name of a unit.
 *   size     of text; 256 is always enough
 * Returns  text, to be read after "is not running"; empty where there is none
 */
const char *wanted_hint(const struct wanted *wanted, char *text, size_t size);

/* What can be said of a running machine in a line. */
struct machine_line {
	char	name[MACHINE_NAME_MAX + 1];	/* empty: nobody can tell */
	char	unit[UNIT_NAME_MAX + 1];	/* empty: it is in none */
	pid_t	leader, supervisor;		/* 0: it has none */
	uid_t	owner;
};

/*
 * Finds all running machines, whose-ever they are, in one look at all
 * processes: as far as the caller may see them.
 *   deadline   of that look
 *   take       is called for each, in the order of proc, with argument
 * Returns  0; 1 with errno set if one that may be a leader could not be read;
 *          -1
 * errors   ETIME  when there was no time to look at all processes
 */
int machines_list(const struct host *host, int64_t deadline,
    void (*take)(void *argument, const struct machine_line *line),
    void *argument);

/*
 * Finds the leader that the supervisor of a machine has now, if it has another
 * one, or at last one.
 *   machine    for the caller to close
 * errors   ESRCH, or another  when it has none
 * source   /proc/PID/task/TID/children of proc(5)
 */
int machine_again(const struct host *host, const struct machine *old,
    struct machine *machine);

/*
 * Says in words what an error of machine_find() means.
 * Returns  text
 */
const char *machine_strerror(int error, const pid_t pids[2],
    char *text, size_t size);

/*
 * True if machine belongs to neither root nor the caller.
 */
bool machine_foreign(const struct machine *machine);

/*
 * Asks machined for the leaders of machines, all at once.
 *   leaders  of each name; 0 where it does not know that
 * errors   ETIMEDOUT  when machinectl hung
 *          ENOENT     when there is none
 */
int machined_leaders(const char *const names[], size_t count,
    struct machined *machined, pid_t leaders[]);

/*
 * True if machined may know a machine: for each it has a file of that name, in
 * which libsystemd looks the machine up.
 * source   sd_machine_get_class(3)
 */
bool machined_may_know(const char *name);

/*
 * Sends a signal to the leader of machine: through machinectl(1) by a name that
 * machined has for this leader, else, and where that is NULL, by the pidfd.
 * errors   ETIMEDOUT  when machinectl hung, and may yet send it
 *          or as process_signal()
 */
int machine_signal(const struct machine *machine, const char *name,
    int signal, struct machined *machined);

/*
 * Runs systemctl(1) or machinectl(1), as long as neither has hung.
 * Returns  as helper_run()
 */
int machined_run(const char *const argv[], struct machined *machined,
    char *output, size_t size);

/*
 * True if a property is there and is value, in what systemctl(1) or
 * machinectl(1) show: lines of NAME=VALUE up to an empty one.
 */
bool property_is(const char *lines, const char *name, const char *value);

/*
 * Finds the number that a property is, in such lines.
 * Returns  the number; 0 where there is none
 */
uint64_t property_number(const char *lines, const char *name);

/*
 * Passes over such lines.
 * Returns  the lines of the next unit or machine, behind the empty one
 */
const char *properties_next(const char *lines);

/*
 * Finds the scope that systemd made for machine alone, and drops when all of
 * its processes have ended: until then its name cannot be used again.
 *   machine  without a leader whatever scope has its name counts
 *   path     of its folder below host->cgroup; empty where the machine has
 *            none, or has ended
 *   size     of path
 * errors   ENAMETOOLONG  when path is too small, or the machine has hidden in
 *                        groups so deep that the kernel cannot say where it is
 */
int machine_scope(const struct host *host, const char *name,
    const struct machine *machine, char *path, size_t size);

/*
 * Removes the folder of a cgroup, and those below it, if no process is in them.
 * errors   EBUSY  when there is one
 */
int cgroup_remove(int dir, const char *path);

/*
 * True if machine is certainly frozen, by v2 or v1: nothing in it runs then.
 */
bool machine_frozen(const struct host *host, const struct machine *machine);

/*
 * True if the leader's cgroup, or one above it, has as many processes as it may
 * have (TasksMax= of a unit).
 *   path       its path in the hierarchy, of which the machine may have chosen
 *              a part: see printable()
 */
bool machine_full(const struct host *host, const struct machine *machine,
    char path[PATH_MAX]);

/*
 * Lists the processes of the leaders' pid namespaces, in the order of proc.
 *   size     of pids
 * Returns  how many there are, which may be more than size; none are of a
 *          leader that has ended; -1
 */
ssize_t machines_processes(int proc, const struct machine *const machines[],
    size_t count, pid_t *pids, size_t size);

/*
 * Lets go of machine, which becomes empty.  Keeps errno.
 */
void machine_close(struct machine *machine);

/*
 * Finds the unit in whose payload a process is.
 *   stream   its /proc/PID/cgroup
 *   path     of the unit's folder below the root of the hierarchy, without the
 *            '/' at its beginning; empty where it is in no payload
 * errors   stream->error, which is ENAMETOOLONG when the kernel has no room for
 *          a path
 */
int cgroup_unit(struct stream *stream, char path[PATH_MAX]);

/*
 * True if the last part of path is the name of a unit that systemd, or
 * systemd-nspawn, gives to the machine of that name alone.
 */
bool unit_is_machines(const char *path, const char *name);

/* Whether a settings file counts, see systemd.nspawn(5). */
enum settings_mode { SETTINGS_YES, SETTINGS_OVERRIDE, SETTINGS_NONE };

/* What a command line of systemd-nspawn says; empty: not said. */
struct nspawn_args {
	char	machine[MACHINE_NAME_MAX + 2];	/* one too long stays so */
	char	path[PATH_MAX];		/* of the directory or the image */
	bool	image;
	bool	ephemeral;
	char	kill_signal[SIGNAL_NAME_SIZE];
	enum settings_mode settings;
	bool	oci_bundle;	/* then no settings file is read */
	bool	keep_unit;	/* no scope is made */
};

/*
 * Reads a command line of systemd-nspawn up to its payload's.
 *   stream   the words, each ended with a NUL, as in /proc/PID/cmdline
 * errors   stream->error
 * source   systemd-nspawn(1)
 */
int nspawn_args_parse(struct stream *stream, struct nspawn_args *args);

enum name_match { NAME_UNKNOWN, NAME_MATCHES, NAME_DIFFERS };

/*
 * Says what a command line tells of the machine's name: by --machine, else by
 * what systemd-nspawn makes of its directory or image.
 * Returns  NAME_MATCHES, NAME_DIFFERS; NAME_UNKNOWN where it does not say
 */
enum name_match nspawn_args_name(const struct nspawn_args *args,
    const char *name);

/* ---- init ---------------------------------------------------------- */

enum stop_method {
	STOP_BY_SIGNAL,	/* by a signal to PID 1 */
	STOP_BY_COMMAND,	/* by the command "init 0", run inside */
	STOP_UNCLEAN,	/* not at all: a signal ends it, and its services die */
};

/* A program that runs as PID 1, and the way in which it stops in order. */
struct init {
	char		name[24];
	enum stop_method	method;
	int		signal;		/* that one; of the last resort else */
};

/*
 * Says how the init that runs as a machine's leader is told to stop: by its
 * program's name, as the host sees it, or what is in that program, its command
 * line, and the signals that it catches.  The program is the machine's: what
 * reads it may be held up for ever, see child_start(); as what signal_fate()
 * reads may, too.
 *   init     its entry of a table, or NULL for a program that is in none, for
 *            a leader that has ended and one whose first thread has
 */
int init_of(int proc, const struct process *leader, const struct init **init);

/*
 * Finds out whether a leader still is systemd-nspawn's own code, which is to
 * become the init: what it is sent is lost.
 */
int init_starting(int proc, const struct process *leader, bool *starting);

/* What becomes of a signal to a leader. */
enum signal_fate {
	FATE_HANDLED,		/* it has a handler */
	FATE_BLOCKED,		/* it is blocked, and may be read some time */
	FATE_UNKNOWN,	/* it may be awaited; or nobody can say */
	FATE_DISCARDED,	/* for certain, by the kernel */
};

/*
 * Finds out what becomes of signal if it is sent to leader now.
 * source   signal(7), pid_namespaces(7)
 */
int signal_fate(int proc, const struct process *leader, int signal,
    enum signal_fate *fate);

/*
 * Finds out whether process has a signalfd(2) that gives signal.
 * Returns  1 for yes, 0 for no; -1
 * source   proc_pid_fdinfo(5)
 */
int signal_awaited(int proc, const struct process *process, int signal);

/*
 * Reads a settings file of systemd-nspawn.
 *   signal   of the last KillSignal= that is one; 0 where there is none
 * errors   stream->error
 * source   systemd.nspawn(5)
 */
int nspawn_settings_parse(struct stream *stream, int *signal);

/*
 * Finds the signal that systemd-nspawn was told to stop the machine by: by
 * --kill-signal= of its command line or by KillSignal= of its settings file,
 * which may hold this up for ever, see child_start().
 *   unit     KillSignal= of the leader's scope, which, if systemd-nspawn made
 *            that, has what it was told even where the file has changed, but
 *            also 15 or 37 where it was told nothing; 0: not known
 *   signal   its number; 0 where it was told nothing, or is gone; -1 for one
 *            that no machine stops by in order: KILL, STOP, nonsense
 * source   systemd-nspawn(1), systemd.nspawn(5)
 */
int machine_kill_signal(int proc, const struct machine *machine, int unit,
    int *signal);

/* ---- namespaces ---------------------------------------------------- */

/* The kinds of namespaces, in the order in which root joins them. */
enum {
	NAMESPACE_MOUNT,
	NAMESPACE_UTS,
	NAMESPACE_IPC,
	NAMESPACE_NETWORK,
	NAMESPACE_PID,
	NAMESPACE_CGROUP,
	NAMESPACE_TIME,
	NAMESPACE_USER,	/* last: only before it root may do the others */
	NAMESPACES
};

#define NAMESPACES_ALL	((1u << NAMESPACES) - 1)

struct namespace_kind {
	char	name[8];	/* ours */
	char	file[8];	/* the kernel's, below /proc/PID/ns */
	int	flag;		/* CLONE_NEW… */
};

extern const struct namespace_kind namespace_kinds[NAMESPACES];

/*
 * Finds the kind of namespace that name means: ours or the kernel's.
 *   length   of name
 * Returns  its place in namespace_kinds, or -1
 */
int namespace_number(const char *name, size_t length);

/*
 * Opens those namespaces of process that differ from the caller's.
 *   proc     where /proc/self is the caller
 *   wanted   a set: 1u << place in namespace_kinds
 *   fds      a descriptor each for the caller to close, -1 where the namespace
 *            is not wanted, is the same, or of a kind that the kernel lacks,
 *            and so the caller, too
 * errors   ESRCH       when the process has ended
 *          EOWNERDEAD  when its first thread has, and others have not: of its
 *                      namespaces only those of users and pids can be seen
 *          EACCES      when the caller may not look
 */
int namespaces_open(int proc, const struct process *process, unsigned wanted,
    int fds[NAMESPACES]);

/*
 * Joins the namespaces of fds.  That of pids is joined by the caller's
 * children only.
 *   failed   which one could not be joined, on failure
 * source   setns(2)
 */
int namespaces_join(const int fds[NAMESPACES], int *failed);

/* ---- confinement --------------------------------------------------- */

#define LIMITS_MAX	16	/* RLIMIT_..., all that Linux has */
#define FILTER_MAX	32768	/* instructions of all filters together */
#define FILTER_LENGTH_MAX	4096	/* of one: BPF_MAXINSNS of Linux */
#define PROCESSORS_MAX	8192
#define LABEL_SIZE	4096

/* A resource limit, the same on all machines; UINT64_MAX is none. */
struct limit {
	uint64_t	soft, hard;
};

/* struct sched_attr of Linux, in its first form. */
struct scheduling {
	uint32_t	size, policy;
	uint64_t	flags;
	int32_t		nice;
	uint32_t	priority;
	uint64_t	runtime, deadline, period;
};

/* What binds a machine's leader, and what it runs under. */
struct confinement {
	uint64_t		bounding;	/* capabilities: bit n is n */
	bool			no_new_privs;
	bool			filtered;	/* by system call filters */
	bool			grouped;	/* has supplementary groups */
	int			oom_score_adj;
	int			io_priority;	/* as ioprio_get(2) gives it */
	int			nice;
	unsigned		personality;
	struct scheduling	scheduling;
	size_t			processors_size;	/* in bytes */
	uint8_t			processors[PROCESSORS_MAX / 8];
	struct limit		limits[LIMITS_MAX];
	char			label[LABEL_SIZE];	/* empty: ours */
};

/*
 * Finds the label of a security module by which the process pid is confined,
 * in the form that the module takes for the next exec.
 *   label      empty where it is the caller's own, or there is no such module
 * source     apparmor(7), proc_pid_attr(5)
 */
int label_read(int proc, pid_t pid, char label[LABEL_SIZE]);

/* An instruction of a seccomp filter: struct sock_filter of Linux. */
struct filter_step {
	uint16_t	code;
	uint8_t		jump_true, jump_false;
	uint32_t	value;
};

/* A process's system call filters, the oldest first. */
struct filters {
	size_t			count;
	size_t			lengths[FILTER_MAX / 5];
	struct filter_step	steps[FILTER_MAX + FILTER_LENGTH_MAX];
};

/*
 * Copies the system call filters of a process, which is stopped for a moment.
 * While somebody else traces the process this tries again.  A process that
 * cannot be stopped holds this up for ever.
 *   deadline   of the trying
 * errors     EPERM   when somebody else traces it still
 *            EACCES  when the caller has filters itself, or is not the host's
 *                    root
 *            EIO     when the kernel was built without checkpoint/restore
 * source     PTRACE_SECCOMP_GET_FILTER of ptrace(2)
 */
int filters_read(const struct process *process, int64_t deadline,
    struct filters *filters);

/* ---- entry --------------------------------------------------------- */

#define GROUP_FILES_MAX		32	/* hierarchies of cgroup v1 */

/* What is to be run in a machine, how, and as whom. */
struct command {
	char *const	*argv;		/* no word: the user's login shell */
	unsigned	 namespaces;	/* a set, as for namespaces_open() */
	bool		 privileged;	/* not confined as the leader is */
	bool		 unfiltered;	/* without the leader's filters */
	bool		 detached;	/* goes on when the caller has ended */
	bool		 last;		/* no order follows: the monitor ends
					   with this one */
	bool		 nameless;	/* root, of whom no passwd is asked */
	int64_t		 time;		/* ms, for the way in */
	const char	*user;		/* name or number; NULL: root */
	const char	*group;		/* the same; NULL: the user's own */
	const char	*directory;	/* NULL: the user's home, else / */
	/* NAME=VALUE, before and after what describes the user. */
	char *const	*defaults;
	char *const	*variables;
	const char	*complaint;	/* what its errors begin with */
	int		 fds[STANDARD];	/* to be its 0, 1 and 2 */
	unsigned	 terminal;	/* which of them are a new one: a set */
	const struct termios *modes;	/* of that; NULL: the kernel's own */
	const struct winsize *size;
};

/*
 * All that a process must become to be one of a machine's.  Whoever has read
 * it closes it, with entry_close().
 */
struct entry {
	struct process	 leader;	/* the machine's; not to be closed */
	uint64_t	 user_namespace;	/* number of the leader's */
	int		 namespaces[NAMESPACES];	/* those to be joined */
	int		 root;	/* the root directory to have; -1: our own */
	int		 uid_map;	/* its text; -1: ids are the same */
	/* What follows confines the leader, and is read if it is wanted. */
	bool		 confined;
	struct confinement confinement;
	gid_t		*groups;	/* outside ids */
	size_t		 group_count;
	int		 cgroup;	/* its folder in cgroup v2; -1: ours */
	int		 group_files[GROUP_FILES_MAX];	/* to join v1's */
	size_t		 group_file_count;
};

enum entry_event {
	ENTRY_TERMINAL,	/* the command's terminal: the master's descriptor */
	ENTRY_STARTED,	/* a detached command has been executed */
	ENTRY_ENDED,	/* the command; or the way in, by a signal to it */
	ENTRY_FAILED,	/* there is no command, and will not be one */
	ENTRY_LATE,	/* the same: it took too long, and was killed */
	ENTRY_HELD,	/* it has ended, but a tracer keeps its status */
};

/* What becomes of a command. */
struct entry_report {
	enum entry_event event;
	int		 id;
	int		 status;	/* of wait(2), when it has ended */
	int		 step;		/* what failed, or took too long: for
					   entry_strerror() */
	int		 error;		/* errno, when it failed; 0: a signal */
	pid_t		 tracer;	/* of the leader, if it is in the way */
	bool		 foreign;	/* the terminal is one of the host's */
};

/*
 * Reads what a process must become to run command in machine, and opens what it
 * takes, before anything is joined.  The command is confined as the leader was
 * when machine.status was read; if what that says has changed before the
 * leader's filters are copied, the command is not run.
 *   report     on failure: for entry_strerror()
 * errors     ESRCH       when the leader has ended
 *            EOWNERDEAD  when only its first thread has ended
 *            EBUSY       when the machine is frozen
 *            EAGAIN      when it is just starting
 */
int entry_read(const struct host *host, const struct machine *machine,
    const struct command *command, struct entry *entry,
    struct entry_report *report);

/*
 * Closes what entry has open.  Keeps errno.
 */
void entry_close(struct entry *entry);

/* What a command lacks that could not be run, as far as one can do without. */
enum entry_lack {
	ENTRY_LACKS_FILTERS,	/* see unfiltered */
	ENTRY_LACKS_CGROUPS,	/* see privileged */
	ENTRY_LACKS_PROCESSES,	/* there are as many as there may be */
	ENTRY_LACKS_OTHER,
};

/*
 * Finds out what a report on a failure is about.
 */
enum entry_lack entry_lacks(const struct entry_report *report);

/*
 * Says in words why a command was not run.
 * Returns    text, to be read after the machine's name and a colon
 */
const char *entry_strerror(const struct entry_report *report,
    const struct command *command, char *text, size_t size);

/* How a command ends that could not be executed, as with env(1). */
enum {
	ENTRY_STATUS_FAILED		= 125,
	ENTRY_STATUS_NOT_EXECUTABLE	= 126,
	ENTRY_STATUS_NOT_FOUND		= 127,
};

/*
 * The process that enters machines for a program: a fresh image of the same
 * program, whose memory never held anything of the caller's.  It stays on the
 * host, and reaps what it has started, whatever becomes of the caller.
 * Empty: MONITOR_NONE.  Whoever has it closes it, with monitor_close().
 */
struct monitor {
	pid_t	pid;
	int	channel;	/* readable when there is a report */
};

#define MONITOR_NONE	((struct monitor){ .pid = 0, .channel = -1 })

/*
 * Goes on as the monitor, and never returns, in a process that monitor_order()
 * has made.  A program that enters machines calls it first in main().
 */
void monitor_main(char **argv);

/*
 * Has a command run in the machine of entry; reports tell what becomes of it.
 * Starts monitor with its first order.  The caller's own 0, 1 and 2 are to be
 * open, see fds_tidy().
 *   id         what these reports call it
 * source     memfd_create(2), execveat(2), CVE-2019-5736
 */
int monitor_order(struct monitor *monitor, int id, const struct entry *entry,
    const struct command *command);

/*
 * Sends a signal to a command and its process group.
 */
int monitor_signal(const struct monitor *monitor, int id, int signal);

/*
 * Waits for the next report, and takes it.
 *   fd         the descriptor that has come with it, or -1
 * errors     ECONNRESET  when the monitor has ended, and all has been taken
 */
int monitor_report(const struct monitor *monitor, struct entry_report *report,
    int *fd);

/*
 * Lets go of monitor, which then hangs up those of its commands that are not
 * detached: HUP and CONT to the process group, KILL five seconds later.
 * Keeps errno.
 */
void monitor_close(struct monitor *monitor);

/* ---- account ------------------------------------------------------- */

#define ACCOUNT_TEXT_MAX	256
#define ACCOUNT_ID_MAX		(UINT32_MAX - 1)	/* the last: "none" */

/* A user of a machine. */
struct account {
	uid_t	uid;
	gid_t	gid;
	char	name[ACCOUNT_TEXT_MAX];
	char	home[ACCOUNT_TEXT_MAX];		/* an absolute path */
	char	shell[ACCOUNT_TEXT_MAX];	/* the same, or empty */
};

/*
 * Looks up a user in a passwd(5).  Lines that are nonsense are passed over.
 *   who      a name, or the number of a user where none is called so
 * errors   ENOENT  when there is no such user
 */
int account_read(struct stream *passwd, const char *who,
    struct account *account);

/*
 * Looks up a group in a group(5), in the same way; a number need not be there.
 * errors   ENOENT  when there is no such group
 */
int group_read(struct stream *group, const char *who, gid_t *gid);

/*
 * Lists the groups that have the user name as a member, by a group(5).
 *   size     of groups
 * Returns  how many there are, or -1
 * errors   E2BIG  when there are more than size
 */
ssize_t account_groups(struct stream *group, const char *name, gid_t *groups,
    size_t size);

/*
 * Finds which of the ids outside of a user namespace is the id inside.
 *   map      its /proc/PID/uid_map or gid_map
 * errors   ENOENT  when the namespace has no such id
 * source   user_namespaces(7)
 */
int id_to_host(struct stream *map, uint32_t id, uint32_t *outside);

/* ---- terminal ------------------------------------------------------ */

/*
 * Opens a new pseudo-terminal in the devpts of a process whose root directory
 * is root, or of the caller's host where root is -1; nothing but a true devpts
 * is taken.  The descriptor is the master's.
 * Returns  a descriptor, or -1
 * errors   ENODEV  when there is no devpts
 * source   pts(4), openat2(2)
 */
int pty_open(int root);

/*
 * Opens the other side of a pseudo-terminal, which names no path.
 * Returns  a descriptor, or -1
 * source   TIOCGPTPEER of ioctl_tty(2)
 */
int pty_peer(int master);

#endif
