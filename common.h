/* SPDX-License-Identifier: GPL-3.0-only */
/* Copyright (C) 2026 the nspawn-tools authors */
/*
 * A library for programs that work on systemd-nspawn machines: names,
 * deadlines, processes held by a pidfd, finding a machine, entering it.
 *
 * The library prints nothing, never exits and has no settings.  Unless a
 * contract says otherwise, a function returns 0, or -1 with errno set, and
 * changes its outputs only when it succeeds.
 *
 * The programs call all functions but those whose contract has a line "users".
 *
 * A time is an int64_t of milliseconds.  A deadline is such a time on
 * CLOCK_MONOTONIC; DEADLINE_NEVER never comes.
 *
 * A "proc" argument is the descriptor of a directory with the layout of
 * proc(5), usually "/proc" itself.
 *
 * Each name begins with one of these nouns: account, cgroup, child, command,
 * confinement, deadline, entry, fate, fd, file, helper, host, init, machine,
 * machined, monitor, namespace, nspawn, number, option, process, property, pty,
 * shared, signal, stop, stream, struct, text, time, unit, wanted.
 * No function's name begins with str, mem, wcs, is or to and then a letter: C
 * reserves such names.
 *
 * Its sections: text, options, time, files, memory, helper, process, signals,
 * process: files, namespaces, host, units and cgroups, nspawn: its command
 * line, nspawn: its settings file, machined, machine, search, init,
 * confinement, entry, account, terminal.
 */
#ifndef COMMON_H
#define COMMON_H

#include <sys/types.h>

#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Linux's value.  <limits.h> has it only beyond plain C11. */
#ifndef PATH_MAX
#define PATH_MAX	4096
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* How a value of a structure begins.  A variable may have the tag's name. */
#ifdef __cplusplus
#define STRUCT_VALUE(tag)	::tag
#else
#define STRUCT_VALUE(tag)	(struct tag)
#endif

struct process;
struct termios;
struct winsize;

/* ---- text ---------------------------------------------------------- */

#define MACHINE_NAME_MAX	64	/* bytes, without the final NUL */
/* Says of a name, and MACHINE_NAME_MAX, that it is not valid. */
#define MACHINE_NAME_INVALID	"invalid machine name '%s': give a host name" \
				" of at most %d letters, digits, '-' and '.'"
#define UNIT_NAME_MAX		(4 * MACHINE_NAME_MAX + 32)

/* The kernel's real-time signals: systemd uses these with every libc. */
#define SIGNAL_RTMIN		34
#define SIGNAL_RTMAX		64
#define SIGNAL_NAME_SIZE	16	/* "SIGRTMIN+30" and its NUL */

/*
 * True if name can be the name of a machine: labels of [A-Za-z0-9-], separated
 * by dots, MACHINE_NAME_MAX bytes at most.  A label is not empty and neither
 * begins nor ends with '-'.  So the reserved name ".host" is not valid.
 * source   machinectl(1), hostname(7)
 */
bool machine_name_valid(const char *name);

/*
 * Writes text to escaped as a part of a unit's name: every byte outside
 * [A-Za-z0-9:_.] becomes \xHH in lower case.
 *   size     of escaped; 4 * strlen(text) + 1 is always enough
 * errors   ENAMETOOLONG  when size is too small
 * source   systemd.unit(5), "String escaping"
 * users    only tests
 */
int unit_name_escape(const char *text, char *escaped, size_t size);

/*
 * Reads the whole of text as a decimal number from 0 to max.
 * errors   EINVAL  when text is empty or contains anything but digits
 *          ERANGE  when the number is above max
 */
int number_parse(const char *text, uint64_t max, uint64_t *number);

/*
 * Writes a text as snprintf(3) does, but knows only %s, %.*s, %c, %d, %u, %zd,
 * %zu and %%.  What does not fit is cut.  printf(3) would be a tenth of a
 * static program, mostly code for floating point.
 *   size     of text, at least 1
 * Returns  the length of text
 */
size_t text_format(char *text, size_t size, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/*
 * Writes the line of a message: the program's name, a text as by
 * text_format() and, if it is not NULL, a reason, with ": " between them.
 *   size     of line, at least 2
 * Returns  the length of line
 */
size_t text_line(char *line, size_t size, const char *program,
    const char *format, va_list args, const char *reason)
    __attribute__((format(printf, 4, 0)));

/*
 * Reads a time span: a sum of numbers, each with a unit of systemd.time(7); or
 * "infinity".  A number may have a fraction; without a unit it means seconds.
 *   ms       milliseconds, rounded up; INT64_MAX for infinity
 * errors   EINVAL  when text is not a time span
 *          ERANGE  when it is longer than about 31 years
 * source   systemd.time(7), "Parsing Time Spans"
 */
int time_parse(const char *text, int64_t *ms);

/*
 * Finds the number of a signal: text is TERM, SIGTERM, 15, RTMIN+3, RTMAX-1 and
 * the like, in capital or small letters.
 * Returns  the kernel's number, from 1 to SIGNAL_RTMAX; -1 for any other text
 * source   signal(7), kill(1)
 */
int signal_number(const char *text);

/*
 * Writes the name of a signal, "SIGTERM" or "SIGRTMIN+4", or its number if it
 * has no name.
 * Returns  name
 */
const char *signal_name(int signal, char name[SIGNAL_NAME_SIZE]);

/*
 * Writes text to clean so that a terminal can show it safely: printable ASCII
 * stays, the backslash and every other byte become \xHH.  What does not fit is
 * cut.
 *   size     of clean, at least 1
 * Returns  clean
 */
const char *text_printable(const char *text, char *clean, size_t size);

/* ---- options ------------------------------------------------------- */

/*
 * One option of a command line.  A table of options ends with an entry without
 * a name.  The table serves both to parse options and to print --help.
 */
struct option_spec {
	const char	*name;	/* the long form, without "--" */
	int		 key;	/* the short form's letter, or above 255 */
	const char	*arg;	/* its argument in --help; NULL: it has none */
	const char	*help;	/* its text in --help */
};

#define OPTIONS_MAX	32
#define OPTION_WORD	1	/* option_next() returns it for other words */

/*
 * Takes the next word of a command line: an option or another word.  optarg
 * becomes the option's argument, or the other word.  getopt_long(3) itself
 * reports a usage error on stderr.
 * Returns  the option's key; OPTION_WORD; '?' for a usage error; -1 at the end
 *          or after "--": the words from argv[optind] on are left
 * source   getopt_long(3)
 */
int option_next(int argc, char **argv, const struct option_spec *table);

/*
 * Prints the options of table to stream, one line for each.
 */
void option_help(FILE *stream, const struct option_spec *table);

/* ---- time ---------------------------------------------------------- */

#define DEADLINE_NEVER	INT64_MAX

/*
 * Makes a deadline ms milliseconds from now.
 * Returns  the deadline; DEADLINE_NEVER if ms is too large for one
 */
int64_t deadline_in(int64_t ms);

/*
 * Computes the time until deadline, as poll(2) takes it.
 * Returns  ms; 0 if the deadline is over; -1 for DEADLINE_NEVER
 */
int deadline_left(int64_t deadline);

/* ---- files --------------------------------------------------------- */

#define FDS_STANDARD	3	/* the descriptors 0, 1 and 2 */

/*
 * Closes *fd unless it is -1, and sets it to -1.  Keeps errno.
 */
void fd_close(int *fd);

/*
 * Makes 0, 1 and 2 the only descriptors of this process: those that are missing
 * become /dev/null, all others are closed.  Call it before anything is opened.
 */
int fds_tidy(void);

/*
 * Reads the file path below the directory dir into buffer, and adds a NUL.
 *   size     of buffer: one byte more than the longest file that is accepted
 * Returns  the file's length in bytes, or -1
 * errors   EFBIG  when the file is longer; buffer then has its beginning
 * users    only common.c and tests
 */
ssize_t file_read(int dir, const char *path, char *buffer, size_t size);

/*
 * Finds out whether the file path exists below the directory dir.
 * errors   ENOENT  when it does not exist
 */
int file_exists(int dir, const char *path);

/*
 * Opens the regular file path below the root directory root: symbolic links and
 * ".." do not lead out of it, and the magic links of /proc are not followed.
 * Returns  a descriptor for reading, or -1
 * errors   EINVAL  when path is not a regular file
 *          ENOSYS  before Linux 5.6
 * source   openat2(2)
 * users    only common.c and tests
 */
int file_open_in_root(int root, const char *path);

#define STREAM_SIZE	4096

/*
 * A file or a text in memory that is read word by word; it may be of any
 * length.
 */
struct stream {
	int		 fd;		/* -1: all of it is in memory */
	int		 error;		/* errno of a failed read, or 0 */
	bool		 cut;		/* the last word did not fit */
	const char	*next, *end;	/* what was read and not yet taken */
	char		 buffer[STREAM_SIZE + 1];
};

/*
 * Makes a stream of a text in memory.  The text must stay there.
 *   length   of text, which may contain NULs; text[length] must be a NUL
 * users      only common.c and tests
 */
void text_stream(const char *text, size_t length, struct stream *stream);

/* ---- memory -------------------------------------------------------- */

/*
 * Allocates memory that is all 0 and is shared with children.
 * Returns  the memory, or NULL
 */
void *shared_map(size_t size);

/*
 * Frees memory of shared_map(); does nothing for NULL.  Keeps errno.
 */
void shared_unmap(void *memory, size_t size);

/* ---- helper -------------------------------------------------------- */

/*
 * Waits for the end of a child.
 *   status   as wait(2) gives it
 * errors   ECHILD  when it is not a child, or SIGCHLD is ignored
 */
int child_wait(pid_t pid, int *status);

/*
 * Starts a child for work that may block for ever.  The child calls work and
 * ends; its results go to memory of shared_map().  When the child has ended,
 * the caller reaps it with child_wait().  If the caller gives up, it kills the
 * child and does not wait.
 *   child    to be closed by the caller
 */
int child_start(void (*work)(void *), void *argument, struct process *child);

/*
 * Runs a program and waits for its end.  The program is looked up on PATH; its
 * stdin and stderr are /dev/null.  It is killed at the deadline, and if waiting
 * for it fails.  SIGCHLD must not be ignored.
 *   argv     its words; ends with NULL
 *   output   what it wrote to stdout, cut at size - 1 bytes, and a NUL
 * Returns  its exit status as process_exit_status() gives it, or -1
 * errors   ENOENT     when there is no such program
 *          ETIMEDOUT  when it was killed: it may have done its work or not
 * users    only common.c and tests
 */
int helper_run(const char *const argv[], int64_t deadline, char *output,
    size_t size);

/* ---- process ------------------------------------------------------- */

/*
 * A process that cannot be mistaken for another: its pidfd still means the same
 * process when the number is used again.  Empty: PROCESS_NONE.  Whoever has it
 * closes it with process_close().
 */
struct process {
	pid_t	pid;
	int	fd;
};

#define PROCESS_NONE	(STRUCT_VALUE(process){ 0, -1 })

/*
 * Opens the process that has the number pid now.
 * errors   ESRCH   when there is none
 *          ENOSYS  before Linux 5.3
 * source   pidfd_open(2)
 * users    only common.c and tests
 */
int process_open(pid_t pid, struct process *process);

/*
 * True if process has certainly not ended.  A zombie has ended, unless it is
 * the first thread of a process with other threads.  False for the empty
 * process.
 * errors   ESRCH   when it has ended
 *          ENOMEM  or another, when it is not known
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
 * Closes process, which becomes empty.  Keeps errno.
 */
void process_close(struct process *process);

/*
 * Converts a status of wait(2) as a shell does.
 * Returns  the exit status, or 128 + n for the end by signal n
 */
int process_exit_status(int status);

/*
 * Reads how a process has ended that is not a child of the caller.
 *   status   as wait(2) gives it
 * errors   EAGAIN  when it has not been reaped yet; when it has, poll(2)
 *                  returns POLLHUP for its pidfd
 *          ENOTTY  before Linux 6.15
 * source   PIDFD_GET_INFO of <linux/pidfd.h>
 */
int process_wait_status(const struct process *process, int *status);

/* ---- signals ------------------------------------------------------- */

/*
 * Blocks all signals, including those that a libc reserves for itself.
 */
void signals_block(void);

/*
 * Ends the caller by a signal, because something else was ended by it.  Writes
 * no core file.  Returns only if that fails.
 *   whom     where kill(2) sends it, so that it reaches the caller, too
 */
void signal_end_by(int number, pid_t whom);

/*
 * True if the caller ignores a signal, as if started by nohup(1).
 */
bool signal_is_ignored(int signal);

/* ---- process: files ------------------------------------------------ */

#define PROCESS_NAME_SIZE	64

/*
 * What /proc/PID/status tells about a process.  In the sets of signals bit
 * n - 1 is signal n.
 */
struct process_status {
	char		name[PROCESS_NAME_SIZE];	/* it can change it */
	char		state;		/* as ps(1) shows it; T: stopped */
	pid_t		ppid;
	pid_t		tracer;		/* 0: none */
	uid_t		uid;		/* the real one */
	unsigned	depth;		/* pid namespaces that it is in */
	pid_t		inner;		/* its number in the innermost */
	uint64_t	pending;	/* for the whole process */
	uint64_t	blocked;
	uint64_t	caught;		/* signals with a handler */
	uint64_t	bounding;	/* capabilities: bit n is number n */
	bool		no_new_privs;
	bool		filtered;	/* it has system call filters */
	bool		grouped;	/* it has supplementary groups */
};

/*
 * True if signal is in a set of struct process_status.
 */
bool signal_in(uint64_t set, int signal);

/*
 * Reads the text of a /proc/PID/status.  Its lines may be of any length.
 * errors   EINVAL  when a line is missing or not valid; only Seccomp: and
 *                  Groups: may be missing
 *          or stream->error
 * source   proc_pid_status(5)
 * users    only common.c and tests
 */
int process_status_parse(struct stream *stream, struct process_status *status);

/*
 * Reads the /proc/PID/status of a process.  It is certain to be that of a
 * struct process only if process_alive() is true afterwards; this holds for all
 * functions below that take a number.
 *   pid      0 is the caller
 * errors   ENOENT, ESRCH  when there is no such process
 */
int process_status_read(int proc, pid_t pid, struct process_status *status);

#define PROCESS_GROUPS_MAX	65536	/* a process cannot have more */

/*
 * Reads the supplementary groups of a process.
 *   groups   as seen from the caller's user namespace; to be freed by
 *            process_groups_free()
 * errors   ENOENT, ESRCH  when there is no such process
 * users    only common.c and tests
 */
int process_groups_read(int proc, pid_t pid, gid_t **groups, size_t *count);

/*
 * Frees the groups of process_groups_read(); does nothing for NULL.  Keeps
 * errno.
 * users    only common.c and tests
 */
void process_groups_free(gid_t *groups);

/*
 * Reads how long ago a process was started.
 * Returns  ms, or -1 if that cannot be read
 * source   proc_pid_stat(5), the field starttime
 */
int64_t process_age(int proc, pid_t pid);

/*
 * Reads the name of the kernel's function in which a process sleeps.
 * Returns  wchan; empty if it does not sleep, or that cannot be read
 * source   proc_pid_wchan(5)
 */
const char *process_wchan(int proc, pid_t pid, char wchan[PROCESS_NAME_SIZE]);

/*
 * True if the first thread of a process sleeps in rt_sigtimedwait(2); false if
 * process_wchan() does not tell, as often on x86 before Linux 5.16.  Never
 * blocks.
 */
bool process_waits_for_signal(int proc, pid_t pid);

/*
 * Computes a number from a process's program, the signals that it catches and
 * blocks, and whether it waits for signals.  If one of these changes, so does
 * the number.
 */
uint64_t process_fingerprint(int proc, pid_t pid);

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
	NAMESPACE_USER,	/* last: after it the others may be forbidden */
	NAMESPACES
};

#define NAMESPACES_ALL	((1u << NAMESPACES) - 1)

/*
 * Returns  our name for the namespace of that number, such as "mount"
 */
const char *namespace_name(int number);

/*
 * Finds a kind of namespace by one of its names.
 *   length   of name
 * Returns  its NAMESPACE_ number, or -1
 */
int namespace_number(const char *name, size_t length);

/*
 * Opens the namespaces of process that differ from the caller's.
 *   proc     where "self" is the caller
 *   wanted   a set: 1u << number
 *   fds      to be closed by the caller; -1 for a namespace that is not
 *            wanted, is the caller's, too, or is of a kind that this kernel
 *            lacks
 * errors   ESRCH       when the process has ended
 *          EOWNERDEAD  when its first thread has ended and others have not:
 *                      then only its user and pid namespaces can be seen
 *          EACCES      when the caller may not see them
 */
int namespaces_open(int proc, const struct process *process, unsigned wanted,
    int fds[NAMESPACES]);

/* ---- host ---------------------------------------------------------- */

/*
 * Where machines are looked for.  Whoever has it closes it with host_close().
 */
struct host {
	int	proc;
	int	cgroup;		/* where systemd keeps its units; or -1 */
	bool	real;		/* proc is the kernel's, so pidfds fit it */
};

/*
 * Opens the two directories of a host.
 *   proc     "/proc", or a directory with its layout
 *   cgroup   the hierarchy of cgroups in which systemd keeps its units; it may
 *            be missing.  NULL: where systemd mounts it, which is cgroup v2 or,
 *            on a legacy or hybrid host, the hierarchy "systemd" of v1
 * errors   EXDEV  when proc is of another pid namespace, where processes have
 *                 other numbers, or does not have the host's systemd
 * source   systemd's CGROUP_DELEGATION document, "Three Different Tree Setups"
 */
int host_open(const char *proc, const char *cgroup, struct host *host);

/*
 * Explains an error of host_open().
 * Returns  text
 */
const char *host_strerror(int error);

/*
 * Closes host, which becomes empty.  Keeps errno.
 */
void host_close(struct host *host);

/* ---- units and cgroups --------------------------------------------- */

/*
 * Reads the path of a process in one hierarchy of cgroups.
 *   hierarchy  "" for cgroup v2; for v1 a controller, "cpu", all of the
 *              hierarchy's controllers, "cpu,cpuacct", or its name,
 *              "name=systemd"
 *   path       begins with a '/'
 *   size       of path; PATH_MAX is always enough
 * errors   ENOENT        when there is no such process, or no such hierarchy
 *          ESRCH         when there is no such process
 *          ENAMETOOLONG  when it does not fit, or the kernel cannot show it:
 *                        it cuts paths of PATH_MAX - 1 bytes or more
 * source   cgroups(7), "/proc/[pid]/cgroup"
 */
int process_cgroup(int proc, pid_t pid, const char *hierarchy, char *path,
    size_t size);

/*
 * Finds the unit in whose payload a process is.
 *   stream   its /proc/PID/cgroup
 *   path     of the unit's folder below the root of the hierarchy, without the
 *            '/' at its beginning; empty if the process is not in a payload
 * errors   stream->error, which is ENAMETOOLONG when a path is too long for the
 *          kernel to show
 * users    only common.c and tests
 */
int cgroup_unit(struct stream *stream, char path[PATH_MAX]);

/*
 * True if the last part of path is a unit's name that systemd or systemd-nspawn
 * gives only to the machine of that name.
 * users    only common.c and tests
 */
bool unit_is_machines(const char *path, const char *name);

/*
 * Removes the folder of a cgroup and the folders below it.
 * errors   EBUSY  when a process is in one of them
 */
int cgroup_remove(int dir, const char *path);

/* ---- nspawn: its command line -------------------------------------- */

/* Whether a settings file is used, see --settings= of systemd-nspawn(1). */
enum nspawn_settings {
	NSPAWN_SETTINGS_YES,
	NSPAWN_SETTINGS_OVERRIDE,
	NSPAWN_SETTINGS_NONE,
};

/* What a command line of systemd-nspawn says; empty: not given. */
struct nspawn_args {
	char	machine[MACHINE_NAME_MAX + 2];	/* room for a too long one */
	char	path[PATH_MAX];		/* of the directory or the image */
	bool	image;
	bool	ephemeral;
	char	kill_signal[SIGNAL_NAME_SIZE];
	enum nspawn_settings settings;
	bool	oci_bundle;	/* given: then no settings file is read */
	bool	keep_unit;	/* given: then no scope is made */
};

/*
 * Reads a command line of systemd-nspawn up to the payload's command line.
 *   stream   the words, each with its NUL, as in /proc/PID/cmdline
 * errors   stream->error
 * source   systemd-nspawn(1)
 * users    only common.c and tests
 */
int nspawn_args_parse(struct stream *stream, struct nspawn_args *args);

enum nspawn_name {
	NSPAWN_NAME_UNKNOWN,
	NSPAWN_NAME_MATCHES,
	NSPAWN_NAME_DIFFERS,
};

/*
 * Compares name with the machine's name in a command line: that of --machine,
 * else the name that systemd-nspawn makes of the directory or image.
 * Returns  NSPAWN_NAME_MATCHES, NSPAWN_NAME_DIFFERS; NSPAWN_NAME_UNKNOWN if it
 *          does not tell
 * users    only common.c and tests
 */
enum nspawn_name nspawn_args_name(const struct nspawn_args *args,
    const char *name);

/* ---- nspawn: its settings file ------------------------------------- */

/*
 * Reads the signal in a settings file of systemd-nspawn.
 *   signal   of the last valid KillSignal=; 0 if there is none
 * errors   stream->error
 * source   systemd.nspawn(5)
 * users    only common.c and tests
 */
int nspawn_settings_parse(struct stream *stream, int *signal);

/* ---- machined ------------------------------------------------------ */

/*
 * The time limits of a search, and of the calls of machinectl and systemctl.
 * These run until the deadline at most, and never again after one has hung.
 */
struct machined {
	int64_t	deadline;
	bool	hung;
	int64_t	search;	/* deadline of reading all processes; 0: none */
	int64_t	foreign_deadline;	/* of reading what other users can
					   make block; 0: not yet set */
	pid_t	foreign_blocked;	/* their last process that blocked */
};

/*
 * Runs systemctl(1) or machinectl(1), unless one of them has hung before.
 * Returns  as helper_run()
 * errors   ETIMEDOUT  when it hangs, or one has hung before
 */
int machined_run(const char *const argv[], struct machined *machined,
    char *output, size_t size);

/*
 * True if a property has that value.
 *   lines    what systemctl(1) or machinectl(1) show: lines of NAME=VALUE, up
 *            to an empty line
 */
bool property_is(const char *lines, const char *name, const char *value);

/*
 * Reads a property that is a number, in such lines.
 * Returns  the number; 0 if there is none
 */
uint64_t property_number(const char *lines, const char *name);

/*
 * Finds the lines of the next unit or machine, after the empty line.
 * Returns  these lines
 */
const char *properties_next(const char *lines);

/*
 * Asks machined for the leaders of many machines.
 *   leaders  one for each name; 0 if machined does not know it
 * errors   ETIMEDOUT  when machinectl hung
 *          ENOENT     when there is no machinectl
 */
int machined_leaders(const char *const names[], size_t count,
    struct machined *machined, pid_t leaders[]);

/*
 * True if machined may know a machine: it has a file for each machine, which
 * libsystemd reads.
 * source   sd_machine_get_class(3)
 */
bool machined_may_know(const char *name);

/* ---- machine ------------------------------------------------------- */

/*
 * A running machine: its leader (the PID 1 of its pid namespace) and its
 * supervisor (the systemd-nspawn process; empty if that has been killed).
 * Empty: MACHINE_NONE.  Whoever has it closes it with machine_close().
 */
struct machine {
	struct process	leader;
	struct process	supervisor;
	uid_t		owner;	/* the user who runs it */
	struct process_status status;	/* the leader's, when it was found */
};

#ifdef __cplusplus
#define MACHINE_NONE	(STRUCT_VALUE(machine){ PROCESS_NONE, PROCESS_NONE, \
			0, ::process_status() })
#else
#define MACHINE_NONE	(STRUCT_VALUE(machine){ .leader = PROCESS_NONE, \
			.supervisor = PROCESS_NONE })
#endif

/*
 * True if machine belongs to neither root nor the caller.
 */
bool machine_foreign(const struct machine *machine);

/*
 * Sends a signal to the leader of machine: by machinectl(1) or, if that fails,
 * by the pidfd.
 *   name     of this leader's machine in machined; NULL: only by the pidfd
 * errors   ETIMEDOUT  when machinectl hung: the signal may still be sent
 *          or as process_signal()
 */
int machine_signal(const struct machine *machine, const char *name,
    int signal, struct machined *machined);

#define UNIT_FILES	"/run/systemd/transient"	/* of scopes, too */

/*
 * Finds the scope of a machine.  systemd removes a scope when all of its
 * processes have ended; until then its name cannot be used again.
 *   machine  if it has no leader, or an ended one, any scope with the machine's
 *            name is taken
 *   path     of the scope's folder below host->cgroup; of the file of its unit,
 *            beginning with '/', if systemd has removed only the folder (such
 *            a path works with openat(2) and its like, too, whatever the
 *            directory); empty if no scope is left, or the machine has none
 *   size     of path
 * errors   ENAMETOOLONG  when path is too small, or the leader is in a cgroup
 *                        so deep that the kernel cannot show its path
 */
int machine_scope(const struct host *host, const char *name,
    const struct machine *machine, char *path, size_t size);

/*
 * True if machine is certainly frozen by its cgroup (v1 or v2): then nothing in
 * it runs.
 */
bool machine_frozen(const struct host *host, const struct machine *machine);

/*
 * True if the leader's cgroup, or one above it, has reached its limit of
 * processes (TasksMax= of a unit).
 *   path     of that cgroup in its hierarchy; the machine may have chosen a
 *            part of it: see text_printable()
 */
bool machine_full(const struct host *host, const struct machine *machine,
    char path[PATH_MAX]);

/*
 * Lists the processes in the pid namespaces of all leaders that are alive, in
 * the order of proc.
 *   size     of pids
 * Returns  how many there are, which may be more than size; or -1
 */
ssize_t machines_processes(int proc, const struct machine *const machines[],
    size_t count, pid_t *pids, size_t size);

/*
 * Closes machine, which becomes empty.  Keeps errno.
 */
void machine_close(struct machine *machine);

/* ---- search -------------------------------------------------------- */

#define WANTED_NEAR	3
#define WANTED_DISTANCE	2	/* letters that may differ, see wanted_hint() */

/* A machine that is looked for by its name, and the result. */
struct wanted {
	const char	*name;
	int		 error;		/* why it was not found; 0: it was */
	struct machine	 machine;
	pid_t		 pids[2];	/* see machine_find() */
	bool		 sought;	/* machines_find() still looks */
	/* The nearest names of running machines; empty: none. */
	char		 near[WANTED_NEAR][MACHINE_NAME_MAX + 1];
	unsigned	 near_distance;
};

/*
 * Finds the running machine of that name, and opens its processes.  It looks in
 * this order:
 *   1. for a PID 1 in the payload of a unit that is named after the machine,
 *      in the hierarchy of cgroups;
 *   2. among all processes, for a PID 1 in such a payload, and for one whose
 *      parent is a systemd-nspawn with the machine's name in its command line;
 *   3. for the leader that machinectl names; before 2 if there are very many
 *      processes.
 * It ends at the first of these that finds a leader of root or the caller.  A
 * machine of another user is taken only if none of them does.
 * The hierarchy shows every unit that is directly in a slice: all of systemd's
 * units except those of users.  So 1 finds two machines of one name as surely
 * as 2 does, and 2 is not needed after it.  Without a hierarchy 2 finds what 1
 * would.
 * The owner is the supervisor's real user; without a supervisor the user who
 * made the leader's user namespace, or root if the leader has none of its own.
 *   machined its deadline is set, and all else is 0
 *   pids     for ENOTUNIQ the two leaders; for ENOTSUP the process
 * errors   ESRCH      when no machine of that name is running
 *          EAGAIN     when it has a supervisor and no leader: it is starting,
 *                     or has just ended
 *          ETIMEDOUT  when machinectl hung: the machine may be running
 *          ETIME      when there was no time to read all processes
 *          ENOTUNIQ   when one way finds two machines of that name
 *          ENOTSUP    when it is not a container: its leader is in the
 *                     caller's own pid namespace, as with a virtual machine
 *          ENOSYS     before Linux 5.3
 *          any other  when something could not be read: the machine may be
 *                     running
 * users    only tests
 */
int machine_find(const struct host *host, const char *name,
    struct machined *machined, struct machine *machine, pid_t pids[2]);

/*
 * Finds many machines at once, each as machine_find() does.  The caller sets
 * their names, and closes the machines afterwards; with the error EAGAIN, too:
 * then there is a supervisor.
 *   fds_kept   how many descriptors below the caller's limit stay free; a
 *              machine that would need one of them gets EMFILE
 */
void machines_find(const struct host *host, struct machined *machined,
    struct wanted *wanted, size_t count, size_t fds_kept);

/*
 * Suggests running machines whose names are nearest to that of a machine that
 * is not running.  At most WANTED_DISTANCE letters, and at most half of them,
 * may differ; case is ignored.  The wanted name may be that of a unit, too.
 *   size     of text; 256 is always enough
 * Returns  text, to be read after "is not running"; empty if none is near
 */
const char *wanted_hint(const struct wanted *wanted, char *text, size_t size);

/* A running machine, as in a list. */
struct machine_line {
	char	name[MACHINE_NAME_MAX + 1];	/* empty: not known */
	char	unit[UNIT_NAME_MAX + 1];	/* empty: it has none */
	pid_t	leader, supervisor;		/* 0: it has none */
	uid_t	owner;
};

/*
 * Finds all running machines of all users, by reading all processes that the
 * caller may see.
 *   deadline   of the reading
 *   take       called with argument for each machine, in the order of proc
 * Returns    0; 1 with errno set if a process that may be a leader could not be
 *            read; -1
 * errors     ETIME  when there was no time to read all processes
 */
int machines_list(const struct host *host, int64_t deadline,
    void (*take)(void *argument, const struct machine_line *line),
    void *argument);

/*
 * Finds the leader that a machine's supervisor has now, when the machine has
 * started or restarted since old was found.
 *   machine  to be closed by the caller
 * errors   ESRCH, or another  when it has none
 * source   /proc/PID/task/TID/children of proc(5)
 */
int machine_again(const struct host *host, const struct machine *old,
    struct machine *machine);

/*
 * Explains an error of machine_find().
 * Returns  text
 */
const char *machine_strerror(int error, const pid_t pids[2],
    char *text, size_t size);

/* ---- init ---------------------------------------------------------- */

enum stop_method {
	STOP_BY_SIGNAL,	/* by a signal to PID 1 */
	STOP_BY_COMMAND,	/* by the command "init 0", run inside */
	STOP_UNCLEAN,	/* not possible: a signal kills it and its services */
};

/* A program that runs as PID 1, and how it is told to stop cleanly. */
struct init {
	char		name[24];
	enum stop_method	method;
	int		signal;		/* the signal; or the last resort */
};

/*
 * Recognises the init that runs as a machine's leader: by its program's name,
 * as the host sees it, or a text in that program; by its command line; and by
 * the signals that it catches.  The program is the machine's, and reading it
 * may block for ever, see child_start(); so may signal_fate().
 *   init     its entry in a table; NULL if it is not known, or the leader or
 *            its first thread has ended
 */
int init_of(int proc, const struct process *leader, const struct init **init);

/*
 * Finds out whether a leader still runs systemd-nspawn's own program, before
 * the exec of the init: a signal that it gets then is lost.
 */
int init_starting(int proc, const struct process *leader, bool *starting);

/* What happens to a signal to a leader. */
enum signal_fate {
	FATE_HANDLED,		/* it has a handler */
	FATE_BLOCKED,		/* it is blocked, and may be read later */
	FATE_UNKNOWN,	/* it may be waited for; or it is not known */
	FATE_DISCARDED,	/* by the kernel, in each of several checks */
};

/*
 * Finds out what happens to signal if it is sent to leader now.  That takes up
 * to 50 ms if the signal seems discarded and leader is in state R.
 * source   signal(7), pid_namespaces(7)
 */
int signal_fate(int proc, const struct process *leader, int signal,
    enum signal_fate *fate);

/*
 * Finds out whether process has a signalfd(2) for signal.
 * Returns  1 for yes, 0 for no; -1
 * source   proc_pid_fdinfo(5)
 */
int process_has_signalfd(int proc, const struct process *process, int signal);

/*
 * Finds the signal that systemd-nspawn is configured to stop the machine by:
 * --kill-signal= of its command line, or KillSignal= of its settings file.
 * Reading the file may block for ever, see child_start().
 *   unit     KillSignal= of the leader's scope; 0: not known.  If
 *            systemd-nspawn made the scope, this is the configured signal, even
 *            if the file has changed since; but 15 or 37 can also mean that
 *            none is configured
 *   signal   its number; 0 if none is configured, or systemd-nspawn has ended;
 *            -1 for one that stops no machine cleanly: KILL, STOP or not valid
 * source   systemd-nspawn(1), systemd.nspawn(5)
 */
int machine_kill_signal(int proc, const struct machine *machine, int unit,
    int *signal);

/* ---- confinement --------------------------------------------------- */

#define CONFINEMENT_LIMITS	16	/* RLIMIT_...: Linux has no more */
#define CONFINEMENT_PROCESSORS	8192
#define PROCESS_LABEL_SIZE	4096

/* A resource limit: struct rlimit64 of Linux.  UINT64_MAX: unlimited. */
struct confinement_limit {
	uint64_t	soft, hard;
};

/* struct sched_attr of Linux, in its first form. */
struct confinement_scheduling {
	uint32_t	size, policy;
	uint64_t	flags;
	int32_t		nice;
	uint32_t	priority;
	uint64_t	runtime, deadline, period;
};

/* What confines a machine's leader, and how it is scheduled. */
struct confinement {
	uint64_t		bounding;	/* capabilities: bit n is n */
	bool			no_new_privs;
	bool			filtered;	/* has system call filters */
	bool			grouped;	/* has supplementary groups */
	int			oom_score_adj;
	int			io_priority;	/* as ioprio_get(2) gives it */
	int			nice;
	unsigned		personality;
	struct confinement_scheduling	scheduling;
	size_t			processors_size;	/* in bytes */
	uint8_t			processors[CONFINEMENT_PROCESSORS / 8];
	struct confinement_limit		limits[CONFINEMENT_LIMITS];
	char			label[PROCESS_LABEL_SIZE]; /* empty: ours */
};

/*
 * Reads the label by which a security module confines the process pid, in the
 * form that the module takes for the next exec.
 *   label    empty if it is the caller's, too, or there is no such module
 * source   apparmor(7), proc_pid_attr(5)
 * users    only common.c and tests
 */
int process_label_read(int proc, pid_t pid, char label[PROCESS_LABEL_SIZE]);

/* ---- entry --------------------------------------------------------- */

#define ENTRY_GROUP_FILES		32	/* hierarchies of cgroup v1 */

/* What is to be run in a machine, how, and as which user. */
struct command {
	char *const	*argv;		/* no word: the user's login shell */
	unsigned	 namespaces;	/* a set, as for namespaces_open() */
	bool		 privileged;	/* not confined as the leader is */
	bool		 unfiltered;	/* without the leader's filters */
	bool		 detached;	/* goes on when the caller has ended */
	bool		 last;		/* no order follows: the monitor ends
					   with this one */
	bool		 nameless;	/* root, without reading passwd */
	int64_t		 time;		/* ms, for entering the machine */
	const char	*user;		/* name or number; NULL: root */
	const char	*group;		/* the same; NULL: the user's own */
	const char	*directory;	/* NULL: the user's home, else / */
	/* NAME=VALUE, set before and after those that describe the user. */
	char *const	*defaults;
	char *const	*variables;
	const char	*complaint;	/* how its error messages begin */
	int		 fds[FDS_STANDARD];	/* its 0, 1 and 2 */
	unsigned	 terminal;	/* a set: which are a new terminal */
	const struct termios *modes;	/* of that; NULL: the default */
	const struct winsize *size;
};

/*
 * All that a process needs to become one of a machine's processes.  Whoever has
 * read it closes it with entry_close().
 */
struct entry_needs {
	struct process	 leader;	/* the machine's; not to be closed */
	uint64_t	 user_namespace;	/* number of the leader's */
	int		 namespaces[NAMESPACES];	/* those to be joined */
	int		 root;		/* its root directory; -1: our own */
	int		 uid_map;	/* its uid_map; -1: ids are the same */
	/* The rest is only read if the command is confined as the leader is. */
	bool		 confined;
	struct confinement confinement;
	gid_t		*groups;	/* as the host numbers them */
	size_t		 group_count;
	int		 cgroup;	/* its folder in cgroup v2; -1: ours */
	int		 group_files[ENTRY_GROUP_FILES];	/* for v1 */
	size_t		 group_file_count;
};

enum entry_event {
	ENTRY_TERMINAL,	/* a terminal was made: its master comes with this */
	ENTRY_STARTED,	/* a detached command has been executed */
	ENTRY_ENDED,	/* the command has ended, or a signal ended its start */
	ENTRY_FAILED,	/* the command could not be started */
	ENTRY_LATE,	/* the same: it took too long, and was killed */
	ENTRY_HELD,	/* it has ended, but a tracer keeps its status */
};

/* What the monitor reports about a command. */
struct entry_report {
	enum entry_event event;
	int		 id;
	int		 status;	/* of wait(2), when it has ended */
	int		 step;		/* what failed, or took too long: for
					   entry_strerror() */
	int		 error;		/* errno, when it failed; 0: a signal */
	pid_t		 tracer;	/* of the leader, if that is why */
	bool		 host_terminal;	/* the terminal is one of the host's */
};

/*
 * Reads what a process needs to run command in machine, and opens what must be
 * open before anything is joined.  The command is confined as the leader was
 * when machine.status was read.  If the leader changes that before its filters
 * are copied, the command is not run.
 *   report   on failure: for entry_strerror()
 * errors   ESRCH       when the leader has ended
 *          EOWNERDEAD  when only its first thread has ended
 *          EBUSY       when the machine is frozen
 *          EAGAIN      when it is just starting
 */
int entry_read(const struct host *host, const struct machine *machine,
    const struct command *command, struct entry_needs *entry,
    struct entry_report *report);

/*
 * Closes what entry has open.  Keeps errno.
 */
void entry_close(struct entry_needs *entry);

/* Why a command could not be run: what it could not get. */
enum entry_lack {
	ENTRY_LACKS_FILTERS,	/* not needed if command.unfiltered */
	ENTRY_LACKS_CGROUPS,	/* not needed if command.privileged */
	ENTRY_LACKS_PROCESSES,	/* a limit of processes is reached */
	ENTRY_LACKS_OTHER,
};

/*
 * Finds out which of these a report of a failure is about.
 * Returns  that one
 */
enum entry_lack entry_lacks(const struct entry_report *report);

/*
 * Explains why a command was not run.
 * Returns  text, to be read after the machine's name and a colon
 */
const char *entry_strerror(const struct entry_report *report,
    const struct command *command, char *text, size_t size);

/* The exit statuses of a command that could not be executed, as of env(1). */
enum {
	ENTRY_STATUS_FAILED		= 125,
	ENTRY_STATUS_NOT_EXECUTABLE	= 126,
	ENTRY_STATUS_NOT_FOUND		= 127,
};

/*
 * The process that enters machines for a program: a fresh image of the same
 * program, whose memory never had anything of the caller's.  It stays on the
 * host and reaps what it has started, even after the caller has ended.
 * Empty: MONITOR_NONE.  Whoever has it closes it with monitor_close().
 */
struct monitor {
	pid_t	pid;
	int	channel;	/* readable when there is a report */
};

#define MONITOR_NONE	(STRUCT_VALUE(monitor){ 0, -1 })

/*
 * Becomes the monitor, and never returns, in a process that monitor_order() has
 * made; returns in any other process.  A program that enters machines calls it
 * first in main().
 */
void monitor_main(char **argv);

/*
 * Orders a command to be run in the machine of entry; reports tell what happens
 * to it.  The first order starts the monitor.  The caller's 0, 1 and 2 must be
 * open, see fds_tidy().
 *   id       the id of these reports
 * errors   ELOOP   in a monitor, whose main() does not call monitor_main()
 * source   memfd_create(2), execveat(2), CVE-2019-5736
 */
int monitor_order(struct monitor *monitor, int id,
    const struct entry_needs *entry, const struct command *command);

/*
 * Sends a signal to a command and its process group.
 */
int monitor_signal(const struct monitor *monitor, int id, int signal);

/*
 * Waits for the next report, and takes it.
 *   fd       the descriptor that came with it, or -1
 * errors   ECONNRESET  when the monitor has ended, and no report is left
 */
int monitor_report(const struct monitor *monitor, struct entry_report *report,
    int *fd);

/*
 * Closes monitor.  It then ends the commands that are not detached: HUP and
 * CONT to their process group, and KILL five seconds later.  Keeps errno.
 */
void monitor_close(struct monitor *monitor);

/* ---- account ------------------------------------------------------- */

#define ACCOUNT_TEXT_MAX	256
#define ACCOUNT_ID_MAX		(UINT32_MAX - 1)	/* above: "no id" */

/* A user of a machine. */
struct account {
	uid_t	uid;
	gid_t	gid;
	char	name[ACCOUNT_TEXT_MAX];
	char	home[ACCOUNT_TEXT_MAX];		/* an absolute path */
	char	shell[ACCOUNT_TEXT_MAX];	/* the same, or empty */
};

/*
 * Looks up a user in a passwd(5).  Lines that are not valid are skipped.
 *   who      a name; or a number, if no user has it as a name
 * errors   ENOENT  when there is no such user
 * users    only common.c and tests
 */
int account_read(struct stream *passwd, const char *who,
    struct account *account);

/*
 * Looks up a group in a group(5), in the same way.  A number is taken even if
 * the file does not have it.
 * errors   ENOENT  when there is no such group
 * users    only common.c and tests
 */
int account_group_read(struct stream *group, const char *who, gid_t *gid);

/*
 * Lists the groups of a group(5) that have the user name as a member.
 *   size     of groups
 * Returns  how many there are, or -1
 * errors   E2BIG  when there are more than size
 * users    only common.c and tests
 */
ssize_t account_groups(struct stream *group, const char *name, gid_t *groups,
    size_t size);

/*
 * Converts an id inside of a user namespace to the id outside.
 *   map      the /proc/PID/uid_map or gid_map of a process in it
 * errors   ENOENT  when the namespace has no such id
 * source   user_namespaces(7)
 * users    only common.c and tests
 */
int account_id_to_host(struct stream *map, uint32_t id, uint32_t *outside);

/* ---- terminal ------------------------------------------------------ */

/*
 * Opens the slave of a pseudo-terminal by its master, without using a path.
 * Returns  the slave's descriptor, or -1
 * source   TIOCGPTPEER of ioctl_tty(2)
 */
int pty_peer(int master);

#ifdef __cplusplus
}
#endif

#endif
